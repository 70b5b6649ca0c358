"""The platform's tables in the store's file, and how its effects are written; all within the store's transaction."""

import sqlite3
from itertools import groupby

from simulator.backend.platform import archive
from simulator.backend.platform.outcomes import (
    Count,
    NotificationEnded,
    Notify,
    Placed,
    PlatformWrite,
    SaveDispatch,
    SaveMaster,
    SaveSite,
)
from simulator.backend.platform.rollup import Rollup
from simulator.backend.platform.service import Restored

DAY_MS = 86_400_000
NOTIFICATIONS_MAX = 200_000
NOTIFICATIONS_KEPT_MS = 90 * DAY_MS
PRUNE_ROWS = 20_000  # at most, in one go

_SCHEMA = """
CREATE TABLE IF NOT EXISTS master (
    thing TEXT PRIMARY KEY, site_id TEXT NOT NULL, customer_id TEXT NOT NULL, source TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS master_customer ON master (customer_id, thing);
CREATE INDEX IF NOT EXISTS master_site ON master (site_id, thing);
CREATE TABLE IF NOT EXISTS sites (
    site_id TEXT PRIMARY KEY, customer_id TEXT NOT NULL, source TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS aggregates (
    id INTEGER PRIMARY KEY AUTOINCREMENT, period TEXT NOT NULL, customer TEXT NOT NULL, product TEXT NOT NULL,
    start_ms INTEGER NOT NULL, records INTEGER NOT NULL, metrics TEXT NOT NULL,
    UNIQUE (period, customer, product, start_ms));
CREATE INDEX IF NOT EXISTS aggregates_of ON aggregates (period, start_ms);
CREATE TABLE IF NOT EXISTS notifications (
    id INTEGER PRIMARY KEY AUTOINCREMENT, notification_id TEXT NOT NULL UNIQUE, at_ms INTEGER NOT NULL,
    alarm_id TEXT NOT NULL, thing TEXT NOT NULL, alarm_class TEXT NOT NULL, channel TEXT NOT NULL, what TEXT NOT NULL,
    level INTEGER NOT NULL, subject TEXT NOT NULL, body TEXT NOT NULL, topic TEXT NOT NULL, state TEXT NOT NULL,
    sent_at_ms INTEGER, tries INTEGER NOT NULL, error TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS notifications_channel ON notifications (channel, id);
CREATE INDEX IF NOT EXISTS notifications_waiting ON notifications (id) WHERE state = 'waiting';
CREATE TABLE IF NOT EXISTS platform_counts (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_of ON events (thing, seq);
CREATE INDEX IF NOT EXISTS events_kind ON events (kind, seq);
"""
SCHEMA = _SCHEMA + archive.SCHEMA

_ENDED = "UPDATE dispatches SET state = 'cancelled' WHERE closed_at_ms IS NOT NULL"
_UPDATED = "UPDATE dispatches SET updated_at_ms = coalesce(closed_at_ms, opened_at_ms)"
# Columns that an older file lacks: (table, column, what it is for rows of old).
ADDED = (
    ("devices", "formulas TEXT NOT NULL DEFAULT ''", ""),
    ("dispatches", "state TEXT NOT NULL DEFAULT 'opened'", _ENDED),
    ("dispatches", "who TEXT NOT NULL DEFAULT ''", ""),
    ("dispatches", "updated_at_ms INTEGER", _UPDATED),
)

_NOTIFY = (
    "INSERT OR IGNORE INTO notifications (notification_id, at_ms, alarm_id, thing, alarm_class, channel, what, level,"
    " subject, body, topic, state, tries, error, sent_at_ms)"
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, '', iif(?12 = 'sent', ?2, NULL))"
)
_NOTIFIED = (
    "UPDATE notifications SET state = ?2, sent_at_ms = iif(?2 = 'sent', ?3, NULL), tries = ?4, error = ?5"
    " WHERE notification_id = ?1"
)
_DISPATCH = (
    "UPDATE dispatches SET state = ?2, who = ?3, updated_at_ms = ?4,"
    " closed_at_ms = iif(?5, coalesce(closed_at_ms, ?4), closed_at_ms) WHERE alarm_id = ?1"
)
_COUNT = "INSERT INTO platform_counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n"

_WAITING = "notification_id, at_ms, alarm_id, thing, alarm_class, channel, what, level, subject, body, topic, state"

_WRITERS: dict[type, str] = {
    SaveMaster: "INSERT OR REPLACE INTO master VALUES (?, ?, ?, ?)",
    SaveSite: "INSERT OR REPLACE INTO sites VALUES (?, ?, ?)",
    SaveDispatch: _DISPATCH,
    Notify: _NOTIFY,
    NotificationEnded: _NOTIFIED,
    Count: _COUNT,
}


class PlatformBatch:
    """What one batch of messages brings into the tables."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._writes: list[PlatformWrite] = []
        self.rollup = Rollup(db)

    def add(self, write: PlatformWrite) -> None:
        """Take a write into the batch."""
        self._writes.append(write)

    def write(self) -> None:
        """Do it, in the transaction that is open."""
        for kind, writes in groupby(self._writes, type):
            if kind in _WRITERS:
                self._db.executemany(_WRITERS[kind], writes)

    def clear(self) -> None:
        """It was committed."""
        for write in self._writes:
            if isinstance(write, Placed | SaveMaster):
                self.rollup.add(write)
        self._writes.clear()


def load(db: sqlite3.Connection) -> Restored:
    """What the platform needs to go on."""
    return Restored(
        master=[SaveMaster(*row) for row in db.execute("SELECT thing, site_id, customer_id, source FROM master")],
        sites=[SaveSite(*row) for row in db.execute("SELECT site_id, customer_id, source FROM sites")],
        dispatches=db.execute(
            "SELECT alarm_id, thing, state, who, updated_at_ms FROM dispatches WHERE closed_at_ms IS NULL"
        ).fetchall(),
        waiting=[
            (Notify(*row[:-1]), row[-1])
            for row in db.execute(f"SELECT {_WAITING}, tries FROM notifications WHERE state = 'waiting' ORDER BY id")  # noqa: S608
        ],
    )


def prune(db: sqlite3.Connection, now_ms: int) -> None:
    """Keep the tables within their bounds, a little at a time. What waits to be sent stays."""
    db.execute(
        "DELETE FROM notifications WHERE id IN (SELECT id FROM notifications ORDER BY id LIMIT ?)"
        " AND state <> 'waiting' AND (at_ms < ? OR id <= (SELECT max(id) FROM notifications) - ?)",
        (PRUNE_ROWS, now_ms - NOTIFICATIONS_KEPT_MS, NOTIFICATIONS_MAX),
    )
