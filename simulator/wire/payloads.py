"""Payload codecs of the telemetry: metrics to bytes, as `contracts` of the systems under test have them.

Rules: pure functions `(thing, index, now_ms, metrics) -> bytes`; `index` counts a device's messages from 1. A sensor
that says nothing reads `MISSING` or `NULL`: JSON leaves the one out and has null for the other; where a message must
have all its fields, a record of a fire sensor and a frame, `SENTINEL` stands for both.
"""

from collections.abc import Callable, Mapping
from math import inf, isfinite, isinf, nan
from typing import Literal

import orjson

from simulator.wire.spec import ProductSpec

Encoder = Callable[[str, int, int, Mapping[str, float]], bytes]

MISSING, NULL, SENTINEL = nan, inf, -999.0

_OUTAGE_V = 11  # 5 % of 220 V: below that there is no mains (EN 50160)
_ANOMALY = 0.2  # the part of V·I·pf by which P may differ …
_ANOMALY_KW = 0.01  # … or this much, which is noise when there is no load

Record = Mapping[str, float]


def _odd_power(of: Record) -> bool:
    """P is not V·I·pf; both in kW."""
    expected = of["volt"] * of["ct"] * of["pFct"] / 1000
    return abs(of["pwr"] - expected) > max(_ANOMALY * expected, _ANOMALY_KW)


# The alarms of the fire sensor's record, from bit 0 on, with their limits.
_STATUS: tuple[Callable[[Record], bool], ...] = (
    lambda of: of["volt"] > 234,
    lambda of: of["volt"] < _OUTAGE_V,
    lambda of: of["ct"] > 100,
    lambda of: of["zct"] > 8,
    lambda of: of["rzct"] > 8,
    _odd_power,
    lambda of: of["pcbTemp"] > 60,
    lambda of: of["sensorTemp"] > 60,
    lambda of: of["co"] > 17,
    lambda of: of["voc"] > 400,
    lambda of: of["pFct"] < 0.9,
    lambda of: of["aArc"] > 0,
)
_FIELDS = ("volt", "ct", "zct", "rzct", "pwr", "pcbTemp", "sensorTemp", "co", "voc", "pFct", "aArc")
FIRE_RANGED = frozenset({"volt", "voltLow", "ct", "pcbTemp", "sensorTemp", "pFct"})  # the contract has a valid range
_UNKNOWN = dict.fromkeys(_FIELDS, MISSING)  # compares as neither above nor below any limit


def told(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics as JSON has them. What is no number (a text that somebody measured) stays as it is."""
    try:
        if isfinite(sum(metrics.values())):  # as good as always, and quick
            return dict(metrics)
    except TypeError:
        pass
    return {
        name: None if isinstance(value, float) and isinf(value) else value
        for name, value in metrics.items()
        if value == value
    }


def filled(metrics: Mapping[str, float]) -> Mapping[str, float]:
    """Metrics for a message that must have them all."""
    if isfinite(sum(metrics.values())):
        return metrics
    return {name: value if isfinite(value) else SENTINEL for name, value in metrics.items()}


def platform_json(thing: str, index: int, now_ms: int, metrics: Mapping[str, float]) -> bytes:
    """The data platform's JSON: `{"device_timestamp": ms, "data": {"metrics": {…}}}`."""
    return orjson.dumps({"device_timestamp": now_ms, "data": {"metrics": told(metrics)}})


def platform_rest(product: str) -> Encoder:
    """One message of standard telemetry, as REST takes it; `product` is the thing type of the device."""

    def encode(thing: str, index: int, now_ms: int, metrics: Mapping[str, float]) -> bytes:
        return orjson.dumps(
            {"device_id": thing, "productId": product, "device_timestamp": now_ms, "metrics": told(metrics)}
        )

    return encode


def fire_status(metrics: Record) -> int:
    """The alarm bits of a fire sensor's record, from its limits; what it does not measure raises none."""
    of = {**_UNKNOWN, **{name: value for name, value in metrics.items() if isfinite(value)}}
    return sum(1 << bit for bit, is_alarm in enumerate(_STATUS) if is_alarm(of))


def fire_record(thing: str, index: int, now_ms: int, metrics: Mapping[str, float]) -> bytes:
    """The fire sensor's record: flat, with the running index and the status bits."""
    return orjson.dumps({"deviceId": thing, "idx": index, "status": fire_status(metrics), **filled(metrics)})


def frame(spec: ProductSpec) -> Encoder:
    """The body of a telemetry frame, by the product's spec."""
    codec, seq_mask = spec.codec, spec.seq_mask

    def encode(thing: str, index: int, now_ms: int, metrics: Mapping[str, float]) -> bytes:
        values = {"device_id": thing, "seq": index & seq_mask, "device_timestamp": now_ms, **filled(metrics)}
        return codec.encode("telemetry", values)

    return encode


def platform_bin(spec: ProductSpec) -> Encoder:
    """The platform's JSON with the metrics in binary, as hex: `{"device_timestamp": ms, "data": {"bin": "…"}}`."""
    body = frame(spec)

    def encode(thing: str, index: int, now_ms: int, metrics: Mapping[str, float]) -> bytes:
        data = body(thing, index, now_ms, metrics).hex()
        return orjson.dumps({"device_timestamp": now_ms, "data": {"bin": data}})

    return encode


Codec = Literal["platform_json", "fire_record", "frame", "platform_bin", "platform_rest"]
NEED_SPEC = frozenset({"frame", "platform_bin"})
FULL = NEED_SPEC | {"fire_record"}  # their messages have all their fields


def encoder(codec: Codec, product: str, spec: ProductSpec | None) -> Encoder:
    """The encoder of a codec for devices of a product; ValueError when it needs a spec and there is none."""
    if codec in NEED_SPEC and spec is None:
        raise ValueError(f"codec '{codec}' needs the product's spec")
    match codec:
        case "platform_json":
            return platform_json
        case "fire_record":
            return fire_record
        case "platform_rest":
            return platform_rest(product)
        case "frame":
            assert spec
            return frame(spec)
        case "platform_bin":
            assert spec
            return platform_bin(spec)
