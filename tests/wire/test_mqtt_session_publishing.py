"""Publishing in an MQTT session: the window, the queue, every form of PUBACK, and what is refused."""

import pytest

from simulator.messages import Publish
from simulator.wire.mqtt import Acknowledged, Closed, Session, Settings, encode
from simulator.wire.mqtt import packets as p
from simulator.wire.mqtt.properties import Properties
from tests.wire.mqtt_far_side import BOTH, Far, message, up


@BOTH
def test_messages_go_out_and_are_acknowledged(settings: Settings) -> None:
    far = up(settings)
    far.publish("one", "two")
    assert far.heard() == [
        p.Publish("a/b", b"one", 1, packet_id=1),
        p.Publish("a/b", b"two", 1, packet_id=2),
    ]
    far.now_s += 0.5
    far.say(p.Puback(2), p.Puback(1))
    assert far.session.drain() == [
        Acknowledged(message("two"), 100.0, 0),
        Acknowledged(message("one"), 100.0, 0),
    ]
    assert far.session.unfinished == 0


@pytest.mark.parametrize(
    ("answer", "reason_code"),
    [
        ("40 02 0001", 0),
        ("40 03 0001 10", 0x10),
        ("40 03 0001 87", 0x87),
        ("40 04 0001 87 00", 0x87),
        ("40 09 0001 97 05 1F 0002 6E6F", 0x97),
    ],
)
def test_every_form_of_puback(answer: str, reason_code: int) -> None:
    """In one piece and byte by byte, with another packet behind it."""
    data = bytes.fromhex(answer)
    for chunks in ([data], [data + b"\xd0\x00"], [bytes((byte,)) for byte in data], [data[:3], data[3:]]):
        far = up()
        far.publish("one")
        for chunk in chunks:
            far.say_bytes(chunk)
        assert far.session.drain() == [Acknowledged(message("one"), 100.0, reason_code)]


def test_a_puback_for_nothing_is_ignored() -> None:
    far = up()
    far.say(p.Puback(9), p.Puback(10, 0x87, (("reason_string", "x"),)))
    assert far.session.drain() == []


def test_qos_0_is_done_when_it_is_written() -> None:
    far = up()
    assert far.session.publish(message(qos=0, retain=True), 101.0)
    assert far.session.drain() == [Acknowledged(message(qos=0, retain=True), 101.0, 0)]
    assert far.heard() == [p.Publish("a/b", b"hi", 0, True)]


def test_the_window_is_kept_and_moves_in_order() -> None:
    far = up(Settings("d1", in_flight_max=2))
    far.publish("1", "2", "3", "4")
    assert far.payloads() == ["1", "2"]
    far.say(p.Puback(2))
    assert far.payloads() == ["3"]
    far.say(p.Puback(1), p.Puback(3))
    assert far.payloads() == ["4"]


@pytest.mark.parametrize(("asked", "granted", "window"), [(10, 3, 3), (2, 3, 2), (2, None, 2)])
def test_the_receive_maximum_is_kept(asked: int, granted: int | None, window: int) -> None:
    properties: Properties = () if granted is None else (("receive_maximum", granted),)
    far = up(Settings("d1", in_flight_max=asked), p.Connack(properties=properties))
    far.publish(*"abcdefghijklmn")
    assert len(far.payloads()) == window


def test_the_queue_is_bounded() -> None:
    far = Far(Settings("d1", queue_max=2, in_flight_max=1))
    assert [far.session.publish(message(text), 0.0) for text in "abc"] == [True, True, False]
    far.connect()
    assert far.payloads() == ["a"]
    assert far.session.publish(message("c"), 0.0)
    assert not far.session.publish(message("d"), 0.0)
    assert far.session.unfinished == 3


def test_qos_0_waits_behind_what_waits() -> None:
    far = up(Settings("d1", in_flight_max=1))
    far.publish("1", "2")
    far.session.publish(message("3", qos=0), far.now_s)
    assert far.payloads() == ["1"]
    far.say(p.Puback(1))
    assert far.payloads() == ["2", "3"]


def test_a_full_transport_makes_messages_wait() -> None:
    far = up()
    far.session.pause()
    far.publish("1")
    far.session.publish(message("2", qos=0), far.now_s)
    assert far.payloads() == []
    far.session.resume(far.now_s)
    assert far.payloads() == ["1", "2"]


def test_packet_ids_go_round_and_pass_over_those_in_flight() -> None:
    far = up(Settings("d1", in_flight_max=2))
    far.publish("stays")
    assert far.payloads() == ["stays"]
    for _ in range(0xFFFF):
        far.publish("x")
        (packet,) = far.heard()
        assert isinstance(packet, p.Publish)
        last_id = packet.packet_id
        assert last_id != 1
        far.say(p.Puback(last_id))
    assert last_id == 2
    assert far.session.unfinished == 1


@pytest.mark.parametrize(
    ("granted", "refused", "reason_code"),
    [
        ((("maximum_packet_size", 100),), message("x" * 100), 0x95),
        ((("maximum_qos", 0),), message(), 0x9B),
        ((("retain_available", 0),), message(retain=True), 0x9A),
    ],
)
def test_what_the_server_would_not_take_is_refused_here(
    granted: Properties, refused: Publish, reason_code: int
) -> None:
    far = up(connack=p.Connack(properties=granted))
    far.session.publish(refused, 101.0)
    assert far.session.drain() == [Acknowledged(refused, 101.0, reason_code)]
    assert far.heard() == []
    # A message that waited for the connection is judged by it just as well.
    far.session.lost()
    far.session.publish(refused, 102.0)
    far.connect(p.Connack(properties=granted))
    assert far.session.drain()[1:] == [Acknowledged(refused, far.now_s, reason_code)]


@pytest.mark.parametrize("wrong", [Publish("k", "", b""), Publish("k", "a/#", b""), Publish("k", "a", b"", 3)])
def test_a_wrong_message_is_the_callers_mistake(wrong: Publish) -> None:
    for session in (Session(Settings("d1")), up().session):
        with pytest.raises(ValueError, match=r"topic|QoS"):
            session.publish(wrong, 0.0)
        assert session.unfinished == 0


@BOTH
def test_the_hot_path_writes_what_the_codec_writes(settings: Settings) -> None:
    far = up(settings)
    far.session.publish(message("x" * 300, retain=True), 0.0)
    expected = p.Publish("a/b", b"x" * 300, 1, True, packet_id=1)
    assert far.session.take() == encode(expected, settings.version)


@pytest.mark.parametrize("wrong", [0, 40_000])
def test_a_window_out_of_range_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="in_flight_max"):
        Session(Settings("d1", in_flight_max=wrong))


# --- one PUBACK and nothing else, which is most of what comes ---


def puback(packet_id: int, reason_code: int = 0, version: int = 5) -> bytes:
    tail = bytes([reason_code]) if reason_code else b""
    return bytes([0x40, 2 + len(tail)]) + packet_id.to_bytes(2, "big") + tail


@pytest.mark.parametrize("reason_code", [0, 0x10, 0x97])
def test_one_puback_is_told_at_once(reason_code: int) -> None:
    far = Far()
    far.connect()
    far.session.drain()
    for n in range(3):
        far.session.publish(message(str(n)), 101.0 + n)
        [said] = far.heard()
        assert isinstance(said, p.Publish)
        told = far.session.puback(puback(said.packet_id, reason_code), 200.0)
        assert told == Acknowledged(message(str(n)), 101.0 + n, reason_code)
        assert far.session.drain() == []
        assert far.session.unfinished == 0


def test_what_is_not_one_puback_is_left_to_receive() -> None:
    far = Far()
    far.connect()
    far.session.drain()
    for text in "abc":
        far.session.publish(message(text), 100.0)
    ids = [packet.packet_id for packet in far.heard() if isinstance(packet, p.Publish)]
    assert far.session.unfinished == 3
    others = (b"", b"\x40", puback(99), puback(ids[0]) + b"\x40", b"\xd0\x00", puback(ids[0]) + puback(ids[1]))
    assert [far.session.puback(data, 100.0) for data in others] == [None] * len(others)
    assert far.session.unfinished == 3
    far.say_bytes(puback(ids[1])[:3])
    assert far.session.puback(puback(ids[1])[3:] + b"\x40\x02\x00", 100.0) is None, "the middle of a packet"
    assert far.session.puback(puback(ids[0]), 100.0) is None, "behind the beginning of another"
    far.say_bytes(puback(ids[1])[3:])
    assert [event.message.payload for event in far.session.drain() if isinstance(event, Acknowledged)] == [b"b"]
    told = far.session.puback(puback(ids[2]), 100.0)
    assert told is not None
    assert (told.message.payload, far.session.unfinished) == (b"c", 1)


def test_a_lone_message_is_sent_again_after_the_connection_was_lost() -> None:
    far = Far(Settings("d1", clean_start=False, session_expiry_s=60))
    far.connect()
    far.session.publish(message("alone"), 100.0)
    assert far.payloads() == ["alone"]
    far.session.lost()
    assert far.session.puback(puback(1), 100.0) is None
    far.connect(p.Connack(session_present=True))
    assert far.payloads() == ["alone!"]
    assert far.session.unfinished == 1


def test_a_lone_message_is_missed_in_time_and_its_packet_id_is_nobody_else_s() -> None:
    far = Far(Settings("d1", answer_timeout_s=5.0))
    far.connect()
    far.session.publish(message("alone"), 100.0)
    far.session.subscribe(("a/#",), 100.0)
    said, asked = far.heard()
    assert isinstance(said, p.Publish)
    assert isinstance(asked, p.Subscribe)
    assert said.packet_id != asked.packet_id
    far.say(p.Suback(asked.packet_id, (1,)))
    far.session.drain()
    far.session.tick(104.0)
    assert far.session.drain() == []
    far.session.tick(105.0)
    assert far.session.drain() == [Closed("no PUBACK within 5 s")]
