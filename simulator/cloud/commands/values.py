"""The values of commands: parameters and their conditions, templates and their placeholders, what a device reports.

Rules: everything wrong is a ValueError whose text is for the caller. A value is a mapping of one member, named by its
type: {"I": 72}. Numbers are compared exactly (Decimal). A template is JSON; where a text in it is nothing but one
placeholder, the value takes its place with its type, otherwise its text does.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from simulator.cloud.commands import cbor

_MEMBERS = {
    "STRING": "S", "INTEGER": "I", "LONG": "L", "DOUBLE": "D", "UNSIGNEDLONG": "UL", "BOOLEAN": "B", "BINARY": "BIN",
}  # fmt: skip
_WHOLE = {"I": (-(1 << 31), (1 << 31) - 1), "L": (-(1 << 63), (1 << 63) - 1), "UL": (0, (1 << 64) - 1)}
_NUMBERS = ("I", "L", "D", "UL")
_PLACEHOLDER = re.compile(r"\$\{aws:iot:commandexecution::(parameter:([.$a-zA-Z0-9_-]{1,192})|executionTimeoutSec)\}")
_OPERANDS = {  # operator → the operand it takes, of numbers and of texts
    "EQUALS": ("number", "string"),
    "NOT_EQUALS": ("number", "string"),
    "LESS_THAN": ("number", None),
    "LESS_THAN_EQUALS": ("number", None),
    "GREATER_THAN": ("number", None),
    "GREATER_THAN_EQUALS": ("number", None),
    "IN_SET": ("numbers", "strings"),
    "NOT_IN_SET": ("numbers", "strings"),
    "IN_RANGE": ("numberRange", None),
    "NOT_IN_RANGE": ("numberRange", None),
}
_STATUSES = ("IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT")
_REASON_CODE = re.compile(r"[A-Z0-9_-]{1,64}")
_RESULT_NAME = re.compile(r"[a-zA-Z0-9_-]{1,32}")
_REASON_MAX = 1024
_RESULTS_MAX = 100
_NESTING_MAX = 64

Json = dict[str, Any]


# -- parameters ---


def check_parameter(parameter: Mapping[str, Any]) -> None:
    """Whether a parameter of a command makes sense."""
    name = parameter["name"]
    for where in ("value", "defaultValue"):
        if parameter.get(where) is not None:
            _check_value(name, parameter, parameter[where])
    member = _member(parameter)
    for condition in parameter.get("valueConditions", ()):
        _operand(name, member, condition)


def resolve(parameters: Sequence[Mapping[str, Any]], given: Mapping[str, Json]) -> dict[str, Json]:
    """The value of each parameter: from the request, or the command's own, or its default."""
    declared = {parameter["name"]: parameter for parameter in parameters}
    values: dict[str, Json] = {}
    for name in {**declared, **given}:
        parameter = declared.get(name, {"name": name})
        value = given.get(name) or parameter.get("value") or parameter.get("defaultValue")
        if value is None:
            raise ValueError(f"Parameter {name} has no value and no default")
        _check_value(name, parameter, value)
        for condition in parameter.get("valueConditions", ()):
            if not _holds(name, value, condition):
                raise ValueError(f"Parameter {name} does not meet its condition {condition['comparisonOperator']}")
        values[name] = value
    return values


def _member(parameter: Mapping[str, Any]) -> str | None:
    """The member that its values have; None: any."""
    if "type" in parameter:
        return _MEMBERS[parameter["type"]]
    value = parameter.get("value") or parameter.get("defaultValue")
    return next(iter(value), None) if value else None


def _check_value(name: str, parameter: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    wanted = _member(parameter)
    if len(value) != 1 or (wanted is not None and wanted not in value):
        raise ValueError(f"Parameter {name} takes a value of type {parameter.get('type') or wanted or 'one member'}")
    member = next(iter(value))
    if member in _WHOLE:
        low, high = _WHOLE[member]
        if not low <= int(value[member]) <= high:
            raise ValueError(f"Parameter {name} must be from {low} to {high}")
    elif member == "BIN":
        _from_base64(name, value[member])


def _from_base64(name: str, text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise ValueError(f"Parameter {name} is not base64") from None


def _operand(name: str, member: str | None, condition: Mapping[str, Any]) -> Any:
    """The operand of a condition, fit to compare with."""
    operator = condition["comparisonOperator"]
    if member in ("B", "BIN"):
        raise ValueError(f"Parameter {name} takes no conditions: it is a {'boolean' if member == 'B' else 'binary'}")
    of_numbers, of_texts = _OPERANDS[operator]
    key = of_texts if member == "S" else of_numbers
    if member is None:  # of no type: by what is there
        key = next((k for k in (of_numbers, of_texts) if k in condition["operand"]), of_numbers)
    operand = condition["operand"].get(key) if key else None
    if operand is None or len(condition["operand"]) != 1:
        raise ValueError(f"Parameter {name}: {operator} needs the operand {key or 'of a number, not of a text'}")
    if key in ("string", "strings"):
        return operand
    if key == "numberRange":
        low, high = _number(name, operand["min"]), _number(name, operand["max"])
        if low > high:
            raise ValueError(f"Parameter {name}: the range of {operator} is empty")
        return low, high
    return [_number(name, one) for one in operand] if key == "numbers" else _number(name, operand)


def _number(name: str, text: Any) -> Decimal:
    try:
        number = Decimal(str(text))
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise ValueError(f"Parameter {name}: {text} is not a number")
    return number


def _holds(name: str, value: Json, condition: Mapping[str, Any]) -> bool:
    member, said = next(iter(value.items()))
    operand = _operand(name, member, condition)
    have = _number(name, said) if member in _NUMBERS else said
    match condition["comparisonOperator"]:
        case "EQUALS" | "NOT_EQUALS" as operator:
            return bool((have == operand) == (operator == "EQUALS"))
        case "IN_SET" | "NOT_IN_SET" as operator:
            return bool((have in operand) == (operator == "IN_SET"))
        case "IN_RANGE" | "NOT_IN_RANGE" as operator:
            return bool((operand[0] <= have <= operand[1]) == (operator == "IN_RANGE"))
        case "LESS_THAN":
            return bool(have < operand)
        case "LESS_THAN_EQUALS":
            return bool(have <= operand)
        case "GREATER_THAN":
            return bool(have > operand)
    return bool(have >= operand)


# -- templates ---


def check_template(template: str) -> None:
    """Whether it is JSON with a placeholder."""
    try:
        json.loads(template)
    except (ValueError, RecursionError):
        raise ValueError("The payloadTemplate is not valid JSON") from None
    if not _PLACEHOLDER.search(template):
        raise ValueError("The payloadTemplate has no placeholder ${aws:iot:commandexecution::parameter:NAME}")


def names_in(template: str) -> set[str]:
    """The parameters that a template mentions."""
    return {name for _, name in _PLACEHOLDER.findall(template) if name}


def fill(template: str, values: Mapping[str, Json], timeout_s: int, output_format: str) -> bytes:
    """What a device is sent; a placeholder without a value is a ValueError."""
    binary = output_format == "CBOR"

    def value_of(found: re.Match[str]) -> Any:
        name = found[2]
        if name is None:
            return timeout_s
        if name not in values:
            raise ValueError(f"Parameter {name} has no value and no default")
        member, value = next(iter(values[name].items()))
        if member == "BIN":
            return _from_base64(name, value) if binary else value
        return int(value) if member == "UL" else value

    def text_of(found: re.Match[str]) -> str:
        value = value_of(found)
        if isinstance(value, bytes):
            return b64encode(value).decode()
        return value if isinstance(value, str) else json.dumps(value)

    def filled(item: Any, depth: int = 0) -> Any:
        if depth > _NESTING_MAX:
            raise ValueError(f"The payloadTemplate is nested more than {_NESTING_MAX} deep")
        if isinstance(item, dict):
            return {_PLACEHOLDER.sub(text_of, key): filled(inner, depth + 1) for key, inner in item.items()}
        if isinstance(item, list):
            return [filled(inner, depth + 1) for inner in item]
        if isinstance(item, str):
            whole = _PLACEHOLDER.fullmatch(item)
            return value_of(whole) if whole else _PLACEHOLDER.sub(text_of, item)
        return item

    done = filled(json.loads(template))
    return cbor.encode(done) if binary else json.dumps(done, ensure_ascii=False).encode()


# -- reports ---


def report(said: Mapping[str, Any]) -> tuple[str, Json | None, Json | None]:
    """Status, reason and result of a device's report; the result as the API has it (S, B, BIN)."""
    status = said.get("status")
    if status not in _STATUSES:
        raise ValueError(f"status must be one of {', '.join(_STATUSES)}")
    return status, _reason(said.get("statusReason")), _result(said.get("result"))


def _reason(said: Any) -> Json | None:
    if said is None:
        return None
    code = said.get("reasonCode") if isinstance(said, dict) else None
    if not isinstance(code, str) or not _REASON_CODE.fullmatch(code):
        raise ValueError("statusReason needs a reasonCode of at most 64 characters [A-Z0-9_-]")
    text = said.get("reasonDescription")
    if text is None:
        return {"reasonCode": code}
    if not isinstance(text, str) or len(text) > _REASON_MAX or any(c < " " or "\x7f" <= c <= "\x9f" for c in text):
        raise ValueError(f"reasonDescription must be a text of at most {_REASON_MAX} characters, none of them control")
    return {"reasonCode": code, "reasonDescription": text}


def _result(said: Any) -> Json | None:
    if said is None:
        return None
    if not isinstance(said, dict) or not 1 <= len(said) <= _RESULTS_MAX:
        raise ValueError(f"result must have from 1 to {_RESULTS_MAX} entries")
    result: Json = {}
    for name, entry in said.items():
        if not isinstance(name, str) or not _RESULT_NAME.fullmatch(name):
            raise ValueError("names in result have 1 to 32 characters [a-zA-Z0-9_-]")
        match list(entry.items()) if isinstance(entry, dict) else []:
            case [("s", str(text))] if text:
                result[name] = {"S": text}
            case [("b", bool(value))]:
                result[name] = {"B": value}
            case [("bin", bytes(data))] if data:
                result[name] = {"BIN": b64encode(data).decode()}
            case [("bin", str(text))] if text:
                result[name] = {"BIN": b64encode(_from_base64(name, text)).decode()}
            case _:
                raise ValueError(f"result.{name} must have exactly one of s (text), b (true or false) and bin (binary)")
    return result
