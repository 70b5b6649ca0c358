"""A short run of the fuzz (tests/bench/fuzz.py runs a million)."""

from tests.bench.fuzz import MEMORY_GROWTH_MAX_KIB, run

INPUTS = 20_000


def test_nothing_but_our_own_errors_comes_of_wrong_inputs() -> None:
    fuzz, memory_kib, _ = run(INPUTS, seed=3)
    assert fuzz.count == INPUTS
    assert {name.partition(":")[2] for name in fuzz.outcomes} >= {" read", " refused"}
    assert memory_kib[-1] <= memory_kib[1] + MEMORY_GROWTH_MAX_KIB
