"""What the read API asks the store: lists, each row of which is of one device, and what belongs to all.

Rules: a read-only connection of its own, so it sees only what was committed and can change nothing; every
answer has a bound. Lists come in pages: `next` is where the following one begins, and at the end it is where this one
began, so that whoever asks again with it misses nothing. `owner` is a customer, of whose sites' devices alone is told;
None: of all.
"""

import re
from collections.abc import Sequence
from typing import Any

import orjson

from simulator.backend import audit
from simulator.backend.effects import DeadLetter
from simulator.backend.reader import Reader
from simulator.errors import UsageError
from simulator.wire.spec import ProductSpec

PAGE = 1000  # rows at most, of every list but the audit
EVENTS_PAGE = PAGE
VERSIONS_MAX = 50  # shown of each rule and spec
KEYS = {"rule": "ruleId", "spec": "productId", "formula": "formulaId"}
_PLACE = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})", re.ASCII)

DISPATCH = (
    "alarm_id", "thing", "rule_id", "severity", "reason", "opened_at_ms", "closed_at_ms", "state", "who",
    "updated_at_ms",
)  # fmt: skip
_NOTIFICATION = (
    "id", "notification_id", "at_ms", "alarm_id", "thing", "alarm_class", "channel", "what", "level", "subject",
    "body", "state", "sent_at_ms", "tries", "error",
)  # fmt: skip
_UPLOAD = (
    "upload_id", "thing", "name", "size", "content_type", "parts", "state", "reason", "bucket", "key", "etag",
    "requested_at_ms", "ended_at_ms",
)  # fmt: skip


def owned(column: str, owner: str | None) -> tuple[str, tuple[str, ...]]:
    """What to add to a WHERE, and its value, so that it is of an owner's devices only."""
    if owner is None:
        return "", ()
    return f" AND {column} IN (SELECT thing FROM master WHERE customer_id = ?)", (owner,)  # noqa: S608


class Queries(Reader):
    """Reads one store."""

    # -- what belongs to one device

    def knows(self, thing: str, owner: str | None = None) -> bool:
        """Did this device ever say anything, and is it the owner's?"""
        mine, whose = owned("device_id", owner)
        sql = f"SELECT 1 FROM devices WHERE device_id = ?{mine}"  # noqa: S608
        return self._db.execute(sql, (thing, *whose)).fetchone() is not None

    def alarms(
        self, after: int = 0, limit: int = PAGE, owner: str | None = None, *, state: str | None = None,
        thing: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Alarms, in the order of their last change: one that changes comes again. `state` open: not closed."""
        where, values = " AND state <> 'closed'" if state == "open" else "", list[Any]()
        if state not in (None, "open"):
            where, values = " AND state = ?", [state]
        rows = self._rows("alarms", "document", after, limit, owner, where, values, thing=thing)
        return _page("alarms", rows, after, [orjson.loads(row[1]) for row in rows])

    def events(
        self, after: int, limit: int = PAGE, owner: str | None = None, *, kinds: Sequence[str] = (),
        thing: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """The history, in the order in which it happened."""
        where = f" AND kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
        rows = self._rows("events", "at_ms, kind, thing, alarm_id, detail", after, limit, owner, where, kinds, thing)
        names = ("seq", "at_ms", "kind", "thing", "alarm_id")
        events = [dict(zip(names, row[:5], strict=True)) | {"detail": orjson.loads(row[5])} for row in rows]
        return _page("events", rows, after, events)

    def dispatches(
        self, after: int = 0, limit: int = PAGE, owner: str | None = None, *, state: str | None = None
    ) -> dict[str, Any]:
        """Field dispatches, in the order in which they were opened."""
        where, values = (" AND state = ?", (state,)) if state else ("", ())
        rows = self._rows("dispatches", ", ".join(DISPATCH), after, limit, owner, where, values)
        return _page("dispatches", rows, after, [dict(zip(DISPATCH, row[1:], strict=True)) for row in rows])

    def notifications(
        self, after: int = 0, limit: int = PAGE, owner: str | None = None, *, channel: str | None = None
    ) -> dict[str, Any]:
        """The outbox, oldest first."""
        where, values = (" AND channel = ?", (channel,)) if channel else ("", ())
        rows = self._rows("notifications", ", ".join(_NOTIFICATION), after, limit, owner, where, values)
        found = [dict(zip(_NOTIFICATION, row[1:], strict=True)) for row in rows]
        return _page("notifications", rows, after, [one | {"body": orjson.loads(one["body"])} for one in found])

    def uploads(self, after: int = 0, limit: int = PAGE, owner: str | None = None) -> dict[str, Any]:
        """Uploads, in the order of their last change."""
        rows = self._rows("uploads", "document", after, limit, owner)
        found = [orjson.loads(row[1]) for row in rows]
        return _page("uploads", rows, after, [{name: upload[name] for name in _UPLOAD} for upload in found])

    def _rows(
        self, table: str, columns: str, after: int, limit: int, owner: str | None, where: str = "",
        values: Sequence[Any] = (), thing: str | None = None,
    ) -> list[tuple[Any, ...]]:  # fmt: skip
        """The rows of a page, each with its number first."""
        mine, whose = owned("thing", owner)
        if thing is not None:
            where, values = f"{where} AND thing = ?", (*values, thing)
        sql = f"SELECT rowid, {columns} FROM {table} WHERE rowid > ?{where}{mine} ORDER BY rowid LIMIT ?"  # noqa: S608
        return self._db.execute(sql, (after, *values, *whose, min(limit, PAGE))).fetchall()

    def last_event(self, owner: str | None = None) -> int:
        """The number of the newest event; of an owner's devices, so that it does not tell how much others do."""
        if owner is not None:
            last = "SELECT (SELECT max(seq) FROM events WHERE thing = m.thing) AS seq FROM master m"
            sql = f"SELECT coalesce(max(seq), 0) FROM ({last} WHERE m.customer_id = ?)"  # noqa: S608
            return int(self._db.execute(sql, (owner,)).fetchone()[0])
        return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])

    def telemetry(self, thing: str, limit: int = PAGE, after: str = "") -> dict[str, Any]:
        """A device's samples, newest first. UsageError for an `after` that no page gave."""
        at = _PLACE.fullmatch(after or f"{10**18 - 1}.0")
        if at is None:
            raise UsageError(f"after: '{after[:40]}' is not the 'next' of a page")
        rows = self._db.execute(
            "SELECT id, device_timestamp, ingest_timestamp, metrics, hub_id, hub_timestamp FROM telemetry"
            " WHERE device_id = ? AND (device_timestamp, id) < (?, ?) ORDER BY device_timestamp DESC, id DESC LIMIT ?",
            (thing, int(at[1]), int(at[2]), min(limit, PAGE)),
        ).fetchall()
        found = [
            {"device_timestamp": at_ms, "ingest_timestamp": in_ms, "metrics": orjson.loads(metrics)}
            | _hub(thing, hub, hub_ms)
            for _, at_ms, in_ms, metrics, hub, hub_ms in rows
        ]
        return {"next": f"{rows[-1][1]}.{rows[-1][0]}" if rows else after, "telemetry": found}

    def hubs(self, after: str = "", limit: int = PAGE, owner: str | None = None) -> dict[str, Any]:
        """Who each hub said is there, the last time. An owner hears of its own children only."""
        mine, whose = owned("hub_id", owner)
        rows = self._db.execute(
            f"SELECT hub_id, at_ms, nodes FROM hubs WHERE hub_id > ?{mine} ORDER BY hub_id LIMIT ?",  # noqa: S608
            (after, *whose, min(limit, PAGE)),
        ).fetchall()
        found = [{"hub_id": hub, "at_ms": at_ms, "nodes": self._mine(orjson.loads(nodes), owner)}
                 for hub, at_ms, nodes in rows]  # fmt: skip
        return {"next": rows[-1][0] if rows else after, "hubs": found}

    def _mine(self, nodes: list[Any], owner: str | None) -> list[Any]:
        if owner is None:
            return nodes
        said = [node for node in nodes if isinstance(node, dict) and isinstance(node.get("device_id"), str)]
        return [node for node in said if self.owns(node["device_id"], owner)]

    def owns(self, thing: str, owner: str | None) -> bool:
        """Is a device the owner's, whether it ever said anything or not?"""
        if owner is None:
            return True
        sql = "SELECT 1 FROM master WHERE thing = ? AND customer_id = ?"
        return self._db.execute(sql, (thing, owner)).fetchone() is not None

    def customer_of(self, thing: str) -> str | None:
        """Whose a device is, if that is known."""
        row = self._db.execute("SELECT customer_id FROM master WHERE thing = ?", (thing,)).fetchone()
        return row[0] or None if row else None

    # -- what belongs to all

    def counts(self) -> dict[str, Any]:
        """Messages by kind and fate."""
        counts: dict[str, Any] = {
            "received": {}, "stored": {}, "dead": {}, "replayed": {}, "duplicates": 0, "dead_dropped": 0,
        }  # fmt: skip
        for scope, name, n in self._db.execute("SELECT scope, name, n FROM counters ORDER BY scope, name"):
            if isinstance(counts.get(scope, {}), dict) and name:
                counts.setdefault(scope, {})[name] = n
            else:
                counts[scope] = n
        return counts

    def current(self, kind: str, after: str = "", limit: int = PAGE) -> list[dict[str, Any]]:
        """The rules, specs or formulas that are in force, by name."""
        rows = self._db.execute(
            "SELECT name, max(version), at_ms, source, document FROM versions WHERE kind = ? AND name > ?"
            " GROUP BY name HAVING document IS NOT NULL ORDER BY name LIMIT ?",
            (kind, after, min(limit, PAGE)),
        )
        return [_version(kind, row) for row in rows]

    def history(self, kind: str, name: str) -> list[dict[str, Any]]:
        """All versions of a rule or a spec that are kept, newest first."""
        rows = self._db.execute(
            "SELECT name, version, at_ms, source, document FROM versions WHERE kind = ? AND name = ?"
            " ORDER BY version DESC LIMIT ?",
            (kind, name, VERSIONS_MAX),
        )
        return [_version(kind, row) for row in rows]

    def document(self, kind: str, name: str, version: int) -> str | None:
        """A version of a rule, a spec or a formula as it is stored; None where there is none, or it was deleted."""
        sql = "SELECT document FROM versions WHERE kind = ? AND name = ? AND version = ?"
        row = self._db.execute(sql, (kind, name, version)).fetchone()
        return None if row is None else row[0]

    def dead_letters(self, after: int, limit: int, reason: str | None = None, replayed: bool = False) -> dict[str, Any]:
        """A page of the refused messages, oldest first; ask again with `next`."""
        found = self.letters(after, min(limit, PAGE), reason, replayed)
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


def _page(name: str, rows: Sequence[tuple[Any, ...]], after: int, found: list[dict[str, Any]]) -> dict[str, Any]:
    return {"next": rows[-1][0] if rows else after, name: found}


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
    key = KEYS[kind]
    found = {key: name, "version": version, "at_ms": at_ms, "source": source}
    return found | {kind: None if document is None else orjson.loads(document)}
