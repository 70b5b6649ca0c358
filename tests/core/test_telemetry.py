"""Telemetry: a fixed grid of intended times for each device, whatever happens to the device or to its runtime."""

import json
from itertools import pairwise
from typing import Any

import pytest
from pydantic import TypeAdapter

from simulator.behaviours.telemetry import UNANSWERED_MS, TelemetryDuty
from simulator.clock import VirtualClock
from simulator.device import Device
from simulator.ledger import Ledger
from simulator.messages import Answered, Booted, Connected, Missed, Output, Publish
from simulator.runtime.virtual import Virtual
from simulator.schema import union
from tests.core.fleets import PUMP, START_MS, THING, World, fleet, profile


def every(period: str) -> str:
    return PUMP.replace("every_s: 10", f"every_s: {period}")


def connected(period: str = "10", thing: str = THING) -> Device:
    device = fleet(profile(every(period)), [thing]).devices[0]
    device.receive(Connected(False), START_MS)
    return device


def telemetry(device: Device) -> TelemetryDuty:
    return next(duty for duty in device.duties if isinstance(duty, TelemetryDuty))


def times(device: Device, until_ms: int) -> list[int]:
    """When it speaks, called exactly when it wants to be."""
    said: list[int] = []
    duty = telemetry(device)
    while duty.wake_at_ms <= until_ms:
        now_ms = duty.wake_at_ms
        said += [now_ms for output in duty.step(device, now_ms) if isinstance(output, Publish)]
    return said


def test_the_grid_is_even_and_starts_within_a_period() -> None:
    said = times(connected("0.7"), START_MS + 600_000)
    assert START_MS <= said[0] < START_MS + 700
    assert {b - a for a, b in pairwise(said)} == {700}


def test_a_period_that_is_no_whole_number_of_ms_does_not_drift() -> None:
    said = times(connected("[1.0001, 1.0009]"), START_MS + 3_600_000)
    mean_ms = (said[-1] - said[0]) / (len(said) - 1)
    assert 1000.1 < mean_ms < 1000.9
    assert max(abs(at_ms - said[0] - i * mean_ms) for i, at_ms in enumerate(said)) <= 1


def test_each_device_has_its_own_period_and_phase() -> None:
    devices = [connected("[1, 5]", f"Pump-{n:03}") for n in range(200)]
    periods_s = [telemetry(device).period_ms / 1000 for device in devices]
    phases = [(telemetry(device).start_ms - START_MS) / telemetry(device).period_ms for device in devices]
    assert all(1 <= period_s <= 5 for period_s in periods_s)
    assert sum(periods_s) / 200 == pytest.approx(3, abs=0.3)
    assert all(0 <= phase < 1 for phase in phases)
    assert sum(phases) / 200 == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("late_ms", [1, 9_999, 10_000, 10_001, 19_999, 20_000, 20_001, 86_400_000])
def test_a_late_wake_does_not_shift_the_grid(late_ms: int) -> None:
    device = connected()
    duty = telemetry(device)
    first_ms = duty.wake_at_ms
    now_ms = first_ms + late_ms
    assert [output.kind for output in duty.step(device, now_ms) if isinstance(output, Publish)] == ["telemetry"]
    assert now_ms < duty.wake_at_ms <= now_ms + 10_000
    assert (duty.wake_at_ms - first_ms) % 10_000 == 0


@pytest.mark.parametrize(
    ("late_ms", "missed"), [(0, 0), (1, 0), (9_999, 0), (10_000, 1), (19_999, 1), (20_000, 2), (86_400_000, 8640)]
)
def test_a_message_knows_when_it_was_due_and_those_that_were_skipped_are_told(late_ms: int, missed: int) -> None:
    device = connected()
    due_ms = telemetry(device).wake_at_ms
    outputs = telemetry(device).step(device, due_ms + late_ms)
    assert [output.due_ms for output in outputs if isinstance(output, Publish)] == [due_ms]
    assert [output for output in outputs if isinstance(output, Missed)] == (
        [Missed("telemetry", missed)] * (missed > 0)
    )


def test_a_period_that_is_no_whole_number_of_ms_has_no_missed_messages() -> None:
    device = connected("[1.0001, 1.0009]")
    duty = telemetry(device)
    for _ in range(10_000):
        assert not any(isinstance(output, Missed) for output in duty.step(device, duty.wake_at_ms))


@pytest.mark.parametrize("off_ms", [1, 9_999, 10_000, 10_001, 123_456])
def test_what_was_due_while_the_power_was_off_is_not_missed(off_ms: int) -> None:
    device = connected()
    duty = telemetry(device)
    due_ms = duty.wake_at_ms
    back_ms = due_ms + off_ms
    device.switched_off()
    device.receive(Booted(), back_ms)
    first = duty.step(device, back_ms)
    assert [type(output) for output in first if not isinstance(output, Publish)] == []
    assert [output.due_ms for output in first if isinstance(output, Publish)] == [back_ms]
    assert (duty.wake_at_ms - due_ms) % 10_000 == 0, "the grid is as it was"
    assert back_ms < duty.wake_at_ms <= back_ms + 10_000


def test_what_is_said_at_once_is_due_at_once() -> None:
    what = profile(every("3600").replace("metrics: [temp_c, fan]", "metrics: [temp_c, fan], on_change: {temp_c: 1}"))
    world = World(what)
    world.run(2 * 3600)
    due = {bool(message.due_ms) for _, _, message in world.cloud.said if message.kind == "telemetry"}
    assert due == {True, False}


def test_what_a_fault_holds_back_is_due_when_it_lets_go() -> None:
    world = World(profile(every("10")))
    slow = TypeAdapter(union("faults")).validate_python({"kind": "slow", "by_s": 3})
    world.virtual.inject(0, slow, START_MS + 30_000)
    world.run(100)
    said = [
        (at_ms, m.due_ms) for at_ms, _, m in world.cloud.said if m.kind == "telemetry" and at_ms > START_MS + 45_000
    ]
    assert said
    assert all(at_ms == due_ms for at_ms, due_ms in said)


def test_counts_its_messages_without_a_gap() -> None:
    what = profile(every("[1, 5]").replace("metrics: [temp_c, fan]", "codec: fire_record, metrics: [temp_c, fan]"))
    world = World(what)
    world.virtual.power_cycle(0, START_MS + 60_000, 600_000)
    world.run(1200)
    said = [json.loads(m.payload) for _, _, m in world.cloud.said if m.kind == "telemetry"]
    assert [record["idx"] for record in said] == list(range(1, len(said) + 1))


def test_says_nothing_while_the_power_is_off() -> None:
    world = World(profile(every("1")))
    world.virtual.power_cycle(0, START_MS + 30_500, 60_000)
    world.run(120)
    at_ms = [at_ms - START_MS for at_ms, _, m in world.cloud.said if m.kind == "telemetry"]
    silent = [(a, b) for a, b in pairwise(at_ms) if b - a > 1000]
    assert [30_000 <= a <= 30_500 and 90_500 <= b <= 91_500 for a, b in silent] == [True]
    assert len({t % 1000 for t in at_ms} - {500}) == 1  # the same grid as before, but for the one at 90 500


def test_a_reconnection_changes_nothing() -> None:
    device, other = connected(), connected()
    device.receive(Connected(False), START_MS + 1_111)
    device.receive(Booted(), START_MS + 2_222)
    assert times(device, START_MS + 100_000) == times(other, START_MS + 100_000)


def test_what_was_measured_while_the_network_was_away_arrives_later_with_its_own_time() -> None:
    world = World(profile(every("10")))
    world.virtual.sever(0, START_MS + 60_000, 600_000)
    world.run(1200)
    said = [
        (at_ms, json.loads(m.payload)["device_timestamp"]) for at_ms, _, m in world.cloud.said if m.kind == "telemetry"
    ]
    stamps = [stamp for _, stamp in said]
    assert {b - a for a, b in pairwise(stamps)} == {10_000}
    late = [stamp for at_ms, stamp in said if at_ms != stamp]
    assert len(late) == 60
    assert {at_ms for at_ms, stamp in said if at_ms != stamp} == {START_MS + 660_000}


def test_the_topic_and_the_payload() -> None:
    what = profile()
    device = fleet(what, env="prd").devices[0]
    device.receive(Connected(False), START_MS)
    duty = telemetry(device)
    now_ms = duty.wake_at_ms
    [message] = duty.step(device, now_ms)
    assert isinstance(message, Publish)
    assert (message.kind, message.topic, message.qos) == ("telemetry", f"t/prd/{THING}", 1)
    assert json.loads(message.payload) == {
        "device_timestamp": now_ms,
        "data": {"metrics": {name: device.reading(now_ms)[name] for name in ("temp_c", "fan")}},
    }


def test_a_bad_reading_is_noted_once_and_so_is_its_end() -> None:
    what = profile(every("1").replace("limit: [0, 60]", "limit: [0, 45]"))
    world = World(what)
    world.run(3600)
    kinds = [kind for kind in world.kinds() if kind.endswith("range")]
    assert len(kinds) > 100
    assert kinds == (["out_of_range", "back_in_range"] * len(kinds))[: len(kinds)]
    for note in world.notes("out_of_range"):
        assert note["metric"] == "temp_c"
        assert note["value"] > note["limit"] == 45
    assert all(0 <= note["value"] <= 45 for note in world.notes("back_in_range"))


def test_devices_never_wait_for_one_another() -> None:
    """A thousand devices at one message a second each say as much as one alone does."""
    many = fleet(profile(every("1")), [f"Pump-{n:04}" for n in range(1000)])
    ledger = Ledger()
    virtual = Virtual(many, VirtualClock(), ledger)
    for index in range(1000):
        virtual.start(index, START_MS)
    virtual.run_until(START_MS + 60_000)
    assert ledger.sent["telemetry"] in range(60 * 1000, 61 * 1000)


IN_TURN = PUMP.replace("every_s: 10", "every_s: 0.5, in_turn: true")
TURN = Answered("telemetry")


def in_turn() -> Device:
    device = fleet(profile(IN_TURN)).devices[0]
    device.receive(Connected(False), START_MS)
    return device


def payload(outputs: list[Output]) -> dict[str, Any]:
    [said] = [output for output in outputs if isinstance(output, Publish) and output.kind == "telemetry"]
    found: dict[str, Any] = json.loads(said.payload)
    assert found["device_timestamp"] == said.stamp
    return found


def test_in_turn_the_next_message_waits_for_the_answer_and_for_the_period() -> None:
    device = in_turn()
    first_ms = telemetry(device).wake_at_ms
    assert payload(device.step(first_ms))["device_timestamp"] == first_ms
    assert device.step(first_ms + 5_000) == [], "it was not answered"
    assert device.receive(Answered("shadow_get"), first_ms + 5_001) == [], "another kind"
    assert payload(device.receive(TURN, first_ms + 5_002))["device_timestamp"] == first_ms + 5_002
    assert device.receive(TURN, first_ms + 5_100) == [], "sooner than the period"
    assert device.wake_at_ms == first_ms + 5_502
    assert payload(device.step(first_ms + 5_502))["device_timestamp"] == first_ms + 5_502


def test_in_turn_nothing_is_missed_and_an_answer_that_never_comes_stops_nobody() -> None:
    device = in_turn()
    now_ms = telemetry(device).wake_at_ms
    for _ in range(3):
        outputs = device.step(now_ms)
        assert payload(outputs)["device_timestamp"] == now_ms
        assert not any(isinstance(output, Missed) for output in outputs)
        assert telemetry(device).wake_at_ms == now_ms + UNANSWERED_MS
        now_ms += UNANSWERED_MS
    device.switched_off()
    assert device.receive(TURN, now_ms) == [], "without power"


def test_in_turn_in_virtual_time_every_period() -> None:
    world = World(profile(IN_TURN))
    world.run(60)
    assert 115 <= world.ledger.acknowledged["telemetry"] <= 120


def test_what_is_said_again_within_a_step_of_the_physics_is_what_would_have_been_said_anew() -> None:
    """The quick way, where the sensors read the same as at the last message, and the long one."""
    quick, long = in_turn(), in_turn()
    now_ms = telemetry(quick).wake_at_ms
    quick.step(now_ms)
    long.step(now_ms)
    seen = set()
    for _ in range(40):
        now_ms += 500 + now_ms % 7
        telemetry(long).sensed = -1
        mine, theirs = quick.receive(TURN, now_ms), long.receive(TURN, now_ms)
        assert mine == theirs
        seen.add(json.dumps(payload(mine)["data"]))
    assert len(seen) > 3, "the physics went on"


def test_turns_that_a_link_takes_by_itself_say_what_the_device_would_have_said() -> None:
    """As long as the promise holds; the device then goes on as if it had been asked each time."""
    asked, promised = in_turn(), in_turn()
    now_ms = telemetry(asked).wake_at_ms
    for device in (asked, promised):
        device.step(now_ms)
    turn = promised.turn(now_ms)
    assert turn is not None
    assert turn.apart_ms == 500
    assert now_ms < turn.until_ms <= now_ms + 5_000
    said_ms = now_ms
    for at_ms in range(now_ms + 500, turn.until_ms, 500):
        [said] = asked.receive(TURN, at_ms)
        assert isinstance(said, Publish)
        assert b"%b%d%b" % (turn.head, at_ms, turn.tail) == said.payload
        said_ms = at_ms
    promised.turned(said_ms)
    assert (promised.said_ms, promised.wake_at_ms) == (asked.said_ms, asked.wake_at_ms)
    assert promised.receive(TURN, said_ms + 600) == asked.receive(TURN, said_ms + 600)


def test_a_grid_beside_turns_keeps_to_its_times() -> None:
    beside = IN_TURN.replace(
        "  - {kind: shadow",
        '  - {kind: telemetry, every_s: 2, topic: "g/{thing}", metrics: [fan]}\n  - {kind: shadow',
        1,
    )
    world = World(profile(beside))
    world.run(60)
    said = [message.topic for _, _, message in world.cloud.said if message.kind == "telemetry"]
    assert 28 <= sum(topic.startswith("g/") for topic in said) <= 30
    assert 115 <= sum(topic.startswith("t/") for topic in said) <= 120


def test_no_turns_are_promised_by_what_has_to_be_asked() -> None:
    device = in_turn()
    assert device.turn(START_MS) is None, "it has not said anything"
    now_ms = telemetry(device).wake_at_ms
    device.step(now_ms)
    assert device.turn(now_ms) is not None
    fault = TypeAdapter(union("faults")).validate_python({"kind": "bias", "signal": "temp_c", "by": 500})
    device.inject(fault, now_ms)
    assert device.turn(now_ms) is None, "it has a fault"
    device.clear(None, now_ms)
    device.switched_off()
    assert device.turn(now_ms) is None, "without power"
    watching = IN_TURN.replace("in_turn: true", "in_turn: true, on_change: {temp_c: 1}")
    for text in (PUMP, watching):
        device = fleet(profile(text)).devices[0]
        device.receive(Connected(False), START_MS)
        device.step(telemetry(device).wake_at_ms)
        assert device.turn(telemetry(device).wake_at_ms) is None


def test_a_fault_of_a_sensor_is_in_the_very_next_message() -> None:
    device = in_turn()
    now_ms = telemetry(device).wake_at_ms
    before = payload(device.step(now_ms))["data"]["metrics"]["temp_c"]
    fault = TypeAdapter(union("faults")).validate_python({"kind": "bias", "signal": "temp_c", "by": 500, "for_s": 1})
    device.inject(fault, now_ms)
    assert payload(device.receive(TURN, now_ms + 500))["data"]["metrics"]["temp_c"] > before + 300
    assert payload(device.receive(TURN, now_ms + 1_500))["data"]["metrics"]["temp_c"] < before + 300
