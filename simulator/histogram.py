"""Log-linear histograms: what many latencies were, in little memory, to three significant digits. Pure.

Rules: values are whole numbers of any unit (runtimes use nanoseconds). Below 1024 every value has a bucket of its
own; above, every power of two is cut into 512 buckets, so the middle of a bucket is never further than 0.1 % from
a value in it. Buckets depend on the value alone: merging histograms gives exactly the histogram of all the values.
"""

from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_LINEAR = 1024
_CUTS = 512
VALUE_MAX = (1 << 62) - 1  # what is larger counts as this, so there are at most 27,648 buckets


def bucket(value: int) -> int:
    """The bucket of a value from 0 to VALUE_MAX."""
    if value < _LINEAR:
        return value
    shift = value.bit_length() - 10
    return (shift << 9) + (value >> shift)


def middle(index: int) -> float:
    """The value that stands for all the values of a bucket."""
    if index < _LINEAR:
        return float(index)
    shift = (index >> 9) - 1
    first = (_CUTS + (index & (_CUTS - 1))) << shift
    return first + ((1 << shift) - 1) / 2


def middles(indexes: NDArray[np.int32]) -> NDArray[np.float64]:
    """The same for many buckets."""
    shift = np.maximum((indexes >> 9) - 1, 0).astype(np.int64)
    first = np.where(indexes < _LINEAR, indexes, _CUTS + (indexes & (_CUTS - 1))).astype(np.int64) << shift
    values: NDArray[np.float64] = first + ((np.int64(1) << shift) - 1) / 2
    return values


class Packed(NamedTuple):
    """A histogram as plain numbers, for a pipe; JSON makes a list of it."""

    total: int
    low: int
    high: int
    buckets: list[int]
    counts: list[int]


class Histogram:
    """Counts of values by bucket, and their exact number, sum, lowest and highest."""

    __slots__ = ("count", "counts", "high", "low", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count = self.total = self.high = 0
        self.low = VALUE_MAX

    def add(self, value: int) -> None:
        """Count a value; below 0 it counts as 0."""
        if value < self.low:
            self.low = value = max(value, 0)
        if value > self.high:
            self.high = value = min(value, VALUE_MAX)
        index = bucket(value)
        self.counts[index] = self.counts.get(index, 0) + 1
        self.count += 1
        self.total += value

    def add_all(self, values: NDArray[np.int64]) -> None:
        """Count many values, in a tenth of the time."""
        if not len(values):
            return
        values = np.clip(values, 0, VALUE_MAX)
        # A float may be rounded up to the next power of two; the bucket is the same.
        shift = np.maximum(np.frexp(values.astype(np.float64))[1] - 10, 0)
        found, times = np.unique((shift.astype(np.int64) << 9) + (values >> shift), return_counts=True)
        for index, count in zip(found.tolist(), times.tolist(), strict=True):
            self.counts[index] = self.counts.get(index, 0) + count
        self.count += len(values)
        self.total += sum(values.tolist())
        self.low, self.high = min(self.low, int(values.min())), max(self.high, int(values.max()))

    def merge(self, other: "Histogram") -> None:
        """Add all that another one has counted."""
        for index, times in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + times
        self.count += other.count
        self.total += other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def quantile(self, q: float) -> float:
        """A value that at least the fraction `q` of all values do not exceed; 0 when there are none."""
        wanted = max(1, ceil(q * self.count))
        for index, below in self._cumulated():
            if below >= wanted:
                return min(max(middle(index), self.low), self.high)
        return 0.0

    def quantiles(self, *of: float) -> list[float]:
        """The same for several, lowest first, in one go."""
        found: list[float] = []
        wanted = [max(1, ceil(q * self.count)) for q in of]
        for index, below in self._cumulated():
            while len(found) < len(of) and below >= wanted[len(found)]:
                found.append(min(max(middle(index), self.low), self.high))
            if len(found) == len(of):
                break
        return found or [0.0] * len(of)

    def _cumulated(self) -> Iterator[tuple[int, int]]:
        below = 0
        for index in sorted(self.counts):
            below += self.counts[index]
            yield index, below

    def pack(self) -> Packed:
        """All of it as plain numbers."""
        return Packed(self.total, self.low, self.high, list(self.counts), list(self.counts.values()))

    @classmethod
    def unpack(cls, packed: Packed) -> "Histogram":
        """The other way; ValueError for numbers that no histogram has."""
        made = cls()
        made.total, made.low, made.high = packed.total, packed.low, packed.high
        made.counts = dict(zip(packed.buckets, packed.counts, strict=True))
        made.count = sum(packed.counts)
        return made
