"""From bytes on a topic to a standard value, or to a named reason why not.

Rules: a topic family has one function; nothing here raises whatever the bytes are; what a field may hold is
the data contract's business (`contract.py`), here it is only found. A reason names no value and no device,
so there are few of them and each can be counted.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import orjson

TOPICS_MAX = 200_000
PAYLOAD_MAX = 128 * 1024

# The fire prediction's ingest rule renames these fields of the record; the others keep their names.
FIRE_NAMES = {
    "ct": "current",
    "zct": "leakage_current",
    "rzct": "resistive_leakage",
    "pwr": "power",
    "pFct": "power_factor",
    "aArc": "arc_count",
}
_ENVIRONMENTS = frozenset(("dev", "stg", "prd"))
_TYPES = frozenset(("periodic", "event", "tcp"))
_ROLES = frozenset(("telemetry", "alert_report", "control_request", "control_result", "provisioning_complete"))
_JOB_ENDS = frozenset(("succeeded", "failed", "rejected", "canceled", "timed_out", "removed"))


class Telemetry(NamedTuple):
    """One sample in the platform's standard form."""

    device_id: str
    stream: Literal["platform", "fire"]
    key: int  # with device and stream, what makes the sample unique
    hub_id: str | None
    device_timestamp: int
    hub_timestamp: int | None
    ingest_timestamp: int
    metrics: Mapping[str, Any]


class ControlResult(NamedTuple):
    """What a device says about an action it was asked for."""

    thing: str
    device_timestamp: int
    action: str
    action_id: str
    result: str
    reason: str


class Report(NamedTuple):
    """Something else a device says: alert_report, provisioning_complete."""

    kind: str
    thing: str
    device_timestamp: int
    data: Any


class JobEnded(NamedTuple):
    """A job execution is over."""

    job_id: str
    status: str
    details: Mapping[str, Any]


class Refused(NamedTuple):
    """The message is not what its topic promises."""

    kind: str
    reason: str


class Ignored(NamedTuple):
    """A message that is in order and none of our business."""

    kind: str


Decoded = Telemetry | ControlResult | Report | JobEnded | Refused | Ignored


class Topic(NamedTuple):
    """A parsed topic: `kind` is the row in every table, `family` the decoder."""

    family: Literal["platform", "fire", "job", "ignored", "refused"]
    kind: str
    thing: str = ""
    hub: str | None = None
    rest: str = ""  # the format, the job's end, or the reason of a refusal


def parse_topic(topic: str) -> Topic:
    """What a topic says."""
    parts = topic.split("/")
    if parts[0] == "iotlink" and len(parts) == 8:
        return _platform_topic(parts)
    if parts[:2] == ["fire-prediction", "device"] and len(parts) == 4 and parts[3] == "data" and parts[2]:
        return Topic("fire", "telemetry", parts[2])
    if parts[:3] == ["$aws", "events", "jobExecution"] and len(parts) == 5:
        if parts[4] in _JOB_ENDS:
            return Topic("job", "job_event", parts[3], rest=parts[4])
        return Topic("ignored", "job_event")
    return Topic("refused", "unknown", rest="topic.unknown")


def _platform_topic(parts: list[str]) -> Topic:
    _, env, hub, device, data_type, direction, role, fmt = parts
    kind = role if role in _ROLES else "unknown"
    if env not in _ENVIRONMENTS:
        return Topic("refused", kind, rest="topic.env")
    if not hub or not device:
        return Topic("refused", kind, rest="topic.device")
    if data_type not in _TYPES:
        return Topic("refused", kind, rest="topic.type")
    if kind == "unknown":
        return Topic("refused", kind, rest="topic.role")
    if fmt not in ("json", "bin"):
        return Topic("refused", kind, rest="topic.format")
    if direction == "sub" or role == "control_request":
        return Topic("ignored", kind)  # what the platform itself says to a device
    if direction != "pub":
        return Topic("refused", kind, rest="topic.direction")
    return Topic("platform", kind, device, None if hub == "nohub" else hub, fmt)


class Decoder:
    """Decodes; remembers parsed topics, because a device uses the same few again and again."""

    __slots__ = ("_topics",)

    def __init__(self) -> None:
        self._topics: dict[str, Topic] = {}

    def __call__(self, topic: str, payload: bytes, now_ms: int) -> Decoded:
        """The value of a message; never raises."""
        parsed = self._topics.get(topic)
        if parsed is None:
            if len(self._topics) >= TOPICS_MAX:
                self._topics.clear()
            parsed = self._topics[topic] = parse_topic(topic)
        if parsed.family == "ignored":
            return Ignored(parsed.kind)
        if parsed.family == "refused":
            return Refused(parsed.kind, parsed.rest)
        if len(payload) > PAYLOAD_MAX:
            return Refused(parsed.kind, "payload.too_large")
        try:
            body = orjson.loads(payload)
        except ValueError:
            return Refused(parsed.kind, "payload.not_json")
        if type(body) is not dict:
            return Refused(parsed.kind, "payload.not_object")
        if parsed.family == "fire":
            return _fire(parsed, payload, body, now_ms)
        if parsed.family == "job":
            details = body.get("statusDetails")
            return JobEnded(parsed.thing, parsed.rest, details if type(details) is dict else {})
        return _platform(parsed, body, now_ms)


def _platform(topic: Topic, body: dict[str, Any], now_ms: int) -> Decoded:
    """`{"hub_timestamp": ms, "device_timestamp": ms, "data": {…}}`."""
    if "device_timestamp" not in body:
        return Refused(topic.kind, "device_timestamp.missing")
    at_ms = body["device_timestamp"]
    data = body.get("data")
    if type(data) is not dict:
        return Refused(topic.kind, "data.type" if "data" in body else "data.missing")
    if topic.kind == "telemetry":
        if topic.rest == "bin":
            return Refused(topic.kind, "bin.no_product_spec")
        if "metrics" not in data:
            return Refused(topic.kind, "metrics.missing")
        hub_ms = body.get("hub_timestamp")
        return Telemetry(topic.thing, "platform", at_ms, topic.hub, at_ms, hub_ms, now_ms, data["metrics"])
    if topic.kind == "control_result":
        control = data.get("control")
        if type(control) is not dict:
            return Refused(topic.kind, "control.type" if "control" in data else "control.missing")
        name, action_id, result = control.get("name"), control.get("id"), control.get("result")
        return ControlResult(topic.thing, at_ms, name, action_id, result, control.get("reason", ""))  # type: ignore[arg-type]
    return Report(topic.kind, topic.thing, at_ms, data)


def _fire(topic: Topic, payload: bytes, body: dict[str, Any], now_ms: int) -> Decoded:
    """The fire sensor's flat record. It has no time of its own: the time of arrival stands for it."""
    if body.get("deviceId") != topic.thing:
        return Refused(topic.kind, "deviceId.mismatch" if "deviceId" in body else "deviceId.missing")
    if type(body.get("idx")) is not int:
        return Refused(topic.kind, "idx.type" if "idx" in body else "idx.missing")
    status = body.get("status")
    if type(status) is not int or status < 0:
        return Refused(topic.kind, "status.type" if "status" in body else "status.missing")
    if status >= 4096:
        return Refused(topic.kind, "status.communication_fault")
    if body.pop("verifySts", status) != status:
        return Refused(topic.kind, "verifySts.mismatch")
    # The index starts again when a sensor restarts: it alone does not tell a repeated record from a new one.
    key = int.from_bytes(blake2b(payload, digest_size=8).digest(), "big", signed=True)
    metrics = {FIRE_NAMES.get(name, name): value for name, value in body.items() if name not in ("deviceId", "idx")}
    return Telemetry(topic.thing, "fire", key, None, now_ms, None, now_ms, metrics)
