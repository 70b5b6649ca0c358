"""Rows of numbers, as many as there come, in little memory: the latest are held, those before them lie in a file.

Rules: rows stay in the order in which they were added. The file has no name, so nothing is left of it however the
process ends.
"""

import os
import tempfile
import weakref
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HELD_MAX = 1 << 16  # rows
Table = NDArray[Any]


def rows(numbers: list[float], width: int) -> NDArray[np.float64]:
    """Takes the numbers of a list, so many a row. (By way of an array in half the time that numpy takes alone.)"""
    taken = array("d")
    taken.fromlist(numbers)
    numbers.clear()
    return np.frombuffer(taken).reshape(-1, width)


class Pile:
    """Rows of one sort."""

    __slots__ = ("__weakref__", "_dtype", "_file", "_filed", "_held", "_held_count", "_held_max")

    def __init__(self, dtype: Any, held_max: int = HELD_MAX) -> None:
        self._dtype = np.dtype(dtype)
        self._held_max = held_max
        self._held: list[Table] = []
        self._held_count = self._filed = 0
        self._file: int | None = None

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self._filed + self._held_count

    def add(self, rows: Table) -> None:
        """Put rows on it. OSError when there is no room left for the file."""
        self._held.append(rows)
        self._held_count += len(rows)
        if self._held_count >= self._held_max:
            self._put_away()

    def chunks(self) -> Iterator[Table]:
        """All rows, some at a time."""
        size, at = self._dtype.itemsize, 0
        while at < self._filed:
            count = min(self._held_max, self._filed - at)
            assert self._file is not None
            data = os.pread(self._file, count * size, at * size)
            at += len(data) // size
            yield np.frombuffer(data, self._dtype)
        yield from list(self._held)

    def all(self) -> Table:
        """All rows."""
        return np.concatenate([np.empty(0, self._dtype), *self.chunks()])

    def _put_away(self) -> None:
        if self._file is None:
            self._file, name = tempfile.mkstemp(prefix="fleetsim-")
            weakref.finalize(self, os.close, self._file)
            Path(name).unlink()
        data, at = memoryview(np.concatenate(self._held).tobytes()), self._filed * self._dtype.itemsize
        while data:
            written = os.pwrite(self._file, data, at)
            data, at = data[written:], at + written
        self._filed += self._held_count
        self._held, self._held_count = [], 0
