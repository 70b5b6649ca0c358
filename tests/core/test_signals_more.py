"""Physics: the signals that shape a day and a fire, and what the shipped profiles make of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import profiles, rooms, seeds
from simulator.plant import Plant
from simulator.profiles import Profile
from simulator.seeds import Floats, Keys
from simulator.signals import Draw, Signal
from simulator.wire.payloads import fire_status

DAY_S = 86_400


def keys(count: int, seed: int = 1) -> Keys:
    return np.array([seeds.key(seed, f"device-{n:03}") for n in range(count)], dtype=np.uint64)


KEYS = keys(1000)


def signal(kind: str, **given: Any) -> Signal:
    made = rooms.member("signals", kind).model_validate(given)  # type: ignore[attr-defined]
    assert isinstance(made, Signal)
    return made


def course(one: Signal, of: Mapping[str, float], steps: int, dt_s: float = 1.0, rows: Keys = KEYS) -> Floats:
    """The signal's values, a row a step, while its inputs stay as they are."""
    columns = {name: np.full(len(rows), value) for name, value in of.items()}
    draw = Draw(rows, 5, 0)
    value, told = one.settle(one.start(draw), columns), []
    for step in range(1, steps + 1):
        draw.step = step
        value = one.advance(value, columns, (step - 1) * dt_s, dt_s, draw)
        told.append(value)
    return np.array(told)


# The new signals, by tables and properties


@pytest.mark.parametrize(
    ("given_", "of", "expected"),
    [
        ({"of": ["a"]}, {"a": 3.0}, 3.0),
        ({"of": ["a", "b"]}, {"a": 3.0, "b": 4.0}, 7.0),
        ({"of": ["a", "b"], "gains": [1, -1], "offset": 0.5}, {"a": 3.0, "b": 4.0}, -0.5),
        ({"of": ["a", "b"], "gains": [1, -1], "bounds": [0, 9]}, {"a": 3.0, "b": 4.0}, 0.0),
    ],
)
def test_blend_adds_up(given_: dict[str, Any], of: dict[str, float], expected: float) -> None:
    assert (course(signal("blend", **given_), of, 2) == expected).all()


@pytest.mark.parametrize(("x", "expected"), [(-5.0, 1.0), (0.0, 1.0), (0.5, 2.0), (1.0, 3.0), (2.0, 13.0), (9.0, 13.0)])
def test_lookup_reads_its_curve(x: float, expected: float) -> None:
    assert (course(signal("lookup", of="x", points=[[0, 1], [1, 3], [2, 13]]), {"x": x}, 1) == expected).all()


@pytest.mark.parametrize("dt_s", [0.5, 1.0, 5.0])
def test_a_pulse_comes_as_often_and_lasts_as_long_as_it_says(dt_s: float) -> None:
    told = course(signal("pulse", every_s=200, lasts_s=20, height=[6, 18]), {}, 2000, dt_s)
    on = told > 0
    assert on.mean() == pytest.approx(20 / 220, rel=0.05)
    begun = told[1:][on[1:] & ~on[:-1]]
    assert (begun.min(), begun.max()) == pytest.approx((6, 18), abs=0.1)
    assert begun.mean() == pytest.approx(12, abs=0.3)
    stays = on[1:] & on[:-1]
    assert (told[1:][stays] == told[:-1][stays]).all(), "one pulse has one height"


@pytest.mark.parametrize("per_s", [0.0, 0.02, 0.7, 6.0])
@pytest.mark.parametrize("dt_s", [0.25, 1.0, 10.0])
def test_counts_are_whole_and_right_in_the_mean(per_s: float, dt_s: float) -> None:
    told = course(signal("count", of="rate"), {"rate": per_s}, 400, dt_s)
    assert (told == np.floor(told)).all()
    assert (told >= 0).all()
    assert told.mean() == pytest.approx(per_s * dt_s, rel=0.06)
    assert (course(signal("count", of="rate"), {"rate": -1.0}, 5) == 0).all()


def test_growth_begins_with_a_spark_and_then_needs_none() -> None:
    fire = signal("growth", spark="spark", tau_s=[50, 150])
    assert (course(fire, {"spark": 0.0}, 100) == 0).all()
    grown = course(fire, {"spark": 1.0}, 3000)
    assert (np.diff(grown, axis=0) >= 0).all()
    assert (grown[0] < 0.02).all()
    assert (grown[-1] > 0.99).all()
    assert (grown <= 1).all()
    half = (grown < 0.5).sum(axis=0)
    assert half.min() > 0.9 * 50 * np.log(99)
    assert half.max() < 1.1 * 150 * np.log(99)
    assert np.unique(half).size > 100, "each device burns at its own pace"


@pytest.mark.parametrize(
    ("size", "spark", "rises"), [(0.1, 0.0, False), (0.2, 0.0, True), (0.1, 1.0, True), (0.9, -1.0, False)]
)
def test_growth_goes_on_or_dies_down(size: float, spark: float, rises: bool) -> None:
    fire = signal("growth", spark="spark", tau_s=[50, 60])
    value: Floats = np.full(len(KEYS), size)
    columns: dict[str, Floats] = {"spark": np.full(len(KEYS), spark)}
    for step in range(1, 2000):
        value = fire.advance(value, columns, step, 1.0, Draw(KEYS, 5, step))
    assert (value > 0.99).all() if rises else (value == 0).all()


SQUARE = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
KM = 111.195


@pytest.mark.parametrize(
    ("km", "latitude", "longitude"),
    [(0, 0, 0), (KM / 2, 0.5, 0), (KM, 1, 0), (400 * KM, None, None), (-KM / 2, 0, 0.5)],
)
def test_a_route_leads_around_and_back(km: float, latitude: float | None, longitude: float | None) -> None:
    found = [
        float(course(signal("route", of="km", axis=axis, points=SQUARE), {"km": km}, 1)[0, 0])
        for axis in ("latitude", "longitude")
    ]
    assert all(-1e-9 <= value <= 1 + 1e-9 for value in found)
    if latitude is not None:
        assert found == pytest.approx([latitude, longitude], abs=1e-3)


@given(
    points=st.lists(
        st.tuples(st.floats(-80, 80), st.floats(-170, 170)).map(lambda p: (round(p[0], 3), round(p[1], 3))),
        min_size=2, max_size=12, unique=True,
    ),
    start_km=st.floats(0, 400_000), step_km=st.floats(0.001, 0.05),
)  # fmt: skip
def test_a_route_never_jumps(points: list[tuple[float, float]], start_km: float, step_km: float) -> None:
    km: Floats = np.asarray(start_km + step_km * np.arange(50.0))
    rows = keys(50)
    places = [
        signal("route", of="km", axis=axis, points=points).settle(np.zeros(len(rows)), {"km": km})
        for axis in ("latitude", "longitude")
    ]
    latitude, longitude = places
    assert (np.abs(np.diff(latitude)) * KM <= step_km * 1.01 + 1e-6).all()
    shrink = np.cos(np.radians(np.max(np.abs(points), axis=0)[0]))
    assert (np.abs(np.diff(longitude)) * KM * shrink <= step_km * 1.01 + 1e-6).all()


@pytest.mark.parametrize(
    ("kind", "given_", "said"),
    [
        ("blend", {"of": ["a", "b"], "gains": [1]}, "'gains' must be as many as 'of': 2, are 1"),
        ("lookup", {"of": "a", "points": [[1, 0], [1, 1]]}, "must rise"),
        ("route", {"of": "a", "axis": "latitude", "points": [[0, 0], [0, 0]]}, "the same place"),
        ("route", {"of": "a", "axis": "latitude", "points": [[0, 0], [91, 0]]}, "not on earth"),
    ],
)
def test_what_cannot_be_is_refused(kind: str, given_: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        signal(kind, **given_)


def test_follow_falls_at_its_own_pace() -> None:
    lowest = signal("follow", of="volt", tau_s=10, fall_tau_s=0)
    volt = {"volt": np.array([100.0])}
    draw = Draw(keys(1), 0, 1)
    assert lowest.advance(np.array([220.0]), volt, 0, 1, draw) == [100.0]
    assert lowest.advance(np.array([0.0]), volt, 0, 1, draw) == pytest.approx([100 / 11])


@pytest.mark.parametrize("rows", [1, 3, 700, 3000])
def test_noise_made_ahead_is_the_noise_of_its_step(rows: int) -> None:
    """Whether many steps are made in one go depends on the number of devices; the numbers do not."""
    some, kept = keys(rows), Draw(keys(rows), 9, 0)
    for step in [1, 2, 3, 2500, 2, 90, 91]:
        kept.step = step
        fresh = Draw(some, 9, step)
        assert (kept.normal() == seeds.normal(seeds.salted(some, 9), step)).all()
        assert (kept.uniform() == fresh.uniform()).all()
        assert (kept.uniform(1) == fresh.uniform(1)).all()
        assert not (fresh.uniform() == fresh.uniform(1)).any()


# The shipped profiles


def day(profile: Profile, rows: int, hours: float = 24, step_s: float = 5.0) -> tuple[Floats, Floats]:
    """The lowest and the highest reading of each signal over all devices; steps are as long as they may be."""
    step_s = max(step_s, profile.step_s)
    plant = Plant(profile.signals, keys(rows), 0, step_s=step_s)
    low, high = np.full((2, rows, len(plant.names)), np.nan)
    for step in range(int(hours * 3600 / step_s)):
        plant.reading(0, int(step * step_s * 1000))
        np.fmin(low, plant._measured, out=low)
        np.fmax(high, plant._measured, out=high)
    return low.min(axis=0), high.max(axis=0)


@pytest.mark.parametrize("name", profiles.names())
def test_a_healthy_day_raises_no_alarm(name: str) -> None:
    profile = profiles.profile(name)
    for (metric, one), low, high in zip(profile.signals.items(), *day(profile, 50), strict=True):
        if one.limit:
            assert one.limit.low <= low <= high <= one.limit.high, f"{metric}: {low} to {high}"
        if one.sensor:
            assert one.sensor.low <= low <= high <= one.sensor.high, f"{metric}: {low} to {high}"


@pytest.mark.parametrize("name", profiles.names())
def test_all_that_is_sent_has_a_sensor(name: str) -> None:
    profile = profiles.profile(name)
    sent = {metric for behaviour in profile.behaviours for metric in behaviour.signals()}
    assert [metric for metric in sent if not profile.signals[metric].sensor] == []


# (profile, temperature, its fan, lowest and highest in health, the alarm limit)
COOLED = [
    ("vehicle-sedan", "engine_temp_c", "fan_level", 86, 96, 110),
    ("vehicle-suv", "engine_temp_c", "fan_level", 86, 96, 110),
    ("vehicle-truck", "engine_temp_c", "fan_level", 86, 96, 110),
    ("machine-a", "tempC", "fan", 55, 70, 80),
]


class Cooled:
    """200 of them, one second a step."""

    def __init__(self, name: str, temperature: str, fan: str) -> None:
        signals = profiles.profile(name).signals
        self.plant = Plant(signals, keys(200), 0)
        self.temperature, self.fan = temperature, fan
        self.now_ms = 0

    def run(self, seconds: int) -> Floats:
        """Temperatures, a row a second."""
        told = []
        for _ in range(seconds):
            self.now_ms += 1000
            self.plant.advance(self.now_ms)
            told.append(self.plant.columns[self.temperature])
        return np.array(told)

    def hold(self, value: float | None) -> None:
        for row in range(200):
            self.plant.hold(row, self.fan, value, self.now_ms)


@pytest.mark.parametrize(("name", "temperature", "fan", "low", "high", "limit"), COOLED)
def test_a_fan_keeps_it_cool_and_its_loss_is_noticed(
    name: str, temperature: str, fan: str, low: float, high: float, limit: float
) -> None:
    machine = Cooled(name, temperature, fan)
    told = machine.run(2000)
    assert low <= told.min() <= told.max() <= high
    machine.hold(0.0)
    hot = machine.run(400)
    too_hot_s = (hot <= limit).sum(axis=0)
    assert too_hot_s.min() > 30
    assert too_hot_s.max() < 240, "twelve seconds at twenty times the speed"
    machine = Cooled(name, temperature, fan)
    machine.run(300)
    machine.hold(0.0)
    while machine.run(1)[-1].max() <= limit + 1:  # the hottest one is just too hot
        pass
    machine.hold(None)
    cooled = machine.run(90)
    assert (cooled[-1] < limit).all()


def fire(rows: int = 20) -> tuple[Plant, int]:
    """Fire sensors, healthy for half an hour; then each has a spark."""
    plant = Plant(profiles.profile("fire-sensor").signals, keys(rows), 0)
    for row in range(rows):
        plant.hold(row, "ignition", 1.0, 1_800_000)
    return plant, 1800


def test_a_fire_goes_through_its_stages_in_order() -> None:
    plant, start_s = fire()
    alarms = {"sensorTemp": 60.0, "co": 17.0, "voc": 400.0, "aArc": 0.0, "zct": 8.0}
    first = {metric: np.full(20, np.inf) for metric in (*alarms, "outage")}
    for at_s in range(start_s + 1, start_s + 3000):
        plant.advance(at_s * 1000)
        for metric, limit in alarms.items():
            bad = plant.columns[metric] > limit
            first[metric] = np.where(bad & np.isinf(first[metric]), at_s, first[metric])
        off = plant.columns["volt"] < 11
        first["outage"] = np.where(off & np.isinf(first["outage"]), at_s, first["outage"])
    times = np.array(list(first.values())) - start_s
    assert np.isfinite(times).all()
    assert (np.diff(times, axis=0) > 0).all(), f"in the order of {list(first)}"
    assert times[0].min() > 60, "it smoulders first"
    assert times[-1].max() < 2400
    end = plant.columns
    assert (end["ct"] == 0).all(), "no mains, no current"
    assert (end["zct"] == 0).all()
    assert (end["aArc"] == 0).all()
    assert (end["pcbTemp"] > 100).all()
    reading = dict(zip(plant.names, plant.reading(0, 5_000_000), strict=True))
    assert (reading["pcbTemp"], reading["sensorTemp"]) == (100, 100), "no more than the sensors can read"
    assert fire_status(reading) & 0b1111 == 0b0010


def test_all_that_a_fire_moves_rises_with_it() -> None:
    plant, start_s = fire()
    plant.advance((start_s + 1) * 1000)
    of = {name: column.copy() for name, column in plant.columns.items()}
    while plant.columns["fire"].max() < 0.85:
        start_s += 1
        plant.advance((start_s + 1) * 1000)
    burnt = plant.columns["fire"] > 0.6
    for metric in ("sensorTemp", "pcbTemp", "co", "voc", "zct", "rzct"):
        assert (plant.columns[metric][burnt] > 3 * of[metric][burnt]).all() or metric.endswith("Temp")
        assert (plant.columns[metric][burnt] > of[metric][burnt] + 1).all()
    assert (plant.columns["pFct"] < of["pFct"] + 0.02).all()


def test_a_fire_can_be_put_out() -> None:
    plant, start_s = fire(4)
    plant.advance(start_s * 1000 + 3_000_000)
    for row in range(4):
        plant.hold(row, "ignition", -1.0, start_s * 1000 + 3_000_000)
    plant.advance(start_s * 1000 + 10_000_000)
    assert (plant.columns["fire"] == 0).all()
    assert (plant.columns["volt"] > 190).all()
    assert (plant.columns["sensorTemp"] < 60).all()


# The status bits of its record (contracts, section 3)

NORMAL = {
    "volt": 220.0, "voltLow": 220.0, "ct": 5.0, "zct": 0.5, "rzct": 0.3, "pwr": 1.1, "pcbTemp": 35.0,
    "sensorTemp": 37.0, "co": 5.0, "voc": 50.0, "pFct": 0.95, "aArc": 0.0,
}  # fmt: skip
BITS: list[tuple[dict[str, float], int]] = [
    ({}, 0),
    ({"volt": 234.0, "pwr": 1.15}, 0),
    ({"volt": 234.1, "pwr": 1.15}, 1 << 0),
    ({"volt": 180.0, "pwr": 0.86}, 0),
    ({"volt": 0.0, "ct": 0.0, "pwr": 0.0}, 1 << 1),
    ({"volt": 0.4, "ct": 0.02, "pwr": 0.006}, 1 << 1),
    ({"ct": 100.0, "pwr": 20.9}, 0),
    ({"ct": 100.1, "pwr": 20.9}, 1 << 2),
    ({"zct": 8.0}, 0),
    ({"zct": 8.1}, 1 << 3),
    ({"rzct": 8.1}, 1 << 4),
    ({"pwr": 1.253}, 0),
    ({"pwr": 1.255}, 1 << 5),
    ({"pwr": 0.83}, 1 << 5),
    ({"pwr": 0.84}, 0),
    ({"pwr": 1045.0}, 1 << 5),  # in W instead of kW
    ({"pcbTemp": 60.0, "sensorTemp": 60.0}, 0),
    ({"pcbTemp": 60.1}, 1 << 6),
    ({"sensorTemp": 60.1}, 1 << 7),
    ({"co": 17.0, "voc": 400.0}, 0),
    ({"co": 17.1}, 1 << 8),
    ({"voc": 401.0}, 1 << 9),
    ({"pFct": 0.9, "pwr": 0.99}, 0),
    ({"pFct": 0.899, "pwr": 0.99}, 1 << 10),
    ({"aArc": 1.0}, 1 << 11),
    ({"sensorTemp": 80.0, "co": 30.0, "aArc": 4.0}, 1 << 7 | 1 << 8 | 1 << 11),
]


@pytest.mark.parametrize(("changed", "status"), BITS)
def test_status_bits(changed: dict[str, float], status: int) -> None:
    assert fire_status(NORMAL | changed) == status


@pytest.mark.parametrize("missing", NORMAL)
def test_what_is_not_measured_raises_no_alarm(missing: str) -> None:
    assert fire_status({name: value for name, value in NORMAL.items() if name != missing}) == 0
    assert fire_status({}) == 0
