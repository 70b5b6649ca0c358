"""Shadow sync: what is desired is done once, answered and reported, whatever order the news comes in."""

import json
from itertools import pairwise
from typing import Any

import pytest

from simulator.messages import Connected, Received
from tests.core.fake_cloud import Json
from tests.core.fleets import PUMP, START_MS, THING, World, profile

RESTART = {"action": {"name": "restart-fan", "id": "a-1"}}
SHADOW = f"$aws/things/{THING}/shadow"


def results(world: World) -> list[Json]:
    """What the device told the backend of its actions."""
    said = [json.loads(m.payload) for _, _, m in world.cloud.said if m.kind == "control_result"]
    return [document["data"]["control"] for document in said]


def tell(world: World, leaf: str, document: Any) -> None:
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    world.virtual.tell(0, Received(f"{SHADOW}/{leaf}", payload), world.virtual.clock.now_ms())


def up() -> World:
    world = World()
    world.run(5)
    return world


def test_a_new_device_asks_and_then_reports() -> None:
    world = up()
    said = [(at_ms - START_MS, m.kind) for at_ms, _, m in world.cloud.said if m.kind.startswith("shadow")]
    assert said == [(0, "shadow_get"), (20, "shadow_update")]
    assert world.cloud.shadow(THING).reported == {"temp": pytest.approx(40, abs=5)}


def test_acts_answers_and_reports() -> None:
    world = up()
    desired_ms = world.virtual.clock.now_ms()
    world.cloud.desire(THING, RESTART)
    world.run(10)
    assert world.notes("delta_received") == [{"action": "restart-fan", "id": "a-1"}]
    assert world.notes("acted") == [{"action": "restart-fan", "id": "a-1", "result": "done"}]
    assert results(world) == [{"name": "restart-fan", "id": "a-1", "result": "done", "reason": ""}]
    [(at_ms, message)] = [(at_ms, m) for at_ms, _, m in world.cloud.said if m.kind == "control_result"]
    assert at_ms == desired_ms + 20 + 2000  # the way to the device, and what the action takes
    assert message.topic == f"iotlink/stg/nohub/{THING}/event/pub/control_result/json"
    assert json.loads(message.payload)["device_timestamp"] == at_ms
    assert world.cloud.shadow(THING).reported["action"] == RESTART["action"]
    assert world.cloud.shadow(THING).delta() == {}


def test_the_same_action_again_needs_its_id_only() -> None:
    """A delta carries the leaves that differ, so the second one comes without the action's name."""
    world = up()
    for n in (1, 2, 3):
        world.cloud.desire(THING, {"action": {"name": "restart-fan", "id": f"a-{n}"}})
        world.run(10)
    assert [(r["name"], r["id"], r["result"]) for r in results(world)] == [
        ("restart-fan", f"a-{n}", "done") for n in (1, 2, 3)
    ]


def test_once_for_each_id() -> None:
    world = up()
    world.cloud.desire(THING, RESTART)
    world.run(1)  # the action is under way …
    for version in (1, 2, 3, 9, 9, 10):  # … and its delta comes again and again
        tell(world, "update/delta", {"state": RESTART, "version": version})
    world.run(10)
    tell(world, "update/delta", {"state": RESTART, "version": 11})
    tell(world, "get/accepted", {"state": {"delta": RESTART}, "version": 12})
    world.run(10)
    assert len(results(world)) == 1


def test_an_older_delta_says_nothing() -> None:
    world = up()
    tell(world, "update/delta", {"state": {"action": {"name": "restart-fan", "id": "new"}}, "version": 8})
    tell(world, "update/delta", {"state": {"action": {"name": "restart-fan", "id": "old"}}, "version": 7})
    world.run(10)
    assert [result["id"] for result in results(world)] == ["new"]


@pytest.mark.parametrize("early", [True, False])
def test_the_name_of_an_action_is_that_of_the_last_one_whoever_reported_it(early: bool) -> None:
    """The device is another one than that which acted before, as on another worker: a delta has only the new id."""
    world = up()
    world.cloud.desire(THING, RESTART)
    world.run(10)
    world.virtual.sever(0, world.virtual.clock.now_ms(), 5000)
    world.run(1)
    del world.device.flash["last_action"]
    world.cloud.desire(THING, {"action": {**RESTART["action"], "id": "a-2"}})
    delta = world.cloud.shadow(THING).delta()
    assert delta == {"action": {"id": "a-2"}}
    if early:  # as one that was published between the subscription and the answer to what it asks
        world.device.receive(Connected(False), world.virtual.clock.now_ms())
        tell(world, "update/delta", {"state": delta, "version": world.cloud.shadow(THING).version})
    world.run(20)
    assert [(said["name"], said["id"], said["result"]) for said in results(world)] == [
        ("restart-fan", "a-1", "done"), ("restart-fan", "a-2", "done"),
    ]  # fmt: skip
    assert world.cloud.shadow(THING).delta() == {}


@pytest.mark.parametrize("answer", ["older", "refused", "none"])
def test_an_action_whose_name_was_not_answered_is_asked_for_again(answer: str) -> None:
    world = up()
    world.cloud.desire(THING, RESTART)
    world.run(10)
    del world.device.flash["last_action"]
    now_ms, version = world.virtual.clock.now_ms(), world.cloud.shadow(THING).version
    world.device.receive(Connected(False), now_ms)  # what it asks gets lost on the way
    tell(world, "update/delta", {"state": {"action": {"id": "a-2"}}, "version": version + 1})
    if answer == "older":
        tell(world, "get/accepted", {"state": {}, "version": version})
    elif answer == "refused":
        tell(world, "get/rejected", {"code": 500, "message": "later"})
    world.cloud.desire(THING, {"action": {**RESTART["action"], "id": "a-2"}})
    world.run(90)
    assert ("restart-fan", "a-2", "done") in [(said["name"], said["id"], said["result"]) for said in results(world)]


def test_an_unknown_action_fails_and_empties_the_delta() -> None:
    world = up()
    world.cloud.desire(THING, {"action": {"name": "fly", "id": "a-1"}})
    world.run(10)
    [result] = results(world)
    assert (result["result"], result["reason"]) == ("failed", "unknown action 'fly'")
    assert world.cloud.shadow(THING).delta() == {}


@pytest.mark.parametrize("power_too", [False, True])
def test_catches_up_with_what_was_desired_while_it_was_away(power_too: bool) -> None:
    world = up()
    gone = world.virtual.power_cycle if power_too else world.virtual.sever
    gone(0, world.virtual.clock.now_ms(), 60_000)
    world.run(1)
    world.cloud.desire(THING, RESTART)
    world.run(120)
    assert [result["id"] for result in results(world)] == ["a-1"]
    assert world.cloud.shadow(THING).delta() == {}


def test_an_action_that_a_reboot_interrupted_is_done_after_it() -> None:
    world = up()
    world.cloud.desire(THING, RESTART)
    world.virtual.power_cycle(0, world.virtual.clock.now_ms() + 1000, 5000)
    world.run(60)
    assert [result["result"] for result in results(world)] == ["done"]


def test_what_was_done_is_known_after_a_reboot() -> None:
    world = up()
    world.cloud.desire(THING, RESTART)
    world.cloud.desire(THING, {"other": 1})  # so that there is a delta for ever
    world.run(10)
    world.virtual.power_cycle(0, world.virtual.clock.now_ms(), 5000)
    world.run(60)
    assert len(results(world)) == 1


def test_refreshes_its_report() -> None:
    world = World()
    world.run(3600)
    updates = [at_ms for at_ms, _, m in world.cloud.said if m.kind == "shadow_update"]
    assert {b - a for a, b in pairwise(updates[1:])} == {60_000}


def test_a_device_that_reports_nothing_still_answers() -> None:
    world = World(profile(PUMP.replace("reports: {temp: temp_c}", "reports: {}")))
    world.run(5)
    world.cloud.desire(THING, RESTART)
    world.run(10)
    assert world.cloud.shadow(THING).reported == RESTART


def test_a_refusal_is_noted() -> None:
    world = up()
    tell(world, "update/rejected", {"code": 413, "message": "too large"})
    tell(world, "update/rejected", {"code": {}, "message": []})
    world.run(1)
    assert world.notes("shadow_rejected") == [{"code": 413, "message": "too large"}, {"code": 0, "message": ""}]


@pytest.mark.parametrize(
    "document",
    [
        b"", b"\xff", b"[]", b"null", b'"x"', b"{}", b"[" * 2000,
        {"state": []}, {"state": RESTART}, {"state": RESTART, "version": "7"}, {"state": None, "version": 7},
        {"state": {"action": 1}, "version": 7}, {"state": {"action": {"id": 7}}, "version": 7},
        {"state": {"action": {"name": "restart-fan"}}, "version": 7}, {"state": {"delta": 3}, "version": 7},
    ],
)  # fmt: skip
@pytest.mark.parametrize("leaf", ["update/delta", "get/accepted", "get/rejected", "update/rejected", "no/such", ""])
def test_nonsense_is_not_acted_on(leaf: str, document: Any) -> None:
    world = up()
    tell(world, leaf, document)
    world.run(10)
    assert results(world) == []


def test_a_name_that_is_no_text_is_an_unknown_action() -> None:
    world = up()
    tell(
        world,
        "update/delta",
        {"state": {"action": {"name": json.loads("[" * 900 + "]" * 900), "id": "x"}}, "version": 7},
    )
    world.run(10)
    assert [result["result"] for result in results(world)] == ["failed"]
