"""What the read API asks of the platform's tables.

Rules: a read-only connection of its own, so it sees only what was committed and can change nothing. Every answer has a
bound: a page has at most `limit` entries and says in `next` what to ask `after` for the rest; when nothing came, `next`
is what was asked.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import orjson

from simulator.backend.platform import archive
from simulator.backend.platform.rollup import SCALE
from simulator.backend.queries import DISPATCH
from simulator.backend.reader import Reader

PAGE_MAX = 1000
SITES_MAX = 10_000
VALUES_MAX = 100

Period = Literal["hour", "6h", "day"]
Page = dict[str, Any]

PERIODS_MS = {"hour": 3_600_000, "6h": 6 * 3_600_000, "day": 86_400_000}

# Which events make the history of what.
HISTORY: Mapping[str, tuple[str, ...]] = {
    "control": ("command_sent", "command_failed", "control_result"),
    "ota": ("job_created", "job_succeeded", "job_failed", "job_ended"),
    "rollback": ("rule_rolled_back", "formula_rolled_back", "firmware_rolled_back"),
    "alarm": (
        "alarm_raised", "alarm_risen", "alarm_level", "alarm_escalated", "alarm_closed", "in_range", "relapsed",
        "action_timed_out",
    ),
}  # fmt: skip
DISPATCH_STEPS = (
    "dispatch_opened", "dispatch_assigned", "dispatch_on_the_way", "dispatch_on_site", "dispatch_done",
    "dispatch_cancelled",
)  # fmt: skip

_NEVER_MS = 1 << 62


class PlatformQueries(Reader):
    """Reads one store."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._folder = path.parent

    # -- aggregates

    def aggregates(
        self, period: Period, *, product: str | None = None, customer: str | None = None, since_ms: int = 0,
        until_ms: int | None = None, after: int = 0, limit: int = 100,
    ) -> Page:  # fmt: skip
        """Windows that begin in [since, until): of products; with `customer` (`*`: of each) of a customer's products.

        A customer's are kept by day only. Each: `{period, customer, product, start_ms, end_ms, records, metrics}` with
        metrics `{name: {count, mean, min, max, sum}}`; customer None: of all.
        """
        who = ("customer <> ''" if customer == "*" else "customer = ?") if customer else "customer = ''"
        which = [customer] if customer not in (None, "", "*") else []
        until_ms = _NEVER_MS if until_ms is None else until_ms
        sql = (
            f"SELECT id, customer, product, start_ms, records, metrics FROM aggregates WHERE period = ? AND {who}"  # noqa: S608
            " AND (? IS NULL OR product = ?) AND start_ms >= ? AND start_ms < ? AND id > ? ORDER BY id LIMIT ?"
        )
        values = (period, *which, product, product, since_ms, until_ms, after, _at_most(limit))
        rows = self._db.execute(sql, values).fetchall()
        found = [
            {"period": period, "customer": of or None, "product": name, "start_ms": start_ms,
             "end_ms": start_ms + PERIODS_MS[period], "records": records, "metrics": told(metrics)}
            for _, of, name, start_ms, records, metrics in rows
        ]  # fmt: skip
        return {"next": rows[-1][0] if rows else after, "aggregates": found}

    # -- formulas

    def formula_values(self, thing: str) -> list[dict[str, Any]]:
        """The latest value of each formula of a device: `{formulaId, version, value, device_timestamp}`."""
        row = self._db.execute("SELECT formulas FROM devices WHERE device_id = ?", (thing,)).fetchone()
        names = ("formulaId", "version", "value", "device_timestamp")
        found = orjson.loads(row[0]) if row and row[0] else []
        return [dict(zip(names, value, strict=True)) for value in found[:VALUES_MAX]]

    # -- who is sent

    def dispatch(self, alarm_id: str) -> dict[str, Any] | None:
        """One dispatch with its steps `{at_ms, state, who, note}`."""
        row = self._db.execute(
            f"SELECT {', '.join(DISPATCH)} FROM dispatches WHERE alarm_id = ?",  # noqa: S608
            (alarm_id,),
        ).fetchone()
        if row is None:
            return None
        found = dict(zip(DISPATCH, row, strict=True))
        marks = ", ".join("?" * len(DISPATCH_STEPS))
        steps = f"SELECT at_ms, kind, detail FROM events WHERE thing = ? AND alarm_id = ? AND kind IN ({marks})"  # noqa: S608
        values = (found["thing"], alarm_id, *DISPATCH_STEPS, PAGE_MAX)
        events = self._db.execute(f"{steps} ORDER BY seq LIMIT ?", values)
        found["steps"] = [_step(*event) for event in events]
        return found

    # -- long-term files

    def archive(self, thing: str, since_ms: int, until_ms: int, limit: int = 100) -> dict[str, Any]:
        """A device's samples of [since, until) that were moved to long-term files, by their time.

        `complete` is false where there are more than were read.
        """
        samples, complete = archive.read(
            self._db, self._folder / archive.FOLDER, thing, since_ms, until_ms, _at_most(limit)
        )
        return {"samples": samples, "complete": complete}

    # -- who stands where

    def master(self, thing: str) -> dict[str, Any] | None:
        """`{site_id, customer_id}` of a device; None where nothing is known."""
        row = self._db.execute("SELECT site_id, customer_id FROM master WHERE thing = ?", (thing,)).fetchone()
        return {"site_id": row[0], "customer_id": row[1]} if row else None

    def sites(self, customer: str | None = None) -> list[dict[str, Any]]:
        """Sites with their customer and the number of their devices."""
        rows = self._db.execute(
            "SELECT site_id, customer_id, count(*) FROM master WHERE site_id <> '' AND (? IS NULL OR customer_id = ?)"
            " GROUP BY site_id, customer_id ORDER BY site_id, customer_id LIMIT ?",
            (customer, customer, SITES_MAX),
        )
        return [{"site_id": site, "customer_id": of, "devices": n} for site, of, n in rows]

    def devices(self, customer: str | None = None, site: str | None = None, after: int = 0, limit: int = 100) -> Page:
        """Devices by name, after the first `after` of them; `risk` and `level` where the fire prediction knows."""
        columns = ("thing", "product", "last_timestamp", "site_id", "customer_id", "risk", "level")
        read = (
            "SELECT d.device_id, d.product_id, d.last_timestamp, coalesce(m.site_id, ''), coalesce(m.customer_id, ''),"
            " f.risk, f.level"
        )
        fire = " LEFT JOIN fire_devices f ON f.device_id = d.device_id"
        if customer is None and site is None:
            whole = f"{read} FROM devices d LEFT JOIN master m ON m.thing = d.device_id{fire} ORDER BY d.device_id"
            values: tuple[Any, ...] = ()
        else:
            which = {"m.customer_id = ?": customer, "m.site_id = ?": site}
            values = tuple(value for value in which.values() if value is not None)
            conditions = " AND ".join(condition for condition, value in which.items() if value is not None)
            whole = f"{read} FROM master m JOIN devices d ON d.device_id = m.thing{fire} WHERE {conditions}"
            whole += " ORDER BY m.thing"
        rows = self._db.execute(f"{whole} LIMIT ? OFFSET ?", (*values, _at_most(limit), after)).fetchall()
        return {"next": after + len(rows), "devices": [dict(zip(columns, row, strict=True)) for row in rows]}

    def counts(self) -> dict[str, int]:
        """What was sent, quieted, dropped, archived, and what found no room."""
        return dict(self._db.execute("SELECT name, n FROM platform_counts ORDER BY name"))


def _at_most(limit: int) -> int:
    return max(1, min(limit, PAGE_MAX))


def told(document: str) -> dict[str, dict[str, float]]:
    """Metrics as they are kept, in numbers for people."""
    found = {}
    for name, (count, said, low, high) in orjson.loads(document).items():
        total = int(said)
        mean = total / (count * SCALE)
        found[name] = {"count": count, "mean": mean, "min": low, "max": high, "sum": total / SCALE}
    return found


def _step(at_ms: int, kind: str, detail: str) -> dict[str, Any]:
    said = orjson.loads(detail)
    return {
        "at_ms": at_ms, "state": kind.removeprefix("dispatch_"), "who": said.get("who", ""),
        "note": said.get("note", said.get("reason", "")),
    }  # fmt: skip
