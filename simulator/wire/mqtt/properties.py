"""The properties of MQTT 5: one table says each one's number, name, type and packets.

Rules: properties are a tuple of (name, value) in the order of the wire, so that what was read can be
written again byte for byte. Only `user_property` may come more than once, and `subscription_identifier`
in a PUBLISH.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from simulator.wire.mqtt.fields import Reader, binary, malformed, string, varint
from simulator.wire.mqtt.reasons import PROTOCOL_ERROR, MqttError

Value = int | str | bytes | tuple[str, str]
Properties = tuple[tuple[str, Value], ...]


class Kind(NamedTuple):
    """How one type of value is written and read."""

    write: Callable[[Any], bytes]
    read: Callable[[Reader], Value]
    low: int = 0
    high: int | None = None


class Property(NamedTuple):
    """One row of the table; `packets` are the names of the packets it may stand in."""

    number: int
    name: str
    kind: Kind
    packets: frozenset[str]


def _unsigned(count: int) -> Callable[[int], bytes]:
    return lambda value: value.to_bytes(count, "big")


_flag = Kind(_unsigned(1), Reader.byte, 0, 1)
_two = Kind(_unsigned(2), Reader.two, 0, 0xFFFF)
_two_from_1 = _two._replace(low=1)
_four = Kind(_unsigned(4), Reader.four, 0, 0xFFFF_FFFF)
_four_from_1 = _four._replace(low=1)
_varint_from_1 = Kind(varint, Reader.varint, 1, 268_435_455)
_string = Kind(string, Reader.string)
_binary = Kind(binary, Reader.binary)
_pair = Kind(lambda value: string(value[0]) + string(value[1]), lambda reader: (reader.string(), reader.string()))

_ANSWERS = "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH"

PROPERTIES = tuple(
    Property(number, name, kind, frozenset(packets.split()))
    for number, name, kind, packets in (
        (0x01, "payload_format_indicator", _flag, "PUBLISH WILL"),
        (0x02, "message_expiry_interval", _four, "PUBLISH WILL"),
        (0x03, "content_type", _string, "PUBLISH WILL"),
        (0x08, "response_topic", _string, "PUBLISH WILL"),
        (0x09, "correlation_data", _binary, "PUBLISH WILL"),
        (0x0B, "subscription_identifier", _varint_from_1, "PUBLISH SUBSCRIBE"),
        (0x11, "session_expiry_interval", _four, "CONNECT CONNACK DISCONNECT"),
        (0x12, "assigned_client_identifier", _string, "CONNACK"),
        (0x13, "server_keep_alive", _two, "CONNACK"),
        (0x15, "authentication_method", _string, "CONNECT CONNACK AUTH"),
        (0x16, "authentication_data", _binary, "CONNECT CONNACK AUTH"),
        (0x17, "request_problem_information", _flag, "CONNECT"),
        (0x18, "will_delay_interval", _four, "WILL"),
        (0x19, "request_response_information", _flag, "CONNECT"),
        (0x1A, "response_information", _string, "CONNACK"),
        (0x1C, "server_reference", _string, "CONNACK DISCONNECT"),
        (0x1F, "reason_string", _string, _ANSWERS),
        (0x21, "receive_maximum", _two_from_1, "CONNECT CONNACK"),
        (0x22, "topic_alias_maximum", _two, "CONNECT CONNACK"),
        (0x23, "topic_alias", _two_from_1, "PUBLISH"),
        (0x24, "maximum_qos", _flag, "CONNACK"),
        (0x25, "retain_available", _flag, "CONNACK"),
        (0x26, "user_property", _pair, f"CONNECT WILL PUBLISH SUBSCRIBE UNSUBSCRIBE {_ANSWERS}"),
        (0x27, "maximum_packet_size", _four_from_1, "CONNECT CONNACK"),
        (0x28, "wildcard_subscription_available", _flag, "CONNACK"),
        (0x29, "subscription_identifier_available", _flag, "CONNACK"),
        (0x2A, "shared_subscription_available", _flag, "CONNACK"),
    )
)
_BY_NUMBER = {row.number: row for row in PROPERTIES}
_BY_NAME = {row.name: row for row in PROPERTIES}


def _repeats(row: Property, packet: str) -> bool:
    return row.name == "user_property" or (row.name == "subscription_identifier" and packet == "PUBLISH")


def write_properties(properties: Properties, packet: str) -> bytes:
    """The property section of a packet, with its length; ValueError for what may not stand there."""
    if not properties:
        return b"\x00"
    parts = []
    seen = set()
    for name, value in properties:
        row = _BY_NAME.get(name)
        if row is None or packet not in row.packets:
            raise ValueError(f"{packet} has no property '{name}'")
        if name in seen and not _repeats(row, packet):
            raise ValueError(f"{packet} has property '{name}' twice")
        if isinstance(value, int) and row.kind.high is not None and not row.kind.low <= value <= row.kind.high:
            raise ValueError(f"'{name}' is {value}, not {row.kind.low} to {row.kind.high}")
        seen.add(name)
        parts.append(row.number.to_bytes(1, "big") + row.kind.write(value))
    body = b"".join(parts)
    return varint(len(body)) + body


def read_properties(reader: Reader, packet: str) -> Properties:
    """The property section at the front of the reader."""
    length = reader.varint()
    if not length:
        return ()
    end = reader.at + length
    if end > reader.end:
        raise malformed(f"the properties of {packet} end {end - reader.end} bytes after it")
    section = Reader(reader.data, reader.at, end)
    reader.at = end
    found: list[tuple[str, Value]] = []
    seen = set()
    while section.at < end:
        number = section.varint()
        row = _BY_NUMBER.get(number)
        if row is None or packet not in row.packets:
            raise malformed(f"{packet} has no property 0x{number:02X}")
        if row.name in seen and not _repeats(row, packet):
            raise MqttError(PROTOCOL_ERROR, f"{packet} has property '{row.name}' twice")
        value = row.kind.read(section)
        if isinstance(value, int) and row.kind.high is not None and not row.kind.low <= value <= row.kind.high:
            raise MqttError(PROTOCOL_ERROR, f"'{row.name}' is {value}, not {row.kind.low} to {row.kind.high}")
        seen.add(row.name)
        found.append((row.name, value))
    return tuple(found)
