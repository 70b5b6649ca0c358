"""The course in columns is that of the devices: the same seed, the same physics, the same faults."""

import json

import numpy as np
import pytest

from simulator import profiles, seeds
from simulator.clock import VIRTUAL_START_MS, VirtualClock
from simulator.dataset.columns import METRICS
from simulator.dataset.course import Block, Course
from simulator.dataset.mix import Event, Happening, Mix
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.runtime.virtual import Virtual

PROFILES = ("fire-sensor", "fire-sensor-panel")
STEP_MS = 10_000


def course(name: str, fault: dict[str, object] | None, hours: float = 1.0, seed: int = 3) -> Block:
    """One sensor, and what befalls it after 10 minutes."""
    mix = Mix(happenings=[Happening.model_validate({"name": "x", "per_day": 1, "fault": fault})] if fault else [])
    events = [[Event(600.0, 0)] if fault else []]
    made = Course(["device-01"], profiles.profile(name), mix, events, seed, VIRTUAL_START_MS, 10.0, 10.0)
    return made.block(int(360 * hours))


def told(
    name: str, fault: dict[str, object] | None, hours: float = 1.0, seed: int = 3
) -> list[tuple[int, list[float]]]:
    """What the same sensor says as a device."""
    profile = profiles.profile(name).every(10)
    fleet = Fleet(
        [("device-01", name, None)], {name: profile}, seed, VIRTUAL_START_MS, b"", physics_step_s=STEP_MS / 1000
    )
    said: list[tuple[int, list[float]]] = []

    def record(at_ms: int, thing: str, message: object) -> None:
        if getattr(message, "kind", "") == "telemetry":
            values = json.loads(message.payload)  # type: ignore[attr-defined]
            said.append((at_ms, [values[name] for name in METRICS]))

    virtual = Virtual(fleet, VirtualClock(), Ledger(), record)
    virtual.start(0, VIRTUAL_START_MS)
    if fault:
        what = Happening.model_validate({"name": "x", "per_day": 1, "fault": fault}).fault
        virtual.inject(0, what, VIRTUAL_START_MS + 600_000)
    virtual.run_until(VIRTUAL_START_MS + int(3_600_000 * hours))
    return said


@pytest.mark.parametrize("name", PROFILES)
def test_a_sound_sensor_reads_what_the_device_says(name: str) -> None:
    block, said = course(name, None), told(name, None)
    assert len(said) > 350
    for at_ms, values in said:
        step = (at_ms - VIRTUAL_START_MS) // STEP_MS
        if step:
            assert block.metrics[step - 1, 0].tolist() == values


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "fire", "ramp_s": 600.0}, {"kind": "leakage", "to": 14.0, "for_s": 900.0},
        {"kind": "rise", "signal": "voc_air", "by": 500.0, "for_s": 900.0}, {"kind": "voltage_sag", "for_s": 300.0},
        {"kind": "overheat", "signal": "sensorTemp", "to": 75.0, "for_s": 900.0},
    ],
    ids=lambda fault: fault["kind"],
)  # fmt: skip
def test_what_befalls_a_sensor_goes_as_on_a_device(name: str, fault: dict[str, object]) -> None:
    block, said = course(name, fault), told(name, fault)
    ours = np.array([block.metrics[(at_ms - VIRTUAL_START_MS) // STEP_MS - 1, 0] for at_ms, _ in said[2:]])
    theirs = np.array([values for _, values in said[2:]])
    for place, metric in enumerate(METRICS):
        if metric == "aArc":
            continue  # whole numbers, and random
        # A device is asked about its fault each second, and the columns at each step, so one may be a step behind.
        behind = np.minimum(np.abs(ours[1:, place] - theirs[1:, place]), np.abs(ours[1:, place] - theirs[:-1, place]))
        spread = max(np.ptp(theirs[:, place]), 1e-9)
        assert np.mean(behind) < 0.05 * spread, metric
    assert np.abs(ours.mean(axis=0) - theirs.mean(axis=0)).max() < 0.06 * np.abs(theirs).max()


def test_the_truth_begins_with_the_smouldering_and_ends_when_it_has_burnt_down() -> None:
    block = course("fire-sensor", {"kind": "fire", "ramp_s": 900.0, "for_s": 2400.0}, hours=2)
    burns = np.flatnonzero(block.fire[:, 0])
    assert abs(burns[0] * 10 + 10 - 600) <= 10
    assert (np.diff(burns) == 1).all()
    assert 3000 < burns[-1] * 10 < 3000 + 30 * 60
    assert set(block.event[:, 0].tolist()) == {0, 1}


def test_a_spike_is_in_readings_and_not_in_the_plant() -> None:
    fault = {"kind": "spike", "signal": "sensorTemp", "by": 45.0, "probability": 0.5, "for_s": 600.0}
    read = course("fire-sensor", fault).metrics[:, 0, METRICS.index("sensorTemp")]
    sound = course("fire-sensor", None).metrics[:, 0, METRICS.index("sensorTemp")]
    odd = np.flatnonzero(read != sound)
    assert 15 < len(odd) < 45
    np.testing.assert_allclose((read - sound)[odd], 45.0)


def test_a_sensor_that_is_off_makes_no_records() -> None:
    block = course("fire-sensor", {"kind": "crash", "off_s": 300.0, "for_s": 400.0})
    missing = np.flatnonzero(~block.there[:, 0])
    assert 29 <= len(missing) <= 31
    assert np.isnan(block.metrics[missing, 0]).all()
    assert not np.isnan(block.metrics[block.there[:, 0], 0]).any()


def test_no_two_fires_of_a_sensor_are_the_same() -> None:
    mix = Mix(
        happenings=[Happening.model_validate({"name": "x", "per_day": 1, "fault": {"kind": "fire", "for_s": 3600}})]
    )
    made = Course(
        ["device-01"], profiles.profile("fire-sensor"), mix, [[Event(600.0, 0), Event(24_600.0, 0)]], 3,
        VIRTUAL_START_MS, 10.0, 10.0,
    )  # fmt: skip
    co = made.block(4320).metrics[:, 0, METRICS.index("co")]
    first, second = (int(np.flatnonzero(co[begin : begin + 360] > 17)[0]) for begin in (60, 2460))
    assert abs(first - second) > 3


def test_who_else_is_there_changes_nothing() -> None:
    profile = profiles.profile("fire-sensor")
    things = [f"device-{n:02}" for n in range(1, 20)]
    mix = Mix(happenings=[Happening.model_validate({"name": "x", "per_day": 1, "fault": {"kind": "fire"}})])
    events: list[list[Event]] = [[] for _ in things]
    events[7] = [Event(60.0, 0)]
    block = Course(things, profile, mix, events, 3, VIRTUAL_START_MS, 10.0, 10.0).block(60)
    alone = course("fire-sensor", None, hours=1 / 6)
    np.testing.assert_array_equal(block.metrics[:, :1], alone.metrics)
    assert seeds.key(3, "device-01") != seeds.key(3, "device-02")
