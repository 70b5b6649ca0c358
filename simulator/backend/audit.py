"""What the platform got, as identities: the far side's half of an audit.

A message is known by kind, thing and stamp: its device_timestamp, or the idx of a fire sensor's record. A page has

    stored    [kind, thing, stamp, ingest_ms, seq]           in the order of arrival; `seq` rises
    repeated  [kind, thing, stamp, ingest_ms]                came again, and was not stored again
    dead      [kind, thing, stamp, ingest_ms, reason]        refused; "" and 0 where its bytes do not say

Rules: a page is cut off by rows, never by time, so whoever goes on with `next` misses nothing; a dead letter that was
replayed is not told, because what came of it is.
"""

import re
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from simulator.backend.decode import Decoder, Telemetry, parse_topic
from simulator.backend.effects import DeadLetter
from simulator.errors import UsageError
from simulator.wire.spec import ProductSpec, SpecError

PAGE_MAX = 20_000
_STAMP = re.compile(rb'"(?:device_timestamp|idx)"\s*:\s*(\d{1,18})')

_STORED = (
    "SELECT id, 'telemetry', device_id, coalesce(idx, device_timestamp), ingest_timestamp FROM telemetry"
    " WHERE id > ? AND ingest_timestamp >= ? ORDER BY id LIMIT ?"
)
_REPORTS = (
    "SELECT id, kind, device_id, device_timestamp, ingest_timestamp FROM reports"
    " WHERE id > ? AND ingest_timestamp >= ? ORDER BY id LIMIT ?"
)
_REPEATS = (
    "SELECT id, kind, device_id, stamp, ingest_timestamp FROM repeats"
    " WHERE id > ? AND ingest_timestamp >= ? ORDER BY id LIMIT ?"
)
_DEAD = (
    "SELECT id, at_ms, reason, topic, payload FROM dead_letters"
    " WHERE id > ? AND at_ms >= ? AND replayed_at_ms IS NULL ORDER BY id LIMIT ?"
)


class Place(NamedTuple):
    """How far somebody has read: the last row of each table."""

    telemetry: int = 0
    reports: int = 0
    repeats: int = 0
    dead: int = 0

    def __str__(self) -> str:
        return ".".join(map(str, self))


def place(text: str) -> Place:
    """What `next` of a page said; '0' is the beginning. UsageError for anything else."""
    parts = text.split(".")
    if text == "0":
        return Place()
    if len(parts) != len(Place._fields) or not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"after: '{text[:40]}' is not the 'next' of a page")
    if max(map(len, parts)) > 18:
        raise UsageError(f"after: '{text[:40]}' is too large")
    return Place(*map(int, parts))


def page(
    db: sqlite3.Connection, after: Place, limit: int, since_ms: int, specs: Mapping[str, ProductSpec]
) -> dict[str, Any]:
    """The next rows of each sort, at most `limit` of each; none of any sort: that was all."""
    samples, reports, repeats, letters = (
        db.execute(sql, (row, since_ms, limit)).fetchall()
        for sql, row in zip((_STORED, _REPORTS, _REPEATS, _DEAD), after, strict=True)
    )
    read = Reader(specs)
    last = [rows[-1][0] if rows else row for rows, row in zip((samples, reports, repeats, letters), after, strict=True)]
    return {
        "next": str(Place(*last)),
        "stored": [[*row[1:], row[0]] for row in (*samples, *reports)],
        "repeated": [row[1:] for row in repeats],
        "dead": [[*read(DeadLetter(*row[1:])), row[1], row[2]] for row in letters],
    }


class Reader:
    """Reads from a refused message whose it was."""

    def __init__(self, specs: Mapping[str, ProductSpec]) -> None:
        self._specs, self._decode = specs, Decoder()

    def __call__(self, letter: DeadLetter) -> tuple[str, str, int]:
        """Kind, thing and stamp, as far as the bytes say."""
        topic = parse_topic(letter.topic)
        if topic.family == "frame":
            return self._frame(topic.thing, letter.payload)
        if topic.family == "taken":
            sample = self._decode(letter.topic, letter.payload, letter.at_ms)
            if not isinstance(sample, Telemetry):
                return "telemetry", "", 0
            return "telemetry", sample.device_id, sample.device_timestamp if sample.idx is None else sample.idx
        kind = "" if topic.kind == "unknown" else topic.kind
        return kind, topic.thing, _stamp(letter.payload, "idx" if topic.family == "fire" else "device_timestamp")

    def _frame(self, product: str, body: bytes) -> tuple[str, str, int]:
        spec = self._specs.get(product)
        if spec is None:
            return "", "", 0
        try:
            kind, _, header = spec.codec.decode(body)
        except SpecError:
            return "", "", 0
        stamp = header.get("device_timestamp", 0)
        return kind, str(header.get("device_id", "")), stamp if isinstance(stamp, int) else 0


def _stamp(payload: bytes, name: str) -> int:
    """The stamp in a JSON document, or in what is left of one."""
    with suppress(ValueError):
        body = orjson.loads(payload)
        found = body.get(name) if type(body) is dict else None
        return found if type(found) is int and 0 < found < 1 << 62 else 0
    broken = _STAMP.search(payload)
    return int(broken[1]) if broken else 0
