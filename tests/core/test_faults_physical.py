"""Physical events: what all sensors of a device say of one, how it comes and goes, and that what follows follows."""

import json
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

from simulator import profiles
from simulator.clock import VirtualClock
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.messages import Booted, PowerCycle, PowerOn, Publish
from simulator.runtime.virtual import Virtual
from tests.core.fleets import START_MS, fleet
from tests.core.test_faults_sensor import fault

BEGIN_S = 100
Values = dict[str, float]


class Life(NamedTuple):
    """What one device said."""

    readings: list[tuple[float, Values]]  # its telemetry, by the second
    said: list[tuple[float, Publish]]
    ledger: Ledger
    fleet: Fleet

    def between(self, from_s: float, to_s: float) -> list[Values]:
        return [values for at_s, values in self.readings if from_s <= at_s < to_s]

    def range(self, metric: str, from_s: float, to_s: float) -> tuple[float, float]:
        values = [of[metric] for of in self.between(from_s, to_s)]
        return min(values), max(values)

    def first(self, metric: str, so: Callable[[float], bool]) -> float:
        """When it was so for the first time after the event began; or never."""
        return next((at_s for at_s, of in self.readings if at_s >= BEGIN_S and so(of[metric])), float("inf"))

    def notes(self, kind: str) -> list[tuple[float, Any]]:
        return [((e.at_ms - START_MS) / 1000, e.detail) for e in self.ledger.events if e.kind == kind]


def life(
    name: str,
    stop_s: float,
    seed: int = 1,
    clear_s: float | None = None,
    power_cycle_s: float | None = None,
    **keys: Any,
) -> Life:
    """A device of a shipped profile; the event begins after `BEGIN_S`. Without keys nothing happens to it."""
    what = profiles.profile(name)
    found, ledger, said = fleet(what, ["device-01"], seed), Ledger(), list[tuple[float, Publish]]()
    virtual = Virtual(found, VirtualClock(), ledger, lambda at, _, m: said.append(((at - START_MS) / 1000, m)))
    virtual.start(0, START_MS)
    if keys:
        event = fault(**keys)
        assert event.unfit(what.subject) is None
        virtual.inject(0, event, START_MS + BEGIN_S * 1000)
    if clear_s is not None:
        virtual.clear(0, None, START_MS + int(clear_s * 1000))
    if power_cycle_s is not None:
        virtual.power_cycle(0, START_MS + int(power_cycle_s * 1000), 20_000)
    virtual.run_until(START_MS + int(stop_s * 1000))
    readings = [(at_s, values(m.payload)) for at_s, m in said if m.kind == "telemetry"]
    return Life(readings, said, ledger, found)


def values(payload: bytes) -> Values:
    found = json.loads(payload)
    result: Values = found["data"]["metrics"] if "data" in found else found
    return result


class Course(NamedTuple):
    """An event and its course: where a metric is before it, at its height, and so long after its end."""

    profile: str
    keys: dict[str, Any]
    metric: str
    before: tuple[float, float]
    height: tuple[float, float]
    from_s: float  # of its height, after it began
    after: tuple[float, float]
    calm_s: float  # after its end
    bits: int = 0  # of the record's status, at its height


def heat(signal: str, to: float) -> dict[str, Any]:
    return {"kind": "overheat", "signal": signal, "to": to, "for_s": 300}


HOT = heat("engine_temp_c", 128)
MAINS: dict[str, Any] = {"kind": "outage", "for_s": 120}
LEAK: dict[str, Any] = {"kind": "leakage", "for_s": 300}
SAG: dict[str, Any] = {"kind": "voltage_sag", "for_s": 60}
SUPPLY = {"signal": "supply"}
COURSES = [
    Course("vehicle-sedan", HOT, "engine_temp_c", (85, 97), (125, 131), 160, (85, 97), 400),
    Course("vehicle-truck", HOT | {"to": 140, "ramp_s": 0}, "engine_temp_c", (85, 98), (136, 144), 2, (85, 98), 400),
    Course("machine-a", heat("tempC", 95), "tempC", (55, 72), (93, 97), 160, (55, 72), 400),
    Course("fire-sensor", heat("sensorTemp", 75), "sensorTemp", (30, 40), (73, 77), 160, (30, 40), 200, 1 << 7),
    Course("fire-sensor", LEAK | {"to": 20}, "zct", (0.3, 0.8), (18, 22), 80, (0.2, 1.5), 1500, 1 << 3 | 1 << 4),
    Course("fire-sensor", LEAK | {"to": 9}, "zct", (0.3, 0.8), (8.4, 9.6), 80, (0.2, 1.5), 1500, 1 << 3),
    Course("fire-sensor", SAG, "volt", (213, 227), (150, 158), 3, (210, 227), 180),
    Course("machine-a", SAG | SUPPLY | {"depth": 0.2}, "voltage", (385, 410), (305, 325), 3, (385, 410), 400),
    Course("fire-sensor", MAINS, "volt", (213, 227), (0, 1), 3, (213, 227), 3, 1 << 1),
    Course("fire-sensor", MAINS, "ct", (1.4, 3), (0, 0.1), 3, (1.4, 3), 3, 1 << 1),
    Course("machine-a", MAINS | SUPPLY, "voltage", (385, 410), (0, 1), 3, (385, 410), 600),
]  # fmt: skip


@pytest.mark.parametrize("of", COURSES, ids=lambda of: f"{of.keys['kind']}-{of.profile}-{of.metric}")
def test_an_event_rises_lasts_and_goes(of: Course) -> None:
    end_s = BEGIN_S + of.keys["for_s"]
    stop_s = end_s + of.calm_s + 100
    sound, told = life(of.profile, stop_s), life(of.profile, stop_s, **of.keys)
    assert [m for at_s, m in told.said if at_s < BEGIN_S] == [m for at_s, m in sound.said if at_s < BEGIN_S]

    def inside(found: tuple[float, float], wanted: tuple[float, float]) -> bool:
        return wanted[0] <= found[0] <= found[1] <= wanted[1]

    assert inside(told.range(of.metric, 60, BEGIN_S), of.before)
    assert inside(told.range(of.metric, BEGIN_S + of.from_s, end_s), of.height), "at its height"
    assert inside(told.range(of.metric, end_s + of.calm_s, stop_s), of.after), "after it"
    if of.bits:
        height = {int(values["status"]) for values in told.between(BEGIN_S + of.from_s, end_s)}
        assert all(status & of.bits == of.bits for status in height)
        assert {int(values["status"]) for values in told.between(0, BEGIN_S)} == {0}
        assert {int(values["status"]) for values in told.between(end_s + of.calm_s, stop_s)} == {0}
    assert [(at_s, detail["fault"]) for at_s, detail in told.notes("fault_cleared")] == [(end_s, of.keys["kind"])]
    device = told.fleet.devices[0]
    assert not device.faults
    assert not device.plant._held, "nothing is held any more"


def test_what_cools_down_does_not_jump() -> None:
    told = life("vehicle-sedan", 800, **HOT)
    hot = [(at_s, of["engine_temp_c"]) for at_s, of in told.readings if at_s >= BEGIN_S]
    for (at_s, one), (then_s, other) in pairwise(hot):
        assert abs(other - one) < 2.5 * (then_s - at_s), f"{one} → {other} at {at_s} s"
    assert hot[-1][1] < 97


def test_what_follows_from_an_event_follows() -> None:
    told = life("machine-a", 500, kind="overheat", signal="tempC", to=95, for_s=300)
    assert told.range("fan", 250, 400) == (1, 1), "its thermostat sees the heat"
    dark = life("fire-sensor", 300, **MAINS)
    for of in dark.between(BEGIN_S + 3, BEGIN_S + 120):
        assert of["pwr"] < 0.02
        assert of["aArc"] == 0
        assert of["zct"] < 0.1


def test_devices_do_not_have_quite_the_same_event() -> None:
    told = [life("vehicle-sedan", 400, seed=seed, **HOT) for seed in range(6)]
    reached = [of.first("engine_temp_c", lambda value: value > 120) for of in told]
    assert all(BEGIN_S + 40 < at_s < BEGIN_S + 140 for at_s in reached)
    assert len(set(reached)) == 6


def test_an_event_is_the_same_again_with_the_same_seed() -> None:
    for keys in (HOT, {"kind": "fire"}, {"kind": "arcs"}, {"kind": "leakage"}):
        name = "vehicle-sedan" if keys is HOT else "fire-sensor"
        assert life(name, 600, **keys).said == life(name, 600, **keys).said


def test_an_event_that_is_cleared_early_ends_there() -> None:
    told = life("vehicle-sedan", 800, clear_s=250, **HOT)
    assert [at_s for at_s, _ in told.notes("fault_cleared")] == [250]
    assert told.range("engine_temp_c", 600, 800)[1] < 97
    assert not told.fleet.devices[0].plant._held


# Arcs


def test_arcs_come_in_bursts() -> None:
    told = life("fire-sensor", 1200, kind="arcs", for_s=600)
    arcs = [(at_s, of["aArc"]) for at_s, of in told.readings]
    assert {count for at_s, count in arcs if not BEGIN_S <= at_s < BEGIN_S + 602} == {0}
    during = [count for at_s, count in arcs if BEGIN_S <= at_s < BEGIN_S + 600]
    assert sum(during) > 20
    quiet, longest = 0, 0
    for count in during:
        quiet = quiet + 1 if count == 0 else 0
        longest = max(longest, quiet)
    assert longest >= 3, "there are pauses"
    for of in told.between(0, 1200):
        assert (int(of["status"]) >> 11 & 1) == (of["aArc"] > 0)


def test_there_is_no_arc_without_mains() -> None:
    found = fleet(profiles.profile("fire-sensor"), ["device-01"]).devices[0]
    found.inject(fault(kind="outage"), START_MS)
    found.inject(fault(kind="arcs", burst_s=[600, 600], per_s=[5, 5]), START_MS)
    found.step(START_MS)
    assert all(found.reading(START_MS + 1000 * n)["aArc"] == 0 for n in range(2, 300))
    found.clear("outage", START_MS + 300_000)
    assert any(found.reading(START_MS + 1000 * n)["aArc"] > 0 for n in range(302, 320))


# Outage


@pytest.mark.parametrize("clear_s", [None, 150])
def test_a_device_without_a_battery_is_dead_until_the_mains_are_back(clear_s: float | None) -> None:
    told = life("vehicle-suv", 400, kind="outage", battery=False, for_s=120, clear_s=clear_s)
    end_s = clear_s or BEGIN_S + 120
    assert [m for at_s, m in told.said if BEGIN_S <= at_s < end_s] == []
    assert told.between(end_s, end_s + 6), "it is back at once"
    assert len([at_s for at_s, m in told.said if m.kind == "shadow_get"]) == 2
    assert len(told.notes("connected")) == 2
    assert [reason["reason"] for _, reason in told.notes("disconnected")] == ["severed"]


def test_an_outage_without_an_end_waits_for_one() -> None:
    told = life("vehicle-suv", 4000, kind="outage", battery=False, clear_s=3600)
    assert told.between(0, BEGIN_S)
    assert not told.between(BEGIN_S, 3600)
    assert told.between(3600, 3606)


def test_an_outage_while_it_is_dark_anyway_keeps_it_dark() -> None:
    device = fleet(profiles.profile("vehicle-suv"), ["device-01"]).devices[0]
    device.inject(fault(kind="outage", battery=False, for_s=60), START_MS + 10)
    device.powered = False  # a reboot, since 5 s before
    assert not any(isinstance(output, PowerCycle) for output in device.step(START_MS + 10))
    assert device.receive(Booted(), START_MS + 5_000) == []
    assert [output for output in device.step(START_MS + 5_000) if not isinstance(output, Publish)] == [PowerCycle(None)]
    assert PowerOn() in device.step(START_MS + 60_010)


def test_an_outage_that_ends_while_it_is_dark_anyway_does_not_wake_it() -> None:
    device = fleet(profiles.profile("vehicle-suv"), ["device-01"]).devices[0]
    device.powered = False
    device.inject(fault(kind="outage", battery=False, for_s=60), START_MS)
    said = device.step(START_MS) + device.step(START_MS + 60_000)
    assert [type(output).__name__ for output in said] == ["Note"]


# Fire

SEEDS = range(4)


@cache
def fire(seed: int) -> Life:
    return life("fire-sensor", 4500, seed=seed, kind="fire", for_s=2400)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fire_goes_through_its_stages(seed: int) -> None:
    told = fire(seed)
    stages = [(detail["stage"], at_s) for at_s, detail in told.notes("fire_stage")]
    assert [stage for stage, _ in stages] == ["smouldering", "flaming", "developed", "out"]
    begins, flames, developed, out = (at_s for _, at_s in stages)
    assert begins == BEGIN_S
    assert 240 <= flames - begins <= 900
    assert 150 <= developed - flames <= 1000
    assert out == BEGIN_S + 2400
    gas = min(told.first("co", lambda v: v > 17), told.first("voc", lambda v: v > 400))
    heat = told.first("sensorTemp", lambda v: v > 60)
    arcs = told.first("aArc", lambda v: v > 0)
    assert begins + 60 < gas < flames < heat < arcs < developed + 100, "gases first, then heat, then arcs"
    assert told.range("sensorTemp", begins, flames)[1] < 50, "what smoulders is hardly warm"
    assert told.range("voltLow", begins, flames)[0] > 190
    assert told.range("volt", out - 60, out) < (1, 2), "it has taken the mains"
    assert told.range("co", out - 60, out)[0] > 500
    bits = 0
    for at_s, of in told.readings:
        if at_s < BEGIN_S:
            assert of["status"] == 0
        bits |= int(of["status"])
    assert bits >> 6 & 0b111111 == 0b111111, "board, sensor, CO, VOC, power factor, arcs"
    assert bits >> 1 & 1, "outage"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fire_that_is_out_leaves_nothing(seed: int) -> None:
    told = fire(seed)
    out_s = BEGIN_S + 2400
    temps = [of["pcbTemp"] for of in told.between(out_s, 4500)]
    assert max(b - a for a, b in pairwise(temps)) < 1.0, "it only cools"
    assert temps[0] == 100
    after = told.between(4000, 4500)
    assert {int(of["status"]) for of in after} == {0}
    assert all(of["sensorTemp"] < 40 and of["co"] < 10 and of["voc"] < 150 and of["volt"] > 190 for of in after)
    assert not told.fleet.devices[0].plant._held


def test_fires_differ() -> None:
    flames = [fire(seed).notes("fire_stage")[1][0] for seed in SEEDS]
    smoke = [fire(seed).range("co", BEGIN_S, at_s)[1] for seed, at_s in zip(SEEDS, flames, strict=True)]
    assert len(set(flames)) == 4
    assert len(set(smoke)) >= 3
    assert all(17 < co < 75 for co in smoke)


@pytest.mark.parametrize("clear_s", [150, 400, 700, 900])
def test_a_fire_can_be_put_out_at_any_time(clear_s: float) -> None:
    told = life("fire-sensor", clear_s + 3000, kind="fire", clear_s=clear_s, smoulder_s=[300, 300])
    after = told.between(clear_s + 2400, clear_s + 3000)
    assert {int(of["status"]) for of in after} == {0}
    assert told.notes("fire_stage")[-1] == (clear_s, {"stage": "out"})


def test_ramp_s_says_how_long_it_smoulders() -> None:
    told = life("fire-sensor", 300, kind="fire", ramp_s=100)
    assert [(at_s, detail["stage"]) for at_s, detail in told.notes("fire_stage")] == [
        (100, "smouldering"),
        (200, "flaming"),
    ]


def test_a_fire_goes_on_while_the_sensor_restarts() -> None:
    told = life("fire-sensor", 1200, kind="fire", smoulder_s=[300, 300], power_cycle_s=300)
    assert [detail["stage"] for _, detail in told.notes("fire_stage")][:2] == ["smouldering", "flaming"]
    assert told.first("sensorTemp", lambda v: v > 60) < 1200


# What should be noticed

EXPECTED: list[tuple[str, dict[str, Any], str, str, float]] = [
    ("vehicle-sedan", HOT, "engine_temp_c", "alarm", 420),
    ("vehicle-sedan", HOT | {"to": 105}, "engine_temp_c", "nothing", 300),
    ("fire-sensor", {"kind": "fire"}, "co", "alarm", 1200),
    ("fire-sensor", {"kind": "fire", "ramp_s": 60}, "co", "alarm", 360),
    ("fire-sensor", {"kind": "arcs"}, "aArc", "alarm", 340),
    ("fire-sensor", {"kind": "leakage"}, "zct", "alarm", 360),
    ("fire-sensor", {"kind": "leakage", "to": 5}, "zct", "nothing", 300),
    ("fire-sensor", {"kind": "voltage_sag"}, "volt", "alarm", 300),
    ("fire-sensor", {"kind": "voltage_sag", "depth": 0.05}, "volt", "nothing", 300),
    ("machine-a", {"kind": "voltage_sag", "signal": "supply", "depth": 0.2}, "voltage", "alarm", 300),
    ("fire-sensor", {"kind": "outage"}, "volt", "alarm", 300),
    ("vehicle-suv", {"kind": "outage", "battery": False, "for_s": 600}, "", "silence", 300),
    ("vehicle-suv", {"kind": "outage", "battery": False}, "", "silence", 300),
    ("vehicle-suv", {"kind": "outage", "battery": False, "for_s": 10}, "", "nothing", 300),
]


@pytest.mark.parametrize(("name", "keys", "signal", "notice", "within_s"), EXPECTED)
def test_what_should_be_noticed(name: str, keys: dict[str, Any], signal: str, notice: str, within_s: float) -> None:
    found = fault(**keys).expects(profiles.profile(name).subject)
    assert (found.signal, found.notice, found.within_s) == (signal, notice, within_s)


@pytest.mark.parametrize(("name", "keys", "signal", "notice", "within_s"), EXPECTED)
def test_what_should_be_noticed_can_be(
    name: str, keys: dict[str, Any], signal: str, notice: str, within_s: float
) -> None:
    """The readings leave their range before the time is up, and stay inside where nothing should be noticed."""
    told = life(name, BEGIN_S + within_s, **keys)
    bad = {detail["metric"] for at_s, detail in told.notes("out_of_range") if at_s >= BEGIN_S}
    assert signal in bad if notice == "alarm" else not bad


UNFIT: list[tuple[str, dict[str, Any], str]] = [
    ("vehicle-sedan", {"kind": "fire"}, "has no signal 'ignition'"),
    ("vehicle-sedan", {"kind": "outage"}, "has no signal 'mains_on'"),
    ("machine-a", {"kind": "leakage"}, "has no signal 'leak'"),
    ("machine-a", {"kind": "arcs", "signal": "tmpC"}, "has no signal 'tmpC' (did you mean 'tempC'?)"),
    ("machine-a", {"kind": "voltage_sag"}, "has no signal 'grid'"),
    ("machine-a", {"kind": "overheat", "signal": "rpm", "to": 9}, "has no temperature 'rpm'"),
    ("fire-sensor", {"kind": "overheat", "signal": "room", "to": 9}, "does not tell the backend its 'room'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "keys", "why"), UNFIT)
def test_whom_an_event_does_not_fit(name: str, keys: dict[str, Any], why: str) -> None:
    said = fault(**keys).unfit(profiles.profile(name).subject)
    assert said is not None
    assert said.startswith(why)


@pytest.mark.parametrize(
    "keys",
    [
        {"kind": "fire", "smoulder_s": [9, 1]},
        {"kind": "fire", "co_ppm": [-5, 1]},
        {"kind": "arcs", "burst_s": [0, 1]},
        {"kind": "voltage_sag", "depth": 1},
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        fault(**keys)
