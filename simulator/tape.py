"""What happened to one device, call by call, as lines of JSON: what it was given, and what it said.

    {"n":17,"at_ms":1760000000250,"call":"receive","given":{"Received":{"topic":"…","payload":"…"}},"said":[…]}

Rules: a line is enough to make the call again and to compare the answer byte for byte. Bytes that are text are
written as text, others in base64. A line whose answer was not kept has its digest instead. Pure.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from simulator import messages
from simulator.device import Device
from simulator.errors import UsageError
from simulator.faults import Fault
from simulator.messages import Input, Output
from simulator.schema import union

CALLS = ("step", "receive", "inject", "clear", "not_disguised", "switched_off", "cut_off")
_KINDS = {
    kind.__name__: kind
    for kind in (
        messages.Publish, messages.Subscribe, messages.Download, messages.Upload, messages.PowerCycle,
        messages.PowerOn, messages.Note, messages.Dropped, messages.Sever, messages.Relink, messages.Raw,
        messages.Connected, messages.Disconnected, messages.Received, messages.Chunk, messages.DownloadEnded,
        messages.UploadEnded, messages.Booted, messages.Missed, messages.Answered,
    )
}  # fmt: skip
_BYTES = {("Publish", "payload"), ("Raw", "data"), ("Received", "payload"), ("Chunk", "data")}
_BASE64 = "base64:"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS

Plain = Any  # what JSON can say


class Call(NamedTuple):
    """One call of a device."""

    n: int  # counts the calls of the whole fleet, so that several devices have one order
    at_ms: int
    call: str  # one of CALLS
    given: Plain = None
    said: list[Plain] | None = None  # None: only the digest was kept
    digest: str = ""  # of what it said; empty: `said` is there


class Piece(NamedTuple):
    """A piece of a download, by its place in a body that is kept once for all."""

    token: str
    body: int
    offset: int
    size: int


# Values as JSON


def plain(value: Input | Output) -> Plain:
    """A message as {kind: {field: value}}, without the fields that are as usual."""
    kind = type(value).__name__
    usual = value._field_defaults
    fields: dict[str, Plain] = {}
    for name, of in zip(value._fields, value, strict=True):
        if type(of) is bytes:
            fields[name] = text(of)
        elif isinstance(of, tuple) and hasattr(of, "_fields"):
            fields[name] = plain(of)  # type: ignore[arg-type] # a message in a message
        elif name not in usual or of != usual[name]:
            fields[name] = of
    return {kind: fields}


def message(said: Plain) -> Any:
    """The message that `plain` wrote; UsageError."""
    try:
        [(name, fields)] = said.items()
        kind = _KINDS[name]
        return kind(**{key: _value(name, key, of) for key, of in fields.items()})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"not a message: {said!r:.200} ({type(error).__name__}: {error})") from None


def _value(kind: str, name: str, of: Plain) -> Any:
    if (kind, name) in _BYTES:
        return raw(of)
    if kind == "Dropped":
        return message(of)
    return tuple(of) if isinstance(of, list) and kind == "Subscribe" else of


def text(data: bytes) -> str:
    """Bytes as text, in base64 if they are none."""
    try:
        said = data.decode()
    except UnicodeDecodeError:
        return _BASE64 + b64encode(data).decode()
    return _BASE64 + b64encode(data).decode() if said.startswith(_BASE64) else said


def raw(said: str) -> bytes:
    """The bytes that `text` wrote."""
    return b64decode(said.removeprefix(_BASE64)) if said.startswith(_BASE64) else said.encode()


def dumps(value: Plain) -> bytes:
    """JSON; also of what orjson leaves out: halves of characters, and whole numbers beyond 64 bits."""
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except TypeError:
        return json.dumps(value, default=str, separators=(",", ":")).encode()


def loads(line: bytes) -> Plain:
    """What `dumps` wrote; ValueError."""
    try:
        return orjson.loads(line)
    except ValueError:
        return json.loads(line)


# Calls as lines


def said(outputs: Sequence[Output] | Exception) -> list[Plain]:
    """What a device answered; an exception is an answer, too."""
    if isinstance(outputs, Exception):
        return [{"raised": f"{type(outputs).__name__}: {outputs}"}]
    return [plain(output) for output in outputs]


def digest(of: list[Plain]) -> bytes:
    """Eight bytes that stand for what was said."""
    return blake2b(dumps(of), digest_size=8).digest()


def line(call: Call) -> bytes:
    """One line, with its end."""
    fields: dict[str, Plain] = {"n": call.n, "at_ms": call.at_ms, "call": call.call}
    if call.given is not None:
        fields["given"] = call.given
    if call.said is None:
        fields["digest"] = call.digest
    elif call.said:
        fields["said"] = call.said
    return dumps(fields) + b"\n"


def read(text: bytes, bodies: Callable[[Piece], bytes]) -> Call:
    """A line again, with the bytes of a download in it; UsageError."""
    try:
        fields = loads(text)
        kind, given = fields["call"], fields.get("given")
        if kind not in CALLS:
            raise UsageError(f"no such call: {kind!r:.80}")
        if kind == "receive" and "Piece" in given:
            piece = Piece(**given["Piece"])
            given = plain(messages.Chunk(piece.token, bodies(piece)))
        kept = fields.get("digest", "")
        return Call(int(fields["n"]), int(fields["at_ms"]), kind, given, None if kept else fields.get("said", []), kept)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"not a recorded call: {text!r:.200} ({type(error).__name__}: {error})") from None


# Calls again


def fault(given: Plain) -> Fault:
    """The fault that was injected; UsageError when there is none like it any more."""
    try:
        found: Fault = TypeAdapter(union("faults")).validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        raise UsageError(
            f"a fault that this fleetsim cannot make: {given!r:.200} ({error.errors()[0]['msg']})"
        ) from None
    return found


def given_fault(fault: Fault) -> Mapping[str, Plain]:
    """A fault as it is written into a line."""
    return fault.model_dump(mode="json", exclude_none=True)


def perform(device: Device, call: Call) -> list[Plain]:
    """Make the call again; what the device answers now."""
    given = call.given
    if call.call == "receive":
        given = message(given)
    elif call.call == "inject":
        given = fault(given)
    try:
        return said(_made(device, call, given))
    except Exception as error:
        return said(error)


def _made(device: Device, call: Call, given: Any) -> Sequence[Output]:
    match call.call:
        case "step":
            return device.step(call.at_ms)
        case "receive":
            return device.receive(given, call.at_ms)
        case "inject":
            return device.inject(given, call.at_ms)
        case "clear":
            return device.clear(given, call.at_ms)
        case "not_disguised":
            device.not_disguised(given)
        case "switched_off":
            device.switched_off()
        case "cut_off":
            device.cut_off()
    return ()
