"""What every family of topics becomes: children of hubs, binary payloads, reports, a fire sensor that starts again."""

import base64
from typing import Any

import orjson
import pytest

from simulator.backend.core import NO_PRODUCT_AGAIN_MS, Backend
from simulator.backend.decode import Telemetry, taken_payload
from simulator.backend.devices import INDEX_BURST_MS, WAITING_MAX
from simulator.backend.effects import (
    DeadLetter,
    DropWaiting,
    Effect,
    KeepWaiting,
    LookUp,
    SaveAlarm,
    SaveNodes,
    StoreReport,
    StoreTelemetry,
)
from simulator.backend.rules import load_rules
from simulator.wire.payloads import fire_record
from simulator.wire.spec import ProductSpec
from tests.wire.product_specs import SAMPLE
from tests.wire.product_specs import spec as machine

NOW_MS = 1_767_225_600_000
BIN = "iotlink/stg/nohub/m-1/periodic/pub/telemetry/bin"
PLAIN = ProductSpec.model_validate(
    {"messages": {"telemetry": {"fields": [{"name": "t", "type": "i16", "scale": 0.1}, {"name": "n", "type": "u8"}]}}}
)
RECORD = {"volt": 220.0, "voltLow": 220.0, "ct": 5.0, "pcbTemp": 35.0, "sensorTemp": 37.0}


def backend(*rules: dict[str, Any], **specs: ProductSpec) -> Backend:
    made = Backend(load_rules(rules))
    made.replace_specs(specs)
    return made


def say(core: Backend, topic: str, at_ms: int = NOW_MS, **more: Any) -> list[Effect]:
    data = more.pop("data", {"metrics": {"t": 20}})
    return core.ingest(topic, orjson.dumps({"device_timestamp": at_ms, "data": data, **more}), NOW_MS)


def stored(effects: list[Effect]) -> list[StoreTelemetry]:
    return [effect for effect in effects if isinstance(effect, StoreTelemetry)]


def reasons(effects: list[Effect]) -> list[str]:
    return [effect.reason for effect in effects if isinstance(effect, DeadLetter)]


@pytest.mark.parametrize(
    "topic", ["iotlink/stg/hub-01/kid-1/periodic/pub/telemetry/json", "devices/hub-01/kid-1/telemetry"]
)
def test_a_child_keeps_its_hub_and_the_hubs_time(topic: str) -> None:
    [sample] = stored(say(backend(), topic, hub_timestamp=NOW_MS + 7))
    assert (sample.device_id, sample.hub_id, sample.hub_timestamp) == ("kid-1", "hub-01", NOW_MS + 7)


@pytest.mark.parametrize("role", ["alert_report", "provisioning_complete", "heartbeat", "upload_complete"])
def test_each_report_is_counted_and_stored_as_its_kind(role: str) -> None:
    core = backend()
    effects = say(core, f"iotlink/dev/hub-01/kid-1/event/pub/{role}/json", data={"x": 1})
    assert [effect.kind for effect in effects if isinstance(effect, StoreReport)] == [role]
    assert core.received == {role: 1}


def test_who_is_there_is_remembered_when_it_is_news() -> None:
    core, topic = backend(), "iotlink/dev/hub-01/hub-01/periodic/pub/telemetry/json"
    nodes = [{"device_id": "kid-1", "role": "EndDevice", "parent": "hub-01"}]

    def news(at_ms: int, there: Any, topic: str = topic) -> list[Any]:
        return [orjson.loads(e.nodes) for e in say(core, topic, at_ms, nodes=there) if isinstance(e, SaveNodes)]

    assert news(NOW_MS, nodes) == [nodes]
    assert news(NOW_MS + 1, nodes) == []
    assert news(NOW_MS + 2, [], topic.replace("periodic/pub/telemetry", "event/pub/heartbeat")) == [[]]
    assert news(NOW_MS + 3, nodes) == [nodes]
    assert news(NOW_MS - 5, []) == []
    assert reasons(say(core, topic, NOW_MS + 4, nodes=[{"device_id": 1}])) == ["nodes.device_id.type"]
    assert reasons(say(core, topic, NOW_MS + 4, nodes=7)) == ["nodes.type"]


@pytest.mark.parametrize("write", [bytes.hex, lambda body: base64.b64encode(body).decode()])
def test_binary_waits_for_the_product_and_is_read_by_its_spec(write: Any) -> None:
    core = backend(plain=PLAIN)
    text = write(PLAIN.encode("telemetry", {"t": 21.5, "n": 3}))
    first = say(core, BIN, data={"bin": text})
    assert [type(effect) for effect in first] == [KeepWaiting, type(first[1]), LookUp]
    assert not stored(first)
    answered = core.product_answered("m-1", "plain", NOW_MS)
    assert [orjson.loads(sample.metrics) for sample in stored(answered)] == [{"t": 21.5, "n": 3}]
    assert [effect for effect in answered if isinstance(effect, DropWaiting)] == [DropWaiting("m-1")]
    [second] = stored(say(core, BIN, NOW_MS + 1, data={"bin": text}))
    assert (second.device_timestamp, second.stream) == (NOW_MS + 1, "platform")
    assert core.received == {"telemetry": 2}


def test_binary_that_cannot_be_read_says_why() -> None:
    core = backend(plain=PLAIN, machine=machine())
    for _ in range(WAITING_MAX):
        assert not reasons(say(core, BIN, data={"bin": "00"}))
    assert reasons(say(core, BIN, data={"bin": "00"})) == ["bin.product_unknown"]
    assert reasons(core.product_answered("m-1", None, NOW_MS)) == ["bin.no_product"] * WAITING_MAX
    assert reasons(say(core, BIN, data={"bin": "00"})) == ["bin.no_product"]

    say(core, BIN.replace("m-1", "m-2"), data={"bin": "00"})
    assert reasons(core.product_answered("m-2", "plain", NOW_MS)) == ["spec.size"]
    for data, reason in (
        ({}, "bin.missing"),
        ({"bin": 7}, "bin.type"),
        ({"bin": "§"}, "bin.encoding"),
        ({"bin": "AAAAAAAA"}, "spec.size"),
    ):
        assert reasons(say(core, BIN.replace("m-1", "m-2"), data=data)) == [reason]
    role = BIN.replace("m-1", "m-2").replace("telemetry", "alert_report")
    assert reasons(say(core, role, data={"bin": "000000"})) == ["bin.message"]

    body = machine().encode("telemetry", SAMPLE).hex()
    say(core, BIN.replace("m-1", "m-3"), data={"bin": body})
    assert reasons(core.product_answered("m-3", "machine", NOW_MS)) == ["device_id.mismatch"]
    say(core, BIN.replace("m-1", "m-4"), data={"bin": body})
    assert reasons(core.product_answered("m-4", "other", NOW_MS)) == ["bin.no_product_spec"]


def test_a_child_that_nobody_registered_says_its_product_itself() -> None:
    rule = {"ruleId": "hot", "productId": "plain", "condition": "metrics.t > 80"}
    core = backend(rule)
    topic = "iotlink/dev/hub-01/kid-1/event/pub/provisioning_complete/json"
    said = {"provisioning": {"thing": "kid-1", "product": "plain"}}
    assert LookUp("kid-1") in say(core, topic, data=said)
    say(core, "devices/hub-01/kid-1/telemetry", data={"metrics": {"t": 90}})
    raised = core.product_answered("kid-1", None, NOW_MS)
    assert [effect.rule_id for effect in raised if isinstance(effect, SaveAlarm)] == ["hot"]
    assert core.product_of("kid-1") == "plain"

    late = backend(rule)
    say(late, "devices/hub-01/kid-1/telemetry")
    late.product_answered("kid-1", None, NOW_MS)
    say(late, topic, data=said)
    assert late.product_of("kid-1") == "plain"

    known = backend(rule)
    say(known, topic, data=said)
    known.product_answered("kid-1", "other", NOW_MS + NO_PRODUCT_AGAIN_MS)
    assert known.product_of("kid-1") == "other"


def test_a_fire_sensor_that_starts_again_loses_no_record() -> None:
    core = backend()
    records = [fire_record("device-001", idx, NOW_MS, RECORD) for idx in range(1, 31)]

    def run(begins_ms: int) -> list[int]:
        found = []
        for i, record in enumerate(records):
            now_ms = begins_ms + i * 1000
            [sample] = stored(core.ingest("fire-prediction/device/device-001/data", record, now_ms))
            found.append(sample.key)
        return found

    first = run(NOW_MS)
    assert len(set(first)) == 30
    again = [
        stored(core.ingest("fire-prediction/device/device-001/data", r, NOW_MS + 31_000))[0].key for r in records[22:]
    ]
    assert again == first[22:]  # what was not acknowledged comes again, and is the same
    assert not set(run(NOW_MS + 60_000)) & set(first)  # the same seed, the same bytes, another run


def test_a_burst_that_is_repeated_is_no_new_start() -> None:
    core = backend()
    records = [fire_record("device-001", idx, NOW_MS, RECORD) for idx in range(1, 31)]
    keys = [
        stored(core.ingest("fire-prediction/device/device-001/data", record, NOW_MS + delay))[0].key
        for delay in (0, INDEX_BURST_MS * 10)
        for record in records
    ]
    assert keys[:30] == keys[30:]


def test_a_sample_of_another_channel_is_a_dead_letter_that_can_be_read_again() -> None:
    sample = Telemetry("m-1", "platform", NOW_MS, None, NOW_MS, None, NOW_MS, {"t": 1.5}, "plain")
    core = Backend(load_rules([]), devices_max=0)
    [letter] = core.take(sample, NOW_MS)
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.payload) == ("devices.too_many", taken_payload(sample))
    [again] = stored(backend().ingest(letter.topic, letter.payload, NOW_MS))
    assert (again.device_id, again.key, orjson.loads(again.metrics)) == ("m-1", NOW_MS, {"t": 1.5})
