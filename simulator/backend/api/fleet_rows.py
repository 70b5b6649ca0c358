"""What the store knows of devices: all of them at a glance, and one of them with its last day.

Rules: a day has a bound of points whatever a device said in it. A point is a real sample, the last of its stretch,
found by the index; so a day costs as much as its points, not as its messages. What would hide between points, the
extremes of a fire sensor, is in its five-minute windows.
"""

import sqlite3
from typing import Any, NamedTuple

import orjson

from simulator.backend.queries import owned

ACTIVE_MS = 5 * 60_000
REALTIME_MS = 60_000
RECENT_MAX = 20
SHOWN_MAX = 50  # alarms, alerts, commands, jobs of one device
DAY_MS = 86_400_000
LEVELS = ("NORMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL")
JOB_ENDS = ("job_succeeded", "job_failed")
COMMANDS = ("command_sent", "command_failed", "control_result")
_NEWEST = 10  # samples in which the one that came last is looked for: clocks differ

_SERIES = """
WITH RECURSIVE stretch(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM stretch WHERE n + 1 < ?4)
SELECT json_group_array(json_array(t.device_timestamp, json(t.metrics))) FROM stretch CROSS JOIN telemetry t ON t.id = (
    SELECT id FROM telemetry WHERE device_id = ?1 AND device_timestamp > ?2 + n * (?3 - ?2) / ?4
    AND device_timestamp <= ?2 + (n + 1) * (?3 - ?2) / ?4 ORDER BY device_timestamp DESC LIMIT 1)
"""
_JOBS = "SELECT seq, at_ms, thing, alarm_id, detail FROM events WHERE kind = 'job_created'"
_WINDOW = (
    "start_ms", "records", "temperature_mean", "temperature_max", "temperature_min", "risk_mean", "risk_max", "arcs",
    "current_mean",
)  # fmt: skip


class Overview(NamedTuple):
    """All devices of somebody, in numbers."""

    total: int
    active: int
    risk: dict[str, int]
    recent_alerts: list[dict[str, Any]]


class FleetRows:
    """Reads the devices of one store."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def overview(self, now_ms: int, owner: str | None) -> Overview:
        """How many there are and are active, at which risk, and the alarms that were raised last, newest first."""
        mine, whose = owned("device_id", owner)
        total, active = self._db.execute(
            f"SELECT count(*), coalesce(sum(last_timestamp >= ?), 0) FROM devices WHERE 1{mine}",  # noqa: S608
            (now_ms - ACTIVE_MS, *whose),
        ).fetchone()
        levels = self._db.execute(
            f"SELECT level, count(*) FROM fire_devices WHERE 1{mine} GROUP BY level",  # noqa: S608
            whose,
        )
        risk = dict.fromkeys(LEVELS, 0) | dict(levels)
        mine, whose = owned("thing", owner)
        raised = self._db.execute(
            "SELECT a.document FROM (SELECT seq, alarm_id FROM events WHERE kind = 'alarm_raised'"  # noqa: S608
            f"{mine} ORDER BY seq DESC LIMIT ?) e JOIN alarms a USING (alarm_id) ORDER BY e.seq DESC",
            (*whose, RECENT_MAX),
        )
        return Overview(total, active, risk, [orjson.loads(row[0]) for row in raised])

    def device(self, thing: str) -> dict[str, Any]:
        """A device that is known, as it is now."""
        row = self._db.execute(
            "SELECT d.product_id, d.last_timestamp, f.document FROM devices d"
            " LEFT JOIN fire_devices f USING (device_id) WHERE d.device_id = ?",
            (thing,),
        ).fetchone()
        return {"product": row[0], "last_timestamp": row[1], "fire": orjson.loads(row[2]) if row[2] else None}

    def series(self, thing: str, begin_ms: int, end_ms: int, points: int) -> dict[str, Any]:
        """The samples of (begin, end], at most so many: times, and each metric with None where a sample lacks it."""
        rows = orjson.loads(self._db.execute(_SERIES, (thing, begin_ms, end_ms, points)).fetchone()[0])
        names = sorted({name for _, metrics in rows for name in metrics})
        return {
            "begin_ms": begin_ms, "end_ms": end_ms, "at_ms": [at_ms for at_ms, _ in rows],
            "metrics": {name: [metrics.get(name) for _, metrics in rows] for name in names},
        }  # fmt: skip

    def windows(self, thing: str, begin_ms: int, end_ms: int) -> list[dict[str, Any]]:
        """The five-minute windows of a fire sensor that begin in that time."""
        pairs = ", ".join(f"'{name}', {name}" for name in _WINDOW)
        sql = (
            f"SELECT json_group_array(json_object({pairs})) FROM (SELECT * FROM fire_windows"  # noqa: S608
            " WHERE device_id = ? AND start_ms >= ? AND start_ms < ? ORDER BY start_ms LIMIT ?)"
        )
        found: list[dict[str, Any]] = orjson.loads(
            self._db.execute(sql, (thing, begin_ms, end_ms, 10 * DAY_MS // 300_000)).fetchone()[0]
        )
        return found

    def alarms(self, thing: str) -> list[dict[str, Any]]:
        """A device's latest alarms, newest first."""
        rows = self._db.execute(
            "SELECT a.document FROM (SELECT seq, alarm_id FROM events WHERE thing = ? AND kind = 'alarm_raised'"
            " ORDER BY seq DESC LIMIT ?) e JOIN alarms a USING (alarm_id) ORDER BY e.seq DESC",
            (thing, SHOWN_MAX),
        )
        return [orjson.loads(row[0]) for row in rows]

    def fire_alerts(self, thing: str) -> list[dict[str, Any]]:
        """A fire sensor's latest alerts, newest first."""
        sql = "SELECT document FROM fire_alerts WHERE device_id = ? ORDER BY raised_ms DESC LIMIT ?"
        return [orjson.loads(row[0]) for row in self._db.execute(sql, (thing, SHOWN_MAX))]

    def events(self, thing: str, kinds: tuple[str, ...]) -> list[dict[str, Any]]:
        """A device's latest events of some kinds, newest first."""
        rows = self._db.execute(
            f"SELECT at_ms, kind, alarm_id, detail FROM events WHERE thing = ? AND kind IN ({_marks(kinds)})"  # noqa: S608
            " ORDER BY seq DESC LIMIT ?",
            (thing, *kinds, SHOWN_MAX),
        )
        return [{"at_ms": at, "kind": kind, "alarm_id": of, **orjson.loads(detail)} for at, kind, of, detail in rows]

    def provisioned(self, thing: str) -> dict[str, Any]:
        """What a device said of itself when it came to life."""
        row = self._db.execute(
            "SELECT json_extract(payload, '$.data.provisioning') FROM reports"
            " WHERE device_id = ? AND kind = 'provisioning_complete' ORDER BY device_timestamp DESC LIMIT 1",
            (thing,),
        ).fetchone()
        found = orjson.loads(row[0]) if row and row[0] else {}
        return found if isinstance(found, dict) else {}

    def jobs(self, after: int, limit: int, owner: str | None, thing: str | None = None) -> dict[str, Any]:
        """The jobs that the platform made, in their order, each with its end if it came to one."""
        mine, whose = owned("thing", owner)
        if thing is not None:
            mine, whose = f"{mine} AND thing = ?", (*whose, thing)
        rows = self._db.execute(f"{_JOBS} AND seq > ?{mine} ORDER BY seq LIMIT ?", (after, *whose, limit)).fetchall()
        return {"next": rows[-1][0] if rows else after, "jobs": [self._job(*row) for row in rows]}

    def latest_jobs(self, thing: str) -> list[dict[str, Any]]:
        """A device's jobs, newest first."""
        rows = self._db.execute(f"{_JOBS} AND thing = ? ORDER BY seq DESC LIMIT ?", (thing, SHOWN_MAX)).fetchall()
        return [self._job(*row) for row in rows]

    def _job(self, seq: int, at_ms: int, thing: str, alarm_id: str, detail: str) -> dict[str, Any]:
        said = orjson.loads(detail)
        job = {
            "job_id": said.get("job_id"), "thing": thing, "alarm_id": alarm_id, "package": said.get("package"),
            "version": said.get("version"), "status": "IN_PROGRESS", "created_ms": at_ms, "ended_ms": None,
            "reason": "",
        }  # fmt: skip
        row = self._db.execute(
            "SELECT at_ms, kind, detail FROM events WHERE thing = ? AND seq > ? AND alarm_id = ?"  # noqa: S608
            f" AND kind IN ({_marks(JOB_ENDS)}) ORDER BY seq LIMIT 1",
            (thing, seq, alarm_id, *JOB_ENDS),
        ).fetchone()
        if row:
            end = orjson.loads(row[2])
            status = "SUCCEEDED" if row[1] == "job_succeeded" else end.get("status", "FAILED")
            job |= {"status": status, "ended_ms": row[0], "reason": end.get("reason", "")}
        return job

    def latest(self, thing: str, now_ms: int) -> dict[str, Any] | None:
        """The sample that came last, if it came within the last minute."""
        rows = self._db.execute(
            "SELECT device_timestamp, ingest_timestamp, metrics FROM telemetry WHERE device_id = ?"
            " ORDER BY device_timestamp DESC LIMIT ?",
            (thing, _NEWEST),
        ).fetchall()
        at_ms, came_ms, metrics = max(rows, key=lambda row: row[1], default=(0, -1, ""))
        if came_ms < now_ms - REALTIME_MS:
            return None
        return {"device_timestamp": at_ms, "ingest_timestamp": came_ms, "metrics": orjson.loads(metrics)}


def _marks(values: tuple[str, ...]) -> str:
    return ", ".join("?" * len(values))
