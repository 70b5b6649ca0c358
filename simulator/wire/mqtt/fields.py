"""The fields that MQTT packets are made of: integers, strings, binary data.

Rules: writers raise ValueError, because a value that does not fit is a mistake of ours; the reader raises
`MqttError`, because bytes that do not fit are a mistake of the far side.
"""

from simulator.wire.mqtt.reasons import MALFORMED_PACKET, MqttError

LENGTH_MAX = 268_435_455  # what four length bytes can say
BINARY_MAX = 65_535


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# Nearly every packet of a device is shorter than this, and looking its length up is three times quicker.
_SHORT = tuple(_varint(value) for value in range(2048))


def varint(value: int) -> bytes:
    """A variable byte integer: seven bits in each of one to four bytes."""
    if 0 <= value < 2048:
        return _SHORT[value]
    if not 0 <= value <= LENGTH_MAX:
        raise ValueError(f"{value} does not fit a variable byte integer (0 to {LENGTH_MAX})")
    return _varint(value)


def binary(value: bytes) -> bytes:
    """Binary data behind its two-byte length."""
    if len(value) > BINARY_MAX:
        raise ValueError(f"{len(value)} bytes do not fit a field of at most {BINARY_MAX}")
    return len(value).to_bytes(2, "big") + value


def string(value: str) -> bytes:
    """A UTF-8 string behind its two-byte length."""
    if "\0" in value:
        raise ValueError(f"MQTT allows no U+0000 in a string: {value!r}")
    return binary(value.encode())


def topic_name(value: str) -> bytes:
    """A topic to publish to, behind its length."""
    if not value or "+" in value or "#" in value:
        raise ValueError(f"a topic to publish to is not empty and has no wildcard: {value!r}")
    return string(value)


def malformed(text: str) -> MqttError:
    return MqttError(MALFORMED_PACKET, text)


class Reader:
    """Takes fields off the front of `data[at:end]`."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def _take(self, count: int) -> int:
        """Step over `count` bytes; gives where they begin."""
        at = self.at
        if self.end - at < count:
            raise malformed(f"a packet ends {count - (self.end - at)} bytes early")
        self.at = at + count
        return at

    def byte(self) -> int:
        return self.data[self._take(1)]

    def two(self) -> int:
        at = self._take(2)
        return self.data[at] << 8 | self.data[at + 1]

    def four(self) -> int:
        at = self._take(4)
        return int.from_bytes(self.data[at : at + 4], "big")

    def varint(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise malformed("a variable byte integer is longer than it needs to be")
                return value
        raise malformed("a variable byte integer is longer than four bytes")

    def binary(self) -> bytes:
        count = self.two()
        at = self._take(count)
        return self.data[at : at + count]

    def string(self) -> str:
        raw = self.binary()
        try:
            value = raw.decode()
        except UnicodeDecodeError as error:
            raise malformed(f"a string is not UTF-8: {error.reason}") from None
        if "\0" in value:
            raise malformed("a string holds U+0000")
        return value

    def packet_id(self) -> int:
        value = self.two()
        if not value:
            raise malformed("a packet identifier is 0")
        return value

    def rest(self) -> bytes:
        at, self.at = self.at, self.end
        return self.data[at : self.end]

    def finish(self) -> None:
        """The packet must end here."""
        if self.at != self.end:
            raise malformed(f"a packet has {self.end - self.at} bytes too many")
