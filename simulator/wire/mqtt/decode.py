"""Bytes → packets.

Rules: any bytes give packets or an `MqttError`. The decoder keeps at most one unfinished packet, never
longer than `packet_size_max`; a length that would break this is refused as soon as it is read. How the
bytes were cut into chunks changes nothing.
"""

from collections.abc import Callable

from simulator.wire.mqtt import packets as p
from simulator.wire.mqtt.fields import Reader, malformed
from simulator.wire.mqtt.properties import Properties, read_properties
from simulator.wire.mqtt.reasons import PACKET_TOO_LARGE, PROTOCOL_ERROR, MqttError

PACKET_SIZE_MAX = 1024 * 1024

_Read = Callable[[Reader, p.Version], p.Packet]


class Decoder:
    """Collects chunks and gives whole packets.

    `version` is what the connection speaks; a CONNECT that passes by sets it, so that a server need not
    know. Packets that were whole before a mistake are given first; the mistake is then raised by the next
    `feed`, with new bytes or with none, and by every one after it. `error` holds it meanwhile.
    """

    __slots__ = ("_needed", "_size_max", "error", "kept", "version")

    def __init__(self, version: p.Version = p.V5, packet_size_max: int = PACKET_SIZE_MAX) -> None:
        self.version: p.Version = version
        self.error: MqttError | None = None
        self._size_max = packet_size_max
        self.kept: bytes | bytearray = b""  # an unfinished packet
        self._needed = 0  # bytes without which the kept ones cannot become a packet

    def feed(self, data: bytes) -> list[p.Packet]:
        """The packets that these bytes complete."""
        if self.error is not None:
            raise self.error
        if self.kept:
            self.kept += data
            if len(self.kept) < self._needed:
                return []
            data = bytes(self.kept)
            self.kept = b""
        found: list[p.Packet] = []
        try:
            at = self._read(data, found)
        except MqttError as error:
            self.error = error
            if not found:
                raise
            return found
        if at < len(data):
            self.kept = bytearray(data[at:])
        return found

    def _read(self, data: bytes, found: list[p.Packet]) -> int:
        """Appends every whole packet to `found`; gives where the unfinished one begins."""
        at = 0
        size = len(data)
        while size - at >= 2:
            head = data[at]
            read = None if head & 0xF0 == 0x30 else _READERS.get(head)
            if read is None and head & 0xF0 != 0x30:
                raise malformed(f"no packet begins with 0x{head:02X}")
            length = data[at + 1]
            body = at + 2
            if length > 0x7F:
                length &= 0x7F
                shift = 7
                while True:
                    if body == size:
                        self._needed = size - at + 1
                        return at
                    byte = data[body]
                    body += 1
                    length |= (byte & 0x7F) << shift
                    if byte < 0x80:
                        break
                    shift += 7
                    if shift == 28:
                        raise malformed("a remaining length is longer than four bytes")
            end = body + length
            if end - at > self._size_max:
                raise MqttError(PACKET_TOO_LARGE, f"a packet of {end - at} bytes, when {self._size_max} are allowed")
            if end > size:
                self._needed = end - at
                return at
            if read is None:
                found.append(_publish(head, data, body, end, self.version))
            else:
                found.append(self._other(read, Reader(data, body, end)))
            at = end
        self._needed = 2
        return at

    def _other(self, read: _Read, reader: Reader) -> p.Packet:
        packet = read(reader, self.version)
        reader.finish()
        if type(packet) is p.Connect:
            self.version = packet.version
        return packet


def _publish(head: int, data: bytes, at: int, end: int, version: p.Version) -> p.Publish:
    """Written by hand rather than with a `Reader`: a backend's consumer spends its time here."""
    qos = head >> 1 & 3
    if qos == 3 or (not qos and head & 8):
        raise malformed(f"no PUBLISH begins with 0x{head:02X}")
    topic_at = at + 2
    if topic_at > end:
        raise malformed("a PUBLISH ends before its topic")
    at = topic_at + (data[at] << 8 | data[at + 1])
    if at > end:
        raise malformed("a PUBLISH ends before its topic does")
    try:
        topic = data[topic_at:at].decode()
    except UnicodeDecodeError as error:
        raise malformed(f"a topic is not UTF-8: {error.reason}") from None
    if "+" in topic or "#" in topic or "\0" in topic:
        raise malformed(f"a topic to publish to has no wildcard and no U+0000: {topic!r}")
    packet_id = 0
    if qos:
        if at + 2 > end:
            raise malformed("a PUBLISH ends before its packet identifier")
        packet_id = data[at] << 8 | data[at + 1]
        if not packet_id:
            raise malformed("a packet identifier is 0")
        at += 2
    properties: Properties = ()
    if version == p.V5:
        if at < end and data[at] == 0:
            at += 1
        else:
            reader = Reader(data, at, end)
            properties = read_properties(reader, "PUBLISH")
            at = reader.at
    if not topic and not any(name == "topic_alias" for name, _ in properties):
        raise MqttError(PROTOCOL_ERROR, "a PUBLISH has no topic")
    return p.Publish(topic, data[at:end], qos, head & 1 == 1, head & 8 == 8, packet_id, properties)


def _connect(reader: Reader, _: p.Version) -> p.Connect:
    name, level = reader.string(), reader.byte()
    if name != "MQTT" or level not in (p.V311, p.V5):
        raise MqttError(0x84, f"a CONNECT speaks {name!r} level {level}")
    version: p.Version = p.V5 if level == p.V5 else p.V311
    flags = reader.byte()
    will_qos = flags >> 3 & 3
    if flags & 1 or will_qos == 3 or (not flags & 4 and flags & 0x38):
        raise malformed(f"a CONNECT has flags 0x{flags:02X}")
    if version == p.V311 and flags & 0xC0 == 0x40:
        raise malformed("a CONNECT has a password and no user name")
    keep_alive_s = reader.two()
    properties = _properties(reader, "CONNECT", version)
    client_id = reader.string()
    will = None
    if flags & 4:
        will_properties = _properties(reader, "WILL", version)
        topic = reader.string()
        if not topic or "+" in topic or "#" in topic:
            raise malformed(f"a will's topic is not empty and has no wildcard: {topic!r}")
        will = p.Will(topic, reader.binary(), will_qos, flags & 0x20 != 0, will_properties)
    username = reader.string() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
    return p.Connect(client_id, version, flags & 2 != 0, keep_alive_s, properties, will, username, password)


def _properties(reader: Reader, packet: str, version: p.Version) -> Properties:
    return read_properties(reader, packet) if version == p.V5 else ()


def _connack(reader: Reader, version: p.Version) -> p.Connack:
    flags, reason_code = reader.byte(), reader.byte()
    if flags > 1:
        raise malformed(f"a CONNACK has flags 0x{flags:02X}")
    return p.Connack(flags == 1, reason_code, _properties(reader, "CONNACK", version))


def _reason(reader: Reader, packet: str, version: p.Version) -> tuple[int, Properties]:
    """A reason code and properties, either of which version 5 may leave out at the end."""
    if version != p.V5 or reader.at == reader.end:
        return 0, ()
    reason_code = reader.byte()
    return reason_code, read_properties(reader, packet) if reader.at < reader.end else ()


def _puback(reader: Reader, version: p.Version) -> p.Puback:
    return p.Puback(reader.packet_id(), *_reason(reader, "PUBACK", version))


def _pubrec(reader: Reader, version: p.Version) -> p.Pubrec:
    return p.Pubrec(reader.packet_id(), *_reason(reader, "PUBREC", version))


def _pubrel(reader: Reader, version: p.Version) -> p.Pubrel:
    return p.Pubrel(reader.packet_id(), *_reason(reader, "PUBREL", version))


def _pubcomp(reader: Reader, version: p.Version) -> p.Pubcomp:
    return p.Pubcomp(reader.packet_id(), *_reason(reader, "PUBCOMP", version))


def _topic_filter(reader: Reader) -> str:
    topic_filter = reader.string()
    if not topic_filter:
        raise malformed("a topic filter is empty")
    return topic_filter


def _subscription(reader: Reader, version: p.Version) -> p.Subscription:
    topic_filter, options = _topic_filter(reader), reader.byte()
    if options > (0x2E if version == p.V5 else 2) or options & 3 == 3:
        raise malformed(f"a subscription has options 0x{options:02X}")
    return p.Subscription(topic_filter, options & 3, options & 4 != 0, options & 8 != 0, options >> 4)


def _subscribe(reader: Reader, version: p.Version) -> p.Subscribe:
    packet_id, properties = reader.packet_id(), _properties(reader, "SUBSCRIBE", version)
    subscriptions = []
    while reader.at < reader.end:
        subscriptions.append(_subscription(reader, version))
    if not subscriptions:
        raise MqttError(PROTOCOL_ERROR, "a SUBSCRIBE has no topic filter")
    return p.Subscribe(packet_id, tuple(subscriptions), properties)


def _suback(reader: Reader, version: p.Version) -> p.Suback:
    packet_id, properties = reader.packet_id(), _properties(reader, "SUBACK", version)
    reason_codes = tuple(reader.rest())
    if not reason_codes:
        raise MqttError(PROTOCOL_ERROR, "a SUBACK has no reason code")
    return p.Suback(packet_id, reason_codes, properties)


def _unsubscribe(reader: Reader, version: p.Version) -> p.Unsubscribe:
    packet_id, properties = reader.packet_id(), _properties(reader, "UNSUBSCRIBE", version)
    filters = []
    while reader.at < reader.end:
        filters.append(_topic_filter(reader))
    if not filters:
        raise MqttError(PROTOCOL_ERROR, "an UNSUBSCRIBE has no topic filter")
    return p.Unsubscribe(packet_id, tuple(filters), properties)


def _unsuback(reader: Reader, version: p.Version) -> p.Unsuback:
    if version != p.V5:
        return p.Unsuback(reader.packet_id())
    packet_id, properties = reader.packet_id(), read_properties(reader, "UNSUBACK")
    reason_codes = tuple(reader.rest())
    if not reason_codes:
        raise MqttError(PROTOCOL_ERROR, "an UNSUBACK has no reason code")
    return p.Unsuback(packet_id, reason_codes, properties)


def _disconnect(reader: Reader, version: p.Version) -> p.Disconnect:
    return p.Disconnect(*_reason(reader, "DISCONNECT", version))


def _auth(reader: Reader, version: p.Version) -> p.Auth:
    if version != p.V5:
        raise malformed("MQTT 3.1.1 has no AUTH")
    return p.Auth(*_reason(reader, "AUTH", version))


# By the whole first byte: the low four bits of every packet but PUBLISH are fixed.
_READERS: dict[int, _Read] = {
    0x10: _connect,
    0x20: _connack,
    0x40: _puback,
    0x50: _pubrec,
    0x62: _pubrel,
    0x70: _pubcomp,
    0x82: _subscribe,
    0x90: _suback,
    0xA2: _unsubscribe,
    0xB0: _unsuback,
    0xC0: lambda reader, version: p.Pingreq(),
    0xD0: lambda reader, version: p.Pingresp(),
    0xE0: _disconnect,
    0xF0: _auth,
}
