"""The check of latencies, by the row of a load's table."""

import pytest

from simulator.checks import Facts
from simulator.checks.latency import Latency
from simulator.histogram import Histogram
from simulator.ledger import Ledger


def facts(**seconds: list[float]) -> Facts:
    rows: dict[str, Histogram] = {}
    for name, values in seconds.items():
        rows[name] = Histogram()
        for value in values:
            rows[name].add(int(value * 1e9))
    return Facts(Ledger(), latencies=rows)


@pytest.mark.parametrize(("percentile", "measured"), [(50, 0.5), (99, 0.99), (100, 1.0)])
def test_a_percentile_of_a_row(percentile: float, measured: float) -> None:
    check = Latency(kind="latency", row="connect", percentile=percentile, at_most=0.7)
    result = check.judge(facts(connect=[n / 100 for n in range(1, 101)], telemetry=[9.0]))
    assert result.measured == pytest.approx(measured, rel=0.002)
    assert result.passed == (measured < 0.7)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (Facts(Ledger()), "latencies are measured under load: `fleetsim load`"),
        (facts(telemetry=[1.0]), "there is no row 'connect' (there are: telemetry)"),
        (facts(connect=[]), "there is no row 'connect' (there are: connect)"),
    ],
)
def test_what_was_not_measured_has_not_passed(given: Facts, why: str) -> None:
    result = Latency(kind="latency", row="connect", at_most=1).judge(given)
    assert (result.passed, result.measured, result.why) == (False, None, why)
