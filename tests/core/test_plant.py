"""The plant: a state is a function of seed, profile and holds; never of who asks, how often, or who else is there."""

import hashlib
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import profiles, seeds
from simulator.plant import Plant
from simulator.seeds import Keys
from simulator.signals import Range, Signal
from simulator.signals.constant import Constant
from simulator.signals.wander import Wander
from tests.core.fleets import PUMP, START_MS, profile

SHIPPED = profiles.names()
EVERY_KIND = """
profile: pump
thing_type: Pump
signals:
  a: {kind: constant, value: 20, spread: 3, noise: 0.5, resolution: 0.1}
  b: {kind: wander, mean: 5, deviation: 2, tau_s: 10, noise: 0.1}
  c: {kind: cycle, points: [[0, 0], [7, 9], [11, 3]], resolution: 0.001}
  d: {kind: follow, of: c, gain: 3, tau_s: 2}
  e: {kind: product, of: [a, b, d]}
  f: {kind: thermal, start_c: 40, ambient: a, load: d, fan: g,
      capacity_j_per_k: 10, heat_w_per_unit: 1, loss_w_per_k: 1, fan_w_per_k: 9}
  g: {kind: thermostat, watches: f, on_above: 30, off_below: 28}
  h: {kind: accumulate, start_range: [0, 9], of: c, gain: 0.1, bounds: [0, 60]}
behaviours:
  - {kind: telemetry, every_s: 10, topic: t, metrics: [a]}
"""


def keys(*things: str) -> Keys:
    return np.array([seeds.key(1, thing) for thing in things], dtype=np.uint64)


def plant(text: str = EVERY_KIND, things: tuple[str, ...] = ("x", "y", "z"), speed: float = 1.0) -> Plant:
    what = profile(text)
    return Plant(what.signals, keys(*things), START_MS, speed, what.step_s)


def after(of: Plant, thing: int, at_s: float) -> list[float]:
    return of.reading(thing, START_MS + int(at_s * 1000))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 50)), max_size=20))
def test_who_asked_and_how_often_makes_no_difference(questions: list[tuple[int, float]]) -> None:
    asked, quiet = plant(), plant()
    for row, at_s in sorted(questions, key=lambda question: question[1]):
        after(asked, row, at_s)
    assert after(asked, 1, 50) == after(quiet, 1, 50)


@settings(max_examples=50)
@given(st.sets(st.sampled_from("abcdefgh"), min_size=1).map(sorted))
def test_which_other_rows_there_are_makes_no_difference(others: list[str]) -> None:
    alone, crowd = plant(things=("x",)), plant(things=(*others, "x"))
    crowd.hold(0, "g", 1.0, START_MS)
    for at_s in (0, 1, 7, 40):
        assert after(crowd, len(others), at_s) == after(alone, 0, at_s)


def test_one_seed_gives_the_same_bytes_on_every_machine() -> None:
    one, digest = plant(), hashlib.sha256()
    for second in range(1000):
        digest.update(struct.pack("<8d", *after(one, second % 3, second)))
    assert digest.hexdigest()[:16] == "98e6afb802204675"


@pytest.mark.parametrize(("speed", "step_s"), [(1, 1), (20, 1), (3600, 60), (0.5, 0.1), (7, 0.3)])
def test_steps_are_due_by_the_clock(speed: float, step_s: float) -> None:
    what = profile(EVERY_KIND)
    one = Plant(what.signals, keys("x"), START_MS, speed, step_s)
    for at_s in (0, 1, 2.5, 60, 61):
        one.advance(START_MS + int(at_s * 1000))
        assert one.step == int(round(at_s * speed / step_s, 6))


def test_never_runs_backwards_nor_ahead() -> None:
    one = plant()
    at_10_s = after(one, 0, 10)
    assert after(one, 0, 5) == at_10_s
    assert one.step == 10


# Holds


def test_a_hold_takes_effect_at_the_next_step_and_is_let_go() -> None:
    one = plant(PUMP, ("x", "y"))
    fan, temp = one.positions(["fan", "temp_c"])
    free = after(one, 0, 300)
    one.hold(0, "fan", 0.0, START_MS + 300_000)
    assert after(one, 0, 304.9) == free
    assert after(one, 0, 305)[fan] == 0.0
    assert after(one, 0, 3000)[temp] == pytest.approx(120, abs=1)  # 20 + 10 · 10 / 1: no fan, no end
    assert after(one, 1, 3000)[temp] < 60
    one.hold(0, "fan", None, START_MS + 3_000_000)
    assert after(one, 0, 3005)[fan] == 1.0
    assert after(one, 0, 3600)[temp] < 60


def test_a_held_constant_comes_back_to_its_own_value() -> None:
    one = plant(PUMP, ("x",))
    [load] = one.positions(["load"])
    one.hold(0, "load", 99, START_MS)
    assert after(one, 0, 100)[load] == 99
    one.hold(0, "load", None, START_MS + 100_000)
    assert after(one, 0, 105)[load] == 10


def test_letting_go_what_is_not_held_is_nothing() -> None:
    one, other = plant(), plant()
    one.hold(0, "g", None, START_MS)
    one.hold(0, "g", 1.0, START_MS)
    one.hold(0, "g", None, START_MS)
    assert after(one, 0, 100) == after(other, 0, 100)


def test_several_rows_and_signals_are_held_apart() -> None:
    one = plant(PUMP, ("x", "y", "z"))
    for row, name, value in ((0, "fan", 0.5), (1, "fan", 0.7), (1, "load", 3.0)):
        one.hold(row, name, value, START_MS)
    fan, load = one.positions(["fan", "load"])
    one.hold(0, "fan", None, START_MS + 50_000)
    assert [(after(one, row, 60)[fan], after(one, row, 60)[load]) for row in (1, 2)] == [(0.7, 3), (1, 10)]


# Sensors


def readings(
    signals: dict[str, Signal], steps: int, things: int = 20
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    one = Plant(signals, keys(*map(str, range(things))), 0)
    return np.array([one.reading(row, step * 1000) for step in range(steps) for row in range(things)])


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_read_what_their_sensors_can(name: str) -> None:
    signals = profiles.profile(name).signals
    columns = readings(signals, 600).T
    for signal, column in zip(signals.values(), columns, strict=True):
        if signal.sensor:
            assert column.min() >= signal.sensor.low
            assert column.max() <= signal.sensor.high
        step = Fraction(str(signal.resolution))
        assert all(float(round(Fraction(value) / step) * step) == value for value in set(column.tolist()))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_are_in_their_normal_range_from_the_first_moment_on(name: str) -> None:
    """A sound device never has a bad reading: what a run calls a false alarm must be one."""
    signals = profiles.profile(name).signals
    columns = readings(signals, 1800).T
    for (signal_name, signal), column in zip(signals.items(), columns, strict=True):
        if signal.limit:
            assert signal.limit.low <= column.min(), signal_name
            assert column.max() <= signal.limit.high, signal_name


@pytest.mark.parametrize("resolution", [0.001, 0.01, 0.03, 0.1, 0.3, 0.25, 1, 2, 5, 7, 50])
def test_readings_are_the_shortest_decimals_on_the_grid(resolution: float) -> None:
    column = readings({"x": Wander(mean=3, deviation=900, resolution=resolution)}, 100)[:, 0]
    step = Fraction(str(resolution))
    for value in column.tolist():
        assert value == float(round(Fraction(value) / step) * step)


def test_a_reading_is_never_minus_zero() -> None:
    signals: dict[str, Signal] = {
        "x": Constant(value=0, noise=0.2, resolution=1), "y": Constant(value=-3, noise=1, sensor=Range(0, 9)),
    }  # fmt: skip
    values = readings(signals, 200)
    assert not np.signbit(values[values == 0]).any()


def test_noise_is_measured_around_the_value_and_does_not_add_up() -> None:
    column = readings({"x": Constant(value=50, noise=2)}, 1000)[:, 0]
    assert column.mean() == pytest.approx(50, abs=0.1)
    assert column.std() == pytest.approx(2, rel=0.05)
    assert column[-20:].std() == pytest.approx(2, rel=0.6)


def test_asking_twice_in_a_step_reads_the_same() -> None:
    one = plant()
    assert after(one, 0, 10.1) == after(one, 0, 10.9) != after(one, 0, 11)
