"""Commands of AWS IoT: acted on once, reported; what the device cannot do it rejects."""

import json
from typing import Any

import pytest

from simulator.faults.hang import Hang
from simulator.messages import Received
from simulator.schema import YamlProblems
from tests.core.fleets import PUMP, THING, World, profile

Json = dict[str, Any]

PREFIX = f"$aws/commands/things/{THING}/executions"
COMMANDS = """\
  - kind: commands
    actions:
      restart-fan: {restarts: fan, takes_s: 2}
      fan-full: {sets: {fan: 1}, takes_s: 0}
      reboot: {reboots_s: 5, takes_s: 1}
"""


def up(text: str = PUMP + COMMANDS) -> World:
    world = World(profile(text))
    world.run(5)
    return world


def command(world: World, execution: str, payload: Any, leaf: str = "request/json") -> None:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    world.virtual.tell(0, Received(f"{PREFIX}/{execution}/{leaf}", data), world.virtual.clock.now_ms())


def reports(world: World) -> list[tuple[str, Json]]:
    """(execution, report) of all that was reported."""
    said = [m for _, _, m in world.cloud.said if m.kind == "command_report"]
    assert all(m.topic.startswith(f"{PREFIX}/") and m.topic.endswith("/response/json") for m in said)
    return [(m.topic.split("/")[5], json.loads(m.payload)) for m in said]


def statuses(world: World) -> list[tuple[str, str]]:
    return [(execution, report["status"]) for execution, report in reports(world)]


def test_acts_and_reports() -> None:
    world = up()
    world.virtual.inject(0, Hang(part="fan"), world.virtual.clock.now_ms())
    world.run(1)
    command(world, "e-1", {"name": "restart-fan"})
    asked_ms = world.virtual.clock.now_ms()
    world.run(10)
    assert reports(world) == [("e-1", {"status": "IN_PROGRESS"}), ("e-1", {"status": "SUCCEEDED"})]
    assert [at_ms for at_ms, _, m in world.cloud.said if m.kind == "command_report"] == [asked_ms, asked_ms + 2000]
    assert world.device.faults == []
    assert world.notes("acted") == [{"action": "restart-fan", "id": "e-1", "result": "done"}]
    assert world.notes("command_received") == [{"action": "restart-fan", "id": "e-1"}]


def test_it_hears_its_own_commands() -> None:
    filters = up().device.filters()
    assert f"{PREFIX}/+/request/json" in filters
    assert f"{PREFIX}/+/response/rejected/json" in filters


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"{", "MALFORMED"), (b"", "MALFORMED"), ([], "MALFORMED"), ({}, "MALFORMED"), ({"name": 7}, "MALFORMED"),
     ({"name": ""}, "MALFORMED"), ({"name": "x" * 129}, "MALFORMED"), ({"name": "fly"}, "UNKNOWN_ACTION"),
     ({"name": "fly\n"}, "UNKNOWN_ACTION")],
)  # fmt: skip
def test_what_it_cannot_do_it_rejects(payload: Any, code: str) -> None:
    world = up()
    command(world, "e-1", payload)
    world.run(10)
    [(execution, report)] = reports(world)
    assert (execution, report["status"], report["statusReason"]["reasonCode"]) == ("e-1", "REJECTED", code)
    assert report["statusReason"]["reasonDescription"].isprintable()  # or the service would refuse it
    assert world.notes("acted") == []


def test_a_repeated_command_is_done_once_also_after_a_reboot() -> None:
    world = up()
    for _ in range(3):
        command(world, "e-1", {"name": "restart-fan"})
    world.run(10)
    command(world, "e-1", {"name": "restart-fan"})
    world.virtual.power_cycle(0, world.virtual.clock.now_ms() + 1000, 1000)
    world.run(10)
    command(world, "e-1", {"name": "restart-fan"})
    world.run(10)
    assert statuses(world) == [("e-1", "IN_PROGRESS"), ("e-1", "SUCCEEDED")]


def test_one_after_the_other_and_only_so_many() -> None:
    world = up()
    begun_ms = world.virtual.clock.now_ms()
    for n in range(20):
        command(world, f"e-{n}", {"name": "restart-fan"})
    world.run(100)
    done = [
        (at_ms - begun_ms, m.topic.split("/")[5])
        for at_ms, _, m in world.cloud.said
        if m.kind == "command_report" and b"SUCCEEDED" in m.payload
    ]
    assert done == [(2000 * (n + 1), f"e-{n}") for n in range(16)]
    busy = [e for e, r in reports(world) if r.get("statusReason", {}).get("reasonCode") == "BUSY"]
    assert busy == [f"e-{n}" for n in range(16, 20)]


def test_a_reboot_reports_first_and_forgets_what_waits() -> None:
    world = up()
    command(world, "e-1", {"name": "reboot"})
    command(world, "e-2", {"name": "restart-fan"})
    world.run(3)
    assert not world.device.online
    world.run(20)
    assert world.device.online
    assert statuses(world) == [("e-1", "IN_PROGRESS"), ("e-2", "IN_PROGRESS"), ("e-1", "SUCCEEDED")]
    command(world, "e-2", {"name": "restart-fan"})
    world.run(10)
    assert statuses(world)[3:] == [("e-2", "IN_PROGRESS"), ("e-2", "SUCCEEDED")]


def test_a_part_is_set() -> None:
    world = up()
    command(world, "e-1", {"name": "fan-full"})
    world.run(10)
    assert world.device.reading(world.virtual.clock.now_ms())["fan"] == 1.0
    assert statuses(world)[-1] == ("e-1", "SUCCEEDED")


def test_a_refused_report_is_noted_and_the_rest_ignored() -> None:
    world = up()
    command(world, "e-1", {"error": "TerminalStateReached", "executionId": "e-1"}, "response/rejected/json")
    command(world, "e-1", {"executionId": "e-1"}, "response/accepted/json")
    command(world, "e-1", {"name": "fan-full"}, "request/cbor")
    world.run(10)
    assert world.notes("command_refused") == [{"id": "e-1", "why": "TerminalStateReached"}]
    assert reports(world) == []


def test_an_action_that_cannot_be_is_found_before_anything_starts() -> None:
    with pytest.raises(YamlProblems, match="no upload behaviour is named 'camera'"):
        profile(PUMP + COMMANDS + "      shoot: {uploads: camera}\n")
    with pytest.raises(YamlProblems, match="unknown signal 'fann'"):
        profile(PUMP + COMMANDS.replace("restarts: fan", "restarts: fann"))
