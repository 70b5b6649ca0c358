"""Each signal's own law, beyond what every signal of the room keeps (test_rooms)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import seeds
from simulator.errors import UsageError
from simulator.seeds import Floats
from simulator.signals import Draw, Range, Signal
from simulator.signals.accumulate import Accumulate
from simulator.signals.constant import Constant
from simulator.signals.cycle import Cycle
from simulator.signals.follow import Follow
from simulator.signals.product import Product
from simulator.signals.thermal import Thermal
from simulator.signals.thermostat import Thermostat
from simulator.signals.wander import Wander
from tests.core.fleets import PUMP, profile

KEYS = np.array([seeds.key(1, n) for n in range(1000)], dtype=np.uint64)


def run(signal: Signal, steps: int, dt_s: float = 1.0, of: Mapping[str, Floats] | None = None, rows: int = 1) -> Floats:
    """The values of the first rows, a line a step, the start included."""
    keys, of = KEYS[:rows], of or {}
    values = [signal.settle(signal.start(Draw(keys, 0, 0)), of)]
    for step in range(1, steps + 1):
        values.append(signal.advance(values[-1], of, (step - 1) * dt_s, dt_s, Draw(keys, 0, step)))
    return np.array(values)


def at(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def test_constant_stays_within_its_spread_for_life() -> None:
    values = run(Constant(value=20, spread=3), 50, rows=1000)
    assert (values == values[0]).all()
    assert values.min() >= 17
    assert values.max() <= 23
    assert values.mean() == pytest.approx(20, abs=0.2)


positive = st.floats(0.01, 1e4)


@settings(max_examples=30)
@given(st.floats(-50, 50), positive, positive, positive, positive, st.floats(0, 1), st.floats(0.01, 3600))
def test_thermal_comes_to_rest_where_heat_in_is_heat_out(
    ambient: float, load: float, heat: float, loss: float, fan_loss: float, fan: float, dt_s: float
) -> None:
    """ambient + heat / loss, however long the steps are."""
    signal = Thermal(
        start_c=-200, ambient="a", load="l", fan="f", capacity_j_per_k=100,
        heat_w=5, heat_w_per_unit=heat, loss_w_per_k=loss, fan_w_per_k=fan_loss,
    )  # fmt: skip
    of = {"a": at(ambient), "l": at(load), "f": at(fan)}
    rest = ambient + (5 + heat * load) / (loss + fan_loss * fan)
    time_constant_s = 100 / (loss + fan_loss * fan)
    values = run(signal, 1500, max(dt_s, time_constant_s / 50), of)
    assert values[-1, 0] == pytest.approx(rest, rel=1e-6)
    assert (np.diff(values[:, 0]) * np.sign(rest + 200) >= -1e-9 * abs(rest)).all(), "it overshot"


def test_thermal_without_a_fan_takes_as_long_as_its_time_constant_says() -> None:
    signal = Thermal(start_c=80, ambient="a", load="l", capacity_j_per_k=500, heat_w_per_unit=0, loss_w_per_k=5)
    values = run(signal, 100_000, 0.001, {"a": at(20), "l": at(1)})
    assert values[-1, 0] - 20 == pytest.approx(60 / np.e, rel=1e-4)


def test_thermostat_keeps_its_state_between_the_thresholds() -> None:
    signal = Thermostat(watches="t", on_above=95, off_below=88, on=0.8, off=0.1)
    watched = [90, 95, 95.1, 94, 88, 87.9, 90, 95, 96, 80]
    state, states = signal.start(Draw(KEYS[:1], 0, 0)), []
    for value in watched:
        state = signal.advance(state, {"t": at(value)}, 0, 1, Draw(KEYS[:1], 0, 1))
        states.append(float(state[0]))
    assert states == [0.1, 0.1, 0.8, 0.8, 0.8, 0.1, 0.1, 0.1, 0.8, 0.1]


@pytest.mark.parametrize(
    ("signal", "of", "after_100_s"),
    [
        (Accumulate(start_range=Range(50, 50), per_s=-0.1), {}, 40),
        (Accumulate(start_range=Range(50, 50), per_s=-1, bounds=Range(5, 100)), {}, 5),
        (Accumulate(start_range=Range(50, 50), per_s=1, bounds=Range(5, 100)), {}, 100),
        (Accumulate(start_range=Range(0, 0), of="kmh", gain=1 / 3600), {"kmh": at(72)}, 2),
        (Accumulate(start_range=Range(0, 0), of="kmh", gain=1, per_s=-72), {"kmh": at(72)}, 0),
    ],
)
def test_accumulate_adds_up_to_its_bounds(signal: Accumulate, of: dict[str, Floats], after_100_s: float) -> None:
    assert run(signal, 100, 1.0, of)[-1, 0] == pytest.approx(after_100_s)
    assert run(signal, 1, 100.0, of)[-1, 0] == pytest.approx(after_100_s)


def test_accumulate_starts_anywhere_in_its_range() -> None:
    start = run(Accumulate(start_range=Range(60, 100)), 0, rows=1000)[0]
    assert 60 <= start.min() < 61
    assert 99 < start.max() <= 100


CURVE = [(0.0, 0.0), (10.0, 20.0), (30.0, 20.0), (40.0, -20.0)]


def test_cycle_runs_along_its_points_again_and_again() -> None:
    values = run(Cycle(points=CURVE, in_step=True), 120)[:, 0]
    assert values[[0, 5, 10, 20, 30, 35, 39]].tolist() == [0, 10, 20, 20, 20, 0, -16]
    assert np.array_equal(values[:80], values[40:120])


def test_cycle_at_its_own_moment_for_each_device() -> None:
    values = run(Cycle(points=CURVE), 40, rows=1000)
    together = run(Cycle(points=CURVE, in_step=True), 40_000, 0.001)[:, 0]
    phases = Draw(KEYS, 0, 0).fixed() * 40
    expected = together[np.round((phases + 7) % 40 * 1000).astype(int)]
    assert np.abs(values[7] - expected).max() < 0.01
    assert values.mean() == pytest.approx(together.mean(), abs=0.5)


def test_follow_begins_in_balance_and_lags() -> None:
    signal = Follow(of="x", gain=2, offset=1, tau_s=10)
    assert run(signal, 5, of={"x": at(3)})[:, 0].tolist() == [7] * 6
    value, of = at(7), {"x": at(13)}  # it jumps from 3 to 13
    values = []
    for step in range(1, 100_001):
        value = signal.advance(value, of, step / 1000, 0.001, Draw(KEYS[:1], 0, step))
        values.append(float(value[0]))
    assert values[9_999] == pytest.approx(27 - 20 / np.e, rel=1e-3)
    assert values[-1] == pytest.approx(27, rel=1e-3)


def test_follow_without_lag_is_there_at_once() -> None:
    assert run(Follow(of="x", gain=2, offset=1), 1, of={"x": at(3)}).tolist() == [[7], [7]]


def test_product_multiplies_all() -> None:
    of = {"volt": at(220, 230), "amp": at(5, 0), "factor": at(0.5, 1)}
    assert run(Product(of=["volt", "amp", "factor"], scale=0.001), 1, of=of, rows=2).tolist() == [[0.55, 0], [0.55, 0]]


@pytest.mark.parametrize("dt_s", [0.1, 1, 60, 6000])
def test_wander_strays_by_its_deviation_however_long_the_steps(dt_s: float) -> None:
    signal = Wander(mean=220, deviation=1.5, tau_s=60)
    settled = run(signal, int(20 * 60 / dt_s) + 50, dt_s, rows=1000)[-50:]
    assert settled.mean() == pytest.approx(220, abs=0.2)
    assert settled.std() == pytest.approx(1.5, rel=0.05)


def test_wander_remembers_for_its_time_constant() -> None:
    values = run(Wander(mean=0, deviation=1, tau_s=60), 1500, rows=1000)[1000:]
    early, late = values[0], values[60]
    assert float(np.mean(early * late)) == pytest.approx(1 / np.e, abs=0.1)


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        ("{kind: constant, value: 1, sensor: [5, 5]}", "'sensor' must rise from low to high, is [5, 5]"),
        ("{kind: constant, value: 1, limit: [5, 1]}", "'limit' must rise from low to high, is [5, 1]"),
        ("{kind: constant, value: 1, resolution: 0}", "must be > 0, is 0"),
        ("{kind: constant, value: 1, noise: -1}", "must be ≥ 0, is -1"),
        ("{kind: cycle, points: [[0, 1]]}", "needs at least 2 items, has 1"),
        ("{kind: cycle, points: [[1, 1], [2, 1]]}", "must start at 0 and rise, are [1.0, 2.0]"),
        ("{kind: cycle, points: [[0, 1], [2, 1], [2, 3]]}", "must start at 0 and rise"),
        ("{kind: thermostat, watches: fan, on_above: 3, off_below: 3}", "'off_below' (3) must be below 'on_above' (3)"),
        ("{kind: accumulate, start_range: [2, 1]}", "'start_range' must rise from low to high, is [2, 1]"),
        ("{kind: accumulate, start_range: [1, 2], bounds: [5, 0]}", "'bounds' [5, 0] must hold 'start_range' [1, 2]"),
        ("{kind: wander, mean: 1, deviation: 1, tau_s: 0}", "must be > 0, is 0"),
        ("{kind: follow, of: nobody}", "unknown signal 'nobody'"),
        ("{kind: product, of: [fan, lod]}", "unknown signal 'lod' (did you mean 'load'?)"),
    ],
)
def test_what_cannot_be_is_refused(signal: str, message: str) -> None:
    text = PUMP.replace("load: {kind: constant, value: 10}", f"load: {{kind: constant, value: 10}}\n  odd: {signal}")
    with pytest.raises(UsageError) as error:
        profile(text)
    assert message in str(error.value)
    assert str(error.value).startswith("pump.yaml:7:")


def test_every_signal_of_the_tests_profile_is_known() -> None:
    signals: dict[str, Any] = dict(profile().signals)
    assert {signal.kind for signal in signals.values()} == {"constant", "thermal", "thermostat"}
