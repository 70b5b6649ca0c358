"""Product specs: bytes as a datasheet would have them, mistakes in a spec, bytes that do not fit."""

import struct

import pytest

from simulator.schema import YamlProblems
from simulator.wire.spec import ProductSpec, SpecError
from tests.wire.product_specs import MACHINE, SAMPLE, spec

BODY = bytes.fromhex(
    "02" + b"machine-0001".hex() + "00000000" + "00000007" + "0000019b76daa800"
    "0107" + "04b0" + "3f000000" + "012345" + "01" + b"eco".hex() + "000000"
)  # fmt: skip


def test_a_message_is_what_the_datasheet_says() -> None:
    machine = spec()
    assert machine.encode("telemetry", SAMPLE) == BODY
    message, values, header = machine.decode(BODY)
    assert message == "telemetry"
    assert values | header == SAMPLE | {"message": 2}
    assert values["tempC"] == 26.3  # and not 26.300000000000001


def test_little_endian() -> None:
    machine = spec(MACHINE.replace("endian: big", "endian: little"))
    body = machine.encode("telemetry", SAMPLE)
    assert body[17:29] == struct.pack("<IQ", 7, 1_767_225_600_000)
    assert body[29:33] == struct.pack("<hH", 263, 1200)
    assert body[37:40] == bytes.fromhex("452301")
    assert machine.decode(body).values == {name: SAMPLE[name] for name in machine.decode(body).values}


def test_what_a_header_does_not_get_is_nothing() -> None:
    machine = spec()
    assert machine.decode(machine.encode("heartbeat", {})) == (
        "heartbeat",
        {},
        {"message": 3, "device_id": "", "seq": 0, "device_timestamp": 0},
    )


def test_without_a_header_the_only_message_is_meant() -> None:
    plain = spec("messages: {telemetry: {fields: [{name: t, type: u8, scale: 0.5, offset: -40}]}}")
    assert plain.encode("telemetry", {"t": 25.5}) == b"\x83"
    assert plain.decode(b"\x83") == ("telemetry", {"t": 25.5}, {})
    assert plain.codec.seq(b"\x83") is None


def test_an_answer_has_the_header_of_what_it_answers() -> None:
    codec = spec().codec
    message, values, header = codec.decode(codec.answer(BODY, "ack", {"status": 1}))
    assert (message, values) == ("ack", {"status": 1})
    assert header == codec.decode(BODY).header | {"message": 4}
    assert (codec.message(BODY), codec.seq(BODY), codec.seq(BODY[:20])) == ("telemetry", 7, None)


@pytest.mark.parametrize(
    ("values", "raw"),
    [
        ({"tempC": 1e9}, {"tempC": 3276.7}),
        ({"tempC": -1e9}, {"tempC": -3276.8}),
        ({"rpm": -1}, {"rpm": 0}),
        ({"rpm": float("inf")}, {"rpm": 65535}),
        ({"rpm": 12.5001}, {"rpm": 13}),
        ({"hours": 10**9}, {"hours": 999_999}),
        ({"vibration": 1e300}, {"vibration": struct.unpack(">f", bytes.fromhex("7f7fffff"))[0]}),
        ({"door": 0.7, "lock": -3}, {"door": 1, "lock": 0}),
    ],
)
def test_a_value_out_of_range_becomes_the_nearest(values: dict[str, float], raw: dict[str, float]) -> None:
    decoded = spec().decode(spec().encode("telemetry", SAMPLE | values)).values
    assert {name: decoded[name] for name in raw} == raw


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"tempC": float("nan")}, "telemetry: 'tempC' cannot be written: "),
        ({"vibration": float("nan")}, "telemetry: 'vibration' cannot be written: "),
        ({"tempC": "warm"}, "telemetry: 'tempC' cannot be written: "),
        ({"tempC": None}, "telemetry: 'tempC' cannot be written: "),
        ({"device_id": "machine-000000001"}, "telemetry: 'device_id' cannot be written: 17 bytes do not fit into 16"),
        ({"device_id": "a\0b"}, "telemetry: 'device_id' cannot be written: it has a NUL"),
        ({"device_id": 7}, "telemetry: 'device_id' cannot be written: a text is needed, not int"),
    ],
)
def test_a_value_that_cannot_be_written_is_named(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec().encode("telemetry", SAMPLE | values)
    assert str(caught.value).startswith(complaint)


def test_a_missing_value_and_an_unknown_message_are_named() -> None:
    with pytest.raises(SpecError, match=r"telemetry: the value 'tempC' is missing"):
        spec().encode("telemetry", {"device_id": "d"})
    with pytest.raises(SpecError, match=r"no message 'control_request'"):
        spec().encode("control_request", {})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "spec.size"),
        (BODY[:-1], "spec.size"),
        (BODY + b"\0", "spec.size"),
        (b"\x09" + BODY[1:], "spec.message"),
        (BODY[:1] + b"\xff" + BODY[2:], "spec.value"),
        (BODY[:37] + b"\x01\x2a\x45" + BODY[40:], "spec.value"),
    ],
)
def test_bytes_that_do_not_fit_have_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec().decode(body)
    assert caught.value.reason == reason


FRAME = 'frame: {start: "014E"}\n'
ONE = "messages: {telemetry: {}}\n"
MISTAKES = [
    ("messages: {heartbeat: {}}", "spec.yaml:1:11: the message 'telemetry' is missing"),
    ("messages: {telemetry: {}, telemtry: {}}", "unknown message 'telemtry' (did you mean 'telemetry'?)"),
    ("messages: {telemetry: {fields: [{name: t, type: u9}]}}", "unknown type 'u9'"),
    ("messages: {telemetry: {fields: [{name: t, type: u8, scale: 0}]}}", "'scale' must not be 0"),
    ("messages: {telemetry: {fields: [{name: t, type: u8}, {name: t, type: u8}]}}", "the name 't' is there already"),
    ("messages: {telemetry: {}, heartbeat: {}}", "more than one message needs the header field 'message'"),
    ("header: [{name: message, type: i8}]\n" + ONE, "'message' must be u8, u16 or u32, without scale and offset"),
    ("header: [{name: message, type: u8}]\n" + ONE, "spec.yaml:2:23: the 'id' is missing"),
    ("header: [{name: message, type: u8}]\nmessages: {telemetry: {id: 300}}", "does not fit the header's u8"),
    (
        "header: [{name: message, type: u8}]\nmessages: {telemetry: {id: 3}, heartbeat: {id: 3}}",
        "'telemetry' has it already",
    ),
    ("header: [{name: seq, type: text, bytes: 3}]\n" + ONE, "'seq' must be a number"),
    ("header: [{name: device_id, type: u32}]\n" + ONE, "'device_id' must be a text"),
    (FRAME + ONE, "frames need the header field 'device_id' (text)"),
    ("messages: {telemetry: {fields: [{type: bits, bytes: 1, names: [a,b,c,d,e,f,g,h,i]}]}}", "1 bytes have 8 bits"),
    (
        'frame: {start: "01", length: {type: u8}}\nheader: [{name: device_id, type: text, bytes: 256}]\n' + ONE,
        "has 256 bytes, a frame's body may have 255",
    ),
    ('frame: {start: "0"}\n' + ONE, "does not have the form"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "complaint"), MISTAKES)
def test_a_mistake_in_a_spec_is_said_where_it_is(text: str, complaint: str) -> None:
    with pytest.raises(YamlProblems) as caught:
        spec(text)
    assert complaint in str(caught.value)


def test_a_spec_goes_through_json() -> None:
    machine = spec()
    assert machine.codec is machine.codec
    again = ProductSpec.model_validate_json(machine.model_dump_json())
    assert again == machine
    assert again.decode(BODY) == machine.decode(BODY)
