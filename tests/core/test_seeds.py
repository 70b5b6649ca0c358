"""Randomness: fixed values, fair distributions, and no dependence on who else draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import seeds
from simulator.seeds import Keys

MANY: Keys = np.array([seeds.key(1, n) for n in range(20_000)], dtype=np.uint64)
U64 = st.integers(0, 2**64 - 1)


def test_words_are_those_of_splitmix64() -> None:
    """The published values for the seed 1234567: index n of a key is the n-th number of that generator."""
    key = np.array([1234567], dtype=np.uint64)
    assert [int(seeds.words(key, n)[0]) for n in range(1, 6)] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


def test_values_are_the_same_for_ever() -> None:
    keys = MANY[:3]
    assert seeds.key(7, "a", 1) == 0xD280CBEA63B67740
    assert seeds.uniform(keys, 1).tolist() == [0.3173582187578071, 0.3975695161602424, 0.4078065846143709]
    assert seeds.normal(keys, 1).tolist() == [-0.9744900112408392, -1.1897541992847922, -2.3070136572798896]
    assert seeds.fraction(1, "x") == 0.30291450849251333


def test_a_key_depends_on_every_word_and_on_where_it_ends() -> None:
    found = [
        seeds.key(seed, *words)
        for seed in (1, 11)
        for words in [(), ("1",), ("a", "b"), ("ab",), ("b", "a"), ("a", "b", "")]
    ]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("index", [0, 1, 12_345, 2**63])
@pytest.mark.parametrize("channel", [0, 3, 500_000])
def test_uniform_is_fair(index: int, channel: int) -> None:
    drawn = seeds.uniform(seeds.salted(MANY, channel), index)
    assert drawn.dtype == np.float64
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)


@pytest.mark.parametrize("index", [0, 1, 12_345, 2**63])
def test_normal_has_mean_0_deviation_1_and_a_bound(index: int) -> None:
    drawn = seeds.normal(MANY, index)
    assert drawn.mean() == pytest.approx(0, abs=0.03)
    assert drawn.std() == pytest.approx(1, abs=0.03)
    assert np.abs(drawn).max() <= 3.5
    assert (np.abs(drawn) < 1).mean() == pytest.approx(0.68, abs=0.02)


def test_the_bound_of_normal_is_reached_by_extreme_words_only() -> None:
    assert (4 * 0xFFFF - 131070.0) * (1.7320508075688772 / 65536.0) < 3.5


@pytest.mark.parametrize("what", [seeds.uniform, seeds.normal])
def test_neighbours_do_not_resemble_each_other(what: object) -> None:
    """Over devices, channels and indexes: no correlation."""
    assert callable(what)
    base = what(MANY, 5)
    for other in (
        what(np.roll(MANY, 1), 5),
        what(MANY, 6),
        what(seeds.salted(MANY, 1), 5),
        what(seeds.salted(MANY, 1), 4),
    ):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.03


@given(st.lists(st.integers(0, len(MANY) - 1), min_size=1, max_size=20), U64, st.integers(0, 2**40))
def test_a_draw_does_not_depend_on_the_batch(rows: list[int], index: int, channel: int) -> None:
    salted = seeds.salted(MANY, channel)
    for draw in (seeds.words, seeds.uniform, seeds.normal):
        assert np.array_equal(draw(salted[rows], index), draw(salted, index)[rows])


@given(st.integers(0, 2**63 - 1), st.text(), st.integers())
def test_a_fraction_is_below_1(seed: int, name: str, index: int) -> None:
    assert 0 <= seeds.fraction(seed, name, index) < 1
