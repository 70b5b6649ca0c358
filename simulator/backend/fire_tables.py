"""The tables of the fire prediction, in the store's file: states, series of risks, windows, alerts, findings.

Rules: writes are done in their order, in the store's transaction; what is said again takes the place of the old, and
`Forget` takes back. Every table has a bound in rows and in age. A restart reads back what the analysis needs: the
records of the last hour, the alerts that are open, and where each sensor stands.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import orjson

from simulator.backend.fire.alerts import document_of, from_document
from simulator.backend.fire.analysis import REMEMBER_MS, Restored
from simulator.backend.fire.outcomes import (
    FireWrite,
    Forget,
    SaveFinding,
    SaveFireAlert,
    SaveFireState,
    SaveRisk,
    SaveWindow,
)

DAY_MS = 86_400_000
# table → (column of its time, kept for, at most so many rows)
BOUNDS = {
    "fire_risks": ("at_ms", 7 * DAY_MS, 20_000_000),
    "fire_windows": ("start_ms", 30 * DAY_MS, 10_000_000),
    "fire_alerts": ("raised_ms", 90 * DAY_MS, 200_000),
    "fire_findings": ("begin_ms", 30 * DAY_MS, 500_000),
}
PRUNE_ROWS = 20_000  # at most, in one go
RESTORED_MAX = 200_000  # records that a restart takes up; a fleet that said more in the hour is known by its latest

SCHEMA = """
CREATE TABLE IF NOT EXISTS fire_devices (
    device_id TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, risk REAL NOT NULL, level TEXT NOT NULL, alert TEXT NOT NULL,
    site TEXT NOT NULL, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fire_risks (
    id INTEGER PRIMARY KEY, device_id TEXT NOT NULL, at_ms INTEGER NOT NULL, idx INTEGER NOT NULL, risk REAL NOT NULL,
    level TEXT NOT NULL, temperature REAL NOT NULL);
CREATE INDEX IF NOT EXISTS fire_risks_of ON fire_risks (device_id, at_ms);
CREATE TABLE IF NOT EXISTS fire_windows (
    id INTEGER PRIMARY KEY, device_id TEXT NOT NULL, start_ms INTEGER NOT NULL, records INTEGER NOT NULL,
    temperature_mean REAL NOT NULL, temperature_max REAL NOT NULL, temperature_min REAL NOT NULL,
    temperature_sigma REAL NOT NULL, risk_mean REAL NOT NULL, risk_max REAL NOT NULL, arcs INTEGER NOT NULL,
    current_mean REAL NOT NULL, period_s REAL, UNIQUE (device_id, start_ms));
CREATE TABLE IF NOT EXISTS fire_alerts (
    id INTEGER PRIMARY KEY, device_id TEXT NOT NULL, raised_ms INTEGER NOT NULL, level TEXT NOT NULL,
    type TEXT NOT NULL, resolved_ms INTEGER, document TEXT NOT NULL, UNIQUE (device_id, raised_ms));
CREATE INDEX IF NOT EXISTS fire_alerts_open ON fire_alerts (raised_ms) WHERE resolved_ms IS NULL;
CREATE TABLE IF NOT EXISTS fire_findings (
    id INTEGER PRIMARY KEY, device_id TEXT NOT NULL, site TEXT NOT NULL, kind TEXT NOT NULL, begin_ms INTEGER NOT NULL,
    level TEXT NOT NULL, ended_ms INTEGER, detail TEXT NOT NULL, UNIQUE (device_id, site, kind, begin_ms));
"""

_RECORDS = (
    "SELECT device_id, device_timestamp, coalesce(idx, 0), key, metrics FROM telemetry"
    " WHERE id > (SELECT max(id) FROM telemetry) - 4 * ?1 AND stream = 'fire' AND device_timestamp > ?2"
    " ORDER BY id DESC LIMIT ?1"
)


def _upsert(table: str, columns: str, key: str) -> str:
    """Insert, or put in the old row's place; the row keeps its id, and so its age."""
    names = columns.split()
    new = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key.split())
    places = ", ".join("?" * len(names))
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})"  # noqa: S608
        f" ON CONFLICT ({', '.join(key.split())}) DO UPDATE SET {new}"
    )


_WINDOW = _upsert(
    "fire_windows",
    "device_id start_ms records temperature_mean temperature_max temperature_min temperature_sigma risk_mean risk_max"
    " arcs current_mean period_s",
    "device_id start_ms",
)
_ALERT = _upsert("fire_alerts", "device_id raised_ms level type resolved_ms document", "device_id raised_ms")
_FINDING = _upsert(
    "fire_findings", "device_id site kind begin_ms level ended_ms detail", "device_id site kind begin_ms"
)
_RISK = "INSERT INTO fire_risks (device_id, at_ms, idx, risk, level, temperature) VALUES (?, ?, ?, ?, ?, ?)"
_STATE = "INSERT OR REPLACE INTO fire_devices VALUES (?, ?, ?, ?, ?, ?, ?)"


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _write_states(db: sqlite3.Connection, writes: Sequence[SaveFireState]) -> None:
    latest = {write.thing: write for write in writes}
    rows = [(*write[:5], write.state.site, _json(write.state.document())) for write in latest.values()]
    db.executemany(_STATE, rows)


def _forget(db: sqlite3.Connection, writes: Sequence[Forget]) -> None:
    for thing, site, from_ms in writes:
        gone = (thing, site, from_ms)
        db.execute("DELETE FROM fire_findings WHERE device_id = ? AND site = ? AND begin_ms >= ?", gone)
        if thing:
            db.execute("DELETE FROM fire_risks WHERE device_id = ? AND at_ms >= ?", (thing, from_ms))
            db.execute("DELETE FROM fire_alerts WHERE device_id = ? AND raised_ms >= ?", (thing, from_ms))


_WRITERS: dict[type, Callable[[sqlite3.Connection, Any], object]] = {
    SaveFireState: _write_states,
    SaveRisk: lambda db, writes: db.executemany(_RISK, writes),
    SaveWindow: lambda db, writes: db.executemany(_WINDOW, writes),
    SaveFireAlert: lambda db, writes: db.executemany(
        _ALERT, [(*write[:5], _json(document_of(write.alert))) for write in writes]
    ),
    SaveFinding: lambda db, writes: db.executemany(_FINDING, [(*write[:6], _json(write.detail)) for write in writes]),
    Forget: _forget,
}


class FireBatch:
    """What one batch of messages brings into the tables."""

    def __init__(self) -> None:
        self._states: dict[str, SaveFireState] = {}
        self._writes: list[FireWrite] = []

    def add(self, write: FireWrite) -> None:
        """Take a write into the batch."""
        if isinstance(write, SaveFireState):
            self._states[write.thing] = write
        else:
            self._writes.append(write)

    def write(self, db: sqlite3.Connection) -> None:
        """Do it, in the transaction that is open."""
        if self._states:
            _write_states(db, list(self._states.values()))
        for kind, writes in groupby(self._writes, type):
            _WRITERS[kind](db, list(writes))

    def clear(self) -> None:
        """It was committed."""
        self._states.clear()
        self._writes.clear()


def load(db: sqlite3.Connection) -> Restored:
    """What the analysis needs to go on."""
    newest_ms = db.execute("SELECT max(at_ms) FROM fire_devices").fetchone()[0]
    if newest_ms is None:
        return Restored()
    records = db.execute(_RECORDS, (RESTORED_MAX, newest_ms - REMEMBER_MS)).fetchall()
    records.sort(key=lambda row: row[1:4])
    alerts = {
        thing: from_document(orjson.loads(document))
        for thing, document in db.execute(
            "SELECT device_id, document FROM fire_alerts WHERE resolved_ms IS NULL ORDER BY raised_ms"
        )
    }
    sites = dict(db.execute("SELECT device_id, site FROM fire_devices WHERE site <> ''"))
    return Restored(records, alerts, sites)


def prune(db: sqlite3.Connection, now_ms: int) -> None:
    """Keep every table within its bounds, a little at a time. An open alert stays."""
    for table, (time, kept_ms, rows_max) in BOUNDS.items():
        stays = " AND resolved_ms IS NOT NULL" if table == "fire_alerts" else ""
        db.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT ?){stays}"  # noqa: S608
            f" AND ({time} < ? OR id <= (SELECT max(id) FROM {table}) - ?)",
            (PRUNE_ROWS, now_ms - kept_ms, rows_max),
        )
    newest = "SELECT max(at_ms) FROM fire_devices"
    db.execute(f"DELETE FROM fire_devices WHERE at_ms < ({newest}) - ?", (30 * DAY_MS,))  # noqa: S608


def rows_of(db: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    """All rows of one of the tables, as they came."""
    found = db.execute(f"SELECT * FROM {table}")  # noqa: S608
    names = [column[0] for column in found.description]
    return (dict(zip(names, row, strict=True)) for row in found)
