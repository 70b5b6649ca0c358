"""Faults of the protocol at a real mosquitto: when it hangs up, what becomes a dead letter, and that the rest comes."""

from pathlib import Path
from typing import Any

import pytest

from simulator.faults import Fault
from simulator.faults.raw_packet import PACKETS
from simulator.messages import Publish
from tests.core.fleets import THING, profile
from tests.links.fault_bench import PUMP, Bench, fault, run
from tests.links.fault_far_sides import Ear, Platform, over_mqtt
from tests.links.mqtt_peers import MOSQUITTO, Broker

pytestmark = [pytest.mark.peer, pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")]


@pytest.mark.parametrize("name", [*PACKETS, "garbage"])
@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_a_broker_hangs_up_on_raw_packets_and_nothing_is_lost(broker: Broker, name: str, version: Any) -> None:
    async def story() -> None:
        async with Ear(broker) as ear:
            bench = Bench(over_mqtt(broker, mqtt_version=version, ack_timeout_s=0.3), profile(PUMP))
            await bench.suffer(fault("raw_packet", packet=name, every_s=60), lambda: bool(bench.reasons()))
            await bench.until(lambda: set(ear.stamps()) == bench.stamps())
            [reason, *_] = bench.reasons()
            assert reason.startswith(("DISCONNECT", "the server closed", "connection to", "no PUBACK")), reason

    run(story)


@pytest.mark.parametrize(("kind", "keys"), [("wrong_qos", {"qos": 3}), ("invalid_utf8", {"where": "topic"})])
def test_a_message_in_a_packet_that_is_none_is_lost_and_ends_the_connection(
    broker: Broker, kind: str, keys: dict[str, Any]
) -> None:
    async def story() -> None:
        async with Ear(broker) as ear:
            bench = Bench(over_mqtt(broker), profile(PUMP))
            what = fault(kind, probability=0.2, **keys)
            await bench.suffer(what, lambda: len(bench.reasons()) >= 3)
            await bench.until(lambda: set(ear.stamps()) == bench.stamps())
            told = {note["stamp"] for note in bench.notes("disturbed")}
            assert len(told) >= 3
            assert not told & bench.stamps()

    run(story)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (fault("malformed_json", how="truncated"), "payload.not_json"),
        (fault("wrong_schema", how="missing", field="device_timestamp"), "device_timestamp.missing"),
        (fault("wrong_schema", how="type", field="device_timestamp"), "device_timestamp.type"),
        (fault("wrong_topic"), "topic.role"),
        (fault("invalid_utf8"), "payload.not_json"),
        (fault("oversize"), "payload.too_large"),
    ],
    ids=lambda value: str(value.params) if isinstance(value, Fault) else None,
)
def test_what_is_wrong_is_a_dead_letter(broker: Broker, tmp_path: Path, what: Fault, reason: str) -> None:
    async def story() -> None:
        async with Ear(broker) as ear, Platform(tmp_path).running() as platform:
            bench = Bench(over_mqtt(broker), profile(PUMP))
            what_half = what.model_copy(update={"probability": 0.5})
            await bench.suffer(what_half, lambda: len(bench.notes("disturbed")) >= 10)
            told = {note["stamp"] for note in bench.notes("disturbed")}
            await bench.until(lambda: len(ear.messages) == len(bench.stamps() | told))
            for topic, payload in ear.messages:
                platform.pipeline.ingest(topic, payload)
            assert platform.dead() == {reason: len(told)}
            assert platform.stored() == bench.stamps() - told
            assert bench.reasons() == []

    run(story)


@pytest.mark.parametrize("qos", [0, 2])
def test_another_qos_comes_through(broker: Broker, qos: int) -> None:
    async def story() -> None:
        async with Ear(broker) as ear:
            bench = Bench(over_mqtt(broker), profile(PUMP))
            await bench.suffer(fault("wrong_qos", qos=qos), lambda: len(bench.notes("disturbed")) >= 10)
            await bench.until(lambda: set(ear.stamps()) == bench.stamps())
            assert {message.qos for message in bench.said} == {1, qos}

    run(story)


def test_a_device_that_hangs_is_given_up_by_the_broker(broker: Broker) -> None:
    """Its will is published, since its connection was open and silent for too long."""

    async def story() -> None:
        async with Ear(broker) as ear:
            will = Publish("will", f"gone/{THING}", b"gone")
            bench = Bench(over_mqtt(broker, keep_alive_s=1, will=will, ack_timeout_s=0.3), profile(PUMP))
            gone: list[bool] = []

            def given_up() -> bool:
                if any(topic.startswith("gone/") for topic, _ in ear.messages):
                    gone.append(bench.device.online)
                return bool(gone)

            await bench.suffer(fault("keep_alive_violation"), given_up)
            assert gone == [False]
            assert bench.reasons()[0].startswith("no P")  # its link missed an answer long before
            assert "the device hangs" in bench.reasons()
            await bench.until(lambda: set(ear.stamps()) == bench.stamps())

    run(story)
