"""Frames: the same frames whatever the pieces, the next frame after any damage, bounds that hold."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.wire import frames as frames_module
from simulator.wire.checksums import SIZES, Kind, checksum
from simulator.wire.frames import Frame, FrameDecoder, FrameEncoder, Garbage
from simulator.wire.spec import ProductSpec, SpecError
from tests.wire.product_specs import framed

CHECK_VALUES: list[tuple[Kind, int]] = [  # of b"123456789", as the catalogues have them
    ("none", 0),
    ("xor", 0x31),
    ("sum8", 0xDD),
    ("sum16", 0x1DD),
    ("crc16-modbus", 0x4B37),
    ("crc16-ccitt", 0x29B1),
    ("crc16-xmodem", 0x31C3),
    ("crc32", 0xCBF43926),
]


@pytest.mark.parametrize(("kind", "value"), CHECK_VALUES)
def test_a_checksum_has_its_check_value(kind: Kind, value: int) -> None:
    assert checksum(kind)(b"123456789") == value


@given(st.binary(max_size=70))
@settings(deadline=None)
def test_the_modbus_crc_is_that_of_the_bit_by_bit_definition(data: bytes) -> None:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    assert checksum("crc16-modbus")(data) == crc


def bodies(items: list[Frame | Garbage]) -> list[bytes]:
    return [item.body for item in items if isinstance(item, Frame)]


def skipped(items: list[Frame | Garbage]) -> int:
    return sum(item.size for item in items if isinstance(item, Garbage))


def fed(spec: ProductSpec, *pieces: bytes) -> list[Frame | Garbage]:
    decoder = FrameDecoder(spec)
    found = []
    for piece in pieces:
        found += decoder.feed(piece)
        assert decoder.kept < decoder._framing.max_bytes
    return found


def test_a_frame_is_what_the_datasheet_says() -> None:
    # start, length 3, body, CRC-16/MODBUS of all before it, high byte first
    assert FrameEncoder(framed()).encode(b"abc").hex() == "014e" + "0003" + "616263" + "fd3c"
    little = framed(checksum="crc16-modbus", length={"type": "u8", "counts": "frame"})
    assert FrameEncoder(little).encode(b"abc")[:3].hex() == "014e" + "08"


@pytest.mark.parametrize("kind", list(SIZES))
@pytest.mark.parametrize("counts", ["body", "frame"])
@pytest.mark.parametrize("length", ["u8", "u16", "u32"])
def test_every_form_is_read_as_it_is_written(kind: Kind, counts: str, length: str) -> None:
    for endian in ("big", "little"):
        spec = framed(checksum=kind, length={"type": length, "counts": counts}).model_copy(update={"endian": endian})
        wire = [b"", b"x", bytes(range(200))]
        stream = b"".join(map(FrameEncoder(spec).encode, wire))
        assert fed(spec, stream) == [Frame(body) for body in wire]


def test_a_body_that_is_too_long_is_refused_on_both_sides() -> None:
    spec = framed(max_bytes=64)
    assert fed(spec, FrameEncoder(spec).encode(bytes(58))) == [Frame(bytes(58))]
    with pytest.raises(SpecError, match="a body of 59 bytes, a frame takes 58"):
        FrameEncoder(spec).encode(bytes(59))
    long = FrameEncoder(framed()).encode(bytes(59))
    assert fed(spec, long + FrameEncoder(spec).encode(b"next")) == [Garbage(len(long), "length"), Frame(b"next")]


def test_a_spec_without_a_frame_has_none() -> None:
    with pytest.raises(SpecError, match="has no 'frame'"):
        FrameDecoder(ProductSpec.model_validate({"messages": {"telemetry": {}}}))


@st.composite
def streams(draw: st.DrawFn) -> tuple[ProductSpec, list[bytes], bytes, int]:
    """Frames with garbage between them that has no start marker."""
    kind = draw(st.sampled_from(["xor", "sum16", "crc16-modbus", "crc16-ccitt", "crc32"]))
    spec = framed(start=draw(st.sampled_from(["7e", "014E", "AA55AA"])), checksum=kind)
    encoder, start = FrameEncoder(spec), bytes.fromhex(spec.frame.start if spec.frame else "")
    parts: list[bytes] = []
    wire: list[bytes] = []
    between = st.binary(max_size=12).map(lambda b: bytes(x for x in b if x not in start))
    for _ in range(draw(st.integers(0, 6))):
        parts.append(draw(between))
        # bodies may have start markers, and look like whole frames
        wire.append(draw(st.one_of(st.binary(max_size=40), st.just(start * 5), st.just(encoder.encode(b"inner")))))
        parts.append(encoder.encode(wire[-1]))
    parts.append(draw(between))
    return spec, wire, b"".join(parts), sum(map(len, parts[::2]))


@given(streams(), st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=300, deadline=None)
def test_the_same_frames_whatever_the_pieces(
    made: tuple[ProductSpec, list[bytes], bytes, int], cuts: list[int]
) -> None:
    spec, wire, stream, garbage = made
    whole = fed(spec, stream)
    assert (bodies(whole), skipped(whole)) == (wire, garbage)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = fed(spec, *(stream[a:b] for a, b in pairwise(places)))
    assert (bodies(pieces), skipped(pieces)) == (wire, garbage)


def test_every_split_point_and_byte_by_byte() -> None:
    spec = framed()
    encoder = FrameEncoder(spec)
    stream = b"\x00\x01" + encoder.encode(b"\x01\x4e\x00\x02abcd") + b"\x01" + encoder.encode(b"two") + b"\x4e"
    expected = ([b"\x01\x4e\x00\x02abcd", b"two"], 4)
    for at in range(len(stream) + 1):
        items = fed(spec, stream[:at], stream[at:])
        assert (bodies(items), skipped(items)) == expected
    items = fed(spec, *(stream[i : i + 1] for i in range(len(stream))))
    assert (bodies(items), skipped(items)) == expected


@given(streams(), st.integers(0, 400), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_one_damaged_byte_costs_at_most_one_frame(
    made: tuple[ProductSpec, list[bytes], bytes, int], at: int, flip: int
) -> None:
    spec, wire, stream, _ = made
    if at >= len(stream):
        return
    damaged = bytearray(stream)
    damaged[at] ^= flip
    # A damaged length may claim bytes that come later: the marker of a frame far behind brings them out.
    rest = FrameEncoder(spec).encode(b"end") * 30
    found = bodies(fed(spec, bytes(damaged) + rest + bytes(2048)))
    missing = list(wire)
    for body in found:
        if body in missing:
            missing.remove(body)
    assert len(missing) <= 1
    assert found.count(b"end") == 30


def test_truncated_and_merged_frames_cost_only_themselves() -> None:
    spec = framed()
    encode = FrameEncoder(spec).encode
    items = fed(spec, encode(b"first")[:-3] + encode(b"second") + encode(b"third"))
    assert bodies(items) == [b"second", b"third"]
    assert skipped(items) == len(encode(b"first")) - 3


def test_garbage_is_named_by_what_was_wrong_with_it() -> None:
    spec = framed(max_bytes=64)
    encode = FrameEncoder(spec).encode
    bad = encode(b"bad")[:-1] + b"\x00"
    assert fed(spec, b"noise" + encode(b"1")) == [Garbage(5, "marker"), Frame(b"1")]
    assert fed(spec, bad + encode(b"1")) == [Garbage(len(bad), "checksum"), Frame(b"1")]
    assert fed(spec, bytes.fromhex("014effff") + encode(b"1")) == [Garbage(4, "length"), Frame(b"1")]


@given(st.data(), st.sampled_from(list(SIZES)))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_safe_and_all_are_accounted_for(data: st.DataObject, kind: Kind) -> None:
    spec = framed(checksum=kind, max_bytes=64)
    pieces = st.one_of(st.binary(max_size=40), st.just(b"\x01\x4e"), st.just(b"\x01\x4e\x00\x05"))
    decoder, total, accounted = FrameDecoder(spec), 0, 0
    overhead = FrameEncoder(spec).encode(b"").__len__()
    for piece in data.draw(st.lists(pieces, max_size=30)):
        total += len(piece)
        for item in decoder.feed(piece):
            accounted += item.size if isinstance(item, Garbage) else len(item.body) + overhead
        assert decoder.kept < 64
        assert accounted + decoder.kept == total


@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_work_grows_with_the_bytes_and_not_with_their_square(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []
    real = checksum("crc32")

    def counting(kind: Kind) -> Any:
        def count(data: bytes) -> int:
            checked.append(len(data))
            return real(data)

        return count

    monkeypatch.setattr(frames_module, "checksum", counting)
    spec = framed(checksum="crc32", max_bytes=4096)
    attack = b"\x01\x4e\x0f\xf0" * 25_000  # at every fourth byte a frame of 4 KiB seems to begin
    items = fed(spec, *(attack[i : i + piece] for i in range(0, len(attack), piece)))
    assert bodies(items) == []
    assert sum(checked) <= (frames_module.CREDIT_EACH + 1) * len(attack) + frames_module.CREDIT_FRAMES * 4096
