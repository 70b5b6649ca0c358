"""Devices that break: what a hang does, what ends it, and what the ledger is told."""

from itertools import pairwise

import pytest

from simulator.behaviours import NEVER_MS
from simulator.faults.hang import Hang, version_key
from simulator.messages import Booted, Connected, Note, Output
from tests.core.fleets import START_MS, THING, World, fleet

FAN = Hang(part="fan")
RECURRING = Hang(part="fan", recurs_after_s=30)
MENDED = Hang(part="fan", recurs_after_s=30, fixed_in="1.1.0")


def hangs(world: World) -> bool:
    """Is the fan held? Asked of the plant, for a fan that stands still may also be a cool one."""
    return bool((world.device.plant._held["fan"] == 0.0).any()) if world.device.plant._held else False


def broken(fault: Hang) -> World:
    world = World()
    world.virtual.inject(0, fault, START_MS + 10_000)
    world.run(20)
    assert hangs(world)
    return world


def restart(world: World) -> int:
    """The backend's way to do it; when the device did it. A second of life with it has passed then."""
    world.cloud.desire(THING, {"action": {"name": "restart-fan", "id": str(world.virtual.clock.now_ms())}})
    world.run(3)
    return max(event.at_ms for event in world.ledger.events if event.kind == "acted")


def reboot(world: World, version: str | None = None) -> None:
    if version:
        world.device.flash["version"] = version
    world.virtual.power_cycle(0, world.virtual.clock.now_ms(), 1_000)
    world.run(1)


def test_a_hang_makes_the_engine_overheat_and_is_noted() -> None:
    world = broken(FAN)
    world.run(600)
    [injected] = world.notes("fault_injected")
    assert injected == {"fault": "hang", "params": {"kind": "hang", "part": "fan", "at": 0.0}}
    [bad] = world.notes("out_of_range")
    assert (bad["metric"], bad["limit"]) == ("temp_c", 60)
    assert world.fleet.faulted == {world.device.thing}
    restart(world)
    world.run(600)
    assert world.notes("fault_cleared") == [{"fault": "hang"}]
    assert [note["metric"] for note in world.notes("back_in_range")] == ["temp_c"]
    assert world.device.faults == []


@pytest.mark.parametrize(
    ("fault", "recurs", "version", "after_reboot"),
    [
        (FAN, False, None, False),  # once
        (RECURRING, True, None, True),  # again and again
        (RECURRING, True, "2.0.0", True),  # broken hardware: no firmware helps
        (MENDED, True, None, True),
        (MENDED, True, "1.0.9", True),
        (MENDED, True, "1.1.0", False),
        (MENDED, True, "1.10.0", False),
    ],
)
def test_what_ends_a_hang(fault: Hang, recurs: bool, version: str | None, after_reboot: bool) -> None:
    world = broken(fault)
    restart(world)
    assert not hangs(world)
    world.run(28)
    assert not hangs(world)
    world.run(2)
    assert hangs(world) == recurs
    reboot(world, version)
    assert not hangs(world)
    world.run(31)
    assert hangs(world) == after_reboot
    assert len(world.notes("fault_cleared")) == (not after_reboot)


def test_a_hang_comes_back_that_long_after_each_restart() -> None:
    world, since = broken(RECURRING), []
    for _ in range(5):
        at_ms = restart(world)
        since.append(world.device.faults[0].wake_at_ms - at_ms)
        world.run(100)
    assert since == [30_000] * 5


def test_a_hang_that_comes_back_at_once_does_not_spin() -> None:
    world = broken(Hang(part="fan", recurs_after_s=0))
    restart(world)
    world.run(10)
    assert hangs(world)
    assert world.device.faults[0].wake_at_ms == NEVER_MS


def test_restarting_another_part_frees_nothing() -> None:
    world = broken(FAN)
    world.device.restart_part("load", world.virtual.clock.now_ms())
    assert hangs(world)


def test_firmware_without_the_bug_does_not_catch_it() -> None:
    world = World()
    world.device.version = "1.1.0"
    world.virtual.inject(0, MENDED, START_MS + 10_000)
    world.run(600)
    assert not hangs(world)
    assert world.notes("fault_cleared") == [{"fault": "hang"}]
    assert world.notes("out_of_range") == []


def test_two_faults_on_one_part() -> None:
    world = broken(FAN)
    world.virtual.inject(0, RECURRING, world.virtual.clock.now_ms())
    world.run(1)
    restart(world)
    assert not hangs(world)
    world.run(31)
    assert hangs(world)
    assert [type(fault).__name__ for fault in world.device.faults] == ["Hung"]


def test_a_fault_works_on_a_device_that_was_never_connected() -> None:
    device = fleet().devices[0]
    said: list[Output] = device.inject(RECURRING, START_MS)
    device.restart_part("fan", START_MS + 1_000)
    said += device.step(START_MS + 31_000)
    assert [output.kind for output in said if isinstance(output, Note)] == ["fault_injected"]
    assert device.plant._held["fan"][0] == 0.0


def test_what_a_good_backend_should_notice() -> None:
    pump = fleet().profiles["pump"].subject
    assert FAN.expects(pump).signal == "temp_c"
    assert Hang(part="temp_c").expects(pump).signal == "temp_c"
    assert FAN.unfit(pump) is None
    assert Hang(part="fen").unfit(pump) == "has no part 'fen' (did you mean 'fan'?)"


# From the oldest to the newest.
VERSIONS = [
    "0.9", "0.9.0", "1.0.0-alpha", "1.0.0-beta", "1.0.0-rc1", "1.0.0-rc2", "1.0.0-rc10", "1.0.0", "1.0.1-rc1", "1.0.1",
    "1.9.0", "1.10.0-rc1", "1.10.0", "1.10.0-1", "2", "10.0.0", "99999999999999999999",
]  # fmt: skip


@pytest.mark.parametrize(("older", "newer"), list(pairwise(VERSIONS)))
def test_versions_are_ordered(older: str, newer: str) -> None:
    assert version_key(older) < version_key(newer)


def test_power_brings_the_flashed_version_up_and_keeps_the_faults() -> None:
    device = fleet().devices[0]
    device.receive(Connected(False), START_MS)
    device.inject(RECURRING, START_MS)
    device.flash["version"] = "1.1.0"
    assert device.version == "1.0.0"
    device.receive(Booted(), START_MS + 5_000)
    assert (device.version, len(device.faults), device.wake_at_ms <= START_MS + 35_000) == ("1.1.0", 1, True)
