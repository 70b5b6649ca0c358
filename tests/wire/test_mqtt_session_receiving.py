"""Subscriptions of an MQTT session, and what comes: given once, and acknowledged by itself or by hand."""

import pytest

from simulator.wire.mqtt import Event, Received, Session, Settings, Subscribed, Unsubscribed
from simulator.wire.mqtt import packets as p
from tests.wire.mqtt_far_side import BOTH, Far, up

# --- subscriptions ---


@BOTH
def test_subscribing_goes_eight_at_a_time(settings: Settings) -> None:
    far = up(settings)
    names = tuple(f"t/{index}" for index in range(18))
    far.session.subscribe(names, far.now_s)
    heard = [packet for packet in far.heard() if isinstance(packet, p.Subscribe)]
    assert [len(packet.subscriptions) for packet in heard] == [8, 8, 2]
    assert {one.qos for packet in heard for one in packet.subscriptions} == {1}
    for packet in heard:
        far.say(p.Suback(packet.packet_id, tuple(0x80 * (i == 1) for i in range(len(packet.subscriptions)))))
    expected: list[Event] = [Subscribed(name, 0x80 * (i % 8 == 1)) for i, name in enumerate(names)]
    assert far.session.drain() == expected


@BOTH
def test_subscribing_waits_for_the_connection_and_is_not_repeated(settings: Settings) -> None:
    far = Far(settings)
    far.session.subscribe(("a", "b"), far.now_s)
    far.connect()
    (subscribe,) = far.heard()
    assert isinstance(subscribe, p.Subscribe)
    far.session.lost()
    far.connect()
    assert far.heard() == []


@BOTH
def test_unsubscribing(settings: Settings) -> None:
    far = up(settings)
    far.session.unsubscribe(("a", "b"), far.now_s)
    assert far.heard() == [p.Unsubscribe(1, ("a", "b"))]
    far.say(p.Unsuback(1, (0, 0x11) if settings.version == 5 else ()))
    said = (0, 0x11) if settings.version == 5 else (0, 0)
    assert far.session.drain() == [Unsubscribed("a", said[0]), Unsubscribed("b", said[1])]


@pytest.mark.parametrize(
    "answer", [p.Suback(1, (1,)), p.Suback(9, (1, 1)), p.Unsuback(1, (0, 0))], ids=["few", "unknown", "other"]
)
def test_an_answer_that_does_not_fit_ends_the_connection(answer: p.Packet) -> None:
    far = up()
    far.session.subscribe(("a", "b"), far.now_s)
    far.heard()
    far.say(answer)
    assert "answers nothing we asked" in far.closed()
    assert far.heard() == [p.Disconnect(0x82)]


def test_no_suback_is_a_time_out() -> None:
    far = up(Settings("d1", answer_timeout_s=5))
    far.session.subscribe(("a",), far.now_s)
    far.pass_s(5)
    assert far.closed() == "no SUBACK within 5 s"


def test_wrong_filters_are_the_callers_mistake() -> None:
    session = Session(Settings("d1"))
    with pytest.raises(ValueError, match="not empty"):
        session.subscribe(("",), 0.0)
    session.subscribe(tuple(f"t/{index}" for index in range(1024)), 0.0)
    with pytest.raises(ValueError, match="at most 1024"):
        session.subscribe(("one more",), 0.0)


# --- inbound ---


@BOTH
def test_what_comes_is_given_and_acknowledged(settings: Settings) -> None:
    far = up(settings)
    far.say(p.Publish("c", b"0"), p.Publish("c", b"1", 1, True, True, 7))
    assert far.session.drain() == [
        Received("c", b"0", 0, False, False, 0, ()),
        Received("c", b"1", 1, True, True, 0, ()),
    ]
    assert far.heard() == [p.Puback(7)]


def test_pubacks_and_publishes_mixed_in_one_chunk() -> None:
    far = up(Settings("d1", in_flight_max=1))
    far.publish("1", "2")
    far.heard()
    far.say(p.Puback(1), p.Publish("c", b"", 1, packet_id=1), p.Puback(2), p.Pingresp())
    assert [type(event).__name__ for event in far.session.drain()] == [
        "Acknowledged",
        "Received",
        "Acknowledged",
    ]
    assert far.heard() == [p.Publish("a/b", b"2", 1, packet_id=2), p.Puback(1)]


def test_manual_acknowledgement() -> None:
    far = up(Settings("d1", auto_ack=False))
    far.say(p.Publish("c", b"1", 1, packet_id=7), p.Publish("c", b"0"))
    first, second = far.session.drain()
    assert isinstance(first, Received)
    assert isinstance(second, Received)
    assert second.ack_token == 0
    assert far.heard() == []
    assert far.session.ack(first.ack_token)
    assert far.heard() == [p.Puback(7)]
    assert not far.session.ack(first.ack_token)  # once is enough
    assert not far.session.ack(0)


def test_an_acknowledgement_never_crosses_to_another_connection() -> None:
    """The same packet id may mean another message there."""
    far = up(Settings("d1", auto_ack=False))
    far.say(p.Publish("c", b"old", 1, packet_id=7))
    (old,) = far.session.drain()
    far.connect()
    far.session.drain()
    far.say(p.Publish("c", b"new", 1, packet_id=7))
    assert isinstance(old, Received)
    assert not far.session.ack(old.ack_token)
    assert far.heard() == []


def test_the_server_must_keep_our_receive_maximum() -> None:
    far = up(Settings("d1", auto_ack=False, receive_maximum=2))
    far.say(*(p.Publish("c", b"", 1, packet_id=packet_id) for packet_id in (1, 2, 3)))
    assert far.closed() == "the server sent more than 2 messages unacknowledged"
    assert far.heard() == [p.Disconnect(0x93)]
