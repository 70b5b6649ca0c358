"""CBOR (RFC 8949), as far as JSON and bytes need it: how commands may speak to devices.

Rules: decoding trusts nothing: lengths are held against what is there, nesting has a limit, keys are texts, and every
fault is a ValueError. Tags are skipped. Lengths left open are read, never written.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

_NESTING_MAX = 32
_BREAK = object()


def encode(value: Any) -> bytes:
    """Maps, lists, texts, bytes, numbers, true, false and null."""
    match value:
        case None:
            return b"\xf6"
        case bool():
            return b"\xf5" if value else b"\xf4"
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case float():
            return b"\xfb" + struct.pack(">d", value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            data = value.encode()
            return _head(3, len(data)) + data
        case Mapping():
            return _head(5, len(value)) + b"".join(encode(key) + encode(item) for key, item in value.items())
        case Sequence():
            return _head(4, len(value)) + b"".join(map(encode, value))
    raise ValueError(f"CBOR: no form for {type(value).__name__}")


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for code, size in ((24, ">B"), (25, ">H"), (26, ">I"), (27, ">Q")):
        if number < 1 << (8 * struct.calcsize(size)):
            return bytes([major << 5 | code]) + struct.pack(size, number)
    raise ValueError("CBOR: the number is too large")


def decode(data: bytes) -> Any:
    """The one value in these bytes."""
    reader = _Reader(data)
    value = reader.value(0)
    if value is _BREAK or reader.at != len(data):
        raise ValueError("CBOR: something is left over")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        part = self.data[self.at : self.at + size]
        if len(part) < size:
            raise ValueError("CBOR: the data ends too early")
        self.at += size
        return part

    def value(self, depth: int) -> Any:
        if depth > _NESTING_MAX:
            raise ValueError(f"CBOR: nested more than {_NESTING_MAX} deep")
        first = self.take(1)[0]
        major, low = first >> 5, first & 31
        if major == 7:
            return self._simple(low)
        size = self._number(low)
        if major < 2:
            if size is None:
                raise ValueError("CBOR: a number has no end")
            return size if major == 0 else -1 - size
        if major == 6:
            return self.value(depth + 1)
        if major in (2, 3):
            return self._text(major, size, depth)
        return self._list(size, depth) if major == 4 else self._map(size, depth)

    def _number(self, low: int) -> int | None:
        """None: the length is left open."""
        if low < 24:
            return low
        if low == 31:
            return None
        if low > 27:
            raise ValueError("CBOR: a reserved length")
        return int.from_bytes(self.take(1 << (low - 24)), "big")

    def _simple(self, low: int) -> Any:
        if low in (20, 21):
            return low == 21
        if low in (22, 23):
            return None
        if low in (25, 26, 27):
            return struct.unpack({25: ">e", 26: ">f", 27: ">d"}[low], self.take(1 << (low - 24)))[0]
        if low == 31:
            return _BREAK
        raise ValueError("CBOR: an unknown simple value")

    def _text(self, major: int, size: int | None, depth: int) -> Any:
        if size is not None:
            data = self.take(size)
            try:
                return data if major == 2 else data.decode()
            except UnicodeDecodeError:
                raise ValueError("CBOR: a text is not UTF-8") from None
        parts = self._list(None, depth)
        if not all(isinstance(part, bytes if major == 2 else str) for part in parts):
            raise ValueError("CBOR: a text in parts of another kind")
        return b"".join(parts) if major == 2 else "".join(parts)

    def _list(self, size: int | None, depth: int) -> list[Any]:
        items: list[Any] = []
        while size is None or len(items) < size:
            item = self.value(depth + 1)
            if item is _BREAK:
                if size is not None:
                    raise ValueError("CBOR: a list ends too early")
                break
            items.append(item)
        return items

    def _map(self, size: int | None, depth: int) -> dict[str, Any]:
        items = self._list(None if size is None else 2 * size, depth)
        if len(items) % 2 or not all(isinstance(key, str) for key in items[::2]):
            raise ValueError("CBOR: keys must be texts")
        return dict(zip(items[::2], items[1::2], strict=True))
