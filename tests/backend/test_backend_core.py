"""The core in virtual time: the three stories of a hot engine, order, repetition, unknown devices, restart."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from simulator.backend.core import NO_PRODUCT_AGAIN_MS, Backend
from simulator.backend.devices import LOOKUP_AGAIN_MS, WAITING_MAX
from simulator.backend.effects import (
    CreateJob,
    DeadLetter,
    Effect,
    LookUp,
    OpenDispatch,
    Record,
    SaveAlarm,
    SaveDevice,
    SetDesired,
    StoreTelemetry,
)
from simulator.backend.rules import load_rules

RULES = load_rules(
    [
        {
            "ruleId": "engine-overheat",
            "productId": ["SedanVehicle", "SUVVehicle"],
            "condition": "metrics.engine_temp_c > 110",
            "severity": "high",
            "autoAction": "restart-fan",
            "thenUpdateTo": "1.1.0",
            "thenDispatch": True,
            "actionTimeout_s": 15,
            "clearFor_s": 20,
            "updateTimeout_s": 90,
        }
    ]
)
START_MS = 1_767_225_600_000
V = "Vehicle-VIN-001"


def hot(at_ms: int) -> bytes:
    return orjson.dumps({"device_timestamp": at_ms, "data": {"metrics": {"engine_temp_c": 112}}})


class World:
    """A backend, a clock, and an AWS and a device that answer at once."""

    def __init__(self, backend: Backend | None = None) -> None:
        self.backend = backend or Backend(RULES)
        self.now_ms = START_MS
        self.effects: list[Effect] = []

    def wait(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)
        self.take(self.backend.tick(self.now_ms))

    def take(self, effects: list[Effect]) -> None:
        """Let AWS do what is asked."""
        self.effects += effects
        for effect in effects:
            if isinstance(effect, LookUp):
                self.take(self.backend.product_answered(effect.thing, "SedanVehicle", self.now_ms))
            elif isinstance(effect, SetDesired | CreateJob):
                self.take(self.backend.done(effect, self.now_ms, "", self.now_ms))

    def say(self, topic: str, body: Any) -> None:
        self.take(self.backend.ingest(topic, orjson.dumps(body), self.now_ms))

    def temperature(self, *readings: float, thing: str = V) -> None:
        """One reading every five seconds."""
        for reading in readings:
            self.wait(5)
            body = {"device_timestamp": self.now_ms, "data": {"metrics": {"engine_temp_c": reading}}}
            self.say(f"iotlink/dev/nohub/{thing}/periodic/pub/telemetry/json", body)

    def answer(self, result: str = "done", thing: str = V) -> None:
        control = {"name": "restart-fan", "id": self.last(SetDesired).action_id, "result": result, "reason": ""}
        body = {"device_timestamp": self.now_ms, "data": {"control": control}}
        self.say(f"iotlink/dev/nohub/{thing}/event/pub/control_result/json", body)

    def job(self, status: str, **details: str) -> None:
        topic = f"$aws/events/jobExecution/{self.last(CreateJob).job_id}/{status}"
        self.say(topic, {"status": status.upper(), "statusDetails": details})

    def last(self, kind: type[Any]) -> Any:
        return [effect for effect in self.effects if isinstance(effect, kind)][-1]

    def events(self) -> list[str]:
        return [effect.kind for effect in self.effects if isinstance(effect, Record)]


COMMAND = ["alarm_raised", "command_sent", "control_result"]
JOB = ["in_range", "relapsed", "job_created", "job_succeeded"]


def test_cured_by_the_action() -> None:
    world = World()
    world.temperature(90, 112)
    world.answer()
    world.temperature(108, 100, 95, 92, 90)
    assert world.events() == [*COMMAND, "in_range", "alarm_closed"]
    assert not world.backend.open_alarms


def test_relapse_then_cured_by_the_update() -> None:
    world = World()
    world.temperature(112)
    world.answer()
    world.temperature(105, 100, 112)
    world.job("succeeded")
    world.temperature(104, 99, 95, 92, 90)
    assert world.events() == [*COMMAND, *JOB, "in_range", "alarm_closed"]
    job = world.last(CreateJob)
    assert (job.package, job.version, job.thing) == ("SedanVehicle", "1.1.0", V)


def test_relapse_update_relapse_dispatch() -> None:
    world = World()
    world.temperature(112)
    world.answer()
    world.temperature(105, 100, 112)
    world.job("succeeded")
    world.temperature(108, 104, 113, 118, 120)
    assert world.events() == [*COMMAND, *JOB, "in_range", "relapsed", "alarm_escalated", "dispatch_opened"]
    assert world.last(OpenDispatch).thing == V
    assert [alarm.state for alarm in world.backend.open_alarms.values()] == ["escalated"]


def test_a_failed_job_names_its_reason() -> None:
    world = World()
    world.temperature(112)
    world.answer("failed")
    world.job("failed", reason="sha256 does not match", step="verify")
    failed = next(e for e in world.effects if isinstance(e, Record) and e.kind == "job_failed")
    assert failed.detail["reason"] == "sha256 does not match"
    assert world.events()[-2:] == ["alarm_escalated", "dispatch_opened"]


def test_one_alarm_for_each_device_and_rule() -> None:
    world = World()
    for thing in (V, "Vehicle-VIN-002"):
        world.temperature(112, 115, 118, thing=thing)
    assert world.events().count("alarm_raised") == 2
    assert {alarm.thing for alarm in world.backend.open_alarms.values()} == {V, "Vehicle-VIN-002"}


def test_a_second_alarm_after_the_first_closed_has_another_id() -> None:
    world = World()
    for _ in range(2):
        world.temperature(112)
        world.answer()
        world.temperature(100, 99, 98, 97, 96, 95)
    saved = {effect.alarm_id for effect in world.effects if isinstance(effect, SaveAlarm)}
    assert world.events().count("alarm_closed") == 2
    assert len(saved) == 2


def test_the_action_and_its_answer_may_come_twice() -> None:
    world = World()
    world.temperature(112)
    world.answer()
    world.answer()
    assert world.events() == COMMAND


def test_a_late_sample_is_stored_and_moves_nothing() -> None:
    world = World()
    world.temperature(90)
    late = {"device_timestamp": START_MS - 60_000, "data": {"metrics": {"engine_temp_c": 150}}}
    world.say(f"iotlink/dev/nohub/{V}/periodic/pub/telemetry/json", late)
    assert isinstance(world.effects[-1], StoreTelemetry)
    assert world.events() == []


def test_samples_wait_for_the_product_and_the_look_up_is_asked_once() -> None:
    backend = Backend(RULES)
    asked: list[Effect] = []
    for i in range(WAITING_MAX + 10):
        body = {"device_timestamp": START_MS + i, "data": {"metrics": {"engine_temp_c": 112}}}
        topic = f"iotlink/dev/nohub/{V}/periodic/pub/telemetry/json"
        asked += [e for e in backend.ingest(topic, orjson.dumps(body), START_MS + i) if isinstance(e, LookUp)]
    assert asked == [LookUp(V)]
    answered = backend.product_answered(V, "SUVVehicle", START_MS)
    assert [e.kind for e in answered if isinstance(e, Record)] == ["alarm_raised"]
    assert backend.product_answered(V, "SUVVehicle", START_MS) == []


def test_a_failed_look_up_is_asked_again_later() -> None:
    backend = Backend(RULES)
    topic = f"iotlink/dev/nohub/{V}/periodic/pub/telemetry/json"

    def asks(at_ms: int) -> bool:
        body = {"device_timestamp": at_ms, "data": {"metrics": {"engine_temp_c": 112}}}
        return LookUp(V) in backend.ingest(topic, orjson.dumps(body), at_ms)

    assert asks(START_MS)
    assert backend.done(LookUp(V), START_MS, "throttled", START_MS) == []
    assert not asks(START_MS + 1)
    assert asks(START_MS + LOOKUP_AGAIN_MS)


def test_a_device_may_be_given_its_product_later() -> None:
    world = World()
    world.backend.ingest(f"iotlink/dev/nohub/{V}/periodic/pub/telemetry/json", hot(START_MS), START_MS)
    assert [e.kind for e in world.backend.product_answered(V, None, START_MS) if isinstance(e, Record)] == []
    world.temperature(112)
    assert LookUp(V) not in world.effects
    world.wait(NO_PRODUCT_AGAIN_MS / 1000)
    world.temperature(112, 113)
    assert world.effects.count(LookUp(V)) == 1
    assert world.events() == ["alarm_raised", "command_sent"]


def test_a_device_without_a_product_has_the_rules_of_every_device_only() -> None:
    everywhere = load_rules([{"ruleId": "any", "productId": "*", "condition": "metrics.engine_temp_c > 150"}])
    world = World(Backend(everywhere))
    body = {"device_timestamp": START_MS, "data": {"metrics": {"engine_temp_c": 151}}}
    topic = f"iotlink/dev/nohub/{V}/periodic/pub/telemetry/json"
    world.effects += world.backend.ingest(topic, orjson.dumps(body), START_MS)
    world.take(world.backend.product_answered(V, None, START_MS))
    assert world.events() == ["alarm_raised"]


def test_the_number_of_devices_is_bounded() -> None:
    world = World(Backend(RULES, devices_max=1))
    world.temperature(90)
    world.temperature(90, thing="Vehicle-VIN-002")
    assert isinstance(world.effects[-1], DeadLetter)
    assert world.backend.dead == {"devices.too_many": 1}


def test_a_restart_takes_up_open_alarms_and_repeats_unconfirmed_calls() -> None:
    before = Backend(RULES)
    topic = f"iotlink/dev/nohub/{V}/periodic/pub/telemetry/json"
    body = {"device_timestamp": START_MS, "data": {"metrics": {"engine_temp_c": 112}}}
    effects = before.ingest(topic, orjson.dumps(body), START_MS)
    effects += before.product_answered(V, "SedanVehicle", START_MS)  # SetDesired is asked for, and then: crash
    device = [effect for effect in effects if isinstance(effect, SaveDevice)][-1]
    alarm = [effect for effect in effects if isinstance(effect, SaveAlarm)][-1]
    asked: list[Effect] = [effect for effect in effects if isinstance(effect, SetDesired)]

    world = World(Backend(RULES))
    again = world.backend.resume([device], [alarm.document], START_MS)
    assert again == asked
    world.effects += asked
    world.take(again)
    world.say(topic, body)  # the broker sends it again
    world.answer()
    world.temperature(105, 100, 98, 95, 92)
    assert world.events() == ["command_sent", "control_result", "in_range", "alarm_closed"]


def test_an_alarm_whose_rule_is_gone_is_closed_at_the_restart() -> None:
    world = World()
    world.temperature(112)
    alarm, device = world.last(SaveAlarm), world.last(SaveDevice)
    effects = Backend(load_rules([])).resume([device], [alarm.document], START_MS)
    assert [e.kind for e in effects if isinstance(e, Record)] == ["alarm_closed"]


_says = st.lists(
    st.sampled_from(["hot", "cool", "late", "repeat", "done", "failed", "succeeded", "job failed", "wait", "lost"]),
    max_size=60,
)


@given(_says)
def test_never_two_open_alarms_and_every_one_is_accounted_for(says: list[str]) -> None:
    world = World()
    world.temperature(112)
    for what in says:
        match what:
            case "hot":
                world.temperature(115)
            case "cool":
                world.temperature(90)
            case "late" | "repeat":
                at_ms = world.now_ms - (7000 if what == "late" else 0)
                body = {"device_timestamp": at_ms, "data": {"metrics": {"engine_temp_c": 115}}}
                world.say(f"iotlink/dev/nohub/{V}/periodic/pub/telemetry/json", body)
            case "done" | "failed":
                world.answer(what)
            case "succeeded" | "job failed":
                if any(isinstance(effect, CreateJob) for effect in world.effects):
                    world.job(what.removeprefix("job "))
            case "wait":
                world.wait(10)
            case "lost":
                world.wait(100)
        assert len(world.backend.open_alarms) <= 1
    heard = world.events()
    states = [alarm.state for alarm in world.backend.open_alarms.values()]
    assert heard.count("alarm_raised") == heard.count("alarm_closed") + len(states)
    assert "closed" not in states
