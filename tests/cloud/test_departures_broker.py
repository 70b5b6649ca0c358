"""What a device notices of AWS's broker: sizes, depths, counts, sessions, takeovers, and slow subscribers."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from simulator.wire.mqtt import packets as p
from tests.cloud.raw_device import GONE, RawDevice

ALL_OF_IT = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
DEEP = "a/b/c/d/e/f/g/h/i"
VERSIONS = pytest.mark.parametrize("version", [p.V311, p.V5], ids=["3.1.1", "5"])


@pytest.fixture(scope="module")
def identity_of_all(identity: Any) -> Any:
    return identity("all-of-it", ALL_OF_IT)


@pytest.fixture
def device(cloud: Any, identity_of_all: Any) -> Callable[..., RawDevice]:
    def make(client_id: str, version: p.Version = p.V5, **options: Any) -> RawDevice:
        made = RawDevice(cloud, identity_of_all, version)
        made.answer = made.connect(client_id, **options)  # type: ignore[attr-defined]
        return made

    return make


def ended(connection: RawDevice) -> Any:
    """How the broker ended a connection: the code of its DISCONNECT, or GONE."""
    packet = connection.next((p.Disconnect,))
    if packet == GONE:
        return GONE
    assert connection.next() == GONE
    return packet.reason_code


@VERSIONS
def test_what_is_too_large_or_too_deep_ends_the_connection(device: Any, version: p.Version) -> None:
    with device("large", version) as one:
        assert one.publish("a", b"x" * 128 * 1024) == 0
        one.send(p.Publish("a", b"x" * (128 * 1024 + 1)))
        assert ended(one) == GONE
    with device("deep", version) as one:
        assert one.publish("a/b/c/d/e/f/g/h", b"") == 0
        one.send(p.Publish(DEEP, b""))
        assert ended(one) == (0x90 if version == 5 else GONE)
    with device("many-filters", version) as one:
        assert one.subscribe(*"abcdefgh") == (1,) * 8
        one.send(p.Subscribe(9, tuple(p.Subscription(name) for name in "abcdefghi")))
        assert ended(one) == GONE


@VERSIONS
def test_filters_that_are_no_filters(device: Any, version: p.Version) -> None:
    for wrong in (DEEP, "a/#/b", "a+"):
        with device("wrong-filter", version) as one:
            if version == 5:
                assert one.subscribe("fine", wrong) == (1, 0x8F)
            else:
                one.socket.sendall(b"\x82" + bytes([5 + len(wrong)]) + b"\x00\x01" + _string(wrong) + b"\x01")
                assert ended(one) == GONE


def _string(text: str) -> bytes:
    return len(text).to_bytes(2) + text.encode()


@VERSIONS
def test_a_connection_has_fifty_subscriptions(device: Any, version: p.Version) -> None:
    with device("subscriber", version) as one:
        for start in range(0, 48, 8):
            assert one.subscribe(*(f"topic/{number}" for number in range(start, start + 8))) == (1,) * 8
        assert one.subscribe("topic/48", "topic/49", "topic/50") == (1, 1, 0x97 if version == 5 else 0x80)
        assert one.subscribe("topic/49") == (1,), "known: no further one"


@VERSIONS
def test_a_packet_out_of_turn_ends_the_connection(cloud: Any, identity_of_all: Any, version: p.Version) -> None:
    with RawDevice(cloud, identity_of_all, version) as one:
        one.send(p.Publish("a", b"", 1, packet_id=1))
        assert ended(one) == GONE
    with RawDevice(cloud, identity_of_all, version) as one:
        one.connect("twice")
        one.send(p.Connect("twice", version))
        assert ended(one) == (0x82 if version == 5 else GONE)


def test_there_is_no_qos_2(device: Any) -> None:
    with device("exact-5") as one:
        one.send(p.Publish("a", b"", 2, packet_id=1))
        assert ended(one) == 0x9B
    with device("exact-311", p.V311) as one:
        one.send(p.Publish("a", b"", 2, packet_id=1))
        one.nothing()


def test_connack_says_what_holds(device: Any) -> None:
    with device("asks", keep_alive_s=5, properties=(("session_expiry_interval", 86400),)) as one:
        said = dict(one.answer.properties)
        assert said["server_keep_alive"] == 30
        assert said["session_expiry_interval"] == 3600
        assert said["receive_maximum"] == 100
        assert said["maximum_qos"] == 1


@VERSIONS
def test_a_takeover_publishes_the_will(device: Any, version: p.Version) -> None:
    with device("watcher") as watcher:
        watcher.subscribe("will/+", "$aws/events/presence/+/taken")
        with device("taken", version, will=p.Will("will/taken", b'"gone"', 1)) as first:
            assert watcher.message()[0] == "$aws/events/presence/connected/taken"
            with device("taken", version):
                heard = dict(watcher.messages(3))
                assert heard["will/taken"] == "gone"
                lost = heard["$aws/events/presence/disconnected/taken"]
                assert lost["disconnectReason"] == "DUPLICATE_CLIENTID"
                assert lost["clientInitiatedDisconnect"] is False
                assert ended(first) == (0x8E if version == 5 else GONE)


def test_a_second_subscription_to_a_filter_replaces_the_first(device: Any) -> None:
    with device("again") as one:
        assert one.subscribe("again/+") == (1,)
        assert one.subscribe("again/+", qos=0) == (0,)
        one.publish("again/1", 1)
        assert one.message() == ("again/1", 1)
        one.nothing()


def test_retained_messages_come_at_the_qos_of_the_subscription(device: Any) -> None:
    with device("keeper") as one:
        one.send(p.Publish("kept", b"1", 1, retain=True, packet_id=7))
        assert one.next(p.Puback).packet_id == 7
        one.subscribe("kept", qos=0)
        found = one.heard()
        assert (found.qos, found.retain, found.payload) == (0, True, b"1")
        one.subscribe("kep+", "+")
        one.nothing()


@VERSIONS
def test_a_hundred_messages_are_on_their_way(device: Any, version: p.Version) -> None:
    with device("slow", version) as slow, device("quick") as quick:
        slow.acks = False
        slow.subscribe("window")
        for number in range(150):
            quick.publish("window", number)
        first = [slow.heard() for _ in range(100)]
        slow.nothing()
        assert [json.loads(one.payload) for one in first] == list(range(100))
        slow.send(p.Puback(first[0].packet_id))
        assert json.loads(slow.heard().payload) == 100
        for one in first[1:]:
            slow.send(p.Puback(one.packet_id))
        assert [json.loads(slow.heard().payload) for _ in range(49)] == list(range(101, 150))


def test_receive_maximum_makes_the_window_smaller(device: Any) -> None:
    with device("narrow", properties=(("receive_maximum", 2),)) as narrow, device("other") as other:
        narrow.acks = False
        narrow.subscribe("window")
        for number in range(5):
            other.publish("window", number)
        assert [json.loads(narrow.heard().payload) for _ in range(2)] == [0, 1]
        narrow.nothing()


@VERSIONS
def test_a_stored_session_keeps_all_that_came(device: Any, version: p.Version) -> None:
    kept: dict[str, Any] = {"clean_start": False}
    if version == 5:
        kept["properties"] = (("session_expiry_interval", 3600),)
    with device("sleeps", version, **kept) as one:
        one.acks = False
        assert one.subscribe("night/+") == (1,)
        assert one.subscribe("day/+", qos=0) == (0,)
        one.publish("night/0", 0)
        unacknowledged = one.heard().packet_id
    with device("awake") as other:
        for number in range(1, 3000):
            other.publish("night/1", number)
        other.publish("day/1", "at most once, and nobody was there")
    with device("sleeps", version, **kept) as one:
        assert one.answer.session_present
        found = [one.heard() for _ in range(3000)]
        assert [json.loads(message.payload) for message in found] == list(range(3000))
        assert found[0].packet_id == unacknowledged
        one.nothing()
        one.publish("day/1", "now")
        assert one.message() == ("day/1", "now")
    clean: dict[str, Any] = {"clean_start": True}
    with device("sleeps", version, **clean) as one:
        assert not one.answer.session_present
        one.publish("night/1", 1)
        one.nothing()


def test_a_disconnect_may_end_the_session(device: Any) -> None:
    expiry = (("session_expiry_interval", 3600),)
    with device("ends", clean_start=False, properties=expiry) as one:
        one.send(p.Disconnect(0, (("session_expiry_interval", 0),)))
        assert one.next() == GONE
    with device("ends", clean_start=False, properties=expiry) as one:
        assert not one.answer.session_present


def test_one_that_does_not_read_holds_up_nobody(device: Any) -> None:
    with device("stalled") as stalled, device("busy") as busy:
        stalled.subscribe("flood", qos=0)
        stalled.socket.settimeout(None)
        began = time.monotonic()
        for _ in range(400):
            assert busy.publish("flood", b"1" + b" " * 120_000) == 0  # 48 MB in all
        assert time.monotonic() - began < 60
        stalled.acks = False
        for _ in range(5):  # the connection lives, and what did not fit is lost
            stalled.heard()


def test_job_answers_go_to_the_one_who_asked(device: Any, cloud: Any) -> None:
    iot = cloud.client("iot")
    iot.create_thing(thingName="asker")
    topic = "$aws/things/asker/jobs"
    with device("asker") as asker, device("eavesdropper") as other:
        other.subscribe(f"{topic}/#")
        asker.publish(f"{topic}/get", {"clientToken": "t"})
        where, answer = asker.message()
        assert (where, answer["clientToken"]) == (f"{topic}/get/accepted", "t")
        assert answer["inProgressJobs"] == answer["queuedJobs"] == []
        assert other.message()[0] == f"{topic}/get", "the request itself is an ordinary message"
        other.nothing()


def test_events_wait_for_a_stored_session(device: Any) -> None:
    kept = {"clean_start": False, "properties": (("session_expiry_interval", 3600),)}
    with device("backend", **kept) as one:
        one.subscribe("$aws/events/presence/connected/+")
    with device("came"):
        pass
    with device("backend", **kept) as one:
        assert one.message()[1]["clientId"] == "came"


def test_publish_over_https_has_the_same_limits(cloud: Any) -> None:
    data = cloud.client("iot-data")
    data.publish(topic="fine", qos=1, payload=b"x" * 128 * 1024)
    with pytest.raises(data.exceptions.ClientError) as refused:
        data.publish(topic="fine", payload=b"x" * (128 * 1024 + 1))
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    with pytest.raises(data.exceptions.InvalidRequestException, match="7 slashes"):
        data.publish(topic=DEEP, payload=b"")
