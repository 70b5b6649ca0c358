"""The platform's memory: one SQLite file, one writer.

Rules: what one batch of messages caused is one transaction; until `commit` nothing of it is visible, and a
crash leaves none of it. Telemetry is stored once however often it is delivered; the index that sees to it
begins with the time-like key, so that new rows go to its end. WAL with synchronous=NORMAL: a killed process
loses nothing committed. Every table has a bound (`prune`); that of the dead letters holds at every commit, and
what falls out is counted. Telemetry that is old is moved to long-term files (`archive_telemetry`), after it was added
up (`roll_up`).
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, get_args

import orjson

from simulator.backend import fire_tables
from simulator.backend.effects import (
    CloseDispatch,
    DeadLetter,
    DropWaiting,
    KeepWaiting,
    OpenDispatch,
    Record,
    ReplayEnded,
    SaveAlarm,
    SaveConfigured,
    SaveDevice,
    SaveNodes,
    SaveUpload,
    SaveVersion,
    StoreReport,
    StoreTelemetry,
    Write,
)
from simulator.backend.fire.analysis import Restored
from simulator.backend.fire.outcomes import FireWrite
from simulator.backend.platform import tables as platform_tables
from simulator.backend.platform.archive import FOLDER as ARCHIVE
from simulator.backend.platform.archive import Archive
from simulator.backend.platform.outcomes import PlatformWrite
from simulator.backend.platform.service import Restored as PlatformRestored

FILE = "backend.sqlite3"
TELEMETRY_KEPT_MS = 10 * 24 * 3_600_000  # hot storage: 10 days
TELEMETRY_MAX = 20_000_000
EVENTS_MAX = 1_000_000
REPORTS_MAX = 1_000_000
REPEATS_MAX = 200_000
ALARMS_MAX = 200_000
DEAD_LETTERS_MAX = 10_000
DEAD_BYTES_MAX = 256 * 1024 * 1024
VERSIONS_MAX = 50  # of each rule and each spec
UPLOADS_MAX = 100_000
PRUNE_ROWS = 20_000  # at most, in one go

# A device's rows are spread over the file, so a page changes many times before it is worth moving.
CHECKPOINT_PAGES = 10_000
CACHE_KIB = 64 * 1024

_SCHEMA = """
CREATE TABLE IF NOT EXISTS telemetry (
    id INTEGER PRIMARY KEY, device_id TEXT NOT NULL, stream TEXT NOT NULL, key INTEGER NOT NULL, hub_id TEXT,
    device_timestamp INTEGER NOT NULL, hub_timestamp INTEGER, ingest_timestamp INTEGER NOT NULL,
    metrics TEXT NOT NULL, idx INTEGER, UNIQUE (key, device_id, stream));
CREATE INDEX IF NOT EXISTS telemetry_latest ON telemetry (device_id, device_timestamp);
CREATE TABLE IF NOT EXISTS reports (
    id INTEGER PRIMARY KEY, device_id TEXT NOT NULL, kind TEXT NOT NULL, device_timestamp INTEGER NOT NULL,
    ingest_timestamp INTEGER NOT NULL, payload TEXT NOT NULL,
    UNIQUE (device_id, kind, device_timestamp, payload));
CREATE TABLE IF NOT EXISTS repeats (
    id INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL, kind TEXT NOT NULL, stamp INTEGER NOT NULL,
    ingest_timestamp INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS devices (
    device_id TEXT PRIMARY KEY, product_id TEXT, last_timestamp INTEGER NOT NULL, last_key INTEGER NOT NULL,
    course TEXT NOT NULL DEFAULT '', formulas TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (
    id INTEGER PRIMARY KEY, thing TEXT NOT NULL, at_ms INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS hubs (hub_id TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, nodes TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions (
    kind TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, at_ms INTEGER NOT NULL, source TEXT NOT NULL,
    document TEXT, PRIMARY KEY (kind, name, version)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS configured (
    kind TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (
    upload_id TEXT PRIMARY KEY, thing TEXT NOT NULL, state TEXT NOT NULL, requested_at_ms INTEGER NOT NULL,
    document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS alarms (
    alarm_id TEXT PRIMARY KEY, thing TEXT NOT NULL, rule_id TEXT NOT NULL, state TEXT NOT NULL,
    raised_at_ms INTEGER NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS alarms_open ON alarms (state) WHERE state <> 'closed';
CREATE INDEX IF NOT EXISTS alarms_of ON alarms (thing, raised_at_ms);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, kind TEXT NOT NULL, thing TEXT NOT NULL,
    alarm_id TEXT NOT NULL, detail TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS dispatches (
    alarm_id TEXT PRIMARY KEY, thing TEXT NOT NULL, rule_id TEXT NOT NULL, severity TEXT NOT NULL,
    reason TEXT NOT NULL, opened_at_ms INTEGER NOT NULL, closed_at_ms INTEGER, state TEXT NOT NULL DEFAULT 'opened',
    who TEXT NOT NULL DEFAULT '', updated_at_ms INTEGER);
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, reason TEXT NOT NULL, topic TEXT NOT NULL,
    payload BLOB NOT NULL, replayed_at_ms INTEGER);
CREATE TABLE IF NOT EXISTS counters (
    scope TEXT NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (scope, name)) WITHOUT ROWID;
"""

_TELEMETRY = (
    "INSERT OR IGNORE INTO telemetry (device_id, stream, key, hub_id, device_timestamp, hub_timestamp,"
    " ingest_timestamp, metrics, idx) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SAMPLE_ID = "SELECT id FROM telemetry WHERE key = ? AND device_id = ? AND stream = ?"
_REPORT_ID = "SELECT id FROM reports WHERE device_id = ? AND kind = ? AND device_timestamp = ? AND payload = ?"
_REPEAT = "INSERT INTO repeats (device_id, kind, stamp, ingest_timestamp) VALUES (?, ?, ?, ?)"
_Rare = KeepWaiting | DropWaiting | SaveNodes | SaveVersion | SaveConfigured | ReplayEnded
_WAITING = "SELECT thing, at_ms, topic, payload FROM waiting ORDER BY id"
_NO_LATER = " WHERE NOT EXISTS (SELECT 1 FROM hubs WHERE hub_id = ?1 AND at_ms > ?2)"
# What devices without a known product said of themselves.
_CLAIMS = (
    "SELECT device_id, json_extract(payload, '$.data.provisioning.product') AS product"
    " FROM devices JOIN reports USING (device_id)"
    " WHERE product_id IS NULL AND kind = 'provisioning_complete' AND product IS NOT NULL ORDER BY reports.id"
)
_REPORT = (
    "INSERT OR IGNORE INTO reports (device_id, kind, device_timestamp, ingest_timestamp, payload)"
    " VALUES (?, ?, ?, ?, ?)"
)


# Columns that an older file lacks: table, column, and what to put into the old rows.
_ADDED = (
    ("devices", "course TEXT NOT NULL DEFAULT ''", ""),
    ("dead_letters", "replayed_at_ms INTEGER", ""),
    ("telemetry", "idx INTEGER", ""),
    *platform_tables.ADDED,
)


class Saved(NamedTuple):
    """What a restart takes up."""

    devices: list[SaveDevice]
    open_alarms: list[str]
    received: Counter[str]
    dead: Counter[str]
    claims: dict[str, str]
    waiting: list[KeepWaiting]
    uploads: list[str]
    fire: Restored
    platform: PlatformRestored


class Store:
    """Collects the writes of a batch and commits them together."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        self._db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        self._db.executescript(f"BEGIN;{_SCHEMA}{fire_tables.SCHEMA}{platform_tables.SCHEMA}COMMIT;")
        for table, column, fill in _ADDED:
            have = {row[1] for row in self._db.execute(f"PRAGMA table_info({table})")}
            if column.split()[0] not in have:
                self._db.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
                if fill:
                    self._db.execute(fill)
        self._telemetry: list[StoreTelemetry] = []
        self._reports: list[StoreReport] = []
        self._dead: list[DeadLetter] = []
        self._events: list[Record] = []
        self._dispatches: list[OpenDispatch | CloseDispatch] = []
        self._devices: dict[str, SaveDevice] = {}
        self._alarms: dict[str, SaveAlarm] = {}
        self._uploads: dict[str, SaveUpload] = {}
        self._fire = fire_tables.FireBatch()
        self._platform = platform_tables.PlatformBatch(self._db)
        self.archive = Archive(self._db, folder / ARCHIVE)
        self.telemetry_kept_ms = TELEMETRY_KEPT_MS
        self._rare: list[_Rare] = []
        self._takers: dict[type, Callable[[Any], None]] = {
            StoreTelemetry: self._telemetry.append, SaveDevice: self._device, SaveAlarm: self._alarm,
            Record: self._events.append, StoreReport: self._reports.append, DeadLetter: self._dead.append,
            OpenDispatch: self._dispatches.append, CloseDispatch: self._dispatches.append, SaveUpload: self._upload,
            **dict.fromkeys(get_args(FireWrite), self._fire.add),
            **dict.fromkeys(get_args(PlatformWrite), self._platform.add),
        }  # fmt: skip
        self._counters: dict[tuple[str, str], int] = {
            (scope, name): n for scope, name, n in self._db.execute("SELECT scope, name, n FROM counters")
        }
        self.stored = self._counted("stored")
        self.replayed = self._counted("replayed")
        self.duplicates = self._counters.get(("duplicates", ""), 0)
        self.dead_dropped = self._counters.get(("dead_dropped", ""), 0)
        sizes = "SELECT count(*), coalesce(sum(length(payload)), 0) FROM dead_letters"
        self._dead_rows, self._dead_bytes = self._db.execute(sizes).fetchone()

    def _counted(self, scope: str) -> Counter[str]:
        return Counter({name: n for (of, name), n in self._counters.items() if of == scope})

    def load(self) -> Saved:
        """What an earlier process left."""
        columns = "device_id, product_id, last_timestamp, last_key, course, formulas"
        devices = [SaveDevice(*row) for row in self._db.execute(f"SELECT {columns} FROM devices")]  # noqa: S608
        rows = self._db.execute("SELECT document FROM alarms WHERE state <> 'closed' ORDER BY raised_at_ms")
        alarms = [row[0] for row in rows]
        claims = dict(self._db.execute(_CLAIMS))
        waiting = [KeepWaiting(*row) for row in self._db.execute(_WAITING)]
        rows = self._db.execute("SELECT document FROM uploads WHERE state NOT IN ('stored', 'failed', 'expired')")
        uploads = [row[0] for row in rows]
        received, dead, fire = self._counted("received"), self._counted("dead"), fire_tables.load(self._db)
        platform = platform_tables.load(self._db)
        return Saved(devices, alarms, received, dead, claims, waiting, uploads, fire, platform)

    def versions(self) -> list[SaveVersion]:
        """All versions of rules and specs that are kept, oldest first."""
        columns = "kind, name, version, at_ms, source, document"
        sql = f"SELECT {columns} FROM versions ORDER BY kind, name, version"  # noqa: S608
        return [SaveVersion(*row) for row in self._db.execute(sql)]

    def configured(self) -> list[SaveConfigured]:
        """What the configuration file of the last start said of rules and specs."""
        return [SaveConfigured(*row) for row in self._db.execute("SELECT kind, name, document FROM configured")]

    def add(self, write: Write) -> None:
        """Take a write into the batch."""
        take = self._takers.get(type(write))
        if take is None:
            self._rare.append(write)  # type: ignore[arg-type]
        else:
            take(write)

    def _device(self, write: SaveDevice) -> None:
        self._devices[write.device_id] = write

    def _alarm(self, write: SaveAlarm) -> None:
        self._alarms[write.alarm_id] = write

    def _upload(self, write: SaveUpload) -> None:
        self._uploads[write.upload_id] = write

    def commit(self, received: Mapping[str, int], dead: Mapping[str, int]) -> None:
        """Write the batch, and the counts as they are now, in one transaction."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            self._insert_once("telemetry", _TELEMETRY, self._telemetry)
            for kind, reports in groupby(self._reports, attrgetter("kind")):
                self._insert_once(kind, _REPORT, list(reports))
            db.executemany("INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?, ?, ?)", self._devices.values())
            db.executemany("INSERT OR REPLACE INTO alarms VALUES (?, ?, ?, ?, ?, ?)", self._alarms.values())
            db.executemany(
                "INSERT INTO events (at_ms, kind, thing, alarm_id, detail) VALUES (?, ?, ?, ?, ?)",
                [(*event[:4], orjson.dumps(event.detail).decode()) for event in self._events],
            )
            db.executemany("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?)", self._uploads.values())
            self._fire.write(db)
            for write in self._rare:
                self._write_rare(write)
            if self._dead:
                self._write_dead()
            for dispatch in self._dispatches:
                self._write_dispatch(dispatch)
            self._platform.write()
            self._write_counters(received, dead)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        for batch in (self._telemetry, self._reports, self._dead, self._events, self._dispatches, self._rare):
            batch.clear()
        self._devices.clear()
        self._alarms.clear()
        self._uploads.clear()
        self._fire.clear()
        self._platform.clear()

    def roll_up(self) -> int:
        """Add up telemetry that came since the last time, a bounded number of samples; how many."""
        return self._platform.rollup.run()

    def _write_dead(self) -> None:
        """Keep the letters, and as many of the older ones as there is room for."""
        insert = "INSERT INTO dead_letters (at_ms, reason, topic, payload) VALUES (?, ?, ?, ?)"
        self._db.executemany(insert, self._dead)
        self._dead_rows += len(self._dead)
        self._dead_bytes += sum(len(letter.payload) for letter in self._dead)
        oldest = "SELECT id, length(payload), replayed_at_ms FROM dead_letters ORDER BY id LIMIT ?"
        while self._dead_rows > DEAD_LETTERS_MAX or self._dead_bytes > DEAD_BYTES_MAX:
            rows = self._db.execute(oldest, (max(1, self._dead_rows - DEAD_LETTERS_MAX),)).fetchall()
            if not rows:
                break
            self._db.execute("DELETE FROM dead_letters WHERE id <= ?", (rows[-1][0],))
            self._dead_rows -= len(rows)
            self._dead_bytes -= sum(size for _, size, _ in rows)
            self.dead_dropped += sum(replayed is None for _, _, replayed in rows)

    def _write_rare(self, write: "_Rare") -> None:
        db = self._db
        match write:
            case KeepWaiting():
                db.execute("INSERT INTO waiting (thing, at_ms, topic, payload) VALUES (?, ?, ?, ?)", write)
            case DropWaiting(thing):
                db.execute("DELETE FROM waiting WHERE thing = ?", (thing,))
            case SaveNodes():
                db.execute("INSERT OR REPLACE INTO hubs SELECT ?1, ?2, ?3" + _NO_LATER, write)
            case SaveVersion(kind, name, version):
                db.execute("INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?, ?)", write)
                old = "DELETE FROM versions WHERE kind = ? AND name = ? AND version <= ?"
                db.execute(old, (kind, name, version - VERSIONS_MAX))
            case SaveConfigured(kind, name, None):
                db.execute("DELETE FROM configured WHERE kind = ? AND name = ?", (kind, name))
            case SaveConfigured():
                db.execute("INSERT OR REPLACE INTO configured VALUES (?, ?, ?)", write)
            case ReplayEnded(letter_id, _, _, again) if again:
                db.execute("UPDATE dead_letters SET reason = ? WHERE id = ?", (again, letter_id))
            case ReplayEnded(letter_id, at_ms, reason):
                db.execute("UPDATE dead_letters SET replayed_at_ms = ? WHERE id = ?", (at_ms, letter_id))
                self.replayed[reason] += 1

    def _insert_once(self, kind: str, sql: str, rows: Sequence[StoreTelemetry | StoreReport]) -> None:
        """Insert rows of which some may be there already, and count both sorts."""
        if not rows:
            return
        before = self._db.total_changes
        self._db.executemany(sql, rows)
        inserted = self._db.total_changes - before
        self.stored[kind] += inserted
        if inserted < len(rows):
            self.duplicates += len(rows) - inserted
            self._write_repeats(kind, rows, inserted)

    def _write_repeats(self, kind: str, rows: Sequence[StoreTelemetry | StoreReport], inserted: int) -> None:
        """Remember which of these rows were there already, or came twice among them."""
        table = "telemetry" if kind == "telemetry" else "reports"
        newest = self._db.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0]  # noqa: S608
        seen = set(range(newest - inserted + 1, newest + 1))  # of this batch: each of them is new once
        for row in rows:
            if isinstance(row, StoreTelemetry):
                found = self._db.execute(_SAMPLE_ID, (row.key, row.device_id, row.stream))
                stamp = row.device_timestamp if row.idx is None else row.idx
            else:
                found = self._db.execute(_REPORT_ID, (row.device_id, row.kind, row.device_timestamp, row.payload))
                stamp = row.device_timestamp
            if (row_id := found.fetchone()[0]) in seen:
                seen.remove(row_id)
            else:
                self._db.execute(_REPEAT, (row.device_id, kind, stamp, row.ingest_timestamp))

    def _write_dispatch(self, dispatch: OpenDispatch | CloseDispatch) -> None:
        if isinstance(dispatch, CloseDispatch):
            sql = "UPDATE dispatches SET closed_at_ms = coalesce(closed_at_ms, ?) WHERE alarm_id = ?"
            self._db.execute(sql, (dispatch.at_ms, dispatch.alarm_id))
            return
        at_ms, alarm_id, thing, rule_id, severity, reason = dispatch
        self._db.execute(
            "INSERT OR IGNORE INTO dispatches (alarm_id, thing, rule_id, severity, reason, opened_at_ms, updated_at_ms)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
            (alarm_id, thing, rule_id, severity, reason, at_ms),
        )

    def _write_counters(self, received: Mapping[str, int], dead: Mapping[str, int]) -> None:
        scopes: dict[str, Mapping[str, int]] = {
            "received": received, "dead": dead, "stored": self.stored, "replayed": self.replayed,
        }  # fmt: skip
        now = {(scope, name): n for scope, counts in scopes.items() for name, n in counts.items()}
        now["duplicates", ""], now["dead_dropped", ""] = self.duplicates, self.dead_dropped
        changed = [(*key, n) for key, n in now.items() if self._counters.get(key) != n]
        self._db.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?, ?)", changed)
        gone = [key for key in self._counters if key not in now]
        self._db.executemany("DELETE FROM counters WHERE scope = ? AND name = ?", gone)
        self._counters = now

    def archive_telemetry(self, now_ms: int) -> bool:
        """Move old telemetry to long-term files, a little; whether there is more."""
        return self.archive.move(now_ms - self.telemetry_kept_ms, TELEMETRY_MAX, self._platform.rollup.mark)

    def prune(self, now_ms: int) -> None:
        """Keep every other table within its bound; a little at a time, so that nobody waits for it."""
        bounds = {"events": EVENTS_MAX, "reports": REPORTS_MAX, "repeats": REPEATS_MAX}
        for table, rows_max in bounds.items():
            row = "seq" if table == "events" else "id"
            sql = f"DELETE FROM {table} WHERE {row} <= (SELECT max({row}) FROM {table}) - ?"  # noqa: S608
            self._db.execute(sql, (rows_max,))
        self._db.execute(
            "DELETE FROM alarms WHERE state = 'closed' AND rowid <= (SELECT max(rowid) FROM alarms) - ?",
            (ALARMS_MAX,),
        )
        self._db.execute(
            "DELETE FROM uploads WHERE state IN ('stored', 'failed', 'expired')"
            " AND rowid <= (SELECT max(rowid) FROM uploads) - ?",
            (UPLOADS_MAX,),
        )
        fire_tables.prune(self._db, now_ms)
        platform_tables.prune(self._db, now_ms)
        self._platform.rollup.prune(now_ms)

    def close(self) -> None:
        """Close the file."""
        self._db.close()
