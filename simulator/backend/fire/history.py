"""The last hour of one sensor, in columns, with the sums that its history modifier needs.

Rules: `push` and `pop` undo each other exactly, so a late record is put in by popping what comes after it. What is
older than the hour stays for as long as a late record may still need it; how many records there are has a bound
too, and a sensor that says more in an hour is known by its latest HISTORY_MAX.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from math import sqrt
from operator import mul
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.backend.fire.reading import Reading
from simulator.backend.fire.realtime import MODIFIER_MAX, MODIFIER_ONE, base_of

if TYPE_CHECKING:
    from simulator.backend.fire.state import State

HOUR_MS = 3_600_000
LATE_MS = 600_000  # a record that is later than this changes nothing
LATE_MAX = 1_000  # nor one that so many came after
HISTORY_MAX = 4_096
HISTORY_MIN = 5
RECENT = 20
SLOPE = 100  # thousandths of a degree a sample
ARCS_MANY = 10
RISK_MUCH = 6_000
_TRIM = 256
# Less than that cannot come to an alert, whatever the history: its reading need not be remembered.
_RISKY = 300
_STEPS = range(RECENT)


class Entry(NamedTuple):
    """One record as the log has it."""

    at_ms: int
    idx: int
    key: int
    temperature: int  # thousandths of a degree
    current: int  # thousandths of an ampere
    arcs: int
    base: int
    reading: Reading | None


def entry_of(at_ms: int, idx: int, key: int, reading: Reading) -> Entry:
    """A record's entry."""
    celsius = reading.pcb_c if reading.pcb_c > reading.sensor_c else reading.sensor_c
    return Entry(
        at_ms, idx, key, round(1000 * celsius), round(1000 * reading.current), reading.arcs, base_of(reading), reading
    )


class Log:
    """What one sensor said, oldest first, and what came of it."""

    __slots__ = (
        "_arcs", "_left", "_squares", "_sum", "arcs", "at_ms", "base", "current", "idx", "key", "readings", "risk",
        "states", "temperature",
    )  # fmt: skip

    def __init__(self) -> None:
        self.at_ms, self.idx, self.key = array("q"), array("q"), array("q")
        self.temperature, self.current, self.arcs = array("i"), array("i"), array("i")
        self.base, self.risk = array("h"), array("h")
        self.readings: list[Reading | None] = []
        self.states: list[State] = []  # after each record
        self._left = 0  # the hour begins here …
        self._sum = self._squares = self._arcs = 0  # … and this is what is in it

    def __len__(self) -> int:
        return len(self.at_ms)

    # -- the hour before a moment

    def aim(self, at_ms: int) -> None:
        """The hour is the one before this moment from now on."""
        begin_ms, at, left = at_ms - HOUR_MS, self.at_ms, self._left
        size = len(at)
        while left < size and (at[left] <= begin_ms or size - left > HISTORY_MAX):
            self._count(left, -1)
            left += 1
        while left > 0 and at[left - 1] > begin_ms and size - left < HISTORY_MAX:
            left -= 1
            self._count(left, 1)
        self._left = left

    def _count(self, place: int, sign: int) -> None:
        celsius = self.temperature[place]
        self._sum += sign * celsius
        self._squares += sign * celsius * celsius
        self._arcs += sign * self.arcs[place]

    def modifier(self) -> int:
        """What the hour makes of a risk, in tenths."""
        size = len(self.at_ms) - self._left
        if size < HISTORY_MIN:
            return MODIFIER_ONE
        modifier = MODIFIER_ONE
        recent = min(size, RECENT)
        risks = self.risk[-recent:]
        if self._slope(recent):
            modifier += 2
        if self._arcs > ARCS_MANY:
            modifier += 3
        if sum(risks) > RISK_MUCH * recent:
            modifier += 1
        return min(modifier, MODIFIER_MAX)

    def _slope(self, recent: int) -> bool:
        """Do the latest temperatures rise, by the line of least squares?"""
        rising = self.temperature[-recent:]
        rise = 12 * sum(map(mul, _STEPS, rising)) - 6 * (recent - 1) * sum(rising)
        return bool(rise > SLOPE * recent * (recent * recent - 1))

    def is_above(self, temperature: int) -> bool:
        """Is it above the hour's mean by more than two standard deviations?"""
        size = len(self.at_ms) - self._left
        if size < HISTORY_MIN:
            return False
        return size * temperature - self._sum > 2 * sqrt(size * self._squares - self._sum * self._sum)

    # -- the last minutes

    def since(self, at_ms: int) -> int:
        """The place of the first record that is not older."""
        return bisect_left(self.at_ms, at_ms)

    # -- to and fro

    def push(self, entry: Entry, risk: int, state: "State") -> None:
        """Put a record at the end. `aim` was asked for it before."""
        at_ms, idx, key, celsius, current, arcs, base, reading = entry
        readings = self.readings
        if readings and self.base[-1] < _RISKY:
            readings[-1] = None  # only the newest one and risky ones are ever asked for
        self.at_ms.append(at_ms)
        self.idx.append(idx)
        self.key.append(key)
        self.temperature.append(celsius)
        self.current.append(current)
        self.arcs.append(arcs)
        self.base.append(base)
        self.risk.append(risk)
        readings.append(reading)
        self.states.append(state)
        self._sum += celsius
        self._squares += celsius * celsius
        self._arcs += arcs
        size = len(readings)
        if size > LATE_MAX:
            readings[size - LATE_MAX - 1] = None
        if not size % _TRIM:
            self._trim()

    def pop(self) -> Entry:
        """Take the last record off again."""
        place = len(self.at_ms) - 1
        if place >= self._left:
            self._count(place, -1)
        else:
            self._left = place
        self.risk.pop()
        self.states.pop()
        return Entry(
            self.at_ms.pop(), self.idx.pop(), self.key.pop(), self.temperature.pop(), self.current.pop(),
            self.arcs.pop(), self.base.pop(), self.readings.pop(),
        )  # fmt: skip

    def _trim(self) -> None:
        """Forget what no hour can reach any more."""
        gone = bisect_right(self.at_ms, self.at_ms[-1] - HOUR_MS - LATE_MS)
        gone = max(gone, len(self.at_ms) - HISTORY_MAX - LATE_MAX)
        if gone < _TRIM:
            return
        for column in (self.at_ms, self.idx, self.key, self.temperature, self.current, self.arcs, self.base, self.risk):
            del column[:gone]
        del self.readings[:gone]
        del self.states[:gone]
        self._left -= gone

    def has(self, key: int) -> bool:
        """Is the record with this key there?"""
        return bool(np.count_nonzero(np.frombuffer(self.key, np.int64) == key))

    def rows(self, since_ms: int) -> Iterator[tuple[int, int, int]]:
        """(time, risk, temperature) from a moment on."""
        place = self.since(since_ms)
        return zip(self.at_ms[place:], self.risk[place:], self.temperature[place:], strict=True)
