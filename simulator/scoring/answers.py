"""A file of predictions, joined to the records by sensor and time: CSV with a head, or JSON lines.

    device,at_ms,score
    device-001,1767225660000,0.02

Rules: a score is a number from 0 to 1. A record without one is counted, and so is a prediction without a record and
one that is there twice (the last one counts).
"""

import csv
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import IO

import numpy as np
import orjson

from simulator.dataset.reading import Table
from simulator.errors import UsageError
from simulator.scoring.known import ROWS_MAX
from simulator.seeds import Floats

_LINE_CHARS_MAX = 10_000


class Predictions:
    """All of a file, by sensor and time."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(f"there are no predictions '{path}'")
        self._of: dict[tuple[str, int], float] = {}
        self.twice = self._used = 0
        try:
            with path.open(encoding="utf-8", newline="") as file:
                for place, device, at_ms, score in _rows(file, path):
                    if not (isfinite(score) and 0 <= score <= 1):
                        raise UsageError(f"{path}:{place}: a score is a number from 0 to 1, is {score:g}")
                    self.twice += (device, at_ms) in self._of
                    self._of[device, at_ms] = score
                    if len(self._of) > ROWS_MAX:
                        raise UsageError(f"{path}: more than {ROWS_MAX:,} predictions")
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}: is no text: {error}") from None

    @property
    def without_record(self) -> int:
        """Those that no record was there for."""
        return len(self._of) - self._used

    def __call__(self, table: Table) -> Floats:
        found = [self._of.get(key) for key in zip(table.devices, table.at_ms.tolist(), strict=True)]
        self._used += sum(score is not None for score in found)
        return np.array(found, np.float64)  # None becomes NaN


def _rows(file: IO[str], path: Path) -> Iterator[tuple[int, str, int, float]]:
    """(line, device, time, score)"""
    jsonl = ".jsonl" in path.name
    lines = _bounded(file, path)
    if jsonl:
        rows: Iterator[tuple[int, dict[str, object]]] = (
            (n, _object(line, n, path)) for n, line in lines if line.strip()
        )
    else:
        reader = csv.DictReader((line for _, line in lines), strict=True)
        rows = ((reader.line_num, dict(row)) for row in _told(reader, path))
    for place, row in rows:
        try:
            yield place, str(row["device"]), int(str(row["at_ms"])), float(str(row["score"]))
        except KeyError as missing:
            raise UsageError(f"{path}:{place}: has no {missing}; device, at_ms and score are wanted") from None
        except ValueError as error:
            raise UsageError(f"{path}:{place}: {error}") from None


def _told(reader: "csv.DictReader[str]", path: Path) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise UsageError(f"{path}:{reader.line_num}: {error}") from None


def _bounded(file: IO[str], path: Path) -> Iterator[tuple[int, str]]:
    place = 0
    while line := file.readline(_LINE_CHARS_MAX + 1):
        place += 1
        if len(line) > _LINE_CHARS_MAX:
            raise UsageError(f"{path}:{place}: a line of more than {_LINE_CHARS_MAX} characters")
        yield place, line


def _object(line: str, place: int, path: Path) -> dict[str, object]:
    try:
        found = orjson.loads(line)
    except ValueError as error:
        raise UsageError(f"{path}:{place}: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}:{place}: is no JSON object")
    return found
