"""Profiles on other channels: what they keep, and what cannot go there."""

import pytest

from simulator import schema
from simulator.errors import UsageError
from simulator.profiles import Profile, profile
from simulator.runtime.setup import products
from simulator.schema import YamlProblems

PAYLOAD = """
payload:
  header: [{name: device_id, type: text, bytes: 8}, {name: device_timestamp, type: u64}]
  messages: {telemetry: {fields: [{name: %s, type: u16}]}}
"""
GAUGE = """
profile: gauge
thing_type: Gauge
signals: {level: {kind: constant, value: 3}}
behaviours:
  - {kind: telemetry, every_s: 1, codec: platform_bin, metrics: [level]}
"""


def gauge(field: str) -> Profile:
    return schema.parse(GAUGE + PAYLOAD % field, "gauge.yaml", Profile)


def test_over_tcp_a_vehicle_keeps_its_telemetry_and_speaks_in_frames() -> None:
    sedan = profile("vehicle-sedan").over("tcp", "sedan-over-tcp")
    assert (sedan.profile, sedan.channel, sedan.managed) == ("sedan-over-tcp", "tcp", False)
    assert [behaviour.model_dump()["kind"] for behaviour in sedan.behaviours] == ["telemetry"]
    assert sedan.payload is not None
    assert sedan.payload.fields("telemetry") >= {"engine_temp_c", "speed_kmh"}


def test_over_rest_fire_records_stay_fire_records() -> None:
    [telemetry] = profile("fire-sensor").over("rest", "x").behaviours
    assert telemetry.model_dump()["topic"] == "/ingest/fire"
    [telemetry] = profile("vehicle-suv").over("rest", "x").behaviours
    assert telemetry.model_dump()["topic"] == "/ingest/telemetry"


@pytest.mark.parametrize("channel", ["tcp", "rest"])
def test_a_hub_needs_mqtt_for_its_children(channel: str) -> None:
    with pytest.raises(UsageError, match=rf"'hub-gateway' cannot go over {channel}: its children need MQTT"):
        profile("hub-gateway").over(channel, "x")  # type: ignore[arg-type]


def test_a_payload_may_only_want_what_is_sent() -> None:
    assert gauge("level").payload
    with pytest.raises(YamlProblems, match="the payload wants 'pressure', which is not in 'metrics'"):
        gauge("pressure")


def test_one_product_has_one_payload() -> None:
    one = gauge("level")
    assert [found["productId"] for found in products({"a": one, "b": one})] == ["Gauge"]
    other = one.model_copy(update={"payload": profile("vehicle-sedan").over("tcp", "x").payload})
    with pytest.raises(UsageError, match="profile 'b': product 'Gauge' has another payload spec already"):
        products({"a": one, "b": other})
