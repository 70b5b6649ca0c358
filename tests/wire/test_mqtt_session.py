"""The MQTT session against a scripted server, in virtual time: how it begins, notices silence, and ends."""

import pytest

from simulator.messages import Publish
from simulator.wire.mqtt import Acknowledged, Closed, Opened, Settings, encode
from simulator.wire.mqtt import packets as p
from tests.wire.mqtt_far_side import BOTH, V311, Far, message, up

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


# --- the end ---


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
