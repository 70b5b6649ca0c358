"""The Device Shadow service's rules: what an update does to a document, and what is refused. Pure.

Rules: records are values. An update makes a new one that shares what did not change, so a document that was handed
out stays as it was. Objects merge, everything else is replaced whole, null removes. Only what a request names gets
a new timestamp. The delta is what `desired` has otherwise than `reported`, whoever wrote last.
https://docs.aws.amazon.com/iot/latest/developerguide/device-shadow-document.html
"""

import json
import re
from collections.abc import Mapping
from typing import Any

STATE_BYTES_MAX = 8 * 1024  # `desired` and `reported` as compact JSON
LEVELS_MAX = 6  # of keys below `state`: `desired`, and five more in it
_CLIENT_TOKEN_BYTES_MAX = 64
_SHADOW_NAME = re.compile(r"[$a-zA-Z0-9:_-]{1,64}")
_THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
_SECTIONS = ("desired", "reported")

Json = dict[str, Any]
# {"state": {"desired": …, "reported": …}, "metadata": the same, "version": n}, or {"deleted": True, "version": n}
Record = Mapping[str, Any]


class ShadowError(Exception):
    """A refusal, with the code of the service."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_names(thing: str, shadow: str | None) -> None:
    """Raise ShadowError unless these may be names; None is the classic shadow."""
    if not _THING_NAME.fullmatch(thing):
        raise ShadowError(400, "Invalid thing name")
    if shadow is not None and not _SHADOW_NAME.fullmatch(shadow):
        raise ShadowError(400, "Invalid shadow name")


def missing(thing: str, shadow: str) -> ShadowError:
    """What is said about a shadow that does not exist."""
    return ShadowError(404, f"No shadow exists with name: '{thing}~{shadow}'" if shadow else
                       f"No shadow exists with name: '{thing}'")  # fmt: skip


def client_token(request: Any) -> str | None:
    """The token of a request, for its answer; None when there is none or it is no token."""
    token = request.get("clientToken") if isinstance(request, dict) else None
    return token if isinstance(token, str) and len(token.encode()) <= _CLIENT_TOKEN_BYTES_MAX else None


def check_client_token(request: Any) -> None:
    if isinstance(request, dict) and request.get("clientToken") is not None and client_token(request) is None:
        raise ShadowError(400, "Invalid clientToken")


def update(record: Record | None, request: Any, now_s: int) -> tuple[Json, Json]:
    """The new record, and the answer to the request; raises ShadowError."""
    if not isinstance(request, dict) or "state" not in request:
        raise ShadowError(400, "Missing required node: state")
    state = request["state"]
    _check_state(state)
    check_client_token(request)
    exists = record is not None and not record.get("deleted")
    version: int = record["version"] if record is not None else 0
    _check_version(request, version, exists=exists)

    old_state: Json = dict(record["state"]) if record is not None and exists else {}
    old_metadata: Json = dict(record.get("metadata") or {}) if record is not None and exists else {}
    new_state: Json = {}
    new_metadata: Json = {}
    for section in _SECTIONS:
        kept = old_state.get(section) or {}, old_metadata.get(section) or {}
        patch = (state or {}).get(section, {})
        new_state[section], new_metadata[section] = ({}, {}) if patch is None else _merged(*kept, patch, now_s)
    if len(json.dumps(_filled(new_state), separators=(",", ":"), ensure_ascii=False).encode()) > STATE_BYTES_MAX:
        raise ShadowError(413, "The payload exceeds the maximum size allowed")
    answer: Json = {"state": state or {}, "metadata": _stamped(state or {}, now_s), "version": version + 1}
    answer["timestamp"] = now_s
    if request.get("clientToken") is not None:
        answer["clientToken"] = request["clientToken"]
    return {"state": new_state, "metadata": new_metadata, "version": version + 1}, answer


def document(record: Record, now_s: int) -> Json:
    """What GetThingShadow answers."""
    state, metadata = _filled(record["state"]), _filled(record.get("metadata") or {})
    difference = delta(record)
    if difference:
        state["delta"] = difference
        metadata["delta"] = _picked(metadata.get("desired") or {}, difference)
    return {"state": state, "metadata": metadata, "version": record["version"], "timestamp": now_s}


def side(record: Record | None) -> Json | None:
    """One side of a message on `update/documents`; None for a shadow that did not exist."""
    if record is None or record.get("deleted"):
        return None
    return {
        "state": _filled(record["state"]),
        "metadata": _filled(record.get("metadata") or {}),
        "version": record["version"],
    }


def delta(record: Record) -> Json:
    """What the device still has to do."""
    return _difference(record["state"].get("desired") or {}, record["state"].get("reported") or {})


def delta_message(record: Record, now_s: int) -> Json | None:
    """What goes out on `update/delta`; None when both sides agree."""
    difference = delta(record)
    if not difference:
        return None
    desired = (record.get("metadata") or {}).get("desired") or {}
    return {
        "version": record["version"],
        "timestamp": now_s,
        "state": difference,
        "metadata": _picked(desired, difference),
    }


def _check_state(state: Any) -> None:
    if state is None:
        return
    if not isinstance(state, dict):
        raise ShadowError(400, "State node must be an object")
    for section in _SECTIONS:
        if section in state and not isinstance(state[section], dict | None):
            raise ShadowError(400, f"{section.capitalize()} node must be an object")
    if any(key not in _SECTIONS for key in state):
        raise ShadowError(400, "State contains an invalid node")
    if _levels(state) > LEVELS_MAX:
        raise ShadowError(400, f"JSON contains too many levels of nesting; maximum is {LEVELS_MAX}")
    if _null_in_an_array(state):
        raise ShadowError(400, "State contains an invalid node")


def _check_version(request: Json, version: int, *, exists: bool) -> None:
    expected = request.get("version")
    if expected is None:
        return
    if isinstance(expected, bool) or not isinstance(expected, int):
        raise ShadowError(400, "Invalid version")
    if exists and expected != version:
        raise ShadowError(409, "Version conflict")
    if not exists and expected not in (0, version):
        raise ShadowError(400, "Invalid version")


def _levels(value: Any) -> int:
    """How many keys stand above one another."""
    if isinstance(value, dict):
        return max((1 + _levels(inner) for inner in value.values()), default=0)
    if isinstance(value, list):
        return max((_levels(inner) for inner in value), default=0)
    return 0


def _null_in_an_array(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_null_in_an_array(inner) for inner in value.values())
    return isinstance(value, list) and any(inner is None or _null_in_an_array(inner) for inner in value)


def _merged(state: Json, metadata: Json, patch: Json, now_s: int) -> tuple[Json, Json]:
    """A section, or an object in it, after an update; the arguments stay as they are."""
    state, metadata = dict(state), dict(metadata)
    for key, value in patch.items():
        if value is None:
            state.pop(key, None)
            metadata.pop(key, None)
        elif isinstance(value, dict):
            old, stamps = state.get(key), metadata.get(key)
            if isinstance(old, dict):
                state[key], metadata[key] = _merged(old, stamps if isinstance(stamps, dict) else {}, value, now_s)
            else:
                made, stamps = _merged({}, {}, value, now_s)
                if made or not value:  # an object of nothing but nulls is not made
                    state[key], metadata[key] = made, stamps
        else:
            state[key], metadata[key] = value, _stamped(value, now_s)
    return state, metadata


def _stamped(value: Any, now_s: int) -> Any:
    """The metadata of something that was just written."""
    if isinstance(value, dict):
        return {key: _stamped(inner, now_s) for key, inner in value.items()}
    if isinstance(value, list):
        return [_stamped(inner, now_s) for inner in value]
    return {"timestamp": now_s}


def _difference(desired: Json, reported: Json) -> Json:
    found: Json = {}
    for key, value in desired.items():
        if key not in reported:
            found[key] = value
        elif isinstance(value, dict) and isinstance(reported[key], dict):
            if inner := _difference(value, reported[key]):
                found[key] = inner
        elif not _same(value, reported[key]):
            found[key] = value
    return found


def _same(one: Any, other: Any) -> bool:
    """Equal in JSON: 1 is 1.0, but true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return bool(one == other)


def _picked(metadata: Any, shape: Json) -> Json:
    """The part of the metadata that belongs to a delta."""
    found: Json = {}
    for key, value in shape.items():
        if isinstance(metadata, dict) and key in metadata:
            found[key] = _picked(metadata[key], value) if isinstance(value, dict) else metadata[key]
    return found


def _filled(sections: Mapping[str, Any]) -> Json:
    """Without the sections that are empty."""
    return {section: sections[section] for section in _SECTIONS if sections.get(section)}
