"""Product specs: how a product's payload bytes map to values. One model, for the device and for the backend.

    payload:
      endian: big
      frame: {start: "014E", length: {type: u16, counts: body}, checksum: {kind: crc16-modbus}, max_bytes: 1024}
      header:                                     # the first fields of every message
        - {name: message, type: u8}               # which message
        - {name: device_id, type: text, bytes: 16}
        - {name: seq, type: u32}
        - {name: device_timestamp, type: u64}
      messages:
        telemetry: {id: 2, fields: [{name: tempC, type: i16, scale: 0.1}, {name: rpm, type: u16}]}
        heartbeat: {id: 3}
        ack: {id: 4, fields: [{name: status, type: u8}]}

Rules: a message is its header and its fields, all of fixed size, so one `struct` reads it. Decoding gives a
`Decoded` or a `SpecError` whatever the bytes are; the error's `reason` names no value and no device, so that
reasons can be counted. Five header names mean something: `message`, `device_id`, `seq`, `device_timestamp`
(ms) and, for a hub's child, `hub_id`; the others are carried and not looked at.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from simulator.errors import did_you_mean
from simulator.schema import Misplaced, Strict
from simulator.wire.checksums import SIZES, Kind
from simulator.wire.spec_codec import Codec, Decoded, SpecError
from simulator.wire.spec_fields import Endian, FieldSpec, Number, Text, struct_format

__all__ = ["Codec", "Decoded", "FrameSpec", "Message", "ProductSpec", "SpecError"]

# What a message may mean to the platform.
MESSAGES = (
    "telemetry", "alert_report", "provisioning_complete", "control_request", "control_result", "heartbeat", "ack",
)  # fmt: skip


class Length(Strict):
    """The length field of a frame."""

    type: Literal["u8", "u16", "u32"] = "u16"
    counts: Literal["body", "frame"] = Field(
        "body", description="body: the bytes between it and the checksum; frame: all bytes, from the start marker on."
    )


class ChecksumSpec(Strict):
    """The end of a frame, over all that comes before it."""

    kind: Kind = "none"
    endian: Endian | None = Field(None, description="When it is not that of the other fields.")


class FrameSpec(Strict):
    """How a stream of bytes is cut into messages: start marker, length, body, checksum."""

    start: str = Field(pattern=r"^([0-9A-Fa-f]{2}){1,8}$", description="The start marker, in hex.")
    length: Length = Length()
    checksum: ChecksumSpec = ChecksumSpec()
    max_bytes: int = Field(1024, ge=16, le=65_536, description="Of a whole frame.")

    @property
    def overhead(self) -> int:
        """The bytes of a frame that are not its body."""
        return len(self.start) // 2 + int(self.length.type[1:]) // 8 + SIZES[self.checksum.kind]

    @property
    def body_max(self) -> int:
        """The longest body that a frame may carry."""
        counted = (1 << int(self.length.type[1:])) - 1 - (self.overhead if self.length.counts == "frame" else 0)
        return min(counted, self.max_bytes - self.overhead)


class Message(Strict):
    """One kind of message: what follows the header."""

    id: int | None = Field(None, ge=0, description="The header's `message`.")
    fields: list[FieldSpec] = Field([], max_length=200)


class ProductSpec(Strict):
    """How a product's bytes map to values."""

    endian: Endian = "big"
    frame: FrameSpec | None = Field(None, description="For the TCP channel.")
    header: list[FieldSpec] = Field([], max_length=32, description="The first fields of every message.")
    messages: dict[str, Message] = Field(min_length=1)

    @classmethod
    def plain(cls, start: str, metrics: Sequence[str]) -> "ProductSpec":
        """A spec for a product that brings none: every metric as f64, so that nothing is lost on the way."""
        return cls.model_validate(
            {
                "frame": {"start": start, "checksum": {"kind": "crc16-modbus"}, "max_bytes": 4096},
                "header": [
                    {"name": "message", "type": "u8"},
                    {"name": "device_id", "type": "text", "bytes": 64},
                    {"name": "seq", "type": "u32"},
                    {"name": "device_timestamp", "type": "u64"},
                ],
                "messages": {
                    "telemetry": {"id": 1, "fields": [{"name": name, "type": "f64"} for name in metrics]},
                    "heartbeat": {"id": 2},
                    "ack": {"id": 3, "fields": [{"name": "status", "type": "u8"}]},
                },
            }
        )

    def fields(self, message: str) -> set[str]:
        """The names of a message's own values."""
        cells = (field.cell(self.endian) for field in self.messages[message].fields)
        return {name for cell in cells for name in cell.names}

    @property
    def seq_mask(self) -> int:
        """What keeps a message's index inside the header's `seq`, where it counts round as a device's counter does."""
        found = [field.type for field in self.header if isinstance(field, Number) and field.name == "seq"]
        return (1 << int(found[0][1:])) - 1 if found else 0

    @cached_property
    def keeps_time(self) -> bool:
        """A header's `device_timestamp` comes through as it is, to the millisecond."""
        return any(
            isinstance(field, Number) and (field.name, field.type, field.plain) == ("device_timestamp", "u64", True)
            for field in self.header
        )

    @model_validator(mode="after")
    def _fits_together(self) -> "ProductSpec":
        Misplaced.raise_any(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[Misplaced]:
        for name in self.messages:
            if name not in MESSAGES:
                yield Misplaced(("messages", name), f"unknown message '{name}'{did_you_mean(name, MESSAGES)}")
        if "telemetry" not in self.messages:
            yield Misplaced(("messages",), "the message 'telemetry' is missing")
        roles = {field.name: field for field in self.header if isinstance(field, Number | Text)}
        for i, field in enumerate(self.header):
            if isinstance(field, Number) and field.name in ("message", "seq") and not _unsigned(field):
                yield Misplaced(("header", i), f"'{field.name}' must be u8, u16 or u32, without scale and offset")
            if isinstance(field, Number) and field.name in ("device_id", "hub_id"):
                yield Misplaced(("header", i), f"'{field.name}' must be a text")
            if isinstance(field, Text) and field.name in ("message", "seq", "device_timestamp"):
                yield Misplaced(("header", i), f"'{field.name}' must be a number")
        if self.messages.get("heartbeat", Message()).fields:
            yield Misplaced(("messages", "heartbeat", "fields"), "a heartbeat has no fields")
        answer = self.messages.get("ack", Message()).fields
        if [field for field in answer if not isinstance(field, Number) or field.name != "status" or not field.plain]:
            yield Misplaced(("messages", "ack", "fields"), "an ack has no field but 'status', a plain number")
        if self.frame and "device_id" not in roles:
            yield Misplaced(("header",), "frames need the header field 'device_id' (text)")
        yield from self._wrong_ids(roles.get("message"))
        yield from self._wrong_names()
        yield from self._wrong_sizes()

    def _wrong_ids(self, chooser: Number | Text | None) -> Iterator[Misplaced]:
        if not isinstance(chooser, Number):
            if len(self.messages) > 1:
                yield Misplaced(("header",), "more than one message needs the header field 'message' (u8)")
            return
        seen: dict[int, str] = {}
        for name, message in self.messages.items():
            if message.id is None:
                yield Misplaced(("messages", name), "the 'id' is missing")
            elif message.id >= 1 << int(chooser.type[1:]):
                yield Misplaced(("messages", name, "id"), f"does not fit the header's {chooser.type}")
            elif seen.setdefault(message.id, name) != name:
                yield Misplaced(("messages", name, "id"), f"'{seen[message.id]}' has it already")

    def _wrong_names(self) -> Iterator[Misplaced]:
        header: set[str] = set()
        for i, field in enumerate(self.header):
            for name in field.cell(self.endian).names:
                if name in header:
                    yield Misplaced(("header", i), f"the name '{name}' is there already")
                header.add(name)
        for message, spec in self.messages.items():
            seen = set(header)
            for i, field in enumerate(spec.fields):
                for name in field.cell(self.endian).names:
                    if name in seen:
                        yield Misplaced(("messages", message, "fields", i), f"the name '{name}' is there already")
                    seen.add(name)

    def _wrong_sizes(self) -> Iterator[Misplaced]:
        if self.frame is None:
            return
        room = self.frame.body_max
        for name, message in self.messages.items():
            cells = [field.cell(self.endian) for field in (*self.header, *message.fields)]
            size = struct.calcsize(struct_format(self.endian, cells))
            if size > room:
                yield Misplaced(("messages", name), f"has {size} bytes, a frame's body may have {room}")

    @cached_property
    def codec(self) -> Codec:
        """The spec, compiled: for whoever reads or writes many messages."""
        header = [field.cell(self.endian) for field in self.header]
        messages = {
            name: (message.id, [field.cell(self.endian) for field in message.fields])
            for name, message in self.messages.items()
        }
        return Codec(self.endian, header, messages)

    def encode(self, message: str, values: Mapping[str, Any]) -> bytes:
        """A message's bytes (a frame's body)."""
        return self.codec.encode(message, values)

    def decode(self, body: bytes) -> Decoded:
        """What the bytes say."""
        return self.codec.decode(body)


def _unsigned(field: Number) -> bool:
    return field.type in ("u8", "u16", "u32") and field.plain
