"""Packets → bytes.

Rules: one function for each packet, found by its type. A value that cannot be written is a ValueError: it
is a mistake of ours, never the far side's. `publish_bytes` is the hot path and checks nothing: its topic
field was checked when it was made.
"""

from collections.abc import Callable
from typing import Any

from simulator.wire.mqtt import packets as p
from simulator.wire.mqtt.fields import binary, string, topic_name, varint
from simulator.wire.mqtt.properties import Properties, write_properties

PINGREQ = b"\xc0\x00"


def encode(packet: p.Packet, version: p.Version = p.V5) -> bytes:
    """The bytes of a packet; a CONNECT says its version itself."""
    return _WRITERS[type(packet)](packet, version)


def publish_bytes(head: int, topic_field: bytes, packet_id: int, properties: bytes, payload: bytes) -> bytes:
    """A PUBLISH.

    `head` is its first byte, `topic_field` the topic behind its length, `properties` all of them behind their
    length (in 3.1.1, which has none, nothing at all).
    """
    if not packet_id:
        length = len(topic_field) + len(properties) + len(payload)
        return b"".join((_HEADS[head], varint(length), topic_field, properties, payload))
    length = len(topic_field) + 2 + len(properties) + len(payload)
    identifier = packet_id.to_bytes(2, "big")
    return b"".join((_HEADS[head], varint(length), topic_field, identifier, properties, payload))


def expiry_property(expiry_s: int) -> bytes:
    """The properties of a PUBLISH that is worth nothing after so many seconds."""
    return write_properties((("message_expiry_interval", expiry_s),), "PUBLISH")


def puback_bytes(packet_id: int) -> bytes:
    """A PUBACK that says success, alike in both versions."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


_HEADS = tuple(value.to_bytes(1, "big") for value in range(256))


def _frame(head: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return _HEADS[head] + varint(len(body)) + body


def _properties(properties: Properties, packet: str, version: p.Version) -> bytes:
    if version == p.V5:
        return write_properties(properties, packet)
    if properties:
        raise ValueError(f"{packet} has no properties in MQTT 3.1.1: {properties}")
    return b""


def _packet_id(value: int) -> bytes:
    if not 1 <= value <= 0xFFFF:
        raise ValueError(f"a packet identifier is 1 to 65535, not {value}")
    return value.to_bytes(2, "big")


def _qos(value: int, name: str) -> int:
    if value not in (0, 1, 2):
        raise ValueError(f"the QoS of {name} is 0, 1 or 2, not {value}")
    return value


def _connect(packet: p.Connect, _: p.Version) -> bytes:
    version, will = packet.version, packet.will
    if version not in (p.V311, p.V5):
        raise ValueError(f"the protocol level is 4 or 5, not {version}")
    if packet.password is not None and packet.username is None and version == p.V311:
        raise ValueError("MQTT 3.1.1 has no password without a user name")
    if not 0 <= packet.keep_alive_s <= 0xFFFF:
        raise ValueError(f"keep alive is 0 to 65535 s, not {packet.keep_alive_s}")
    flags = packet.clean_start << 1
    tail = [string(packet.client_id)]
    if will is not None:
        flags |= 0x04 | _qos(will.qos, "a will") << 3 | will.retain << 5
        tail += (_properties(will.properties, "WILL", version), topic_name(will.topic), binary(will.payload))
    if packet.username is not None:
        flags |= 0x80
        tail.append(string(packet.username))
    if packet.password is not None:
        flags |= 0x40
        tail.append(binary(packet.password))
    return _frame(
        0x10,
        b"\x00\x04MQTT",
        bytes((version, flags)),
        packet.keep_alive_s.to_bytes(2, "big"),
        _properties(packet.properties, "CONNECT", version),
        *tail,
    )


def _connack(packet: p.Connack, version: p.Version) -> bytes:
    properties = _properties(packet.properties, "CONNACK", version)
    return _frame(0x20, bytes((packet.session_present, packet.reason_code)), properties)


def _publish(packet: p.Publish, version: p.Version) -> bytes:
    qos = _qos(packet.qos, "PUBLISH")
    if packet.dup and not qos:
        raise ValueError("a PUBLISH at QoS 0 is never a duplicate")
    if (packet.packet_id != 0) != (qos > 0):
        raise ValueError(f"a PUBLISH at QoS {qos} has packet identifier {packet.packet_id}")
    alias = version == p.V5 and any(name == "topic_alias" for name, _ in packet.properties)
    topic = b"\x00\x00" if alias and not packet.topic else topic_name(packet.topic)
    return _frame(
        0x30 | packet.dup << 3 | qos << 1 | packet.retain,
        topic,
        _packet_id(packet.packet_id) if qos else b"",
        _properties(packet.properties, "PUBLISH", version),
        packet.payload,
    )


def _answer(head: int, name: str) -> Callable[[Any, p.Version], bytes]:
    """PUBACK and its sisters, whose tail is left out when it says nothing."""

    def write(packet: p.Puback, version: p.Version) -> bytes:
        packet_id = _packet_id(packet.packet_id)
        return _frame(head, packet_id, _reason(packet.reason_code, packet.properties, name, version))

    return write


def _reason(reason_code: int, properties: Properties, name: str, version: p.Version) -> bytes:
    if version == p.V311:
        if reason_code:
            raise ValueError(f"{name} has no reason code in MQTT 3.1.1: {reason_code}")
        return _properties(properties, name, version)
    if properties:
        return _HEADS[reason_code] + write_properties(properties, name)
    return _HEADS[reason_code] if reason_code else b""


def _subscribe(packet: p.Subscribe, version: p.Version) -> bytes:
    if not packet.subscriptions:
        raise ValueError("a SUBSCRIBE has at least one topic filter")
    parts = [_packet_id(packet.packet_id), _properties(packet.properties, "SUBSCRIBE", version)]
    for topic_filter, qos, no_local, as_published, handling in packet.subscriptions:
        if not topic_filter:
            raise ValueError("a topic filter is not empty")
        if handling not in (0, 1, 2):
            raise ValueError(f"retain handling is 0, 1 or 2, not {handling}")
        options = _qos(qos, "a subscription") | no_local << 2 | as_published << 3 | handling << 4
        if version == p.V311 and options > 2:
            raise ValueError("MQTT 3.1.1 has no subscription options but the QoS")
        parts += (string(topic_filter), _HEADS[options])
    return _frame(0x82, *parts)


def _suback(packet: p.Suback, version: p.Version) -> bytes:
    if not packet.reason_codes:
        raise ValueError("a SUBACK has a reason code for each filter")
    properties = _properties(packet.properties, "SUBACK", version)
    return _frame(0x90, _packet_id(packet.packet_id), properties, bytes(packet.reason_codes))


def _unsubscribe(packet: p.Unsubscribe, version: p.Version) -> bytes:
    if not all(packet.filters) or not packet.filters:
        raise ValueError("an UNSUBSCRIBE has at least one topic filter, and none is empty")
    properties = _properties(packet.properties, "UNSUBSCRIBE", version)
    return _frame(0xA2, _packet_id(packet.packet_id), properties, *map(string, packet.filters))


def _unsuback(packet: p.Unsuback, version: p.Version) -> bytes:
    if (version == p.V5) != bool(packet.reason_codes):
        raise ValueError("an UNSUBACK has a reason code for each filter in MQTT 5 and none in 3.1.1")
    properties = _properties(packet.properties, "UNSUBACK", version)
    return _frame(0xB0, _packet_id(packet.packet_id), properties, bytes(packet.reason_codes))


def _disconnect(packet: p.Disconnect, version: p.Version) -> bytes:
    return _frame(0xE0, _reason(packet.reason_code, packet.properties, "DISCONNECT", version))


def _auth(packet: p.Auth, version: p.Version) -> bytes:
    if version == p.V311:
        raise ValueError("MQTT 3.1.1 has no AUTH")
    return _frame(0xF0, _reason(packet.reason_code, packet.properties, "AUTH", version))


_WRITERS: dict[type, Callable[[Any, p.Version], bytes]] = {
    p.Connect: _connect,
    p.Connack: _connack,
    p.Publish: _publish,
    p.Puback: _answer(0x40, "PUBACK"),
    p.Pubrec: _answer(0x50, "PUBREC"),
    p.Pubrel: _answer(0x62, "PUBREL"),
    p.Pubcomp: _answer(0x70, "PUBCOMP"),
    p.Subscribe: _subscribe,
    p.Suback: _suback,
    p.Unsubscribe: _unsubscribe,
    p.Unsuback: _unsuback,
    p.Pingreq: lambda packet, version: PINGREQ,
    p.Pingresp: lambda packet, version: b"\xd0\x00",
    p.Disconnect: _disconnect,
    p.Auth: _auth,
}
