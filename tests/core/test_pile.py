"""Rows on a pile: what is held and what lies in the file are one."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.pile import Pile

DTYPE = np.dtype([("subject", "<u4"), ("stamp", "<i8")])


def rows(first: int, count: int) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    made = np.empty(count, DTYPE)
    made["subject"], made["stamp"] = np.arange(first, first + count), np.arange(first, first + count) * 10**12
    return made


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(1, 40))
def test_rows_come_back_in_the_order_in_which_they_came(sizes: list[int], held_max: int) -> None:
    pile, parts, first = Pile(DTYPE, held_max), [], 0
    for size in sizes:
        parts.append(rows(first, size))
        pile.add(parts[-1])
        first += size
    assert pile.count == first
    assert np.array_equal(pile.all(), np.concatenate([np.empty(0, DTYPE), *parts]))
    assert all(len(chunk) <= max(held_max, 30) for chunk in pile.chunks())


def test_it_may_grow_while_somebody_reads_it_again() -> None:
    pile = Pile("4<i8", 4)
    for n in range(10):
        pile.add(np.full((1, 4), n))
        assert pile.all()[:, 0].tolist() == list(range(n + 1))


def test_nothing_is_left_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = open_files()
    pile = Pile(DTYPE, 2)
    pile.add(rows(0, 3))
    assert open_files() == before + 1
    assert not list(tmp_path.iterdir())
    del pile
    assert open_files() == before
