"""MQTT packets against bytes written down by hand from the specifications, in both directions."""

import pytest

from simulator.wire import ProtocolError
from simulator.wire.mqtt import Decoder, MqttError, encode
from simulator.wire.mqtt import packets as p
from simulator.wire.mqtt.encode import puback_bytes, publish_bytes
from simulator.wire.mqtt.fields import topic_name
from simulator.wire.mqtt.properties import PROPERTIES, Value
from simulator.wire.mqtt.reasons import describe, describe_connack

FILTER = p.Subscription

# (version, hex, packet): what is read from the bytes is the packet, and the packet is written as the bytes.
CASES: list[tuple[p.Version, str, p.Packet]] = [
    # CONNECT
    (4, "10 0E 0004 4D515454 04 02 003C 0002 6431", p.Connect("d1", 4)),
    (4, "10 0C 0004 4D515454 04 00 0000 0000", p.Connect("", 4, clean_start=False, keep_alive_s=0)),
    (5, "10 0F 0004 4D515454 05 02 003C 00 0002 6431", p.Connect("d1")),
    (
        5,
        "10 17 0004 4D515454 05 02 003C 08 11 00000E10 21 0064 0002 6431",
        p.Connect("d1", properties=(("session_expiry_interval", 3600), ("receive_maximum", 100))),
    ),
    (
        4,
        "10 1D 0004 4D515454 04 EE 001E 0002 6431 0001 77 0003 6F6666 0001 75 0002 7077",
        p.Connect(
            "d1",
            4,
            keep_alive_s=30,
            will=p.Will("w", b"off", 1, True),
            username="u",
            password=b"pw",
        ),
    ),
    (
        5,
        "10 1C 0004 4D515454 05 46 003C 00 0002 6431 05 18 0000000A 0001 77 0000 0000",
        p.Connect(
            "d1",
            will=p.Will("w", b"", properties=(("will_delay_interval", 10),)),
            password=b"",
        ),
    ),
    # CONNACK
    (4, "20 02 00 00", p.Connack()),
    (4, "20 02 01 00", p.Connack(session_present=True)),
    (4, "20 02 00 05", p.Connack(reason_code=5)),
    (5, "20 03 00 87 00", p.Connack(reason_code=0x87)),
    (
        5,
        "20 15 00 00 12 12 0002 6131 13 001E 21 000A 24 01 27 00001000",
        p.Connack(
            properties=(
                ("assigned_client_identifier", "a1"),
                ("server_keep_alive", 30),
                ("receive_maximum", 10),
                ("maximum_qos", 1),
                ("maximum_packet_size", 4096),
            )
        ),
    ),
    # PUBLISH
    (4, "30 05 0003 612F62", p.Publish("a/b", b"")),
    (4, "30 07 0003 612F62 6869", p.Publish("a/b", b"hi")),
    (4, "3D 07 0003 612F62 0001", p.Publish("a/b", b"", 2, True, True, 1)),
    (4, "32 09 0003 612F62 000A 6869", p.Publish("a/b", b"hi", 1, packet_id=10)),
    (5, "30 08 0003 612F62 00 6869", p.Publish("a/b", b"hi")),
    (5, "3B 0A 0003 612F62 FFFF 00 6869", p.Publish("a/b", b"hi", 1, True, True, 65535)),
    (5, "31 09 0006 C3A92FE282AC 00", p.Publish("é/€", b"", retain=True)),
    (
        5,
        "32 1B 0001 74 0001 14 01 01 02 0000003C 26 0001 6B 0001 76 23 0003 0B 8001 78",
        p.Publish(
            "t",
            b"x",
            1,
            packet_id=1,
            properties=(
                ("payload_format_indicator", 1),
                ("message_expiry_interval", 60),
                ("user_property", ("k", "v")),
                ("topic_alias", 3),
                ("subscription_identifier", 128),
            ),
        ),
    ),
    (5, "30 07 0000 03 23 0001 78", p.Publish("", b"x", properties=(("topic_alias", 1),))),
    (
        5,
        "30 08 0001 74 04 0B 01 0B 02",
        p.Publish("t", b"", properties=(("subscription_identifier", 1), ("subscription_identifier", 2))),
    ),
    # PUBACK and its sisters
    (4, "40 02 0001", p.Puback(1)),
    (5, "40 02 FFFE", p.Puback(65534)),
    (5, "40 03 0001 10", p.Puback(1, 0x10)),
    (5, "40 09 0001 87 05 1F 0002 6E6F", p.Puback(1, 0x87, (("reason_string", "no"),))),
    (5, "50 02 0001", p.Pubrec(1)),
    (5, "62 03 0001 92", p.Pubrel(1, 0x92)),
    (4, "70 02 0001", p.Pubcomp(1)),
    # SUBSCRIBE, SUBACK
    (4, "82 06 0001 0001 23 01", p.Subscribe(1, (FILTER("#"),))),
    (
        5,
        "82 12 000A 00 0003 612F62 2E 0001 2B 01 0002 2461 00",
        p.Subscribe(10, (FILTER("a/b", 2, True, True, 2), FILTER("+"), FILTER("$a", 0))),
    ),
    (5, "82 09 0001 02 0B 07 0001 61 01", p.Subscribe(1, (FILTER("a"),), (("subscription_identifier", 7),))),
    (4, "90 04 0001 01 80", p.Suback(1, (1, 0x80))),
    (5, "90 05 0001 00 00 8F", p.Suback(1, (0, 0x8F))),
    # UNSUBSCRIBE, UNSUBACK
    (4, "A2 08 0001 0001 61 0001 62", p.Unsubscribe(1, ("a", "b"))),
    (5, "A2 06 0001 00 0001 61", p.Unsubscribe(1, ("a",))),
    (4, "B0 02 0001", p.Unsuback(1)),
    (5, "B0 05 0001 00 00 11", p.Unsuback(1, (0, 0x11))),
    # PINGREQ, PINGRESP, DISCONNECT, AUTH
    (4, "C0 00", p.Pingreq()),
    (5, "D0 00", p.Pingresp()),
    (4, "E0 00", p.Disconnect()),
    (5, "E0 00", p.Disconnect()),
    (5, "E0 01 04", p.Disconnect(4)),
    (5, "E0 07 8E 05 1F 0002 6279", p.Disconnect(0x8E, (("reason_string", "by"),))),
    (5, "F0 00", p.Auth()),
    (5, "F0 06 18 04 15 0001 6D", p.Auth(0x18, (("authentication_method", "m"),))),
]

# (version, hex, packet): forms that the specification allows and we do not write.
READ_ONLY: list[tuple[p.Version, str, p.Packet]] = [
    (5, "40 03 0001 00", p.Puback(1)),
    (5, "40 04 0001 00 00", p.Puback(1)),
    (5, "40 04 0001 10 00", p.Puback(1, 0x10)),
    (5, "E0 02 00 00", p.Disconnect()),
    (5, "F0 02 00 00", p.Auth()),
]

# (version, hex, reason code): what no server and no client may send.
MALFORMED: list[tuple[p.Version, str, int]] = [
    # fixed headers
    (5, "00 00", 0x81),
    (5, "11 00", 0x81),
    (5, "21 02 00 00", 0x81),
    (5, "60 02 0001", 0x81),
    (5, "80 06 0001 0001 23 01", 0x81),
    (5, "C1 00", 0x81),
    (5, "C0 01 00", 0x81),
    (5, "D0 01 00", 0x81),
    (4, "F0 00", 0x81),
    (5, "30 FF FF FF FF", 0x81),
    (5, "30 FF FF FF 80", 0x81),
    (5, "30 FF FF FF 7F", 0x95),
    # CONNECT
    (5, "10 00", 0x81),
    (5, "10 0C 0004 4D515458 04 00 0000 0000", 0x84),
    (5, "10 0E 0006 4D5149736470 03 00 0000 0000", 0x84),
    (5, "10 0C 0004 4D515454 03 00 0000 0000", 0x84),
    (5, "10 0C 0004 4D515454 04 01 0000 0000", 0x81),
    (5, "10 0C 0004 4D515454 04 08 0000 0000", 0x81),
    (5, "10 0C 0004 4D515454 04 20 0000 0000", 0x81),
    (5, "10 0F 0004 4D515454 04 1C 0000 0000 0001 61", 0x81),
    (5, "10 0E 0004 4D515454 04 40 0000 0000 0000", 0x81),
    (5, "10 10 0004 4D515454 04 04 0000 0000 0000 0000", 0x81),
    (5, "10 11 0004 4D515454 04 04 0000 0000 0001 23 0000", 0x81),
    (5, "10 0D 0004 4D515454 04 00 0000 0000 00", 0x81),
    # CONNACK
    (5, "20 01 00", 0x81),
    (5, "20 02 00 00", 0x81),
    (4, "20 03 00 00 00", 0x81),
    (5, "20 03 02 00 00", 0x81),
    (5, "20 06 00 00 03 21 0000", 0x82),
    (5, "20 05 00 00 02 24 02", 0x82),
    (5, "20 07 00 00 04 24 01 24 01", 0x82),
    (5, "20 05 00 00 02 01 00", 0x81),
    (5, "20 05 00 00 02 7E 00", 0x81),
    (5, "20 05 00 00 05 24 01", 0x81),
    (5, "20 05 00 00 02 21 00", 0x81),
    (5, "20 06 00 00 02 24 01 00", 0x81),
    (5, "20 08 00 00 05 1F 0002 FFFE", 0x81),
    (5, "20 07 00 00 04 1F 0001 00", 0x81),
    (5, "20 04 00 00 80 00", 0x81),
    # PUBLISH
    (5, "36 08 0003 612F62 0001 00", 0x81),
    (5, "38 06 0003 612F62 00", 0x81),
    (5, "32 08 0003 612F62 0000 00", 0x81),
    (5, "32 05 0003 612F62", 0x81),
    (5, "32 06 0003 612F62 00", 0x81),
    (5, "30 00", 0x81),
    (5, "30 01 00", 0x81),
    (5, "30 04 0003 612F", 0x81),
    (5, "30 05 0003 612F62", 0x81),
    (5, "30 04 0001 2B 00", 0x81),
    (5, "30 04 0001 23 00", 0x81),
    (5, "30 04 0001 00 00", 0x81),
    (5, "30 04 0001 FF 00", 0x81),
    (5, "30 06 0003 EDA080 00", 0x81),
    (4, "30 02 0000", 0x82),
    (5, "30 03 0000 00", 0x82),
    (5, "30 07 0001 74 03 23 0000", 0x82),
    (5, "30 0A 0001 74 06 23 0001 23 0001", 0x82),
    (5, "30 06 0001 74 02 0B 00", 0x82),
    (5, "30 06 0001 74 02 01 02", 0x82),
    # the rest
    (5, "40 02 0000", 0x81),
    (5, "40 01 00", 0x81),
    (4, "40 03 0001 00", 0x81),
    (5, "40 05 0001 00 00 00", 0x81),
    (4, "82 02 0001", 0x82),
    (4, "82 05 0001 0000 01", 0x81),
    (4, "82 06 0001 0001 23 04", 0x81),
    (5, "82 07 0001 00 0001 23 03", 0x81),
    (5, "82 07 0001 00 0001 23 30", 0x81),
    (5, "82 07 0001 00 0001 23 40", 0x81),
    (4, "82 05 0001 0001 23", 0x81),
    (4, "90 02 0001", 0x82),
    (5, "90 03 0001 00", 0x82),
    (4, "A2 02 0001", 0x82),
    (4, "A2 04 0001 0000", 0x81),
    (5, "B0 03 0001 00", 0x82),
    (4, "B0 03 0001 00", 0x81),
    (4, "E0 01 00", 0x81),
]


def as_bytes(text: str) -> bytes:
    return bytes.fromhex(text)


def case_id(value: object) -> str | None:
    return value.replace(" ", "") if isinstance(value, str) else None


@pytest.mark.parametrize(("version", "text", "packet"), CASES, ids=case_id)
def test_written_as_the_specification_says(version: p.Version, text: str, packet: p.Packet) -> None:
    assert encode(packet, version).hex(" ") == as_bytes(text).hex(" ")


@pytest.mark.parametrize(("version", "text", "packet"), CASES + READ_ONLY, ids=case_id)
def test_read_as_the_specification_says(version: p.Version, text: str, packet: p.Packet) -> None:
    decoder = Decoder(version)
    (found,) = decoder.feed(as_bytes(text))
    assert found == packet
    assert type(found) is type(packet)
    assert not decoder.kept


@pytest.mark.parametrize(("version", "text", "packet"), CASES + READ_ONLY, ids=case_id)
def test_read_one_byte_at_a_time(version: p.Version, text: str, packet: p.Packet) -> None:
    decoder = Decoder(version)
    data = as_bytes(text)
    for byte in data[:-1]:
        assert decoder.feed(bytes((byte,))) == []
    assert decoder.feed(data[-1:]) == [packet]


@pytest.mark.parametrize("version", [4, 5])
def test_all_packets_of_a_version_in_one_chunk(version: p.Version) -> None:
    chosen = [(as_bytes(text), packet) for v, text, packet in CASES if v == version]
    # A CONNECT goes first, so that it is the one which says the version.
    assert Decoder().feed(b"".join(data for data, _ in chosen)) == [packet for _, packet in chosen]


@pytest.mark.parametrize(("version", "text", "reason_code"), MALFORMED, ids=case_id)
def test_what_is_malformed_is_refused(version: p.Version, text: str, reason_code: int) -> None:
    decoder = Decoder(version)
    with pytest.raises(MqttError) as caught:
        decoder.feed(as_bytes(text))
    assert caught.value.reason_code == reason_code
    assert isinstance(caught.value, ProtocolError)
    with pytest.raises(MqttError):  # and the decoder stays refused
        decoder.feed(encode(p.Pingresp()))


def test_packets_before_a_mistake_are_given_first() -> None:
    decoder = Decoder()
    assert decoder.feed(as_bytes("D0 00 40 02 0001 00 00")) == [p.Pingresp(), p.Puback(1)]
    assert decoder.error is not None
    with pytest.raises(MqttError, match="no packet begins with 0x00"):
        decoder.feed(b"")


def test_a_packet_too_large_is_refused_before_it_is_kept() -> None:
    decoder = Decoder(packet_size_max=100)
    assert len(decoder.feed(encode(p.Publish("t", b"x" * 94)))) == 1
    with pytest.raises(MqttError, match="101 bytes, when 100 are allowed") as caught:
        decoder.feed(encode(p.Publish("t", b"x" * 95))[:2])
    assert caught.value.reason_code == 0x95


@pytest.mark.parametrize("size", [0, 121, 122, 127, 128, 16_377, 16_384, 200_000])
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("retain", [False, True])
def test_the_hot_path_writes_the_same_bytes(size: int, version: p.Version, retain: bool) -> None:
    payload = b"x" * size
    head = 0x33 if retain else 0x32
    none = b"\x00" if version == 5 else b""
    field = topic_name("a/é")
    expected = encode(p.Publish("a/é", payload, 1, retain, packet_id=777), version)
    assert publish_bytes(head, field, 777, none, payload) == expected
    expected = encode(p.Publish("a/é", payload, 0, retain), version)
    assert publish_bytes(head & ~2, field, 0, none, payload) == expected


def test_a_puback_is_alike_in_both_versions() -> None:
    assert puback_bytes(258) == encode(p.Puback(258), 4) == encode(p.Puback(258), 5)


UNWRITABLE: list[tuple[p.Version, p.Packet]] = [
    (5, p.Publish("", b"")),
    (5, p.Publish("a/+", b"")),
    (5, p.Publish("#", b"")),
    (5, p.Publish("a\0", b"")),
    (5, p.Publish("\ud800", b"")),
    (5, p.Publish("t" * 65_536, b"")),
    (5, p.Publish("t", b"", 3, packet_id=1)),
    (5, p.Publish("t", b"", 1)),
    (5, p.Publish("t", b"", 0, packet_id=1)),
    (5, p.Publish("t", b"", 0, dup=True)),
    (5, p.Publish("t", b"", 1, packet_id=65_536)),
    (4, p.Publish("t", b"", properties=(("content_type", "x"),))),
    (5, p.Publish("t", b"", properties=(("receive_maximum", 1),))),
    (5, p.Publish("t", b"", properties=(("no_such", 1),))),
    (5, p.Publish("t", b"", properties=(("topic_alias", 0),))),
    (5, p.Publish("t", b"", properties=(("topic_alias", 65_536),))),
    (5, p.Publish("t", b"", properties=(("topic_alias", 1), ("topic_alias", 2)))),
    (5, p.Publish("t", b"x" * 268_435_455)),
    (4, p.Connect("d", 4, password=b"x")),
    (5, p.Connect("d", keep_alive_s=65_536)),
    (5, p.Connect("d", 3)),  # type: ignore[arg-type]
    (5, p.Connect("d", will=p.Will("a/#", b""))),
    (5, p.Puback(0)),
    (4, p.Puback(1, 0x87)),
    (4, p.Puback(1, 0, (("reason_string", "x"),))),
    (5, p.Subscribe(1, ())),
    (5, p.Subscribe(1, (FILTER(""),))),
    (5, p.Subscribe(1, (FILTER("a", retain_handling=3),))),
    (4, p.Subscribe(1, (FILTER("a", no_local=True),))),
    (5, p.Suback(1, ())),
    (5, p.Unsubscribe(1, ())),
    (5, p.Unsubscribe(1, ("",))),
    (5, p.Unsuback(1)),
    (4, p.Unsuback(1, (0,))),
    (4, p.Auth()),
]


@pytest.mark.parametrize(("version", "packet"), UNWRITABLE, ids=lambda value: str(value)[:60])
def test_what_cannot_be_said_is_our_own_mistake(version: p.Version, packet: p.Packet) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  many texts, and each names its value
        encode(packet, version)


SAMPLES: dict[str, Value] = {
    "user_property": ("k", "€"),
    "authentication_data": b"\0\xff",
    "correlation_data": b"",
    "subscription_identifier": 268_435_455,
    "session_expiry_interval": 0xFFFF_FFFF,
    "message_expiry_interval": 0,
    "will_delay_interval": 1,
    "maximum_packet_size": 1,
    "server_keep_alive": 0,
    "receive_maximum": 65_535,
    "topic_alias_maximum": 8,
    "topic_alias": 1,
}


@pytest.mark.parametrize("row", PROPERTIES, ids=lambda row: str(row.name))
def test_every_property_in_every_packet_it_may_stand_in(row: object) -> None:
    (prop,) = (each for each in PROPERTIES if each is row)
    value = SAMPLES.get(prop.name, 1 if prop.kind.high == 1 else "text")
    properties = ((prop.name, value),)
    whole: dict[str, p.Packet] = {
        "CONNECT": p.Connect("d", properties=properties),
        "WILL": p.Connect("d", will=p.Will("t", b"", properties=properties)),
        "CONNACK": p.Connack(properties=properties),
        "PUBLISH": p.Publish("t", b"x", properties=properties),
        "PUBACK": p.Puback(1, 0, properties),
        "PUBREC": p.Pubrec(1, 0, properties),
        "PUBREL": p.Pubrel(1, 0, properties),
        "PUBCOMP": p.Pubcomp(1, 0, properties),
        "SUBSCRIBE": p.Subscribe(1, (FILTER("a"),), properties),
        "SUBACK": p.Suback(1, (0,), properties),
        "UNSUBSCRIBE": p.Unsubscribe(1, ("a",), properties),
        "UNSUBACK": p.Unsuback(1, (0,), properties),
        "DISCONNECT": p.Disconnect(0, properties),
        "AUTH": p.Auth(0, properties),
    }
    for name, packet in whole.items():
        if name in prop.packets:
            assert Decoder().feed(encode(packet)) == [packet]
        else:
            with pytest.raises(ValueError, match=f"{name} has no property '{prop.name}'"):
                encode(packet)


def test_reason_codes_have_names() -> None:
    assert describe(0x87) == "0x87 not authorized"
    assert describe(0x7F) == "0x7F unknown reason code"
    assert describe_connack(5, 4) == "0x05 not authorized"
    assert describe_connack(0x87, 5) == "0x87 not authorized"
    assert describe_connack(9, 4) == "0x09 unknown return code"
