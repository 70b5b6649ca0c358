"""What the read API asks the store.

Rules: a read-only connection of its own, so it sees only what was committed and can change nothing; every
answer has a bound.
"""

import sqlite3
from pathlib import Path
from typing import Any

import orjson

EVENTS_PAGE = 1000
ALARMS_MAX = 10_000
TELEMETRY_PAGE = 1000
DEAD_LETTERS_PAGE = 100


class Queries:
    """Reads one store."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def counts(self) -> dict[str, Any]:
        """Messages by kind and fate."""
        counts: dict[str, Any] = {"received": {}, "stored": {}, "dead": {}, "duplicates": 0}
        for scope, name, n in self._db.execute("SELECT scope, name, n FROM counters ORDER BY scope, name"):
            if scope == "duplicates":
                counts["duplicates"] = n
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
            "SELECT device_timestamp, ingest_timestamp, metrics FROM telemetry WHERE device_id = ?"
            " ORDER BY device_timestamp DESC LIMIT ?",
            (thing, min(limit, TELEMETRY_PAGE)),
        )
        return [
            {"device_timestamp": at_ms, "ingest_timestamp": in_ms, "metrics": orjson.loads(metrics)}
            for at_ms, in_ms, metrics in rows
        ]

    def dead_letters(self, limit: int) -> list[dict[str, Any]]:
        """The latest refused messages, newest first."""
        rows = self._db.execute(
            "SELECT at_ms, reason, topic, payload FROM dead_letters ORDER BY id DESC LIMIT ?",
            (min(limit, DEAD_LETTERS_PAGE),),
        )
        return [
            {"at_ms": at_ms, "reason": reason, "topic": topic, "payload": payload.decode(errors="replace")}
            for at_ms, reason, topic, payload in rows
        ]
