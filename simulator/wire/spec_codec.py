"""A product spec, compiled: values to bytes and back.

Rules: one `struct` reads a whole message, then only those fields are looked at that are not plain numbers.
Any bytes give a `Decoded` or a `SpecError`.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from simulator.wire import ProtocolError
from simulator.wire.spec_fields import Cell, Endian, struct_format


class SpecError(ProtocolError):
    """Bytes or values that do not fit the product's spec. `reason`: spec.size, spec.message, spec.value, spec.frame."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Decoded(NamedTuple):
    """A message: its name, its fields, and its header beside them."""

    message: str
    values: dict[str, Any]
    header: dict[str, Any]


class Layout:
    """One message, compiled."""

    __slots__ = ("fields", "header", "id", "name", "size", "struct", "tail")

    def __init__(self, endian: Endian, name: str, number: int | None, header: list[Cell], fields: list[Cell]) -> None:
        self.name, self.id = name, number
        self.header, self.fields = header, fields
        self.struct = struct.Struct(struct_format(endian, [*header, *fields]))
        self.tail = struct.Struct(struct_format(endian, fields))
        self.size = self.struct.size


class Codec:
    """A spec's encoder and decoder."""

    __slots__ = ("_by_id", "_by_name", "_header_size", "_message", "_only", "_seq")

    def __init__(
        self, endian: Endian, header: list[Cell], messages: Mapping[str, tuple[int | None, list[Cell]]]
    ) -> None:
        layouts = [Layout(endian, name, number, header, fields) for name, (number, fields) in messages.items()]
        self._by_name = {layout.name: layout for layout in layouts}
        self._by_id = {layout.id: layout for layout in layouts}
        self._header_size = struct.calcsize(struct_format(endian, header))
        self._message, self._seq = _place(endian, header, "message"), _place(endian, header, "seq")
        self._only = layouts[0] if self._message is None else None

    def has(self, message: str) -> bool:
        """Does the product know this message?"""
        return message in self._by_name

    @property
    def has_seq(self) -> bool:
        """Do its messages carry a `seq`?"""
        return self._seq is not None

    def encode(self, message: str, values: Mapping[str, Any]) -> bytes:
        """A message's bytes. A header field that is not given is 0 or empty; every other one must be."""
        layout = self._layout(message)
        given = {**values, "message": layout.id}
        name = ""
        try:
            raws = []
            for cell in layout.header:
                raws.append(cell.write(*[given.get(name := key, cell.empty) for key in cell.names]))
            for cell in layout.fields:
                raws.append(cell.write(*[given[name := key] for key in cell.names]))
            return layout.struct.pack(*raws)
        except KeyError:
            raise SpecError("spec.value", f"{message}: the value '{name}' is missing") from None
        except (TypeError, ValueError, OverflowError, struct.error) as error:
            raise SpecError("spec.value", f"{message}: '{name}' cannot be written: {error}") from None

    def decode(self, body: bytes) -> Decoded:
        """What the bytes say."""
        layout = self._chosen(body)
        if len(body) != layout.size:
            raise SpecError("spec.size", f"{layout.name}: {len(body)} bytes, must be {layout.size}")
        raws = iter(layout.struct.unpack(body))
        try:
            header = _read(layout.header, raws)
            return Decoded(layout.name, _read(layout.fields, raws), header)
        except (ValueError, OverflowError) as error:
            raise SpecError("spec.value", f"{layout.name}: a field cannot be read: {error}") from None

    def message(self, body: bytes) -> str:
        """The message that the bytes are; the rest of them is not looked at."""
        return self._chosen(body).name

    def seq(self, body: bytes) -> int | None:
        """The header's `seq`; None when the product has none, or the body is too short for one."""
        return None if self._seq is None else self._seq.read(body)

    def answer(self, body: bytes, message: str, values: Mapping[str, Any]) -> bytes:
        """The bytes of another message with the same header: what a far side says back."""
        layout = self._layout(message)
        if len(body) < self._header_size:
            raise SpecError("spec.size", f"{len(body)} bytes, a header has {self._header_size}")
        head = bytearray(body[: self._header_size])
        if self._message is not None:
            self._message.struct.pack_into(head, self._message.offset, layout.id)
        try:
            raws = [cell.write(*[values[name] for name in cell.names]) for cell in layout.fields]
            return bytes(head) + layout.tail.pack(*raws)
        except (KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
            raise SpecError("spec.value", f"{message}: cannot be written: {error}") from None

    def _layout(self, message: str) -> Layout:
        layout = self._by_name.get(message)
        if layout is None:
            raise SpecError("spec.message", f"the product has no message '{message}'")
        return layout

    def _chosen(self, body: bytes) -> Layout:
        if self._message is None:
            assert self._only is not None
            return self._only
        number = self._message.read(body)
        if number is None:
            raise SpecError("spec.size", f"{len(body)} bytes are too short for a header")
        layout = self._by_id.get(number)
        if layout is None:
            raise SpecError("spec.message", f"no message has the id {number}")
        return layout


class Place(NamedTuple):
    """Where one unsigned integer of the header stands."""

    struct: struct.Struct
    offset: int
    end: int

    def read(self, body: bytes) -> int | None:
        if len(body) < self.end:
            return None
        number: int = self.struct.unpack_from(body, self.offset)[0]
        return number


def _place(endian: Endian, header: list[Cell], name: str) -> Place | None:
    for i, cell in enumerate(header):
        if cell.names == (name,):
            found = struct.Struct(struct_format(endian, [cell]))
            offset = struct.calcsize(struct_format(endian, header[:i]))
            return Place(found, offset, offset + found.size)
    return None


def _read(cells: list[Cell], raws: Iterator[Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for _, names, _, read, _, many in cells:
        raw = next(raws)
        if read is None:
            values[names[0]] = raw
        elif many:
            values.update(zip(names, read(raw), strict=True))
        else:
            values[names[0]] = read(raw)
    return values
