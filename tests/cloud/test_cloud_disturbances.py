"""The cloud is disturbed on purpose: what its clients see of it, and that nothing of it stays."""

import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from simulator.wire.mqtt import packets as p
from tests.cloud.raw_device import GONE, RawDevice

WAIT_S = 15.0


class Orders:
    """Says lines to the cloud's stdin, and knows when they are in force."""

    def __init__(self, cloud: Any) -> None:
        self._cloud = cloud

    def say(self, line: str) -> None:
        self._cloud.process.stdin.write(line + "\n")
        self._cloud.process.stdin.flush()

    def disturb(self, kind: str, **order: Any) -> None:
        self.say(json.dumps({"disturb": {"kind": kind, **order}}))

    def clear(self, name: str = "*") -> None:
        self.say(json.dumps({"clear": name}))


@pytest.fixture
def orders(cloud: Any) -> Iterator[Orders]:
    told = Orders(cloud)
    yield told
    told.clear()
    until(lambda: fine(cloud))


def fine(cloud: Any) -> bool:
    try:
        cloud.client("iot").list_things()
        cloud.client("s3").list_buckets()
    except (ClientError, BotoCoreError):
        return False
    return True


def until(true: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline_s, "it did not come"
        time.sleep(0.01)


def refused(call: Callable[[], object]) -> tuple[int, str] | None:
    """Status and code of the refusal; None when it was answered."""
    try:
        call()
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
    return None


def seen(call: Callable[[], object]) -> tuple[int, str]:
    """The refusal, once there is one."""
    found: list[tuple[int, str]] = []

    def look() -> bool:
        if answer := refused(call):
            found.append(answer)
        return bool(found)

    until(look)
    return found[0]


def test_some_operations_are_throttled_as_aws_throttles_them_and_the_others_are_not(cloud: Any, orders: Orders) -> None:
    orders.disturb("throttling", of=["iot:ListThings", "iot-data", "s3:GET", "sts"])
    iot, data, s3 = cloud.client("iot"), cloud.client("iot-data"), cloud.client("s3")
    assert seen(iot.list_things) == (400, "ThrottlingException")  # the control plane's status; data planes have 429
    assert refused(lambda: data.publish(topic="t", payload=b"")) == (429, "ThrottlingException")
    assert refused(s3.list_buckets) == (503, "SlowDown")
    assert refused(cloud.client("sts").get_caller_identity) == (400, "Throttling")
    assert refused(iot.list_thing_types) is None
    assert refused(lambda: s3.create_bucket(Bucket="not-throttled")) is None
    orders.clear("throttling")
    until(lambda: refused(iot.list_things) is None)


def test_server_errors_befall_a_share_until_their_time_is_up(cloud: Any, orders: Orders) -> None:
    iot, s3 = cloud.client("iot"), cloud.client("s3")
    orders.disturb("server_errors", of=["s3"], status=500)
    assert seen(s3.list_buckets) == (500, "InternalError")
    assert refused(iot.list_things) is None
    orders.disturb("server_errors", probability=0.5, for_s=1.5)  # in the place of the first
    assert seen(iot.list_things) == (503, "ServiceUnavailableException")
    answers = {refused(s3.list_buckets) for _ in range(20)}
    assert answers <= {None, (503, "ServiceUnavailable")}
    assert len(answers) == 2
    until(lambda: all(refused(iot.list_things) is None for _ in range(10)))


def test_answers_are_slow_and_still_right(cloud: Any, orders: Orders, identity: Any) -> None:
    iot = cloud.client("iot")
    me = identity("slow-device")
    orders.disturb("slow_answers", ms=300, of=["iot:ListThings", "mqtt"])
    until(lambda: took_s(iot.list_things) > 0.3)
    until(lambda: took_s(iot.list_thing_types) < 0.3)
    with RawDevice(cloud, me) as device:
        device.connect()
        topic = "$aws/things/slow-device/shadow/update"
        assert took_s(lambda: device.publish(topic, {"state": {}})) >= 0.3
        for number in range(5):  # their order stays, also when the delay ends while some are under way
            send(device, topic, number + 100)
        orders.clear("slow_answers")
        until(lambda: took_s(iot.list_things) < 0.3)
        send(device, topic, 105)
        assert [device.next(p.Puback).packet_id for _ in range(6)] == list(range(100, 106))


def test_throttled_messages_are_neither_taken_nor_acknowledged(cloud: Any, orders: Orders, identity: Any) -> None:
    me = identity("busy-device")
    topic, heard = "$aws/things/busy-device/shadow/update", "$aws/things/busy-device/shadow/update/accepted"
    with RawDevice(cloud, me) as device:
        device.connect()
        device.subscribe(heard)
        orders.disturb("throttling", of=["mqtt"], publishes_per_s=1)
        orders.disturb("throttling", of=["iot:ListThings"], name="shows that both are in force")
        seen(cloud.client("iot").list_things)
        for number in range(4):
            send(device, topic, number + 1, json.dumps({"state": {"reported": {"n": number}}}).encode())
        assert device.next(p.Puback).packet_id == 1
        assert device.message()[1]["state"] == {"reported": {"n": 0}}
        device.nothing()
        orders.clear("throttling")
        until(lambda: refused(cloud.client("iot").list_things) is None)
        send(device, topic, 9)
        assert device.next(p.Puback).packet_id == 9


def test_in_an_outage_everybody_is_cut_off_and_nobody_let_in_and_all_is_still_there(
    cloud: Any, orders: Orders, identity: Any
) -> None:
    me = identity("cut-device")
    iot, ports = cloud.client("iot"), (cloud.ready["mqtt_port"], int(cloud.ready["endpoint_url"].rpartition(":")[2]))
    with RawDevice(cloud, me) as device:
        device.connect()
        orders.disturb("outage")
        assert device.next() == GONE
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        with pytest.raises(OSError, match="in use"), socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
    with pytest.raises(BotoCoreError):
        iot.list_things()
    orders.clear("outage")
    until(lambda: fine(cloud))
    assert "cut-device" in [thing["thingName"] for thing in iot.list_things()["things"]]
    with RawDevice(cloud, me) as device:
        assert device.connect().reason_code == 0
    for _ in range(3):  # again, by its own time
        orders.disturb("outage", for_s=0.2)
        until(lambda: not fine(cloud))
        until(lambda: fine(cloud))


def test_a_clock_that_is_off_refuses_what_was_signed_by_another(cloud: Any, orders: Orders) -> None:
    iot, s3 = cloud.client("iot"), cloud.client("s3")
    s3.create_bucket(Bucket="by-the-clock")
    s3.put_object(Bucket="by-the-clock", Key="k", Body=b"content")
    url = s3.generate_presigned_url("get_object", {"Bucket": "by-the-clock", "Key": "k"}, ExpiresIn=3600)
    orders.disturb("part_clock", off_s=7200)
    assert seen(iot.list_things) == (403, "InvalidSignatureException")
    assert refused(s3.list_buckets) == (403, "RequestTimeTooSkewed")
    assert status(cloud, url) == 403
    orders.clear("part_clock")
    until(lambda: fine(cloud))
    assert status(cloud, url) == 200


def test_what_it_does_not_understand_it_ignores(cloud: Any, orders: Orders) -> None:
    for line in (
        "", "{", "[]", "{}", '{"disturb": {}}', '{"disturb": {"kind": "earthquake"}}', '{"clear": 5}', "x" * 100_000,
        '{"disturb": {"kind": "outage"}, "clear": "*"}', '{"disturb": {"kind": "slow_answers", "ms": -1}}',
    ):  # fmt: skip
        orders.say(line)
    orders.disturb("throttling", of=["iot:ListThings"])
    seen(cloud.client("iot").list_things)


def send(device: RawDevice, topic: str, packet_id: int, payload: bytes = b'{"state": {}}') -> None:
    device.send(p.Publish(topic, payload, 1, packet_id=packet_id))


def took_s(call: Callable[[], object]) -> float:
    began_s = time.monotonic()
    call()
    return time.monotonic() - began_s


def status(cloud: Any, url: str) -> int:
    context = ssl.create_default_context(cafile=cloud.ready["ca_file"])
    try:
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
