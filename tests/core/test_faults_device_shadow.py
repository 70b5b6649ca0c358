"""Faults of a device's shadow: what it forgets, ignores, applies late and applies wrongly, and what it reports then."""

import json
from typing import Any

from simulator.faults.applies_late import AppliesLate
from simulator.faults.applies_wrongly import AppliesWrongly
from simulator.faults.forgets_shadow import ForgetsShadow
from simulator.faults.ignores_delta import IgnoresDelta
from tests.core.faulty_pump import BEGIN_S, END_S, between, telemetry, world
from tests.core.fleets import START_MS, THING, World


def reported(found: World) -> dict[str, Any]:
    return {name: found.cloud.shadow(THING).reported.get(name) for name in ("opening", "log_level", "lamp")}


def set_at(found: World, at_s: float, **desired: Any) -> None:
    found.virtual.at(START_MS + int(1000 * at_s), lambda: found.cloud.desire(THING, desired))


def results(found: World) -> list[tuple[float, str, str]]:
    """When it answered what, and how it went."""
    said = []
    for at_ms, _, message in found.cloud.said:
        if message.kind == "control_result":
            control = json.loads(message.payload)["data"]["control"]
            said.append(((at_ms - START_MS) / 1000, control["name"], control["result"]))
    return said


def test_a_device_forgets_and_is_told_again() -> None:
    found = world()
    set_at(found, 10, opening=4, log_level="debug")
    found.virtual.inject(0, ForgetsShadow(every_s=100), START_MS + 1000 * BEGIN_S)
    found.virtual.clear(0, None, START_MS + 1000 * END_S)
    found.run(50)
    assert reported(found) == {"opening": 4, "log_level": "debug", "lamp": False}
    found.run(350)
    assert reported(found) == {"opening": 4, "log_level": "debug", "lamp": False}
    answered = [at for at, name, result in results(found) if name == "opening" and result == "done"]
    assert len(answered) == 3, "at first, and after each time that it forgot"
    assert [60 < at < 82 for at in answered[1:2]] == [True]
    opened = [(one.at_s, one.metrics["valve"]) for one in telemetry(found)]
    assert {value for at, value in opened if 60 < at < 82} == {1, 4}
    assert {value for at, value in opened if at > 290} == {4}


def test_a_device_forgets_when_its_power_goes() -> None:
    found = world()
    found.virtual.inject(0, ForgetsShadow(), START_MS)
    set_at(found, 10, log_level="debug")
    found.virtual.power_cycle(0, START_MS + 60_000, 1000)
    found.virtual.clear(0, None, START_MS + 100_000)
    found.virtual.power_cycle(0, START_MS + 120_000, 1000)
    found.run(200)
    assert [name for _, name, _ in results(found)] == ["log_level", "log_level"]
    assert found.device.flash["settings"] == {"log_level": "debug"}


def test_a_forgotten_action_cannot_be_told_by_half() -> None:
    """A delta has only what differs; the name of the action is what the device had reported."""
    found = world()
    set_at(found, 10, action={"name": "restart-fan", "id": "1"})
    found.virtual.inject(0, ForgetsShadow(), START_MS + 30_000)
    set_at(found, 40, action={"name": "restart-fan", "id": "2"})
    found.run(60)
    assert [(name, result) for _, name, result in results(found)] == [("restart-fan", "done"), ("", "failed")]


def test_a_device_ignores_its_delta_and_does_it_when_it_is_well() -> None:
    found = world()
    found.virtual.inject(0, IgnoresDelta(), START_MS + 1000 * BEGIN_S)
    set_at(found, 70, opening=4)
    set_at(found, 80, action={"name": "restart-fan", "id": "1"})
    found.virtual.sever(0, START_MS + 100_000, 1000)  # it asks for its shadow, and ignores that as well
    found.run(BEGIN_S + 100)
    assert results(found) == []
    assert reported(found)["opening"] == "auto"
    assert found.cloud.shadow(THING).delta()["opening"] == 4
    found.virtual.clear(0, None, found.virtual.clock.now_ms())
    found.run(60)
    assert sorted(name for _, name, _ in results(found)) == ["opening", "restart-fan"]
    assert reported(found)["opening"] == 4


def test_some_deltas_are_ignored() -> None:
    found = world()
    found.virtual.inject(0, IgnoresDelta(probability=0.5), START_MS)
    for n in range(40):
        set_at(found, 10 + 5 * n, action={"name": "restart-fan", "id": str(n)})
    found.run(300)
    assert 10 < len(results(found)) <= 40


def test_a_device_applies_late() -> None:
    found = world()
    found.virtual.inject(0, AppliesLate(by_s=45), START_MS + 1000 * BEGIN_S)
    found.virtual.clear(0, None, START_MS + 150_000)
    set_at(found, 10, opening=2)
    set_at(found, 70, opening=4)
    set_at(found, 160, opening=6)
    found.run(300)
    assert [(round(at), result) for at, _, result in results(found)] == [(11, "done"), (116, "done"), (161, "done")]
    assert {one.metrics["valve"] for one in between(telemetry(found), 75, 115)} == {2}


def test_a_device_applies_wrongly_and_takes_it_for_done() -> None:
    found = world()
    found.virtual.inject(0, AppliesWrongly(factor=2), START_MS + 1000 * BEGIN_S)
    set_at(found, 10, opening=2, log_level="debug")
    set_at(found, 70, opening=3, lamp=True, log_level="info")
    found.run(BEGIN_S + 140)
    assert reported(found) == {"opening": 6, "lamp": False, "log_level": "info"}, "a text is not guessed at"
    assert found.cloud.shadow(THING).delta() == {"opening": 3, "lamp": True}
    assert {one.metrics["valve"] for one in between(telemetry(found), 90, 200)} == {6}
    busy = [
        message for at, _, message in found.cloud.said if at > START_MS + 90_000 and message.kind == "shadow_update"
    ]
    assert len(busy) < 10, "it does not answer each report's delta with another report"
    found.virtual.clear(0, None, found.virtual.clock.now_ms())
    found.run(60)
    assert reported(found) == {"opening": 3, "lamp": True, "log_level": "info"}


def test_what_is_too_much_by_then_is_refused_as_it_says() -> None:
    found = world()
    found.virtual.inject(0, AppliesWrongly(factor=100), START_MS)
    set_at(found, 10, opening=3)
    found.run(60)
    assert [(name, result) for _, name, result in results(found)] == [("opening", "failed")]
