"""Product specs by property: any spec gives its values back within their resolution; any bytes are safe."""

from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.wire.spec import Decoded, ProductSpec, SpecError
from simulator.wire.spec_fields import Bits, Text
from tests.wire.product_specs import SAMPLE, spec

INTEGERS = ("u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64")
scales = st.sampled_from([1.0, 0.1, 0.01, 0.25, -0.5, 2.0, 10.0, 0.3, 1e-6])
offsets = st.sampled_from([0.0, -40.0, 0.05, 1000.0])
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def numbers(name: str) -> st.SearchStrategy[dict[str, Any]]:
    kinds = st.sampled_from([*INTEGERS, "f32", "f64"])
    return st.builds(lambda t, s, o: {"name": name, "type": t, "scale": s, "offset": o}, kinds, scales, offsets)


def fields(name: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        numbers(name),
        st.builds(lambda n, s: {"name": name, "type": "bcd", "bytes": n, "scale": s}, st.integers(1, 7), scales),
        st.builds(lambda n: {"name": name, "type": "text", "bytes": n}, st.integers(32, 40)),
        st.builds(
            lambda n, k: {"type": "bits", "bytes": n, "names": [f"{name}_{i}" for i in range(k)]},
            st.integers(1, 8),
            st.integers(1, 8),
        ),
    )


specs = st.builds(
    lambda endian, found: ProductSpec.model_validate(
        {"endian": endian, "messages": {"telemetry": {"fields": [field for field in found if field]}}}
    ),
    st.sampled_from(["big", "little"]),
    st.tuples(*(st.one_of(st.none(), fields(f"f{i}")) for i in range(6))),
)


def value_of(draw: st.DrawFn, field: Any) -> tuple[Any, float]:
    """A value inside the field's range, and how far from it what is read may be."""
    if field.type == "text":
        return draw(texts), 0
    if field.type in ("f32", "f64"):
        raw = draw(st.floats(-1e6, 1e6))
        value = raw * field.scale + field.offset
        return value, (abs(raw) * 2**-22 + 1e-6) * abs(field.scale) + abs(field.offset) * 1e-12 + 1e-12
    bits = 10 ** (2 * field.bytes) if field.type == "bcd" else 1 << int(field.type[1:])
    low = -bits // 2 if field.type[0] == "i" else 0
    if field.plain:
        return draw(st.integers(low, low + bits - 1)), 0
    low, high = max(low, -(2**50)), min(low + bits - 1, 2**50)
    value = draw(st.floats(low, high)) * field.scale + field.offset
    return value, abs(field.scale) * 0.5 + abs(value) * 1e-12 + 1e-9


@st.composite
def messages(draw: st.DrawFn) -> tuple[ProductSpec, dict[str, Any], dict[str, float]]:
    made = draw(specs)
    values: dict[str, Any] = {}
    slack: dict[str, float] = {}
    for field in made.messages["telemetry"].fields:
        if field.type == "bits":
            for name in field.names:
                values[name], slack[name] = draw(st.integers(0, 1)), 0
        else:
            values[field.name], slack[field.name] = value_of(draw, field)
    return made, values, slack


@given(messages())
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_within_its_resolution(
    made: tuple[ProductSpec, dict[str, Any], dict[str, float]],
) -> None:
    product, values, slack = made
    body = product.encode("telemetry", values)
    decoded = product.decode(body).values
    assert decoded.keys() == values.keys()
    for name, value in values.items():
        if slack[name]:
            assert abs(decoded[name] - value) <= slack[name], name
        else:
            assert decoded[name] == value, name
    assert product.encode("telemetry", decoded) == body or any(slack.values())


@given(specs, st.binary(max_size=120))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_a_message_or_a_spec_error(product: ProductSpec, data: bytes) -> None:
    size = len(product.encode("telemetry", _empty(product)))
    for body in (data, data[:size].ljust(size, b"\xa5")):
        with suppress(SpecError):
            assert isinstance(product.decode(body), Decoded)


def _empty(product: ProductSpec) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in product.messages["telemetry"].fields:
        if isinstance(field, Bits):
            values |= dict.fromkeys(field.names, 0)
        else:
            values[field.name] = "" if isinstance(field, Text) else 0
    return values


@given(st.binary(max_size=80), st.integers(0, 60), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_damaged_body_is_safe_in_every_way(damage: bytes, at: int, cut: bool) -> None:
    machine = spec()
    body = machine.encode("telemetry", SAMPLE)
    body = body[:at] + damage if cut else body[:at] + damage + body[at + len(damage) :]
    for use in (
        machine.decode,
        machine.codec.message,
        machine.codec.seq,
        lambda b: machine.codec.answer(b, "ack", {"status": 1}),
    ):
        with suppress(SpecError):
            use(body)


@given(
    st.dictionaries(
        st.sampled_from(sorted(SAMPLE)),
        st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=3), st.booleans()),
    )
)
@settings(max_examples=300, deadline=None)
def test_any_values_give_bytes_or_a_spec_error(values: dict[str, Any]) -> None:
    machine = spec()
    with suppress(SpecError):
        machine.decode(machine.encode("telemetry", SAMPLE | values))
