"""The records to be scored, without their features: small enough to hold ten million of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.dataset import reading
from simulator.dataset.reading import Table
from simulator.errors import UsageError
from simulator.seeds import Floats

ROWS_MAX = 30_000_000
Ask = Callable[[Table], Floats]  # the scores of some records; NaN: it gave none
Say = Callable[[int], None]


@dataclass(slots=True)
class Known:
    """Records by sensor and time."""

    names: list[str]
    device: NDArray[np.int32]
    at_ms: NDArray[np.int64]
    label: NDArray[np.bool_]
    fire: NDArray[np.bool_]
    lead_s: NDArray[np.float32]
    score: NDArray[np.float32]  # NaN: none was given

    def __len__(self) -> int:
        return len(self.device)

    @property
    def device_days(self) -> float:
        """How long all sensors together were watched, from each one's first record to its last."""
        if not len(self):
            return 0.0
        first = np.flatnonzero(np.diff(self.device, prepend=-1))
        last = np.append(first[1:], len(self)) - 1
        return float((self.at_ms[last] - self.at_ms[first]).sum()) / 86_400_000


def known(path: Path, ask: Ask, say: Say) -> Known:
    """All records of a file with the scores that `ask` gives them, by sensor and time."""
    return gathered(reading.tables(path), ask, say)


def gathered(tables: Iterable[Table], ask: Ask, say: Say) -> Known:
    """The same of tables."""
    numbers: dict[str, int] = {}
    parts: list[tuple[NDArray[np.generic], ...]] = []
    count = 0
    for table in tables:
        count += len(table.devices)
        if count > ROWS_MAX:
            raise UsageError(f"more than {ROWS_MAX:,} records cannot be scored at once; score its parts")
        device = np.array([numbers.setdefault(name, len(numbers)) for name in table.devices], np.int32)
        score = ask(table).astype(np.float32)
        parts.append((device, table.at_ms, table.label, table.fire, table.lead_s.astype(np.float32), score))
        say(count)
    if not parts:
        raise UsageError("there are no records to be scored")
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    names = list(numbers)
    rank = np.empty(len(names), np.int32)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names), dtype=np.int32)
    columns[0] = rank[columns[0]]
    order = np.lexsort((columns[1], columns[0]))
    device, at_ms, label, fire, lead_s, score = (column[order] for column in columns)
    return Known(sorted(names), device, at_ms, label, fire, lead_s, score)
