"""From bytes to standard telemetry, or to a reason: tables, and any bytes at all."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.backend.core import Backend
from simulator.backend.decode import ControlResult, Decoder, Ignored, JobEnded, Refused, Report, Telemetry
from simulator.backend.effects import DeadLetter, StoreTelemetry
from simulator.backend.rules import load_rules
from simulator.wire.payloads import fire_record, platform_json

NOW_MS = 1_767_225_600_000
VEHICLE = "iotlink/dev/nohub/Vehicle-VIN-001/periodic/pub/telemetry/json"
CHILD = "iotlink/stg/hub-01/device-01/periodic/pub/telemetry/json"
RESULT = "iotlink/dev/nohub/Vehicle-VIN-001/event/pub/control_result/json"
FIRE = "fire-prediction/device/device-001/data"
JOB = "$aws/events/jobExecution/ota-1/succeeded"

RECORD: dict[str, Any] = {
    "deviceId": "device-001", "idx": 7, "status": 0, "volt": 220.0, "voltLow": 220.0, "ct": 5.0, "zct": 0.5,
    "rzct": 0.3, "pwr": 1.1, "pcbTemp": 35.0, "sensorTemp": 37.0, "co": 5.0, "voc": 50.0, "pFct": 0.95, "aArc": 0,
}  # fmt: skip


def platform(at_ms: Any = NOW_MS, **metrics: Any) -> dict[str, Any]:
    return {"device_timestamp": at_ms, "data": {"metrics": metrics or {"tempC": 26.3}}}


def decode(topic: str, body: Any) -> Any:
    return Decoder()(topic, body if isinstance(body, bytes) else orjson.dumps(body), NOW_MS)


def test_a_stand_alone_device() -> None:
    assert decode(VEHICLE, platform()) == Telemetry(
        "Vehicle-VIN-001", "platform", NOW_MS, None, NOW_MS, None, NOW_MS, {"tempC": 26.3}
    )


def test_a_child_of_a_hub() -> None:
    sample = decode(CHILD, platform() | {"hub_timestamp": NOW_MS + 1})
    assert (sample.device_id, sample.hub_id, sample.hub_timestamp) == ("device-01", "hub-01", NOW_MS + 1)


def test_a_fire_record_gets_the_platforms_names_and_the_time_of_arrival() -> None:
    sample = decode(FIRE, RECORD | {"verifySts": 0})
    assert (sample.device_id, sample.stream, sample.device_timestamp) == ("device-001", "fire", NOW_MS)
    assert sample.metrics == {
        "status": 0, "volt": 220.0, "voltLow": 220.0, "current": 5.0, "leakage_current": 0.5,
        "resistive_leakage": 0.3, "power": 1.1, "pcbTemp": 35.0, "sensorTemp": 37.0, "co": 5.0, "voc": 50.0,
        "power_factor": 0.95, "arc_count": 0,
    }  # fmt: skip


def test_the_same_fire_record_has_the_same_key_and_another_one_has_not() -> None:
    assert decode(FIRE, RECORD).key == decode(FIRE, RECORD).key
    assert decode(FIRE, RECORD).key != decode(FIRE, RECORD | {"co": 6.0}).key


def test_a_control_result() -> None:
    control = {"name": "restart-fan", "id": "a-1", "result": "done", "reason": ""}
    body = {"device_timestamp": NOW_MS, "data": {"control": control}}
    assert decode(RESULT, body) == ControlResult("Vehicle-VIN-001", NOW_MS, "restart-fan", "a-1", "done", "")


def test_other_reports_and_job_events() -> None:
    topic = VEHICLE.replace("periodic/pub/telemetry", "event/pub/provisioning_complete")
    assert isinstance(decode(topic, {"device_timestamp": NOW_MS, "data": {"a": 1}}), Report)
    assert decode(JOB, {"statusDetails": {"a": "b"}}) == JobEnded("ota-1", "succeeded", {"a": "b"})
    assert decode(JOB, {}) == JobEnded("ota-1", "succeeded", {})


@pytest.mark.parametrize(
    "topic",
    [
        "$aws/events/jobExecution/ota-1/deleted",
        "iotlink/dev/nohub/d/event/pub/control_request/json",
        "iotlink/dev/nohub/d/event/sub/telemetry/json",
    ],
)
def test_what_is_none_of_our_business(topic: str) -> None:
    assert isinstance(decode(topic, b"anything"), Ignored)


REFUSED: list[tuple[str, Any, str]] = [
    ("other/topic", b"{}", "topic.unknown"),
    ("", b"{}", "topic.unknown"),
    ("iotlink/dev/nohub/d/periodic/pub/telemetry", b"{}", "topic.unknown"),
    (VEHICLE.replace("/dev/", "/prod/"), b"{}", "topic.env"),
    ("iotlink/dev//d/periodic/pub/telemetry/json", b"{}", "topic.device"),
    (VEHICLE.replace("periodic", "often"), b"{}", "topic.type"),
    (VEHICLE.replace("telemetry", "gossip"), b"{}", "topic.role"),
    (VEHICLE.replace("/json", "/xml"), b"{}", "topic.format"),
    (VEHICLE.replace("/pub/", "/out/"), b"{}", "topic.direction"),
    (VEHICLE, b"", "payload.not_json"),
    (VEHICLE, b"\xff", "payload.not_json"),
    (VEHICLE, b"{" * 5000, "payload.not_json"),
    (VEHICLE, b"NaN", "payload.not_json"),
    (VEHICLE, b"[]", "payload.not_object"),
    (VEHICLE, b" " * 200_000, "payload.too_large"),
    (VEHICLE, {"data": {}}, "device_timestamp.missing"),
    (VEHICLE, {"device_timestamp": 1}, "data.missing"),
    (VEHICLE, {"device_timestamp": 1, "data": []}, "data.type"),
    (VEHICLE, {"device_timestamp": 1, "data": {}}, "metrics.missing"),
    (VEHICLE.replace("/json", "/bin"), {"device_timestamp": 1, "data": {"bin": "00"}}, "bin.no_product_spec"),
    (VEHICLE, platform(None), "device_timestamp.type"),
    (VEHICLE, platform("now"), "device_timestamp.type"),
    (VEHICLE, platform(True), "device_timestamp.type"),
    (VEHICLE, platform([1]), "device_timestamp.type"),
    (VEHICLE, platform(1), "device_timestamp.range"),
    (VEHICLE, platform(NOW_MS + 48 * 3_600_000), "device_timestamp.range"),
    (VEHICLE, platform() | {"hub_timestamp": 2**64 - 1}, "hub_timestamp.range"),
    (VEHICLE, {"device_timestamp": NOW_MS, "data": {"metrics": []}}, "metrics.type"),
    (VEHICLE, {"device_timestamp": NOW_MS, "data": {"metrics": {}}}, "metrics.empty"),
    (VEHICLE, platform(**{f"m{i}": i for i in range(201)}), "metrics.too_many"),
    (VEHICLE, platform(a=None), "metric.type"),
    (VEHICLE, platform(a={"b": 1}), "metric.type"),
    (VEHICLE, platform(a="x" * 257), "metric.too_long"),
    (VEHICLE, platform(a=1e300), "metric.range"),
    (VEHICLE, platform(**{"x" * 65: 1}), "metric.name"),
    (VEHICLE, platform(**{"": 1}), "metric.name"),
    (RESULT, {"device_timestamp": NOW_MS, "data": {}}, "control.missing"),
    (RESULT, {"device_timestamp": NOW_MS, "data": {"control": 1}}, "control.type"),
    (RESULT, {"device_timestamp": NOW_MS, "data": {"control": {}}}, "control.name.missing"),
    (RESULT, {"device_timestamp": NOW_MS, "data": {"control": {"name": 1}}}, "control.name.type"),
    (RESULT, {"device_timestamp": NOW_MS, "data": {"control": {"name": "a", "id": ""}}}, "control.id.range"),
    (FIRE, {"idx": 1}, "deviceId.missing"),
    (FIRE, RECORD | {"deviceId": "device-002"}, "deviceId.mismatch"),
    (FIRE, RECORD | {"idx": "7"}, "idx.type"),
    (FIRE, RECORD | {"status": -1}, "status.type"),
    (FIRE, RECORD | {"status": 4096}, "status.communication_fault"),
    (FIRE, RECORD | {"verifySts": 1}, "verifySts.mismatch"),
    (FIRE, RECORD | {"volt": 301}, "volt.range"),
    (FIRE, RECORD | {"ct": -1}, "current.range"),
    (FIRE, RECORD | {"pcbTemp": 100.5}, "pcbTemp.range"),
    (FIRE, RECORD | {"pFct": "high"}, "power_factor.type"),
    (FIRE, {"deviceId": "device-001", "idx": 1, "status": 0, "volt": 220}, "current.missing"),
]


@pytest.mark.parametrize(("topic", "body", "reason"), REFUSED)
def test_what_breaks_the_contract_is_a_dead_letter_with_its_reason(topic: str, body: Any, reason: str) -> None:
    payload = body if isinstance(body, bytes) else orjson.dumps(body)
    backend = Backend(load_rules([]))
    assert backend.ingest(topic, payload, NOW_MS) == [DeadLetter(NOW_MS, reason, topic, payload)]
    assert backend.dead == {reason: 1}
    assert sum(backend.received.values()) == 1


@pytest.mark.parametrize(("topic", "body"), [(VEHICLE, platform()), (CHILD, platform()), (FIRE, RECORD)])
def test_what_is_in_order_is_stored(topic: str, body: Any) -> None:
    effects = Backend(load_rules([])).ingest(topic, orjson.dumps(body), NOW_MS)
    assert isinstance(effects[0], StoreTelemetry)


def test_what_the_devices_encode_is_in_order() -> None:
    backend = Backend(load_rules([]))
    backend.ingest(VEHICLE, platform_json("Vehicle-VIN-001", 1, NOW_MS, {"engine_temp_c": 88.4}), NOW_MS)
    metrics = {k: float(v) for k, v in RECORD.items() if k not in ("deviceId", "idx", "status")}
    backend.ingest(FIRE, fire_record("device-001", 1, NOW_MS, metrics), NOW_MS)
    assert (backend.received, backend.dead) == ({"telemetry": 2}, {})


_topics = st.sampled_from([VEHICLE, CHILD, RESULT, FIRE, JOB, VEHICLE.replace("telemetry", "alert_report")]) | st.text()
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["device_timestamp", "data", "metrics", "control", "hub_timestamp", "deviceId", "idx", "status"]
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
)


@given(_topics, st.binary(max_size=200) | _json.map(orjson.dumps))
def test_no_bytes_raise(topic: str, payload: bytes) -> None:
    backend = Backend(load_rules([]))
    effects = backend.ingest(topic, payload, NOW_MS)
    assert sum(backend.received.values()) == 1
    refused = decode(topic, payload)
    assert not isinstance(refused, Refused) or isinstance(effects[0], DeadLetter)
