"""Control requests and desired settings: acted on once, answered, reported; what is wrong is refused and said."""

import json
from itertools import pairwise
from typing import Any

import pytest

from simulator.behaviours.telemetry import TelemetryDuty
from simulator.faults.hang import Hang
from simulator.messages import Received
from simulator.schema import YamlProblems
from tests.core.fleets import PUMP, THING, World, profile

Json = dict[str, Any]

TOPIC = f"iotlink/stg/nohub/{THING}/event/pub/control_request/json"
CONTROL = """\
  - kind: control
    actions:
      restart-fan: {restarts: fan, takes_s: 2}
      fan-full: {sets: {fan: 1}, takes_s: 0}
      reboot: {reboots_s: 5, takes_s: 1}
"""
SETTINGS = """\
settings:
          telemetry_interval_s: {applies_to: telemetry.every_s, takes_s: 1, min: 1, max: 3600}
          fan_speed: {holds: fan, min: 0, max: 1, takes_s: 3}
          log_level: {start: info, one_of: [debug, info, warning], takes_s: 0}
          locked: {start: true}
          note: {start: ""}
          gain: {start: 1.5, min: 0}
"""
SHADOW = PUMP.replace(
    "  - {kind: shadow, actions: {restart-fan: {restarts: fan, takes_s: 2}}, reports: {temp: temp_c}}\n",
    f"""\
  - kind: shadow
    actions: {{restart-fan: {{restarts: fan, takes_s: 2}}}}
    reports: {{temp: temp_c}}
    {SETTINGS.replace("          ", "      ")}""",
)
FIRST = {"fan_speed": "auto", "log_level": "info", "locked": True, "note": "", "gain": 1.5}


def up(text: str) -> World:
    world = World(profile(text))
    world.run(5)
    return world


def results(world: World) -> list[Json]:
    return [json.loads(m.payload)["data"]["control"] for _, _, m in world.cloud.said if m.kind == "control_result"]


def ask(world: World, payload: Any, topic: str = TOPIC) -> None:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    world.virtual.tell(0, Received(topic, data), world.virtual.clock.now_ms())


def request(name: Any, request_id: Any) -> Json:
    return {"device_timestamp": 1, "data": {"control": {"name": name, "id": request_id}}}


# Control requests


def test_acts_and_answers() -> None:
    world = up(PUMP + CONTROL)
    world.virtual.inject(0, Hang(part="fan"), world.virtual.clock.now_ms())
    world.run(1)
    ask(world, request("restart-fan", "r-1"))
    asked_ms = world.virtual.clock.now_ms()
    world.run(10)
    [(at_ms, message)] = [(at_ms, m) for at_ms, _, m in world.cloud.said if m.kind == "control_result"]
    assert at_ms == asked_ms + 2000
    assert message.topic == f"iotlink/stg/nohub/{THING}/event/pub/control_result/json"
    control = {"name": "restart-fan", "id": "r-1", "result": "done", "reason": ""}
    assert json.loads(message.payload) == {"device_timestamp": at_ms, "data": {"control": control}}
    assert world.device.faults == []
    assert world.notes("acted") == [{"action": "restart-fan", "id": "r-1", "result": "done"}]


UNREADABLE = [
    ("not JSON", b"{", "unreadable", "unreadable", "no name"),
    ("nothing", b"", "unreadable", "unreadable", "no name"),
    ("no object", [], "unreadable", "unreadable", "no name"),
    ("no control", {"data": {}}, "unreadable", "unreadable", "no name"),
    ("no name", request(None, "r-1"), "unreadable", "r-1", "no name"),
    ("a number for a name", request(7, "r-1"), "unreadable", "r-1", "no name"),
    ("no id", request("restart-fan", ""), "restart-fan", "unreadable", "no id"),
    ("a long id", request("restart-fan", "x" * 129), "restart-fan", "unreadable", "no id"),
]


@pytest.mark.parametrize(("case", "payload", "name", "request_id", "why"), UNREADABLE, ids=[c[0] for c in UNREADABLE])
def test_what_it_cannot_read_it_answers_as_failed(
    case: str, payload: Any, name: str, request_id: str, why: str
) -> None:
    world = up(PUMP + CONTROL)
    ask(world, payload)
    world.run(10)
    reason = f"malformed request: {why}"
    assert results(world) == [{"name": name, "id": request_id, "result": "failed", "reason": reason}]


def test_what_it_does_not_know_it_answers_as_failed() -> None:
    world = up(PUMP + CONTROL)
    ask(world, request("fly", "r-1"))
    world.run(1)
    assert [(r["result"], r["reason"]) for r in results(world)] == [("failed", "unknown action 'fly'")]


def test_requests_of_other_topics_are_not_heard() -> None:
    world = up(PUMP + CONTROL)
    ask(world, request("restart-fan", "r-1"), TOPIC.replace("/pub/", "/sub/"))
    world.run(10)
    assert results(world) == []
    assert TOPIC in world.device.filters()


def test_the_topic_is_what_the_profile_says() -> None:
    world = up(PUMP + CONTROL + '    request_topic: "iotlink/{env}/{hub}/{thing}/event/sub/control_request/json"\n')
    ask(world, request("fan-full", "r-1"), TOPIC.replace("/pub/", "/sub/"))
    world.run(1)
    assert [r["result"] for r in results(world)] == ["done"]


def test_a_repeated_request_is_done_once_also_after_a_reboot() -> None:
    world = up(PUMP + CONTROL)
    for _ in range(3):
        ask(world, request("restart-fan", "r-1"))
    world.run(10)
    ask(world, request("restart-fan", "r-1"))
    world.virtual.power_cycle(0, world.virtual.clock.now_ms() + 1000, 1000)
    world.run(10)
    ask(world, request("restart-fan", "r-1"))
    world.run(10)
    assert len(results(world)) == 1


def test_one_after_the_other_and_only_so_many() -> None:
    world = up(PUMP + CONTROL)
    begun_ms = world.virtual.clock.now_ms()
    for n in range(20):
        ask(world, request("restart-fan", f"r-{n}"))
    world.run(100)
    said = [
        (at_ms - begun_ms, json.loads(m.payload)["data"]["control"])
        for at_ms, _, m in world.cloud.said
        if m.kind == "control_result"
    ]
    assert [(at_ms, c["id"]) for at_ms, c in said if c["result"] == "done"] == [
        (2000 * (n + 1), f"r-{n}") for n in range(16)
    ]
    assert [(at_ms, c["id"]) for at_ms, c in said if c["reason"].startswith("busy")] == [
        (0, f"r-{n}") for n in range(16, 20)
    ]


def test_a_reboot_answers_first_and_forgets_what_waits() -> None:
    world = up(PUMP + CONTROL)
    ask(world, request("reboot", "r-1"))
    ask(world, request("restart-fan", "r-2"))
    world.run(3)
    assert not world.device.online
    world.run(20)
    assert world.device.online
    assert [r["id"] for r in results(world)] == ["r-1"]
    ask(world, request("restart-fan", "r-2"))
    world.run(10)
    assert [r["id"] for r in results(world)] == ["r-1", "r-2"]


def test_a_part_is_set_and_a_hung_one_does_not_heed_it_until_it_is_restarted() -> None:
    world = up(PUMP + CONTROL)

    def fan() -> float:
        world.run(10)
        return world.device.reading(world.virtual.clock.now_ms())["fan"]

    world.virtual.inject(0, Hang(part="fan", at=0.25), world.virtual.clock.now_ms())
    ask(world, request("fan-full", "r-1"))
    assert fan() == 0.25
    ask(world, request("restart-fan", "r-2"))
    assert fan() == 1.0


# Desired settings


def reported(world: World) -> Json:
    return {key: value for key, value in world.cloud.shadow(THING).reported.items() if key != "temp"}


def test_what_it_comes_with_is_reported() -> None:
    assert reported(up(SHADOW)) == FIRST


GOOD = [
    ("telemetry_interval_s", 5), ("telemetry_interval_s", 2.5), ("telemetry_interval_s", 3600), ("fan_speed", 0.3),
    ("fan_speed", 0), ("fan_speed", "auto"), ("log_level", "debug"), ("locked", False), ("note", "hello"), ("gain", 99),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_a_setting_is_made_so_answered_and_reported(name: str, value: Any) -> None:
    world = up(SHADOW)
    world.cloud.desire(THING, {name: value})
    world.run(10)
    assert reported(world) == FIRST | {name: value}
    assert type(reported(world)[name]) is type(value)
    assert world.cloud.shadow(THING).delta() == {}
    expected = [] if FIRST.get(name) == value else [(name, "done", "")]
    assert [(r["name"], r["result"], r["reason"]) for r in results(world)] == expected
    assert world.notes("setting_changed") == [{"setting": n, "value": value} for n, _, _ in expected]


BAD = [
    ("telemetry_interval_s", 0.5, "must be 1 or more"), ("telemetry_interval_s", 1e9, "must be 3600 or less"),
    ("telemetry_interval_s", "5", "must be a number"), ("telemetry_interval_s", True, "must be a number"),
    ("telemetry_interval_s", {"s": 5}, "must be a number"), ("telemetry_interval_s", [5], "must be a number"),
    ("fan_speed", 1.1, "must be 1 or less"), ("fan_speed", "full", "must be a number"),
    ("log_level", "loud", "must be one of debug, info, warning"),
    ("log_level", 3, "must be a text of at most 256 characters"),
    ("locked", 0, "must be true or false"), ("note", "x" * 257, "must be a text of at most 256 characters"),
    ("gain", -1, "must be 0 or more"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "why"), BAD)
def test_a_wrong_value_is_refused_once_and_changes_nothing(name: str, value: Any, why: str) -> None:
    world = up(SHADOW)
    world.cloud.desire(THING, {name: value})
    world.run(5)
    for leaf in ("log_level", "other"):  # the delta comes again and again, with the wrong value in it
        world.cloud.desire(THING, {leaf: "info"})
        world.run(5)
    assert reported(world) == FIRST
    [result] = [r for r in results(world) if r["name"] == name]
    assert (result["result"], result["reason"]) == ("failed", f"rejected: {why}")
    assert result["id"].startswith("desired-")
    assert world.notes("setting_refused") == [{"setting": name, "reason": why}]


def test_after_a_wrong_value_a_right_one_is_taken() -> None:
    world = up(SHADOW)
    for value in (0, 5, 0):
        world.cloud.desire(THING, {"telemetry_interval_s": value})
        world.run(5)
    assert reported(world)["telemetry_interval_s"] == 5
    assert [r["result"] for r in results(world)] == ["failed", "done", "failed"]


def test_the_interval_changes_what_is_said() -> None:
    world = up(SHADOW)
    world.cloud.desire(THING, {"telemetry_interval_s": 2})
    world.run(101.5)
    [duty] = [duty for duty in world.device.duties if isinstance(duty, TelemetryDuty)]
    assert duty.period_ms == 2000
    at_ms = [at_ms for at_ms, _, m in world.cloud.said if m.kind == "telemetry"][-40:]
    assert {b - a for a, b in pairwise(at_ms)} == {2000}
    world.virtual.power_cycle(0, world.virtual.clock.now_ms(), 1000)
    world.run(60)
    assert reported(world)["telemetry_interval_s"] == 2
    assert duty.period_ms == 2000


def test_takes_its_time_and_the_last_wish_counts() -> None:
    world = up(SHADOW)
    for value in (0.1, 0.2, 0):
        world.cloud.desire(THING, {"fan_speed": value})
        world.run(1)
    assert reported(world)["fan_speed"] == "auto"
    world.run(120)
    assert world.notes("setting_changed") == [{"setting": "fan_speed", "value": 0}]
    hot = world.device.reading(world.virtual.clock.now_ms())
    assert hot["fan"] == 0
    assert hot["temp_c"] > 60
    world.cloud.desire(THING, {"fan_speed": "auto"})
    world.run(10)
    assert world.device.reading(world.virtual.clock.now_ms())["fan"] == 1


@pytest.mark.parametrize("power_too", [False, True])
def test_catches_up_with_what_was_desired_meanwhile(power_too: bool) -> None:
    world = up(SHADOW)
    gone = world.virtual.power_cycle if power_too else world.virtual.sever
    world.cloud.desire(THING, {"gain": 2})
    world.run(0.5)  # it is on its way …
    gone(0, world.virtual.clock.now_ms(), 60_000)
    world.run(1)
    world.cloud.desire(THING, {"log_level": "warning"})
    world.run(120)
    assert reported(world) == FIRST | {"log_level": "warning", "gain": 2}
    assert sorted(r["name"] for r in results(world)) == ["gain", "log_level"]


def test_a_key_that_is_no_setting_is_left_alone_and_noted_once() -> None:
    world = up(SHADOW)
    for n in range(3):
        world.cloud.desire(THING, {"colour": f"red {n}", "action": None})
        world.run(2)
    assert reported(world) == FIRST
    assert world.notes("desired_unknown") == [{"key": "colour"}]
    assert results(world) == []


def test_settings_and_an_action_in_one_delta() -> None:
    world = up(SHADOW)
    world.cloud.desire(THING, {"action": {"name": "restart-fan", "id": "a-1"}, "locked": False})
    world.run(10)
    assert {r["name"]: r["result"] for r in results(world)} == {"restart-fan": "done", "locked": "done"}
    assert world.cloud.shadow(THING).delta() == {}


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("{}", "needs 'start'"),
        ("{applies_to: telemetry.every_s}", "needs 'min' and 'max'"),
        ("{applies_to: telemetry.every_s, min: 0, max: 10}", "takes 0.001 to 86400"),
        ("{applies_to: telemetry.evry_s, min: 1, max: 10}", "did you mean 'telemetry.every_s'?"),
        ("{applies_to: heartbeat.every_s, min: 1, max: 10}", "nothing to set at 'heartbeat.every_s'"),
        ("{holds: fann, min: 0, max: 1}", "unknown signal 'fann'"),
        ("{holds: fan, applies_to: telemetry.every_s, min: 0, max: 1}", "not both"),
        ("{holds: fan, min: 1, max: 0}", "rising"),
        ("{start: 5, max: 4}", "'start' must be 4 or less"),
        ("{start: x, one_of: [y]}", "'start' must be one of y"),
    ],
)
def test_a_setting_that_cannot_be_is_found_before_anything_starts(setting: str, problem: str) -> None:
    with pytest.raises(YamlProblems) as error:
        profile(SHADOW.replace("locked: {start: true}", f"locked: {setting}"))
    assert problem in str(error.value)


@pytest.mark.parametrize("name", ["action", "temp"])
def test_a_setting_has_a_key_of_its_own(name: str) -> None:
    with pytest.raises(YamlProblems, match="already"):
        profile(SHADOW.replace("locked:", f"{name}:"))
