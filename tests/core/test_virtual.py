"""The virtual runtime: one seed gives the same bytes; nothing is lost that a bound did not drop; a day is quick."""

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import pytest

from simulator import firmware, scenarios
from simulator.clock import VirtualClock
from simulator.faults.hang import Hang
from simulator.ledger import Ledger
from simulator.messages import Booted, Publish, Received
from simulator.runtime.virtual import Virtual
from simulator.scenarios import Scenario
from simulator.steps import Entry
from simulator.steps import Inject as InjectFault
from simulator.steps.inject import Inject
from tests.core.fleets import KEY, PUMP, START_MS, World, fleet, profile

DEMO = Path(scenarios.__file__).parents[1] / "scenarios" / "alarm-to-ota.yaml"


def hour(scenario: Scenario, seed: int, hours: float = 1.0) -> tuple[str, Ledger]:
    """The scenario's fleet with its faults in virtual time: a hash of all that was said, and the ledger."""
    used = scenarios.read(DEMO)[1]
    fleet, ledger, digest = scenario.build(used, seed, START_MS, firmware.public_bytes(KEY)), Ledger(), hashlib.sha256()

    def record(now_ms: int, thing: str, message: Publish) -> None:
        digest.update(repr((now_ms, thing, message.topic, message.payload)).encode())

    virtual = Virtual(fleet, VirtualClock(), ledger, record)
    for index in range(len(fleet.devices)):
        virtual.start(index, START_MS + index * 70)
    roster = [Entry(device.thing, device.profile, False) for device in fleet.devices]
    for step in scenario.timeline:
        if isinstance(step, Inject):
            for command in step.plan(roster, seed):
                assert isinstance(command, InjectFault)
                for thing in command.things:
                    virtual.inject(fleet.by_thing[thing], command.fault, START_MS + 60_000)
    virtual.sever(3, START_MS + 100_000, 60_000)
    virtual.power_cycle(4, START_MS + 100_000, 60_000)
    virtual.run_until(START_MS + int(hours * 3_600_000))
    return digest.hexdigest(), ledger


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    scenario = scenarios.read(DEMO)[0].model_copy(update={"physics_speed": 1.0})
    (first, ledger), (second, again) = hour(scenario, 7), hour(scenario, 7)
    assert first == second
    assert len({hour(scenario, seed, hours=0.02)[0] for seed in (7, 8, 9)}) == 3
    assert ledger.events == again.events
    assert ledger.attempted == again.attempted
    assert ledger.attempted == ledger.sent == ledger.acknowledged
    broken = {event.thing for event in ledger.events if event.kind == "fault_injected"}
    overheated = {event.thing for event in ledger.events if event.kind == "out_of_range"}
    assert broken == overheated, "a broken one must be seen, a sound one never"


# Store and forward


def test_what_is_said_while_the_network_is_away_arrives_later_up_to_the_bound() -> None:
    world = World(profile(PUMP.replace("every_s: 10", "every_s: 1")))
    away_s = 1800
    world.virtual.sever(0, START_MS + 60_500, away_s * 1000)
    world.run(3600)
    stamps = [json.loads(m.payload)["device_timestamp"] for _, _, m in world.cloud.said if m.kind == "telemetry"]
    ledger = world.ledger
    lost = ledger.dropped["telemetry"]
    assert lost > 700  # a thousand places, some of them taken by shadow reports
    assert ledger.attempted["telemetry"] == len(stamps) + lost
    assert ledger.sent["telemetry"] == ledger.acknowledged["telemetry"] == len(stamps)
    gaps = [(b - a) // 1000 - 1 for a, b in pairwise(stamps) if b - a > 1000]
    assert gaps == [lost], "the oldest are kept, in order"


def test_nothing_overtakes_what_was_kept() -> None:
    world = World()
    world.virtual.sever(0, START_MS + 30_000, 60_000)
    world.run(300)
    at_ms = START_MS + 90_000
    kinds = [message.kind for when_ms, _, message in world.cloud.said if when_ms == at_ms]
    kept = kinds.index("shadow_get")
    assert kept >= 6
    assert set(kinds[:kept]) == {"telemetry", "shadow_update"}
    assert kinds[kept + 1] == "job_get"


def test_a_message_to_a_device_that_is_away_is_lost() -> None:
    world = World()
    world.virtual.sever(0, START_MS + 30_000, 60_000)
    said = Received(f"$aws/things/{world.device.thing}/shadow/update/rejected", b'{"code": 429}')
    for at_s in (20, 40, 89, 91):
        world.virtual.tell(0, said, START_MS + at_s * 1000)
    world.run(100)
    assert len(world.notes("shadow_rejected")) == 2


@pytest.mark.parametrize(
    ("cuts", "online_at_s"),
    [
        ([("sever", 10, 20), ("sever", 20, 30)], 50),
        ([("sever", 10, 50), ("sever", 20, 5)], 60),
        ([("power_cycle", 10, 20), ("sever", 20, 30)], 50),
        ([("sever", 10, 20), ("power_cycle", 20, 30)], 50),
        ([("power_cycle", 10, 20), ("power_cycle", 20, 30)], 50),
        ([("sever", 10, 40), ("power_cycle", 20, 5)], 50),
    ],
)
def test_a_link_is_up_when_nothing_keeps_it_down(cuts: list[tuple[str, int, int]], online_at_s: int) -> None:
    world = World()
    for what, at_s, for_s in cuts:
        getattr(world.virtual, what)(0, START_MS + at_s * 1000, for_s * 1000)
    world.run(9)
    assert world.device.online
    world.run(online_at_s - 9 - 0.001)
    assert not world.device.online
    world.run(0.001)
    assert world.device.online
    assert world.kinds().count("connected") == 2
    assert world.device.powered


# Order and time


def test_what_is_due_at_the_same_moment_happens_in_the_order_it_was_asked_for() -> None:
    world, seen = World(), list[int]()
    for n in range(20):
        world.virtual.at(START_MS + 1000 * (n % 3), lambda n=n: seen.append(n))  # type: ignore[misc]
    world.run(10)
    assert seen == sorted(range(20), key=lambda n: (n % 3, n))


def test_a_moment_in_the_past_is_now() -> None:
    world, seen = World(), list[int]()
    world.run(10)
    world.virtual.at(START_MS, lambda: seen.append(world.virtual.clock.now_ms()))
    world.run(0)
    assert seen == [START_MS + 10_000]


def test_the_clock_never_goes_back() -> None:
    clock = VirtualClock(5)
    clock.move_to(5)
    with pytest.raises(ValueError, match="cannot go back from 5 ms to 4 ms"):
        clock.move_to(4)


def test_devices_of_a_fleet_do_not_depend_on_how_many_there_are() -> None:
    """The first device of a large fleet says to the byte what it says alone."""

    def said_by_first(count: int) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []

        def record(now_ms: int, thing: str, message: Publish) -> None:
            if thing == "Pump-000":
                found.append((now_ms, message.payload))

        many = fleet(things=[f"Pump-{n:03}" for n in range(count)])
        virtual = Virtual(many, VirtualClock(), Ledger(), record)
        for index in range(count):
            virtual.start(index, START_MS)
        virtual.inject(count - 1, Hang(part="fan"), START_MS + 5_000 + count * 3_600_000 * (count == 1))
        virtual.run_until(START_MS + 1_800_000)
        return found

    assert said_by_first(1) == said_by_first(50)


def test_a_power_cycle_forgets_what_was_in_memory_and_keeps_the_flash() -> None:
    world = World()
    world.run(30)
    world.device.flash["kept"] = 1
    world.device.version = "not flashed"
    world.virtual.power_cycle(0, world.virtual.clock.now_ms(), 1000)
    world.run(2)
    assert world.device.flash["kept"] == 1
    assert world.device.version == "1.0.0"
    world.virtual.tell(0, Booted(), world.virtual.clock.now_ms())
    world.run(1)
    assert world.device.powered


def test_a_day_of_a_hundred_devices_is_quick() -> None:
    """Bounded by the test's time-out, with room for a busy machine; tests/bench/virtual_bench.py has the figure."""
    what = profile(PUMP.replace("every_s: 10", "every_s: 60"))
    day = fleet(what, [f"Pump-{n:03}" for n in range(100)])
    ledger = Ledger()
    virtual = Virtual(day, VirtualClock(), ledger)
    for index in range(100):
        virtual.start(index, START_MS)
    virtual.run_until(START_MS + 86_400_000)
    assert ledger.sent["telemetry"] == pytest.approx(100 * 1440, abs=100)
