"""The types a field of a product spec may have, and how each of them becomes a number or a text and back.

Rules: every type has a fixed size, so that a whole message is one `struct` format; what does not fit a
number's range is written as the nearest value that does, as a sensor's own format would have it. A text that
does not fit is an error, because it is a name. Nothing but `ValueError`, `TypeError` and `OverflowError` comes
out of the functions made here; spec.py makes them its own error.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from simulator.schema import Strict

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Endian = Literal["big", "little"]

CODES = {
    "u8": "B", "u16": "H", "u32": "I", "u64": "Q",
    "i8": "b", "i16": "h", "i32": "i", "i64": "q",
    "f32": "f", "f64": "d",
}  # fmt: skip
_FLOAT_MAX = {"f32": (2 - 2**-23) * 2.0**127, "f64": (2 - 2**-52) * 2.0**1023}


class Cell(NamedTuple):
    """One place in a message's `struct` format."""

    code: str
    names: tuple[str, ...]  # of the values it carries
    write: Callable[..., Any]  # values → what struct packs
    read: Callable[[Any], Any] | None  # what struct unpacked → the value, or the values when `many`; None: as it is
    empty: Any  # the value that stands for none
    many: bool = False


class Scaled(Strict):
    """A number whose value is raw × scale + offset."""

    name: Name
    scale: float = Field(1.0, ge=-1e12, le=1e12, description="The value of one raw step.")
    offset: float = Field(0.0, ge=-1e15, le=1e15, description="The value at raw 0.")

    @model_validator(mode="after")
    def _steps(self) -> Self:
        if abs(self.scale) < 1e-12:
            raise ValueError(f"'scale' must not be 0, or as good as 0; is {self.scale:g}")
        return self

    @property
    def plain(self) -> bool:
        """The value is the raw number."""
        return self.scale == 1 and self.offset == 0


class Number(Scaled):
    """An integer or a float."""

    type: Literal["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64"]

    def cell(self, endian: Endian) -> Cell:
        if self.type in ("f32", "f64"):
            bound = _FLOAT_MAX[self.type]
            write, read = _float_writer(self, bound), _float_reader(self)
            return Cell(CODES[self.type], (self.name,), write, read, 0)
        bits, signed = int(self.type[1:]), self.type[0] == "i"
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        write, read = _int_writer(self, low, high), _int_reader(self)
        return Cell(CODES[self.type], (self.name,), write, read, 0)


class Bcd(Scaled):
    """Decimal digits, two in a byte."""

    type: Literal["bcd"]
    bytes: int = Field(ge=1, le=8)

    def cell(self, endian: Endian) -> Cell:
        order = 1 if endian == "big" else -1
        digits = 2 * self.bytes
        to_raw, to_value = _int_writer(self, 0, 10**digits - 1), _int_reader(self)

        def write(value: Any) -> bytes:
            return bytes.fromhex(str(to_raw(value)).zfill(digits))[::order]

        def read(raw: bytes) -> Any:
            number = int(raw[::order].hex())
            return number if to_value is None else to_value(number)

        return Cell(f"{self.bytes}s", (self.name,), write, read, 0)


class Bits(Strict):
    """Named bits: each is a value of its own, 0 or 1."""

    type: Literal["bits"]
    bytes: int = Field(ge=1, le=8)
    names: list[Name | Literal["-"]] = Field(
        min_length=1, max_length=64, description="Of bit 0 (the lowest) and up; '-' leaves a bit out."
    )

    @model_validator(mode="after")
    def _room(self) -> "Bits":
        if len(self.names) > 8 * self.bytes:
            raise ValueError(f"{self.bytes} bytes have {8 * self.bytes} bits, {len(self.names)} are named")
        return self

    def cell(self, endian: Endian) -> Cell:
        named = [(name, shift) for shift, name in enumerate(self.names) if name != "-"]
        shifts = [shift for _, shift in named]
        size = self.bytes

        def write(*values: Any) -> bytes:
            number = sum(1 << shift for shift, value in zip(shifts, values, strict=True) if value >= 0.5)
            return number.to_bytes(size, endian)

        def read(raw: bytes) -> list[int]:
            number = int.from_bytes(raw, endian)
            return [number >> shift & 1 for shift in shifts]

        return Cell(f"{size}s", tuple(name for name, _ in named), write, read, 0, many=True)


class Text(Strict):
    """UTF-8, filled up with NULs."""

    name: Name
    type: Literal["text"]
    bytes: int = Field(ge=1, le=256)

    def cell(self, endian: Endian) -> Cell:
        size = self.bytes

        def write(value: Any) -> bytes:
            if not isinstance(value, str):
                raise TypeError(f"a text is needed, not {type(value).__name__}")
            raw = value.encode()
            if len(raw) > size or 0 in raw:
                raise ValueError(f"{len(raw)} bytes do not fit into {size}" if len(raw) > size else "it has a NUL")
            return raw

        return Cell(f"{size}s", (self.name,), write, _read_text, "")


FieldSpec = Annotated[Number | Bcd | Bits | Text, Field(discriminator="type")]


def struct_format(endian: Endian, cells: Iterable[Cell]) -> str:
    """What the `struct` module calls a run of cells."""
    return (">" if endian == "big" else "<") + "".join(cell.code for cell in cells)


def _read_text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode()


def _whole(number: float) -> int | float:
    """An integer when it is one, so that integers stay exact."""
    return int(number) if number.is_integer() else number


def _int_writer(field: Scaled, low: int, high: int) -> Callable[[Any], int]:
    scale, offset, plain = _whole(field.scale), _whole(field.offset), field.plain

    def write(value: Any) -> int:
        raw = value if plain else (value - offset) / scale
        if raw <= low:
            return low
        if raw >= high:
            return high
        nearest: int = round(raw)  # ValueError for NaN
        return nearest

    return write


def _int_reader(field: Scaled) -> Callable[[Any], Any] | None:
    """As decimal as it can be: 263 × 0.1 is 26.3, and not 26.300000000000001."""
    if field.plain:
        return None
    scale, offset = _whole(field.scale), _whole(field.offset)
    steps = round(1 / scale) if abs(scale) < 1 else 0
    if steps and 1 / steps == scale and (shift := round(offset * steps, 9)) == int(shift):
        whole = int(shift)
        return lambda raw: (raw + whole) / steps
    return lambda raw: raw * scale + offset


def _float_writer(field: Number, bound: float) -> Callable[[Any], float]:
    scale, offset = field.scale, field.offset

    def write(value: Any) -> float:
        raw = (value - offset) / scale
        if raw != raw:
            raise ValueError("not a number")
        return float(min(bound, max(-bound, raw)))

    return write


def _float_reader(field: Number) -> Callable[[Any], Any] | None:
    if field.plain:
        return None
    scale, offset = field.scale, field.offset
    return lambda raw: raw * scale + offset
