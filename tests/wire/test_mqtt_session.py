"""The MQTT session against a scripted server, in virtual time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.messages import Publish
from simulator.wire.mqtt import (
    Acknowledged,
    Closed,
    Decoder,
    Event,
    Opened,
    Received,
    Session,
    Settings,
    Subscribed,
    Unsubscribed,
    encode,
)
from simulator.wire.mqtt import packets as p
from simulator.wire.mqtt.properties import Properties


def message(text: str = "hi", qos: int = 1, retain: bool = False) -> Publish:
    return Publish("telemetry", "a/b", text.encode(), qos, retain)


class Far:
    """The server's end of a session: keeps the clock, reads what the session says, answers when told."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.session = Session(settings or Settings("d1"))
        self.version = self.session.settings.version
        self.now_s = 100.0
        self.decoder = Decoder(self.version)

    def connect(self, connack: p.Connack | None = None) -> p.Connect:
        """A new transport, and the server's answer on it."""
        self.decoder = Decoder(self.version)
        self.session.connected(self.now_s)
        (connect,) = self.heard()
        assert isinstance(connect, p.Connect)
        self.say(connack or p.Connack())
        return connect

    def say(self, *said: p.Packet) -> None:
        self.say_bytes(b"".join(encode(packet, self.version) for packet in said))

    def say_bytes(self, data: bytes) -> None:
        self.session.receive(data, self.now_s)

    def heard(self) -> list[p.Packet]:
        return self.decoder.feed(self.session.take())

    def payloads(self) -> list[str]:
        """What was heard, as `payload`, or `payload!` for a duplicate."""
        return [packet.payload.decode() + "!" * packet.dup for packet in self.heard() if isinstance(packet, p.Publish)]

    def publish(self, *texts: str) -> None:
        for text in texts:
            assert self.session.publish(message(text), self.now_s)

    def pass_s(self, seconds: float) -> None:
        """Time passes, with a tick each second."""
        for _ in range(int(seconds)):
            self.now_s += 1
            self.session.tick(self.now_s)

    def closed(self) -> str:
        """Why the session asked for the end, or nothing."""
        reasons = [event.reason for event in self.session.drain() if isinstance(event, Closed)]
        assert len(reasons) < 2
        return reasons[0] if reasons else ""


def up(settings: Settings | None = None, connack: p.Connack | None = None) -> Far:
    far = Far(settings)
    far.connect(connack)
    assert isinstance(far.session.drain()[0], Opened)
    return far


V311 = Settings("d1", version=4)
BOTH = pytest.mark.parametrize("settings", [Settings("d1"), V311], ids=["5", "3.1.1"])


# --- CONNECT and CONNACK ---


def test_connect_says_what_was_asked_for() -> None:
    will = Publish("will", "w", b"off", 1, True)
    far = Far(Settings("d1", 5, 30, False, 3600, "u", b"pw", will, receive_maximum=7, packet_size_max=9000))
    assert far.connect() == p.Connect(
        "d1",
        5,
        False,
        30,
        (("session_expiry_interval", 3600), ("receive_maximum", 7), ("maximum_packet_size", 9000)),
        p.Will("w", b"off", 1, True),
        "u",
        b"pw",
    )


def test_connect_of_311_has_no_properties() -> None:
    assert Far(V311._replace(session_expiry_s=60)).connect() == p.Connect("d1", 4)


@BOTH
def test_connack_opens(settings: Settings) -> None:
    far = Far(settings)
    far.connect(p.Connack(session_present=True))
    assert far.session.drain() == [Opened(True, "d1", ())]
    assert far.session.is_up


@pytest.mark.parametrize(
    ("version", "connack", "reason"),
    [
        (4, p.Connack(False, 5), "CONNACK 0x05 not authorized"),
        (5, p.Connack(False, 0x87), "CONNACK 0x87 not authorized"),
        (
            5,
            p.Connack(False, 0x87, (("reason_string", "no policy"),)),
            "CONNACK 0x87 not authorized: no policy",
        ),
    ],
)
def test_a_refused_connection_says_why(version: p.Version, connack: p.Connack, reason: str) -> None:
    far = Far(Settings("d1", version))
    far.connect(connack)
    assert far.closed() == reason
    assert not far.session.is_up
    assert far.heard() == []


def test_only_the_first_connect_of_a_session_with_an_expiry_is_clean() -> None:
    far = Far(Settings("d1", session_expiry_s=60))
    assert far.connect().clean_start
    assert not far.connect().clean_start
    far.session.lost()
    assert not far.connect(p.Connack(properties=(("session_expiry_interval", 0),))).clean_start
    assert far.connect().clean_start  # the server gave no expiry, so there was nothing to resume


def test_the_assigned_client_id_is_kept() -> None:
    far = Far(Settings(""))
    far.connect(p.Connack(properties=(("assigned_client_identifier", "auto-1"),)))
    assert far.session.drain() == [Opened(False, "auto-1", (("assigned_client_identifier", "auto-1"),))]
    assert far.connect().client_id == "auto-1"


def test_no_connack_is_a_time_out() -> None:
    far = Far(Settings("d1", answer_timeout_s=5))
    far.session.connected(far.now_s)
    far.pass_s(4)
    assert far.closed() == ""
    far.pass_s(1)
    assert far.closed() == "no CONNACK within 5 s"


def test_nothing_but_connack_may_come_first() -> None:
    far = Far()
    far.session.connected(far.now_s)
    far.say(p.Publish("a", b""))
    assert far.closed() == "the server sent PUBLISH before CONNACK"


# --- publishing ---


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


# --- after a reconnect ---


@BOTH
def test_a_resumed_session_repeats_in_order_as_duplicates(settings: Settings) -> None:
    far = up(settings._replace(in_flight_max=3, clean_start=False))
    far.publish(*"12345")
    assert far.payloads() == ["1", "2", "3"]
    far.say(p.Puback(2))
    far.session.drain()
    far.session.lost()
    far.now_s += 5
    far.connect(p.Connack(session_present=True))
    sent = [packet for packet in far.heard() if isinstance(packet, p.Publish)]
    assert [(packet.packet_id, packet.payload, packet.dup) for packet in sent] == [
        (1, b"1", True),
        (3, b"3", True),
        (4, b"4", True),
    ]
    far.say(p.Puback(1), p.Puback(3), p.Puback(4))
    assert far.payloads() == ["5"]
    # The latency of a message counts from its first write.
    assert far.session.drain()[1:] == [Acknowledged(message(text), 100.0, 0) for text in "134"]


@BOTH
def test_a_new_session_gets_the_unacknowledged_ones_as_new(settings: Settings) -> None:
    far = up(settings._replace(in_flight_max=2))
    far.publish(*"123")
    far.session.lost()
    far.publish("4")
    far.connect()
    assert far.payloads() == ["1", "2"]
    far.say(p.Puback(3), p.Puback(4))
    assert far.payloads() == ["3", "4"]


def test_a_smaller_receive_maximum_is_kept_while_repeating() -> None:
    far = up(Settings("d1", in_flight_max=4, clean_start=False))
    far.publish(*"12345")
    far.session.lost()
    far.connect(p.Connack(True, 0, (("receive_maximum", 1),)))
    assert far.payloads() == ["1!"]
    far.session.subscribe(("a",), far.now_s)
    (subscribe,) = far.heard()
    assert isinstance(subscribe, p.Subscribe)
    assert subscribe.packet_id not in (1, 2, 3, 4)
    far.publish("6")
    for packet_id, payload in zip((1, 2, 3), ("2!", "3!", "4!"), strict=True):
        far.say(p.Puback(packet_id))
        assert far.payloads() == [payload]
    # Lost again in the middle: what was not repeated yet is still there, in order.
    far.session.lost()
    far.connect(p.Connack(True))
    assert far.payloads() == ["4!", "5", "6"]


def test_repeating_counts_the_time_out_from_the_reconnect() -> None:
    far = up(Settings("d1", answer_timeout_s=5, clean_start=False))
    far.publish("1")
    far.session.lost()
    far.now_s += 100
    far.connect(p.Connack(True))
    far.pass_s(4)
    assert far.closed() == ""
    far.pass_s(1)
    assert far.closed() == "no PUBACK within 5 s"


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


@pytest.mark.parametrize(
    ("said", "reason", "code"),
    [
        (p.Publish("c", b"", 2, packet_id=1), "QoS 2", 0x9B),
        (p.Publish("", b"", properties=(("topic_alias", 1),)), "topic alias", 0x94),
        (p.Publish("c", b"", properties=(("topic_alias", 1),)), "topic alias", 0x94),
        (p.Connack(), "CONNACK, which no client", 0x82),
        (p.Pingreq(), "PINGREQ, which no client", 0x82),
    ],
)
def test_what_a_server_may_not_say_ends_the_connection(said: p.Packet, reason: str, code: int) -> None:
    far = up()
    far.say(said, p.Publish("after", b""))
    assert [type(event) for event in far.session.drain()] == [Closed]
    assert far.heard() == [p.Disconnect(code)]
    assert reason


def test_bytes_that_are_not_mqtt_end_the_connection_after_what_was_whole() -> None:
    far = up()
    far.publish("1")
    far.heard()
    far.say_bytes(encode(p.Puback(1)) + b"HTTP/1.1 400 Bad Request\r\n")
    acknowledged, closed = far.session.drain()
    assert isinstance(acknowledged, Acknowledged)
    assert isinstance(closed, Closed)
    assert closed.reason.startswith("the server sent what is not MQTT: ")
    assert far.heard() == [p.Disconnect(0x81)]
    far.say(p.Publish("c", b""))
    assert far.session.drain() == []


def test_the_servers_goodbye_is_told() -> None:
    far = up()
    far.say(p.Disconnect(0x8E, (("reason_string", "newer"),)))
    assert far.closed() == "DISCONNECT 0x8E session taken over: newer"
    assert far.heard() == []


def test_our_goodbye() -> None:
    far = up()
    far.session.disconnect()
    assert far.heard() == [p.Disconnect()]
    assert far.session.publish(message(), far.now_s)  # kept for the next connection
    assert far.heard() == []
    far.connect()
    assert far.payloads() == ["hi"]


# --- silence ---


@BOTH
def test_a_silent_client_pings_and_is_answered(settings: Settings) -> None:
    far = up(settings._replace(keep_alive_s=40))
    far.pass_s(29)
    assert far.heard() == []
    far.pass_s(1)
    assert far.heard() == [p.Pingreq()]
    far.say(p.Pingresp())
    far.pass_s(30)
    assert far.heard() == [p.Pingreq()]
    assert far.closed() == ""


def test_no_pingresp_is_a_time_out() -> None:
    far = up(Settings("d1", keep_alive_s=40, answer_timeout_s=5))
    far.pass_s(34)
    assert far.closed() == ""
    far.pass_s(1)
    assert far.closed() == "no PINGRESP within 5 s"


def test_a_client_that_only_speaks_finds_out_that_nobody_listens() -> None:
    far = up(Settings("d1", keep_alive_s=20, answer_timeout_s=5))
    for _ in range(25):
        far.session.publish(message(qos=0), far.now_s)
        far.pass_s(1)
    assert far.closed() == "no PINGRESP within 5 s"


def test_the_servers_keep_alive_counts() -> None:
    far = up(connack=p.Connack(properties=(("server_keep_alive", 8),)))
    far.pass_s(6)
    assert far.heard() == [p.Pingreq()]


def test_a_keep_alive_of_0_is_none() -> None:
    far = up(Settings("d1", keep_alive_s=0))
    far.pass_s(5000)
    assert far.heard() == []
    assert far.closed() == ""


def test_no_puback_is_a_time_out_and_the_message_is_kept() -> None:
    far = up(Settings("d1", answer_timeout_s=5))
    far.publish("1")
    far.pass_s(5)
    assert far.closed() == "no PUBACK within 5 s"
    far.session.tick(far.now_s + 100)
    assert far.closed() == ""  # told once
    far.heard()
    far.connect()
    assert far.payloads() == ["1"]


@pytest.mark.parametrize("wrong", [0, 40_000])
def test_a_window_out_of_range_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="in_flight_max"):
        Session(Settings("d1", in_flight_max=wrong))


# --- all of it ---

steps = st.lists(st.sampled_from(["publish", "ack", "lose", "lose and resume", "pause", "resume"]), max_size=60)


@settings(max_examples=300, deadline=None)
@given(steps, st.integers(1, 4), st.sampled_from([4, 5]))
def test_nothing_is_lost_and_order_is_kept(steps: list[str], window: int, version: p.Version) -> None:
    """Whatever happens to the connection, each message first comes in order, and all come in the end."""
    far = Far(Settings("d1", version, in_flight_max=window, clean_start=False))
    far.connect()
    open_ids: list[int] = []
    first: list[int] = []
    done: set[int] = set()
    count = 0

    def collect() -> None:
        for packet in far.heard():
            assert isinstance(packet, p.Publish)
            assert packet.packet_id not in open_ids
            open_ids.append(packet.packet_id)
            if int(packet.payload) not in first:
                first.append(int(packet.payload))
        assert len(open_ids) <= window
        done.update(int(e.message.payload) for e in far.session.drain() if isinstance(e, Acknowledged))

    for step in [*steps, "resume", *["ack"] * 70]:
        if step == "publish":
            assert far.session.publish(message(str(count)), far.now_s)
            count += 1
        elif step == "ack" and open_ids:
            far.say(p.Puback(open_ids.pop(0)))
        elif step.startswith("lose"):
            far.session.lost()
            open_ids.clear()
            far.connect(p.Connack(session_present=step.endswith("resume")))
        elif step == "pause":
            far.session.pause()
        elif step == "resume":
            far.session.resume(far.now_s)
        collect()
    assert first == list(range(count))
    assert done == set(range(count))
    assert far.session.unfinished == 0


# One PUBACK and nothing else, which is most of what comes


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
