"""What the read API asks the store.

Rules: a read-only connection of its own, so it sees only what was committed and can change nothing; every
answer has a bound.
"""

import sqlite3
from pathlib import Path
from typing import Any

import orjson

from simulator.backend import audit
from simulator.backend.effects import DeadLetter
from simulator.wire.spec import ProductSpec

EVENTS_PAGE = 1000
ALARMS_MAX = 10_000
TELEMETRY_PAGE = 1000
DEAD_LETTERS_PAGE = 1000
UPLOADS_PAGE = 1000


class Queries:
    """Reads one store."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def counts(self) -> dict[str, Any]:
        """Messages by kind and fate."""
        counts: dict[str, Any] = {
            "received": {}, "stored": {}, "dead": {}, "replayed": {}, "duplicates": 0, "dead_dropped": 0,
        }  # fmt: skip
        for scope, name, n in self._db.execute("SELECT scope, name, n FROM counters ORDER BY scope, name"):
            if scope in ("duplicates", "dead_dropped"):
                counts[scope] = n
            else:
                counts[scope][name] = n
        return counts

    def alarms(self) -> list[dict[str, Any]]:
        """All alarms, the latest of them when there are too many, oldest first."""
        rows = self._db.execute(
            "SELECT document FROM alarms ORDER BY raised_at_ms DESC, alarm_id DESC LIMIT ?", (ALARMS_MAX,)
        )
        return [orjson.loads(row[0]) for row in reversed(rows.fetchall())]

    def events(self, after: int) -> dict[str, Any]:
        """A page of the history; ask again with `next`."""
        rows = self._db.execute(
            "SELECT seq, at_ms, kind, thing, alarm_id, detail FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, EVENTS_PAGE),
        ).fetchall()
        names = ("seq", "at_ms", "kind", "thing", "alarm_id")
        events = [dict(zip(names, row[:5], strict=True)) | {"detail": orjson.loads(row[5])} for row in rows]
        return {"next": rows[-1][0] if rows else after, "events": events}

    def dispatches(self) -> list[dict[str, Any]]:
        """Field dispatches, oldest first."""
        names = ("alarm_id", "thing", "rule_id", "severity", "reason", "opened_at_ms", "closed_at_ms")
        columns = ", ".join(names)
        rows = self._db.execute(
            f"SELECT {columns} FROM dispatches ORDER BY opened_at_ms LIMIT ?",  # noqa: S608
            (ALARMS_MAX,),
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def telemetry(self, thing: str, limit: int) -> list[dict[str, Any]] | None:
        """A device's latest samples, newest first; None for a device that never said anything."""
        if self._db.execute("SELECT 1 FROM devices WHERE device_id = ?", (thing,)).fetchone() is None:
            return None
        rows = self._db.execute(
            "SELECT device_timestamp, ingest_timestamp, metrics, hub_id, hub_timestamp FROM telemetry"
            " WHERE device_id = ? ORDER BY device_timestamp DESC LIMIT ?",
            (thing, min(limit, TELEMETRY_PAGE)),
        )
        return [
            {"device_timestamp": at_ms, "ingest_timestamp": in_ms, "metrics": orjson.loads(metrics)}
            | _hub(thing, hub, hub_ms)
            for at_ms, in_ms, metrics, hub, hub_ms in rows
        ]

    def hubs(self) -> list[dict[str, Any]]:
        """Who each hub said is there, the last time."""
        rows = self._db.execute("SELECT hub_id, at_ms, nodes FROM hubs ORDER BY hub_id LIMIT ?", (ALARMS_MAX,))
        return [{"hub_id": hub, "at_ms": at_ms, "nodes": orjson.loads(nodes)} for hub, at_ms, nodes in rows]

    def uploads(self, limit: int) -> list[dict[str, Any]]:
        """The latest uploads, newest first."""
        sql = "SELECT document FROM uploads ORDER BY requested_at_ms DESC, rowid DESC LIMIT ?"
        found = [orjson.loads(row[0]) for row in self._db.execute(sql, (min(limit, UPLOADS_PAGE),))]
        names = (
            "upload_id", "thing", "name", "size", "content_type", "parts", "state", "reason", "bucket", "key", "etag",
            "requested_at_ms", "ended_at_ms",
        )  # fmt: skip
        return [{name: upload[name] for name in names} for upload in found]

    def current(self, kind: str) -> list[dict[str, Any]]:
        """The rules or specs that are in force, by name."""
        rows = self._db.execute(
            "SELECT name, max(version), at_ms, source, document FROM versions WHERE kind = ?"
            " GROUP BY name ORDER BY name",
            (kind,),
        )
        return [_version(kind, row) for row in rows if row[4] is not None]

    def history(self, kind: str, name: str) -> list[dict[str, Any]]:
        """All versions of a rule or a spec that are kept, newest first."""
        rows = self._db.execute(
            "SELECT name, version, at_ms, source, document FROM versions WHERE kind = ? AND name = ?"
            " ORDER BY version DESC",
            (kind, name),
        )
        return [_version(kind, row) for row in rows]

    def dead_letters(self, after: int, limit: int, reason: str | None = None, replayed: bool = False) -> dict[str, Any]:
        """A page of the refused messages, oldest first; ask again with `next`."""
        found = self.letters(after, min(limit, DEAD_LETTERS_PAGE), reason, replayed)
        letters = []
        for letter_id, letter, replayed_at_ms in found:
            shown = {"id": letter_id, "at_ms": letter.at_ms, "reason": letter.reason, "topic": letter.topic}
            try:
                shown["payload"] = letter.payload.decode()
            except UnicodeDecodeError:
                shown["payload_hex"] = letter.payload.hex()
            letters.append(shown | {"replayed_at_ms": replayed_at_ms})
        return {"next": found[-1][0] if found else after, "dead_letters": letters}

    def letters(
        self, after: int, limit: int, reason: str | None = None, replayed: bool = False
    ) -> list[tuple[int, DeadLetter, int | None]]:
        """Refused messages with their ids, and when they were replayed."""
        rows = self._db.execute(
            "SELECT id, at_ms, reason, topic, payload, replayed_at_ms FROM dead_letters WHERE id > ?"
            " AND (? IS NULL OR reason = ?) AND (? OR replayed_at_ms IS NULL) ORDER BY id LIMIT ?",
            (after, reason, reason, replayed, limit),
        )
        return [(row[0], DeadLetter(*row[1:5]), row[5]) for row in rows]

    def audit(self, after: str, limit: int, since_ms: int) -> dict[str, Any]:
        """A page of what came, as identities (audit.py); UsageError for an `after` that no page gave."""
        specs = {spec["productId"]: ProductSpec.model_validate(spec["spec"]) for spec in self.current("spec")}
        return audit.page(self._db, audit.place(after), min(limit, audit.PAGE_MAX), since_ms, specs)

    def last_letter(self) -> int:
        """The id of the latest refused message."""
        return int(self._db.execute("SELECT coalesce(max(id), 0) FROM dead_letters").fetchone()[0])


def _hub(thing: str, hub: str | None, hub_ms: int | None) -> dict[str, Any]:
    """What a hub adds to a sample of its own or of a child."""
    said: dict[str, Any] = {} if hub is None else {"hub_id": hub}
    if hub_ms is not None:
        said["hub_timestamp"] = hub_ms
    if hub not in (None, thing):
        said["childDeviceId"] = thing
    return said


def _version(kind: str, row: tuple[Any, ...]) -> dict[str, Any]:
    name, version, at_ms, source, document = row
    key = {"rule": "ruleId", "spec": "productId"}[kind]
    found = {key: name, "version": version, "at_ms": at_ms, "source": source}
    return found | {kind: None if document is None else orjson.loads(document)}
