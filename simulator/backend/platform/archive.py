"""Long-term files: telemetry that is older than the store keeps it, by day and product, as lines of JSON in gzip.

Rules: a sample is in the store or in a file, and never in both or in none, whatever is interrupted: a piece is written
behind what is registered of its file and synced, then registered and deleted from the store in one transaction; what
stands behind the registered end is of a crash, and cut off. So a file is a row of gzip members, which zcat reads too.
All files together have a bound; the oldest day goes, and what it held is counted.
"""

import gzip
import os
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import takewhile
from pathlib import Path
from typing import Any

import orjson

FOLDER = "archive"
PIECE_ROWS = 5_000  # moved in one go
HOUR_MS = 3_600_000  # fewer than that wait for so long, so that the pieces are large
BYTES_MAX = 10 * 1024**3
READ_MAX = 256 * 1024 * 1024  # bytes of lines that one question may read
COLUMNS = (
    "device_id", "stream", "key", "hub_id", "device_timestamp", "hub_timestamp", "ingest_timestamp", "metrics", "idx",
)  # fmt: skip
_METRICS = COLUMNS.index("metrics")
_AT = COLUMNS.index("device_timestamp")
_ARRIVED = 1 + COLUMNS.index("ingest_timestamp")  # of a row with its number

SCHEMA = """
CREATE TABLE IF NOT EXISTS archive_pieces (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, day TEXT NOT NULL, product TEXT NOT NULL,
    begin INTEGER NOT NULL, bytes INTEGER NOT NULL, records INTEGER NOT NULL, first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS archive_pieces_of ON archive_pieces (path, begin);
CREATE INDEX IF NOT EXISTS archive_pieces_at ON archive_pieces (first_ms);
"""
_COUNT = "INSERT INTO platform_counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n"


class Archive:
    """The files, and the moving. Uses the store's connection."""

    def __init__(self, db: sqlite3.Connection, folder: Path, bytes_max: int = BYTES_MAX) -> None:
        self._db, self._folder = db, folder
        self.bytes_max = bytes_max
        ends = db.execute("SELECT path, max(begin + bytes) FROM archive_pieces GROUP BY path")
        self._ends: dict[str, int] = dict(ends)  # of each file, what is registered
        self._sweep()

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(self._ends.values())

    def _sweep(self) -> None:
        """Do away with what a crash left."""
        for path in self._folder.glob("*/*.gz"):
            end = self._ends.get(str(path.relative_to(self._folder)))
            if end is None:
                path.unlink()
            elif path.stat().st_size > end:
                os.truncate(path, end)

    def move(self, before_ms: int, rows_max: int, mark: int) -> bool:
        """Move what came before, and what is more than `rows_max`, but nothing behind `mark`; whether there is more."""
        rows = self._due(before_ms, rows_max, mark)
        if not rows:
            return False
        products = dict(self._db.execute("SELECT device_id, product_id FROM devices"))
        files: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
        for row in rows:
            files[_day(row[1 + _AT]), products.get(row[1]) or ""].append(row[1:])
        pieces = [self._write(day, product, samples) for (day, product), samples in sorted(files.items())]
        for path in {piece[0] for piece in pieces}:
            _sync((self._folder / path).parent)
        _sync(self._folder)
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany(
                "INSERT INTO archive_pieces (path, day, product, begin, bytes, records, first_ms, last_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                pieces,
            )
            db.execute("DELETE FROM telemetry WHERE id <= ?", (rows[-1][0],))
            db.execute(_COUNT, ("archive.moved", len(rows)))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        for path, _, _, begin, size, *_ in pieces:
            self._ends[path] = begin + size
        self._bound()
        return len(rows) == PIECE_ROWS

    def _due(self, before_ms: int, rows_max: int, mark: int) -> list[tuple[Any, ...]]:
        """The oldest rows, when there are enough of them to move, or they have waited for long; never the last row.

        (The last row stays because the number of the next one would begin again without it.)
        """
        last_id, oldest_ms = self._db.execute(
            "SELECT max(id), (SELECT ingest_timestamp FROM telemetry ORDER BY id LIMIT 1) FROM telemetry"
        ).fetchone()
        if last_id is None:
            return []
        too_many, end = last_id - rows_max, min(mark, last_id - 1)
        found = self._db.execute(
            f"SELECT id, {', '.join(COLUMNS)} FROM telemetry WHERE id <= ? ORDER BY id LIMIT ?",  # noqa: S608
            (end, PIECE_ROWS if oldest_ms < before_ms else max(0, min(PIECE_ROWS, too_many))),
        )
        rows = [*takewhile(lambda row: row[_ARRIVED] < before_ms or row[0] <= too_many, found)]
        found.close()
        enough = len(rows) == PIECE_ROWS or oldest_ms < before_ms - HOUR_MS or (rows and rows[0][0] <= too_many)
        return rows if enough else []

    def _write(self, day: str, product: str, samples: list[Any]) -> tuple[Any, ...]:
        """Put a piece behind the end of its file; what is to be registered of it."""
        path = f"{day}/{file_name(product)}"
        file = self._folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        piece = gzip.compress(b"".join(map(_line, samples)), 1, mtime=0)
        begin = self._ends.get(path, 0)
        with file.open("r+b" if file.exists() else "wb") as out:
            out.truncate(begin)
            out.seek(begin)
            out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        times = [sample[_AT] for sample in samples]
        return path, day, product, begin, len(piece), len(samples), min(times), max(times)

    def _bound(self) -> None:
        """Let the oldest days go while there is too much, but not the last one."""
        while self.bytes > self.bytes_max:
            days = self._db.execute("SELECT DISTINCT day FROM archive_pieces ORDER BY day LIMIT 2").fetchall()
            if len(days) < 2:
                return
            day = days[0][0]
            gone = self._db.execute("SELECT path, records FROM archive_pieces WHERE day = ?", (day,)).fetchall()
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM archive_pieces WHERE day = ?", (day,))
            self._db.execute(_COUNT, ("archive.dropped", sum(records for _, records in gone)))
            self._db.execute("COMMIT")
            for path in {path for path, _ in gone}:
                self._ends.pop(path, None)
                (self._folder / path).unlink(missing_ok=True)
            with suppress(OSError):
                (self._folder / day).rmdir()


def read(
    db: sqlite3.Connection, folder: Path, thing: str, since_ms: int, until_ms: int, limit: int
) -> tuple[list[dict[str, Any]], bool]:
    """A device's samples of [since, until) in the files, by their time; whether these are all."""
    pieces = db.execute(
        "SELECT path, begin, bytes, first_ms FROM archive_pieces WHERE first_ms < ? AND last_ms >= ?"
        " ORDER BY first_ms, id",
        (until_ms, since_ms),
    )
    found: list[dict[str, Any]] = []
    budget = READ_MAX
    for path, begin, size, first_ms in pieces.fetchall():
        if len(found) >= limit:
            found.sort(key=_time)
            if found[limit - 1]["device_timestamp"] < first_ms:
                return found[:limit], False
        if budget <= 0:
            return sorted(found, key=_time)[:limit], False
        try:
            with (folder / path).open("rb") as file:
                file.seek(begin)
                lines = gzip.decompress(file.read(size))
        except (OSError, EOFError):
            continue  # its day has just gone
        budget -= len(lines)
        found += (one for one in _of(lines, thing) if since_ms <= one["device_timestamp"] < until_ms)
    found.sort(key=_time)
    return found[:limit], len(found) <= limit


def _of(lines: bytes, thing: str) -> Iterator[dict[str, Any]]:
    """The lines of a device."""
    begins = b'{"device_id":' + orjson.dumps(thing) + b","
    for line in lines.split(b"\n"):
        if line.startswith(begins):
            yield orjson.loads(line)


def _time(sample: dict[str, Any]) -> int:
    at_ms: int = sample["device_timestamp"]
    return at_ms


def _line(sample: tuple[Any, ...]) -> bytes:
    """A row as JSON; the metrics are JSON already."""
    named = dict(zip(COLUMNS, sample, strict=True))
    named["metrics"] = orjson.Fragment(sample[_METRICS])
    return orjson.dumps(named, option=orjson.OPT_APPEND_NEWLINE)


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")


def file_name(product: str) -> str:
    """The name of a product's files; one that is no good name for a file gets a digest, so that no two are one."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", product)[:64]
    if plain != product or not product or plain != plain.lower():
        plain = f"{plain.lower() or 'none'}-{blake2b(product.encode(), digest_size=4).hexdigest()}"
    return f"{plain}.jsonl.gz"


def _sync(folder: Path) -> None:
    """A new name in a folder is there for good only after this."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
