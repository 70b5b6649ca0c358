"""Frames: messages on a stream of bytes, as a product's spec has them. No I/O.

    +-------+--------+------+----------+
    | start | length | body | checksum |
    +-------+--------+------+----------+

Rules: any bytes give frames and `Garbage`, never an error. What is not a frame is skipped up to the next start
marker, also when that stands inside what looked like one, so damage costs no frame but the damaged. After a
`feed` less than `max_bytes` are kept. Looking again inside what failed is paid from a credit that grows with the
bytes that came: a stream made of start markers is skipped rather than checked in quadratic time.
"""

import struct
from typing import NamedTuple

from simulator.wire.checksums import SIZES, checksum
from simulator.wire.spec import FrameSpec, ProductSpec, SpecError

CREDIT_EACH = 16  # bytes that may be checked in vain for each byte that came
CREDIT_FRAMES = 64  # and at once, in frames of the largest size


class Frame(NamedTuple):
    """A frame that was whole."""

    body: bytes


class Garbage(NamedTuple):
    """Bytes that were skipped. `reason`: marker, length, checksum (what was wrong with them)."""

    size: int
    reason: str


class Framing:
    """The frame of a spec, compiled; one serves all connections of its product."""

    __slots__ = ("checksum", "extra", "head", "length", "max_bytes", "overhead", "spec", "start", "tail")

    def __init__(self, spec: ProductSpec) -> None:
        frame = spec.frame
        if frame is None:
            raise SpecError("spec.frame", "the product's spec has no 'frame'")
        big = ">" if spec.endian == "big" else "<"
        sum_big = {"big": ">", "little": "<", None: big}[frame.checksum.endian]
        self.spec: FrameSpec = frame
        self.start = bytes.fromhex(frame.start)
        self.length = struct.Struct(big + {"u8": "B", "u16": "H", "u32": "I"}[frame.length.type])
        self.head = len(self.start) + self.length.size
        self.checksum = checksum(frame.checksum.kind)
        self.tail = struct.Struct(sum_big + {0: "", 1: "B", 2: "H", 4: "I"}[SIZES[frame.checksum.kind]])
        self.overhead = self.head + self.tail.size
        self.extra = self.overhead if frame.length.counts == "body" else 0  # frame's size − what its length says
        self.max_bytes = frame.max_bytes


class FrameEncoder:
    """Bodies to frames."""

    __slots__ = ("_body_max", "_framing")

    def __init__(self, spec: ProductSpec) -> None:
        self._framing = Framing(spec)
        self._body_max = self._framing.spec.body_max

    def encode(self, body: bytes) -> bytes:
        """The frame around a body."""
        framing = self._framing
        if len(body) > self._body_max:
            raise SpecError("spec.frame", f"a body of {len(body)} bytes, a frame takes {self._body_max}")
        data = framing.start + framing.length.pack(len(body) + framing.overhead - framing.extra) + body
        return data + framing.tail.pack(framing.checksum(data)) if framing.tail.size else data


class FrameDecoder:
    """A stream's bytes to frames."""

    __slots__ = ("_buffer", "_credit", "_framing", "_needed")

    def __init__(self, spec: ProductSpec | Framing) -> None:
        self._framing = spec if isinstance(spec, Framing) else Framing(spec)
        self._buffer = bytearray()
        self._needed = 0  # until so many bytes are there, nothing more can be said
        self._credit = CREDIT_FRAMES * self._framing.max_bytes

    @property
    def kept(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame | Garbage]:
        """Take what came; the frames that are whole now, and what was skipped, in order."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return []
            data = bytes(self._buffer)
            self._buffer.clear()
        return self._cut(data)

    def _cut(self, data: bytes) -> list[Frame | Garbage]:
        framing, found = self._framing, Found()
        start, head, extra, overhead = framing.start, framing.head, framing.extra, framing.overhead
        unpack_length, check, tail = framing.length.unpack_from, framing.checksum, framing.tail
        at, end = 0, len(data)
        while True:
            if not data.startswith(start, at):
                marker = data.find(start, at)
                if marker < 0:
                    marker = end - _begun(data, at, start)
                self._skip(found, marker - at, "marker")
                at = marker
            if end - at < head:
                self._needed = head
                break
            size = unpack_length(data, at + head - framing.length.size)[0] + extra
            if not overhead <= size <= framing.max_bytes:
                self._skip(found, 1, "length")
                at += 1
                continue
            if end - at < size:
                self._needed = size
                break
            body_end = at + size - tail.size
            if not tail.size or check(data[at:body_end]) == tail.unpack_from(data, body_end)[0]:
                found.frame(data[at + head : body_end])
                at += size
                continue
            step = 1
            if self._credit < size:
                step = size
            else:
                self._credit -= size
            self._skip(found, step, "checksum")
            at += step
        self._buffer += data[at:]
        return found.done()

    def _skip(self, found: "Found", count: int, reason: str) -> None:
        found.skipped(count, reason)
        self._credit = min(CREDIT_FRAMES * self._framing.max_bytes, self._credit + CREDIT_EACH * count)


class Found:
    """What one `feed` gives, with neighbouring garbage of one reason as one."""

    __slots__ = ("_items", "_reason", "_size")

    def __init__(self) -> None:
        self._items: list[Frame | Garbage] = []
        self._size = 0
        self._reason = ""

    def frame(self, body: bytes) -> None:
        if self._size:
            self._flush()
        self._items.append(Frame(body))

    def skipped(self, count: int, reason: str) -> None:
        if count and not self._size:
            self._reason = reason  # the first fault names what follows from it
        self._size += count

    def _flush(self) -> None:
        self._items.append(Garbage(self._size, self._reason))
        self._size = 0

    def done(self) -> list[Frame | Garbage]:
        if self._size:
            self._flush()
        return self._items


def _begun(data: bytes, at: int, start: bytes) -> int:
    """How many bytes at the end may be the beginning of a start marker."""
    for length in range(min(len(start) - 1, len(data) - at), 0, -1):
        if data.endswith(start[:length]):
            return length
    return 0
