"""Rules of type silence, in virtual time: who is missed, when, and that nobody is missed who could not be heard."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.backend.core import Backend
from simulator.backend.effects import (
    CloseDispatch,
    DeadLetter,
    Effect,
    LookUp,
    OpenDispatch,
    Record,
    SaveAlarm,
    SaveDevice,
    SetDesired,
)
from simulator.backend.rules import load_rules
from simulator.errors import UsageError

START_MS = 1_767_225_600_000
GONE = {"ruleId": "gone", "productId": "SedanVehicle", "type": "silence", "after_s": 30, "severity": "high"}
V, W = "Vehicle-VIN-001", "Vehicle-VIN-002"


class World:
    """A backend, a clock, and a registry in which everything is a sedan."""

    def __init__(self, *rules: dict[str, Any]) -> None:
        self.backend = Backend(load_rules(rules or [GONE]))
        self.now_ms = START_MS
        self.effects: list[Effect] = []

    def wait(self, seconds: float) -> None:
        """Tick by tick."""
        for _ in range(int(seconds * 2)):
            self.now_ms += 500
            self.take(self.backend.tick(self.now_ms))

    def take(self, effects: list[Effect]) -> None:
        self.effects += effects
        for effect in effects:
            if isinstance(effect, LookUp):
                self.take(self.backend.product_answered(effect.thing, "SedanVehicle", self.now_ms))

    def say(self, thing: str = V, role: str = "telemetry", at_ms: int = 0, **data: Any) -> None:
        topic = f"iotlink/dev/nohub/{thing}/{'periodic' if role == 'telemetry' else 'event'}/pub/{role}/json"
        body = {"device_timestamp": at_ms or self.now_ms, "data": data or {"metrics": {"t": 1}}}
        self.take(self.backend.ingest(topic, orjson.dumps(body), self.now_ms))

    @property
    def story(self) -> list[tuple[float, str, str]]:
        """When, what, to whom."""
        return [((e.at_ms - START_MS) / 1000, e.kind, e.thing) for e in self.effects if isinstance(e, Record)]


def test_who_says_nothing_for_so_long_is_missed_and_found_again() -> None:
    world = World()
    world.say()
    world.wait(20)
    world.say(W)
    world.wait(100)
    world.say()
    assert world.story == [(30, "alarm_raised", V), (50, "alarm_raised", W), (120, "alarm_closed", V)]
    raised = next(e for e in world.effects if isinstance(e, Record))
    assert raised.detail["condition"] == "nothing heard for 30 s"
    saved = [orjson.loads(e.document) for e in world.effects if isinstance(e, SaveAlarm)]
    assert {document["rule_type"] for document in saved} == {"silence"}
    assert (saved[-1]["state"], saved[-1]["metric"], saved[-1]["value"]) == ("closed", "", None)
    world.wait(29.5)
    assert len(world.story) == 3
    world.wait(0.5)
    assert world.story[-1] == (150, "alarm_raised", V)
    assert len({e.alarm_id for e in world.effects if isinstance(e, SaveAlarm)}) == 3


def test_whatever_can_be_read_is_a_sign_of_life() -> None:
    world = World()
    world.say()
    control = {"control": {"name": "restart-fan", "id": "a-1", "result": "done"}}
    signs: list[tuple[str, int, dict[str, Any]]] = [
        ("heartbeat", 0, {}), ("alert_report", 0, {"alert": {"x": 1}}), ("control_result", 0, control),
        ("telemetry", START_MS - 5000, {}),  # late, so it moves no other alarm
    ]  # fmt: skip
    for role, at_ms, data in signs:
        world.wait(25)
        world.say(role=role, at_ms=at_ms, **data)
    assert not [e for e in world.effects if isinstance(e, DeadLetter)]
    world.wait(29.5)
    assert world.story == []
    world.wait(0.5)
    assert [kind for _, kind, _ in world.story] == ["alarm_raised"]
    world.say(metrics={"t": {"no": "number"}})  # a dead letter is none
    assert len(world.story) == 1
    letter = next(e for e in world.effects if isinstance(e, DeadLetter))
    world.wait(1)
    world.take(
        world.backend.replay(1, letter._replace(payload=letter.payload.replace(b'{"no":"number"}', b"2")), world.now_ms)
    )
    assert len(world.story) == 2, "it was said after the device was missed, and only now understood"


def test_who_only_sends_heartbeats_is_known_too() -> None:
    world = World()
    world.say(role="heartbeat", heartbeat={"up": 1})
    world.wait(30)
    assert world.story == [(30, "alarm_raised", V)]


def test_somebody_can_be_sent_at_once_or_after_the_device_was_asked() -> None:
    world = World({**GONE, "thenDispatch": True})
    world.say()
    world.wait(30)
    assert [e.reason for e in world.effects if isinstance(e, OpenDispatch)] == ["nothing heard for 30 s"]
    world.say()
    assert [kind for _, kind, _ in world.story] == [
        "alarm_raised", "alarm_escalated", "dispatch_opened", "alarm_closed", "dispatch_cancelled",
    ]  # fmt: skip
    assert isinstance(next(e for e in reversed(world.effects) if isinstance(e, CloseDispatch)), CloseDispatch)
    world = World({**GONE, "autoAction": "reboot", "actionTimeout_s": 15, "thenDispatch": True})
    world.say()
    world.wait(30)
    [asked] = [e for e in world.effects if isinstance(e, SetDesired)]
    world.take(world.backend.done(asked, world.now_ms, "", world.now_ms))
    world.wait(15)
    assert [(at_s, kind) for at_s, kind, _ in world.story] == [
        (30, "alarm_raised"), (30, "command_sent"), (45, "action_timed_out"), (45, "alarm_escalated"),
        (45, "dispatch_opened"),
    ]  # fmt: skip


def test_several_rules_miss_it_each_at_its_time_and_only_those_of_its_product() -> None:
    world = World(
        GONE,
        {**GONE, "ruleId": "long gone", "after_s": 60} | {"ruleId": "long-gone", "productId": ["SedanVehicle", "x"]},
        {**GONE, "ruleId": "other", "productId": "SUVVehicle"},
        {"ruleId": "anybody", "productId": "*", "type": "silence", "after_s": 45},
        {"ruleId": "hot", "productId": "*", "condition": "metrics.t > 100"},
    )
    world.say()
    world.wait(100)
    alarms = {e.rule_id: e for e in world.effects if isinstance(e, SaveAlarm)}
    assert {rule: (e.raised_at_ms - START_MS) / 1000 for rule, e in alarms.items()} == {
        "gone": 30, "anybody": 45, "long-gone": 60,
    }  # fmt: skip
    world.say()
    assert [kind for _, kind, _ in world.story[3:]] == ["alarm_closed"] * 3


def test_rules_change_while_it_runs() -> None:
    world = World({"ruleId": "hot", "productId": "*", "condition": "metrics.t > 100"})
    world.say()
    world.wait(20)
    world.take(world.backend.replace_rules(load_rules([GONE]), world.now_ms))
    world.wait(20)
    assert world.story == [(30, "alarm_raised", V)]
    hot = {"ruleId": "gone", "productId": "*", "condition": "metrics.t > 100"}  # the same name, but of another type
    world.take(world.backend.replace_rules(load_rules([hot]), world.now_ms))
    world.wait(100)
    assert [kind for _, kind, _ in world.story] == ["alarm_raised", "alarm_closed"]


def test_while_it_was_down_itself_nobody_was_silent() -> None:
    before = World()
    before.say()
    before.wait(20)
    before.say(W)
    before.wait(15)
    saved = {e.device_id: e for e in before.effects if isinstance(e, SaveDevice)}
    documents = {e.alarm_id: e.document for e in before.effects if isinstance(e, SaveAlarm)}
    after = World()
    after.now_ms = before.now_ms + 200_000
    after.take(after.backend.resume(saved.values(), documents.values(), after.now_ms))
    since_s = (after.now_ms - START_MS) / 1000
    after.wait(29.5)
    assert after.story == []
    after.wait(10)
    assert after.story == [(since_s + 30, "alarm_raised", W)], "the alarm of the other one is still open"
    after.say()
    assert after.story[-1][1:] == ("alarm_closed", V)


def test_while_it_cannot_hear_nobody_is_missed() -> None:
    world = World()
    world.say()
    world.wait(10)
    world.backend.deaf = True
    world.wait(1000)
    assert world.story == []
    world.backend.listen_anew(world.now_ms)
    world.wait(29.5)
    assert world.story == []
    world.now_ms -= 7_200_000  # the clock is set back
    world.backend.listen_anew(world.now_ms)
    world.wait(29.5)
    assert world.story == []
    world.wait(1)
    assert [kind for _, kind, _ in world.story] == ["alarm_raised"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"after_s": None}, "after_s: a rule of type silence needs one"),
        ({"condition": "metrics.t > 1"}, "condition: a rule of type silence has none"),
        ({"type": "threshold"}, "condition: a rule of type threshold needs one"),
        ({"type": "threshold", "condition": "metrics.t > 1"}, "after_s: a rule of type threshold has none"),
        ({"after_s": 0}, "after_s: Input should be greater than 0"),
        ({"after": 30}, "after: unknown key 'after' (did you mean 'after_s'?)"),
    ],
)
def test_a_rule_has_what_its_type_needs(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        load_rules([GONE | changes])
    assert str(error.value).startswith(f"rules[0].{said}")


@given(
    st.lists(
        st.tuples(st.sampled_from(["say", "wait", "rules", "deaf", "hear"]), st.integers(0, 3), st.integers(1, 40))
    ),
    st.lists(st.integers(1, 60), min_size=1, max_size=3, unique=True),
)
def test_it_is_as_if_everybody_were_asked_every_time(steps: list[tuple[str, int, int]], after_s: list[int]) -> None:
    """Against a model that looks at every device at every tick."""
    rules = [{**GONE, "ruleId": f"r{n}", "after_s": n} for n in after_s]
    world, heard, missed, deaf = World(*rules), dict[str, int](), set[tuple[str, str]](), False
    for what, who, much in steps:
        thing = f"V-{who}"
        match what:
            case "say":
                world.say(thing)
                if heard.get(thing, 0) < world.now_ms:
                    heard[thing] = world.now_ms
                    missed -= {one for one in missed if one[0] == thing}
            case "wait":
                for _ in range(much):
                    world.wait(1)
                    missed |= {
                        (one, f"r{n}") for one, at_ms in heard.items() for n in after_s
                        if not deaf and world.now_ms - at_ms >= n * 1000
                    }  # fmt: skip
            case "rules":
                world.take(world.backend.replace_rules(load_rules(rules), world.now_ms))
            case "deaf":
                world.backend.deaf = deaf = True
            case "hear":
                world.backend.listen_anew(world.now_ms)
                heard, deaf = dict.fromkeys(heard, world.now_ms), False
        assert {(alarm.thing, alarm.rule_id) for alarm in world.backend.open_alarms.values()} == missed
