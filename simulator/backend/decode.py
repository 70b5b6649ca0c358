"""From bytes on a topic to a standard value, or to a named reason why not.

Rules: a topic family has one function; nothing here raises whatever the bytes are; what a field may hold is
the data contract's business (`contract.py`), here it is only found. A reason names no value and no device,
so there are few of them and each can be counted.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import orjson

from simulator.wire.spec import ProductSpec, SpecError

TOPICS_MAX = 200_000
TOPIC_MAX = 512  # longer ones are not remembered
NAME_MAX = 128  # of devices and hubs, as in AWS IoT
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
_REPORTS = frozenset(("alert_report", "provisioning_complete", "heartbeat", "upload_request", "upload_complete"))
_ROLES = frozenset(("telemetry", "control_request", "control_result", "upload_urls")) | _REPORTS
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
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
    product: str | None = None  # when the channel tells it; otherwise the registry is asked
    nodes: Any = None  # who a hub says is there
    idx: int | None = None  # a fire sensor's running index


class ControlResult(NamedTuple):
    """What a device says about an action it was asked for."""

    thing: str
    device_timestamp: int
    action: str
    action_id: str
    result: str
    reason: str


class Report(NamedTuple):
    """Something else a device says: an alert_report, a heartbeat and so on."""

    kind: str
    thing: str
    device_timestamp: int
    data: Any
    document: str = ""  # what to keep of it, as JSON; empty: the payload as it came
    hub_id: str | None = None
    nodes: Any = None


class Binary(NamedTuple):
    """A message whose bytes can only be read by the spec of the device's product."""

    kind: str
    thing: str
    hub_id: str | None
    device_timestamp: int
    hub_timestamp: int | None
    ingest_timestamp: int
    text: str  # hex or base64
    nodes: Any


class JobEnded(NamedTuple):
    """A job execution is over."""

    job_id: str
    status: str
    details: Mapping[str, Any]
    thing: str = ""  # as far as the message says


class Refused(NamedTuple):
    """The message is not what its topic promises."""

    kind: str
    reason: str


class Ignored(NamedTuple):
    """A message that is in order and none of our business."""

    kind: str


Decoded = Telemetry | ControlResult | Report | Binary | JobEnded | Refused | Ignored


class Topic(NamedTuple):
    """A parsed topic: `kind` is the row in every table, `family` the decoder."""

    family: Literal["platform", "fire", "job", "frame", "taken", "ignored", "refused"]
    kind: str
    thing: str = ""  # of a frame: the product
    hub: str | None = None
    rest: str = ""  # the format, the job's end, or the reason of a refusal


def parse_topic(topic: str) -> Topic:
    """What a topic says."""
    parts = topic.split("/")
    if len(topic) > TOPIC_MAX and max(map(len, parts)) > NAME_MAX:
        return Topic("refused", "unknown", rest="topic.unknown")
    if parts[0] == "iotlink" and len(parts) == 8:
        return _platform_topic(parts)
    if parts[0] == "devices" and len(parts) == 4 and parts[3] == "telemetry" and parts[1] and parts[2]:
        return Topic("platform", "telemetry", parts[2], parts[1], "json")
    if parts[:2] == ["fire-prediction", "device"] and len(parts) == 4 and parts[3] == "data" and parts[2]:
        return Topic("fire", "telemetry", parts[2])
    if parts[:3] == ["$aws", "events", "jobExecution"] and len(parts) == 5:
        if parts[4] in _JOB_ENDS:
            return Topic("job", "job_event", parts[3], rest=parts[4])
        return Topic("ignored", "job_event")
    if parts[0] == "tcp" and len(parts) == 2 and parts[1]:
        return Topic("frame", "unknown", parts[1])
    if topic == TAKEN_TOPIC:
        return Topic("taken", "telemetry")
    return Topic("refused", "unknown", rest="topic.unknown")


def frame_topic(product: str) -> str:
    """What stands for a topic with the bodies of a product's frames, also among the dead letters."""
    return f"tcp/{product}"


# What stands for a topic with samples that another channel had read already.
TAKEN_TOPIC = "taken/telemetry"


def taken_payload(sample: Telemetry) -> bytes:
    """A sample as bytes, from which decoding makes the same one again."""
    return orjson.dumps(list(sample._replace(nodes=None)))


def _taken(body: Any, now_ms: int) -> Decoded:
    if type(body) is not list or len(body) != len(Telemetry._fields):
        return Refused("telemetry", "payload.not_sample")
    sample = Telemetry(*body)._replace(ingest_timestamp=now_ms, nodes=None)
    if type(sample.idx) not in (int, type(None)):
        return Refused("telemetry", "payload.not_sample")
    texts = (sample.device_id, sample.hub_id or "", sample.product or "")
    numbers = (sample.key, sample.device_timestamp)
    if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
        return Refused("telemetry", "payload.not_sample")
    if sample.stream not in ("platform", "fire") or not sample.device_id or abs(sample.key) >= 1 << 63:
        return Refused("telemetry", "payload.not_sample")
    return sample


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
    if direction == "sub" or role in ("control_request", "upload_urls"):
        return Topic("ignored", kind)  # what the platform itself says to a device
    if direction != "pub":
        return Topic("refused", kind, rest="topic.direction")
    return Topic("platform", kind, device, None if hub == "nohub" else hub, fmt)


class Decoder:
    """Decodes; remembers parsed topics, because a device uses the same few again and again."""

    __slots__ = ("_topics", "specs")

    def __init__(self) -> None:
        self._topics: dict[str, Topic] = {}
        self.specs: Mapping[str, ProductSpec] = {}  # by product; may be replaced at any time

    def __call__(self, topic: str, payload: bytes, now_ms: int) -> Decoded:
        """The value of a message; never raises."""
        parsed = self._topics.get(topic)
        if parsed is None:
            parsed = parse_topic(topic)
            if len(topic) <= TOPIC_MAX and parsed.family != "refused":
                if len(self._topics) >= TOPICS_MAX:
                    self._topics.clear()
                self._topics[topic] = parsed
        if parsed.family == "ignored":
            return Ignored(parsed.kind)
        if parsed.family == "refused":
            return Refused(parsed.kind, parsed.rest)
        if len(payload) > PAYLOAD_MAX:
            return Refused(parsed.kind, "payload.too_large")
        if parsed.family == "frame":
            return _frame(parsed.thing, self.specs.get(parsed.thing), payload, now_ms)
        try:
            body = orjson.loads(payload)
        except ValueError:
            return Refused(parsed.kind, "payload.not_json")
        if parsed.family == "taken":
            return _taken(body, now_ms)
        if type(body) is not dict:
            return Refused(parsed.kind, "payload.not_object")
        if parsed.family == "fire":
            return _fire(parsed, payload, body, now_ms)
        if parsed.family == "job":
            details, arn = body.get("statusDetails"), body.get("thingArn")
            thing = arn.rpartition("/")[2][:NAME_MAX] if type(arn) is str else ""
            return JobEnded(parsed.thing, parsed.rest, details if type(details) is dict else {}, thing)
        return _platform(parsed, body, now_ms)

    def binary(self, message: Binary, product: str | None) -> Decoded:
        """The value of a binary message, by its product's spec; never raises."""
        if product is None:
            return Refused(message.kind, "bin.no_product")
        spec = self.specs.get(product)
        if spec is None:
            return Refused(message.kind, "bin.no_product_spec")
        return _binary(message, product, spec)


def _platform(topic: Topic, body: dict[str, Any], now_ms: int) -> Decoded:
    """`{"hub_timestamp": ms, "device_timestamp": ms, "data": {…}}`."""
    if "device_timestamp" not in body:
        return Refused(topic.kind, "device_timestamp.missing")
    at_ms = body["device_timestamp"]
    data = body.get("data")
    if type(data) is not dict:
        return Refused(topic.kind, "data.type" if "data" in body else "data.missing")
    hub_ms, nodes = body.get("hub_timestamp"), body.get("nodes")
    if topic.rest == "bin":
        text = data.get("bin")
        if type(text) is not str:
            return Refused(topic.kind, "bin.type" if "bin" in data else "bin.missing")
        return Binary(topic.kind, topic.thing, topic.hub, at_ms, hub_ms, now_ms, text, nodes)
    if topic.kind == "telemetry":
        if "metrics" not in data:
            return Refused(topic.kind, "metrics.missing")
        metrics = data["metrics"]
        return Telemetry(topic.thing, "platform", at_ms, topic.hub, at_ms, hub_ms, now_ms, metrics, None, nodes)
    if topic.kind == "control_result":
        control = data.get("control")
        if type(control) is not dict:
            return Refused(topic.kind, "control.type" if "control" in data else "control.missing")
        return _control_result(topic.thing, at_ms, control)
    return Report(topic.kind, topic.thing, at_ms, data, "", topic.hub, nodes)


def _binary(message: Binary, product: str, spec: ProductSpec) -> Decoded:
    """Hex, or base64: what is both is read as the one that gives a message."""
    found = None
    reason = "bin.encoding"
    for body in _bodies(message.text):
        try:
            found = spec.codec.decode(body)
            break
        except SpecError as error:
            reason = reason if reason != "bin.encoding" else error.reason
    if found is None:
        return Refused(message.kind, reason)
    if found.message != message.kind:
        return Refused(message.kind, "bin.message")
    if found.header.get("device_id", "") not in ("", message.thing):
        return Refused(message.kind, "device_id.mismatch")
    at_ms, values = message.device_timestamp, found.values
    if message.kind == "telemetry":
        return Telemetry(
            message.thing, "platform", at_ms, message.hub_id, at_ms, message.hub_timestamp, message.ingest_timestamp,
            values, product, message.nodes,
        )  # fmt: skip
    if message.kind == "control_result":
        return _control_result(message.thing, at_ms, values)
    document = orjson.dumps(values).decode()
    return Report(message.kind, message.thing, at_ms, values, document, message.hub_id, message.nodes)


def _bodies(text: str) -> list[bytes]:
    """The bytes that a text may stand for."""
    bodies = [bytes.fromhex(text)] if _HEX.fullmatch(text) else []
    with suppress(ValueError):
        bodies.append(b64decode(text, validate=True))
    return bodies


def _control_result(thing: str, at_ms: int, values: Mapping[str, Any]) -> ControlResult:
    name, action_id, result = values.get("name"), values.get("id"), values.get("result")
    return ControlResult(thing, at_ms, name, action_id, result, values.get("reason", ""))  # type: ignore[arg-type]


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
    key, idx = _digest(payload), body["idx"]
    metrics = {FIRE_NAMES.get(name, name): value for name, value in body.items() if name not in ("deviceId", "idx")}
    return Telemetry(topic.thing, "fire", key, None, now_ms, None, now_ms, metrics, None, None, idx)


def _digest(payload: bytes) -> int:
    return int.from_bytes(blake2b(payload, digest_size=8).digest(), "big", signed=True)


def _frame(product: str, spec: ProductSpec | None, body: bytes, now_ms: int) -> Decoded:
    """The body of a frame, by the product's spec."""
    if spec is None:
        return Refused("unknown", "spec.no_product")
    try:
        kind, values, header = spec.codec.decode(body)
    except SpecError as error:
        return Refused("unknown", error.reason)
    thing = header.get("device_id", "")
    if not thing or not thing.isprintable():
        return Refused(kind, "device_id.missing" if not thing else "device_id.text")
    at_ms = header.get("device_timestamp")
    if kind == "telemetry":
        # Without a clock of its own the time of arrival stands for it, and the bytes for the sample.
        key = _digest(body) if at_ms is None else at_ms
        at_ms = now_ms if at_ms is None else at_ms
        hub = header.get("hub_id") or None
        return Telemetry(thing, "platform", key, hub, at_ms, None, now_ms, values, product)
    at_ms = now_ms if at_ms is None else at_ms
    if kind == "control_result":
        return _control_result(thing, at_ms, values)
    if kind in ("alert_report", "provisioning_complete"):
        return Report(kind, thing, at_ms, values, orjson.dumps(values).decode())
    return Ignored(kind)
