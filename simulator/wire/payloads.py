"""Payload codecs of the telemetry: metrics to bytes, as `contracts` of the systems under test have them.

Rules: pure functions `(thing, index, now_ms, metrics) -> bytes`; `index` counts a device's messages from 1.
"""

from collections.abc import Callable, Mapping

import orjson

Encoder = Callable[[str, int, int, Mapping[str, float]], bytes]

# Bit → (field, is it an alarm?), with the alarm limits of the fire sensor's record.
_STATUS: tuple[tuple[str, Callable[[float], bool]], ...] = (
    ("volt", lambda v: v > 234),
    ("volt", lambda v: v < 1),  # power outage: no mains at all
    ("ct", lambda v: v > 100),
    ("zct", lambda v: v > 8),
    ("rzct", lambda v: v > 8),
    ("pwr", lambda v: v < 0 or v > 60),
    ("pcbTemp", lambda v: v > 60),
    ("sensorTemp", lambda v: v > 60),
    ("co", lambda v: v > 17),
    ("voc", lambda v: v > 400),
    ("pFct", lambda v: v < 0.9),
    ("aArc", lambda v: v > 0),
)


def platform_json(thing: str, index: int, now_ms: int, metrics: Mapping[str, float]) -> bytes:
    """The data platform's JSON: `{"device_timestamp": ms, "data": {"metrics": {…}}}`."""
    return orjson.dumps({"device_timestamp": now_ms, "data": {"metrics": dict(metrics)}})


def fire_status(metrics: Mapping[str, float]) -> int:
    """The alarm bits of a fire sensor's record, from its limits."""
    return sum(1 << bit for bit, (field, bad) in enumerate(_STATUS) if field in metrics and bad(metrics[field]))


def fire_record(thing: str, index: int, now_ms: int, metrics: Mapping[str, float]) -> bytes:
    """The fire sensor's record: flat, with the running index and the status bits."""
    return orjson.dumps({"deviceId": thing, "idx": index, "status": fire_status(metrics), **metrics})


ENCODERS: dict[str, Encoder] = {"platform_json": platform_json, "fire_record": fire_record}
