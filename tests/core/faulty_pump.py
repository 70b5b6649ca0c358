"""A pump in virtual time that has a fault for a while, and what was said and noted meanwhile."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from simulator.faults import Fault
from tests.core.fleets import PUMP, START_MS, World, profile

TEXT = (
    PUMP.replace(
        "behaviours:",
        """\
  level: {kind: constant, value: 80, resolution: 0.1}
  valve: {kind: constant, value: 1, sensor: [0, 10]}
behaviours:""",
    )
    .replace("metrics: [temp_c, fan]", "metrics: [temp_c, level, valve]")
    .replace(
        "reports: {temp: temp_c}}",
        """reports: {temp: temp_c}, report_every_s: 20, settings: {
        opening: {holds: valve, min: 0, max: 10}, lamp: {start: false},
        log_level: {start: info, one_of: [debug, info]}}}""",
    )
)
BEGIN_S, END_S = 60, 260  # of the fault, since the start


class Said(NamedTuple):
    """A message as the far side has it: when it came, in seconds since the start, and what it says."""

    at_s: float
    time_s: float  # by the device's own clock
    metrics: dict[str, float]


def world() -> World:
    return World(profile(TEXT))


def broken(fault: Fault, for_s: float = 400) -> World:
    """A pump with the fault from BEGIN_S to END_S, at the end."""
    found = world()
    found.virtual.inject(0, fault, START_MS + 1000 * BEGIN_S)
    found.virtual.clear(0, fault.model_dump()["kind"], START_MS + 1000 * END_S)
    found.run(for_s)
    return found


def telemetry(found: World) -> list[Said]:
    said = []
    for at_ms, _, message in found.cloud.said:
        if message.kind == "telemetry":
            told = json.loads(message.payload)
            at_s, time_s = (at_ms - START_MS) / 1000, (told["device_timestamp"] - START_MS) / 1000
            said.append(Said(at_s, time_s, told["data"]["metrics"]))
    return said


def between(said: Sequence[Said], begin_s: float, end_s: float) -> list[Said]:
    return [one for one in said if begin_s <= one.at_s < end_s]


def times(found: World, kind: str) -> list[float]:
    """When something was noted, in seconds since the start."""
    return [(event.at_ms - START_MS) / 1000 for event in found.ledger.events if event.kind == kind]


def disturbed(found: World) -> list[tuple[str, int]]:
    return [(note["what"], note["stamp"]) for note in found.notes("disturbed")]


def cleared(found: World) -> list[float]:
    assert not found.device.faults
    return times(found, "fault_cleared")
