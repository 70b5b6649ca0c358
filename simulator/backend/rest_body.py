"""From the body of a POST to samples that keep the data contract, or to a refusal that names what is wrong.

Rules: all or nothing; every wrong message is named, by its index (JSON, from 0) or its row (CSV, the header is
row 1) and its field, up to PROBLEMS_MAX of them. No I/O and no clock; nothing but `BodyRefused` is raised
whatever the bytes are.
"""

import re
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from simulator.backend import contract
from simulator.backend.decode import Decoder, Refused, Telemetry
from simulator.errors import did_you_mean
from simulator.wire import csv_batch

BODY_MAX = 1024 * 1024  # bytes, packed and unpacked
MESSAGES_MAX = 1000  # in one request, so that no request keeps the others waiting for long
PROBLEMS_MAX = 20

_FIELDS = ("device_id", "productId", "device_timestamp", "metrics", "hub_id", "hub_timestamp", "childDeviceId")
_KNOWN = frozenset(_FIELDS)
_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")  # what AWS IoT allows as the name of a thing or a thing type
_NAMES = "must be 1 to 128 letters, digits, ':', '_' or '-'"

# The last word of a contract's reason, said to a person.
_WORDS = {
    "missing": "is missing",
    "type": "has the wrong type",
    "range": "is out of range",
    "empty": "must not be empty",
    "too_many": f"has more than {contract.METRICS_MAX} entries",
    "too_long": f"is longer than {contract.TEXT_MAX} characters",
    "name": f"must have a name of 1 to {contract.NAME_MAX} characters",
    "mismatch": "contradicts another field",
    "communication_fault": "says that the sensor cannot be read (4096 or more)",
}


Products = Callable[[str], str | None]  # the product of a device, if it is known


class BodyRefused(Exception):
    """Not taken: the HTTP status, one line, and what is wrong message by message."""

    def __init__(self, status: int, error: str, problems: list[dict[str, Any]] | None = None) -> None:
        super().__init__(error)
        self.status, self.error, self.problems = status, error, problems or []


class _Wrong(Exception):
    def __init__(self, field: str, problem: str) -> None:
        self.field, self.problem = field, problem


def unpack(body: bytes) -> bytes:
    """A gzip body unpacked; what would grow beyond BODY_MAX is never held in memory."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        data = unzip.decompress(body, BODY_MAX + 1)
    except zlib.error as error:
        raise BodyRefused(400, f"the body is not gzip: {error}") from None
    if len(data) > BODY_MAX:
        raise BodyRefused(413, f"the body is larger than {BODY_MAX} bytes when unpacked")
    if not unzip.eof or unzip.unused_data:
        raise BodyRefused(400, "the body must be one whole gzip member")
    return data


def telemetry_from_json(body: bytes, now_ms: int, products: Products) -> list[Telemetry]:
    """`{…}` or `{"messages": [{…}, …]}` of standard telemetry."""
    return _all([("index", i, message) for i, message in enumerate(_messages(body))], now_ms, products)


def telemetry_from_csv(body: bytes, now_ms: int, products: Products) -> list[Telemetry]:
    """A CSV batch of standard telemetry."""
    rows, problems = csv_batch.parse(body)
    if not rows and not problems:
        raise BodyRefused(400, "the batch has no rows")
    known = [{"row": p.row, "field": p.column, "problem": p.text} for p in problems]
    return _all([("row", row, message) for row, message in rows], now_ms, products, known)


def fire_from_json(body: bytes, now_ms: int, products: Products) -> list[Telemetry]:
    """One record of a fire sensor, or `{"messages": [record, …]}`."""
    decode = Decoder()
    items: list[Telemetry] = []
    problems: list[dict[str, Any]] = []
    for i, record in enumerate(_messages(body)):
        try:
            items.append(_fire(decode, record, now_ms))
        except _Wrong as wrong:
            problems.append({"index": i, "field": wrong.field, "problem": wrong.problem})
    return _or_refuse(items, problems)


def _messages(body: bytes) -> list[Any]:
    try:
        document = orjson.loads(body)
    except ValueError as error:
        raise BodyRefused(400, f"the body is not JSON: {error}") from None
    if type(document) is not dict:
        raise BodyRefused(400, 'the body must be one message or {"messages": [...]}')
    if "messages" not in document:
        return [document]
    messages = document["messages"]
    if len(document) > 1:
        raise BodyRefused(400, "nothing may stand beside 'messages'")
    if type(messages) is not list or not messages:
        raise BodyRefused(400, "'messages' must be a list, and not empty")
    if len(messages) > MESSAGES_MAX:
        raise BodyRefused(413, f"more than {MESSAGES_MAX} messages in one request")
    return messages


def _all(
    messages: Iterable[tuple[str, int, Any]],
    now_ms: int,
    products: Products,
    problems: list[dict[str, Any]] | None = None,
) -> list[Telemetry]:
    items: list[Telemetry] = []
    problems = problems or []
    for unit, number, message in messages:
        try:
            items.append(_standard(message, now_ms, products))
        except _Wrong as wrong:
            problems.append({unit: number, "field": wrong.field, "problem": wrong.problem})
    return _or_refuse(items, problems)


def _or_refuse(items: list[Telemetry], problems: list[dict[str, Any]]) -> list[Telemetry]:
    if problems:
        problems.sort(key=lambda problem: problem.get("row", problem.get("index", 0)))
        few = "1 message is wrong" if len(problems) == 1 else f"{len(problems)} messages are wrong"
        raise BodyRefused(400, f"{few}; nothing was stored", problems[:PROBLEMS_MAX])
    return items


def _standard(message: Any, now_ms: int, products: Products) -> Telemetry:
    """One message of standard telemetry."""
    if type(message) is not dict:
        raise _Wrong("", "is not an object")
    if not _KNOWN.issuperset(message):
        strange = next(name for name in message if name not in _KNOWN)
        raise _Wrong(strange[:64], f"unknown field{did_you_mean(strange, _FIELDS)}")
    device, product = _name(message, "device_id"), _name(message, "productId")
    hub = _name(message, "hub_id") if "hub_id" in message else None
    if message.get("childDeviceId", device) != device:
        raise _Wrong("childDeviceId", "must be the device_id: a child's message is the child's own")
    for field in ("device_timestamp", "metrics"):
        if field not in message:
            raise _Wrong(field, "is missing")
    at_ms = message["device_timestamp"]
    hub_ms, metrics = message.get("hub_timestamp"), message["metrics"]
    sample = Telemetry(device, "platform", at_ms, hub, at_ms, hub_ms, now_ms, metrics, product)
    if reason := contract.check_telemetry(sample):
        raise _explained(sample, reason)
    if (known := products(device)) is not None and known != product:
        raise _Wrong("productId", f"the device is known as a '{known}'")
    return sample


def _fire(decode: Decoder, record: Any, now_ms: int) -> Telemetry:
    if type(record) is not dict:
        raise _Wrong("", "is not an object")
    device = _name(record, "deviceId")
    sample = decode(f"fire-prediction/device/{device}/data", orjson.dumps(record), now_ms)
    if isinstance(sample, Refused):
        raise _named(sample.reason)
    assert isinstance(sample, Telemetry)
    if reason := contract.check_telemetry(sample):
        raise _explained(sample, reason)
    return sample


def _name(message: dict[str, Any], field: str) -> str:
    name = message.get(field)
    if type(name) is str and _NAME.fullmatch(name):
        return name
    raise _Wrong(field, _NAMES if field in message else "is missing")


def _named(reason: str) -> _Wrong:
    field, _, word = reason.rpartition(".")
    return _Wrong(field, _WORDS.get(word, word))


def _explained(sample: Telemetry, reason: str) -> _Wrong:
    """The contract counts reasons, so they name no metric; who sent it wants to know which one."""
    if reason.startswith("metric."):
        for name, value in sample.metrics.items():
            if contract.check_telemetry(sample._replace(stream="platform", metrics={name: value})) == reason:
                return _Wrong(f"metrics.{name[:64]}", _named(reason).problem)
    return _named(reason)
