"""The course of a load test: what was measured, second by second, in a bounded number of stretches.

A stretch lasts a second at first. When there are `STRETCHES_MAX` of them, each two become one and last twice as long,
so a soak of many hours keeps as many points as a minute does. Merging is exact: histograms add up bucket by bucket,
counts add up, and of the gauges the one that tells of trouble stays (fewest connected, most alarms).

Rules: pure; moments come in as arguments and only grow. What was measured counts in the stretch in which it was heard
of, half a second after it happened at the most. Of the stretch that is on now there are histograms to add to; those
that are over are kept as columns of a few bytes for each bucket, and their percentiles are found once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray

from simulator.histogram import Histogram, Packed, middles
from simulator.runtime.meter import Row

STRETCHES_MAX = 240
ROWS_MAX = 100  # kinds that are told apart; what comes after that is "other"
QUANTILES = (0.5, 0.95, 0.99)
DEVICES = ("MQTT", "TCP", "REST")
_NS_PER_MS = 1e6

Key = tuple[str, str]  # method and name


@dataclass(frozen=True, slots=True)
class Frozen:
    """A histogram that is only read."""

    buckets: NDArray[np.int32]  # in order
    counts: NDArray[np.int64]
    low: int
    high: int
    total: int  # of all values

    def thawed(self) -> Histogram:
        """The same numbers, to add to."""
        return Histogram.unpack(Packed(self.total, self.low, self.high, self.buckets.tolist(), self.counts.tolist()))

    def quantiles_ms(self, of: Sequence[float] = QUANTILES) -> tuple[float, ...] | None:
        """In milliseconds; None when nothing was counted."""
        below = np.cumsum(self.counts)
        if not len(below):
            return None
        places = np.searchsorted(below, [max(1, ceil(q * below[-1])) for q in of])
        values = np.clip(middles(self.buckets[places]), self.low, self.high)
        return tuple(round(float(value) / _NS_PER_MS, 3) for value in values)


def frozen(histogram: Histogram) -> Frozen:
    """The same numbers, in columns."""
    buckets = np.fromiter(histogram.counts, np.int32, len(histogram.counts))
    counts = np.fromiter(histogram.counts.values(), np.int64, len(histogram.counts))
    order = np.argsort(buckets)
    return Frozen(buckets[order], counts[order], histogram.low, histogram.high, histogram.total)


def merged(parts: Sequence[Frozen]) -> Frozen:
    """All that any of them counted."""
    if len(parts) == 1:
        return parts[0]
    buckets, places = np.unique(np.concatenate([part.buckets for part in parts]), return_inverse=True)
    counts = np.zeros(len(buckets), np.int64)
    np.add.at(counts, places, np.concatenate([part.counts for part in parts]))
    low, high = min(part.low for part in parts), max(part.high for part in parts)
    return Frozen(buckets, counts, low, high, sum(part.total for part in parts))


NOTHING = frozen(Histogram())


@dataclass(frozen=True, slots=True)
class Gauges:
    """How it stood: totals up to then, and what is now."""

    attempted: int
    acknowledged: int
    on: int
    connected: Mapping[str, int]  # by method
    alarms_open: int


@dataclass(slots=True)
class Stretch:
    """What was measured in some seconds."""

    attempted: int = 0
    acknowledged: int = 0
    lasted_s: float = 0.0  # of that; for what a second
    on: int | None = None
    connected: dict[str, int] = field(default_factory=dict)
    alarms_open: int | None = None
    rows: dict[Key, Frozen] = field(default_factory=dict)
    failed: dict[Key, int] = field(default_factory=dict)
    _told: dict[str, tuple[float, ...] | None] = field(default_factory=dict)  # percentiles that were asked for

    def of(self, group: str) -> Frozen:
        """The latencies of a group as one."""
        parts = [row for key, row in self.rows.items() if group_of(key) == group or (group == "all" and _says(key))]
        return merged(parts) if parts else NOTHING

    def failed_of(self, group: str) -> int:
        """How often something failed."""
        return sum(n for (method, _), n in self.failed.items() if group in ("all", _family(method)))

    def quantiles_ms(self, group: str) -> tuple[float, ...] | None:
        """Of the group's latencies, found once."""
        if group not in self._told:
            self._told[group] = self.of(group).quantiles_ms()
        return self._told[group]

    def join(self, other: "Stretch") -> None:
        """Take the next one in."""
        self._told.clear()
        self.attempted += other.attempted
        self.acknowledged += other.acknowledged
        self.lasted_s += other.lasted_s
        self.on = other.on if self.on is None else max(self.on, other.on or 0)
        self.alarms_open = other.alarms_open if self.alarms_open is None else max(
            self.alarms_open, other.alarms_open or 0
        )  # fmt: skip
        for method, count in other.connected.items():
            self.connected[method] = min(self.connected.get(method, count), count)
        for key, row in other.rows.items():
            self.rows[key] = merged([self.rows[key], row]) if key in self.rows else row
        for key, times in other.failed.items():
            self.failed[key] = self.failed.get(key, 0) + times


class Course:
    """All stretches of a test, the first from `start_ms`."""

    def __init__(self, start_ms: int, stretches_max: int = STRETCHES_MAX) -> None:
        self.start_ms, self._most = start_ms, stretches_max
        self.every_s = 1
        self._over: list[Stretch] = []
        self._now = Stretch()
        self._rows: dict[Key, Histogram] = {}  # of the stretch that is on
        self._keys: set[Key] = set()
        self._gauged: tuple[int, Gauges] | None = None
        self._ended = False

    def end(self) -> None:
        """No stretch begins any more: what still comes is of the last one."""
        self._ended = True

    def add(self, rows: Iterable[Row], at_ms: int) -> None:
        """What somebody measured since the last time."""
        self._advance(at_ms)
        for row in rows:
            key = self._key(row)
            if row.latency.count:
                self._rows.setdefault(key, Histogram()).merge(row.latency)
            if failed := row.failed.total():
                self._now.failed[key] = self._now.failed.get(key, 0) + failed

    def gauge(self, at_ms: int, gauges: Gauges) -> None:
        """How it stands now, about once a second."""
        self._advance(at_ms)
        now = self._now
        if self._gauged:
            before_ms, before = self._gauged
            now.attempted += gauges.attempted - before.attempted
            now.acknowledged += gauges.acknowledged - before.acknowledged
            now.lasted_s += (at_ms - before_ms) / 1000
        self._gauged = at_ms, gauges
        now.join(Stretch(on=gauges.on, connected=dict(gauges.connected), alarms_open=gauges.alarms_open))

    def stretches(self) -> list[tuple[int, Stretch]]:
        """From when on, and what was measured: all of them, also the one that is not over."""
        self._freeze()
        step_ms = 1000 * self.every_s
        return [(self.start_ms + i * step_ms, of) for i, of in enumerate([*self._over, self._now])]

    def _key(self, row: Row) -> Key:
        key = (row.method, row.name)
        if key not in self._keys:
            if len(self._keys) >= ROWS_MAX:
                return row.method, "other"
            self._keys.add(key)
        return key

    def _advance(self, at_ms: int) -> None:
        while not self._ended and (at_ms - self.start_ms) // (1000 * self.every_s) > len(self._over):
            self._freeze()
            self._over.append(self._now)
            self._now = Stretch()
            if len(self._over) >= self._most:
                for even, odd in zip(self._over[::2], self._over[1::2], strict=True):
                    even.join(odd)
                self._over = self._over[::2]
                self.every_s *= 2

    def _freeze(self) -> None:
        for key, histogram in self._rows.items():
            row = frozen(histogram)
            self._now.rows[key] = merged([self._now.rows[key], row]) if key in self._now.rows else row
            self._now._told.clear()
        self._rows.clear()


# What belongs together. Devices' messages are one thing; connecting, downloads and what people ask are others.

_SPANS = ("connect", "connection lost", "delta → acted", "job notified → succeeded")


def _family(method: str) -> str:
    return method if method in DEVICES else "people"


def _says(key: Key) -> bool:
    return key[0] in DEVICES and key[1] not in _SPANS


def group_of(key: Key) -> str:
    """MQTT, TCP, REST; people (and downloads); or nothing that is a message or a request."""
    method, _ = key
    if method in DEVICES:
        return method if _says(key) else ""
    return "people" if method in ("AWS", "GET", "HTTP", "POST", "S3") else ""
