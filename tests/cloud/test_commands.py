"""Commands without a cloud: parameters, conditions, templates, CBOR, and the states of an execution."""

import itertools
import json
import random
from base64 import b64encode
from typing import Any

import pytest

from simulator.cloud.commands import cbor
from simulator.cloud.commands import values as command_values
from simulator.cloud.commands.commands import (
    HOUR_MS,
    RETENTION_MS,
    TIMEOUT_MAX_MS,
    Command,
    Commands,
    ConflictError,
    Execution,
    InvalidError,
    NotFoundError,
    ReportError,
)

ACCOUNT = "arn:aws:iot:us-east-1:000000000000:"
LAMP, TARGET = f"{ACCOUNT}thing/lamp", ("things", "lamp")
PLACE = "${aws:iot:commandexecution::parameter:%s}"
Json = dict[str, Any]


@pytest.fixture
def commands() -> Commands:
    numbers = itertools.count(1)
    return Commands(
        "us-east-1", "000000000000", new_id=lambda: f"e-{next(numbers)}", thing_exists=lambda name: name == "lamp"
    )


def create(commands: Commands, name: str = "on", now_ms: int = 0, **what: Any) -> Command:
    if "template" not in what:
        what.setdefault("content", b'{"on":true}')
        what.setdefault("content_type", "application/json")
    return commands.create(Command(name, commands.arn(name), now_ms, now_ms, **what))


def start(commands: Commands, name: str = "on", now_ms: int = 0, target: str = LAMP, **what: Any) -> Execution:
    return commands.start(commands.arn(name), target, now_ms, **what)[0]


def payload(commands: Commands, parameters: Json | None = None, timeout_s: int | None = None) -> Any:
    _, instruction = commands.start(commands.arn("on"), LAMP, 0, parameters=parameters, timeout_s=timeout_s)
    assert instruction is not None
    if instruction.content_type == "application/cbor":
        return cbor.decode(instruction.payload)
    return json.loads(instruction.payload)


# Commands


def test_a_command_is_deprecated_restored_and_deleted(commands: Commands) -> None:
    create(commands)
    with pytest.raises(ConflictError):
        create(commands)
    commands.update("on", 5, deprecated=True)
    with pytest.raises(InvalidError, match="deprecated"):
        start(commands)
    with pytest.raises(ConflictError, match="restore"):
        commands.update("on", 6, display_name="On")
    commands.update("on", 7, deprecated=False, display_name="On")
    assert start(commands).status == "CREATED"
    assert commands.delete("on", 8) is False
    assert commands.commands() == []
    assert commands.command("on").deleted_ms == 8
    with pytest.raises(InvalidError, match="pending deletion"):
        start(commands)
    with pytest.raises(ConflictError):
        create(commands)
    assert commands.delete("on", 9) is False
    commands.elapse(8 + TIMEOUT_MAX_MS - 1)
    commands.command("on")
    commands.elapse(8 + TIMEOUT_MAX_MS)
    with pytest.raises(NotFoundError):
        commands.command("on")
    assert commands.delete("on", 10) is True


def test_a_command_deprecated_for_long_goes_at_once(commands: Commands) -> None:
    create(commands)
    commands.update("on", 0, deprecated=True)
    assert commands.delete("on", TIMEOUT_MAX_MS) is True


BAD_COMMANDS: list[tuple[str, Json]] = [
    ("Exactly one", {"content": b""}),
    ("Exactly one", {"content": b"x", "template": "{}"}),
    ("limit is 32768", {"content": b"x" * 32769}),
    ("need a payloadTemplate", {"parameters": [{"name": "a"}]}),
    ("not valid JSON", {"template": "{" + PLACE % "a"}),
    ("no placeholder", {"template": "{}"}),
    ("same name", {"template": f'"{PLACE % "a"}"', "parameters": [{"name": "a"}, {"name": "a"}]}),
    ("type INTEGER", {"template": f'"{PLACE % "a"}"', "parameters": [
        {"name": "a", "type": "INTEGER", "defaultValue": {"S": "1"}}]}),
]  # fmt: skip


@pytest.mark.parametrize(("why", "what"), BAD_COMMANDS, ids=[why for why, _ in BAD_COMMANDS])
def test_a_command_that_cannot_be_is_refused(commands: Commands, why: str, what: Json) -> None:
    with pytest.raises(InvalidError, match=why):
        create(commands, **what)


# Parameters


def test_values_come_from_the_request_then_the_command_then_the_default(commands: Commands) -> None:
    parameters = [
        {"name": "a", "type": "INTEGER", "defaultValue": {"I": 1}},
        {"name": "b", "type": "STRING", "value": {"S": "own"}, "defaultValue": {"S": "default"}},
        {"name": "c", "type": "BOOLEAN"},
    ]
    template = json.dumps({"a": PLACE % "a", "b": f"<{PLACE % 'b'}>", "deep": [{"c": PLACE % "c"}]})
    create(commands, template=template, parameters=parameters)
    assert payload(commands, {"c": {"B": False}}) == {"a": 1, "b": "<own>", "deep": [{"c": False}]}
    given = {"a": {"I": 7}, "b": {"S": 'x"y'}, "c": {"B": True}}
    assert payload(commands, given) == {"a": 7, "b": '<x"y>', "deep": [{"c": True}]}
    with pytest.raises(InvalidError, match="Parameter c has no value and no default"):
        start(commands)
    with pytest.raises(InvalidError, match="no parameter z"):
        start(commands, parameters={**given, "z": {"S": ""}})


def test_each_type_has_its_form(commands: Commands) -> None:
    values: dict[str, Json] = {
        "STRING": {"S": "text"}, "INTEGER": {"I": -3}, "LONG": {"L": 1 << 40}, "DOUBLE": {"D": 1.5},
        "UNSIGNEDLONG": {"UL": str((1 << 64) - 1)}, "BOOLEAN": {"B": True},
        "BINARY": {"BIN": b64encode(b"\x00\xff").decode()},
    }  # fmt: skip
    parameters = [{"name": kind, "type": kind, "defaultValue": value} for kind, value in values.items()]
    template = json.dumps(
        {kind: PLACE % kind for kind in values} | {"wait": "${aws:iot:commandexecution::executionTimeoutSec}"}
    )
    create(commands, template=template, parameters=parameters)
    expected = {"STRING": "text", "INTEGER": -3, "LONG": 1 << 40, "DOUBLE": 1.5, "UNSIGNEDLONG": (1 << 64) - 1,
                "BOOLEAN": True, "wait": 30}  # fmt: skip
    assert payload(commands, timeout_s=30) == expected | {"BINARY": "AP8="}
    commands.delete("on", 0)
    commands.elapse(TIMEOUT_MAX_MS)
    create(commands, template=template, parameters=parameters, output_format="CBOR")
    assert payload(commands, timeout_s=30) == expected | {"BINARY": b"\x00\xff"}
    for kind, wrong in (("INTEGER", {"I": 1 << 31}), ("UNSIGNEDLONG", {"UL": str(1 << 64)}), ("BINARY", {"BIN": "!"}),
                        ("STRING", {"S": "a", "I": 1}), ("LONG", {"I": 1})):  # fmt: skip
        with pytest.raises(InvalidError, match=f"Parameter {kind}"):
            start(commands, parameters={kind: wrong})


CONDITIONS: list[tuple[str, Json, list[Json], list[Json]]] = [
    ("EQUALS", {"number": "5.0"}, [{"I": 5}], [{"I": 6}]),
    ("NOT_EQUALS", {"number": "5"}, [{"I": 6}], [{"I": 5}]),
    ("LESS_THAN", {"number": "5"}, [{"I": 4}], [{"I": 5}]),
    ("LESS_THAN_EQUALS", {"number": "5"}, [{"I": 5}], [{"I": 6}]),
    ("GREATER_THAN", {"number": "5"}, [{"I": 6}], [{"I": 5}]),
    ("GREATER_THAN_EQUALS", {"number": "5"}, [{"I": 5}], [{"I": 4}]),
    ("IN_SET", {"numbers": ["1", "3"]}, [{"I": 3}], [{"I": 2}]),
    ("NOT_IN_SET", {"numbers": ["1", "3"]}, [{"I": 2}], [{"I": 1}]),
    ("IN_RANGE", {"numberRange": {"min": "60", "max": "80"}}, [{"I": 60}, {"I": 80}], [{"I": 59}, {"I": 81}]),
    ("NOT_IN_RANGE", {"numberRange": {"min": "60", "max": "80"}}, [{"I": 59}], [{"I": 60}, {"I": 80}]),
    ("EQUALS", {"string": "ON"}, [{"S": "ON"}], [{"S": "on"}]),
    ("NOT_EQUALS", {"string": "ON"}, [{"S": "on"}], [{"S": "ON"}]),
    ("IN_SET", {"strings": ["ON", "OFF"]}, [{"S": "OFF"}], [{"S": "MID"}]),
    ("NOT_IN_SET", {"strings": ["ON"]}, [{"S": "OFF"}], [{"S": "ON"}]),
    ("EQUALS", {"number": "0.1"}, [{"D": 0.1}], [{"D": 0.1000001}]),
    ("LESS_THAN", {"number": "18446744073709551615"}, [{"UL": "18446744073709551614"}],
     [{"UL": "18446744073709551615"}]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("operator", "operand", "good", "bad"), CONDITIONS, ids=[f"{c[0]}-{next(iter(c[2][0]))}" for c in CONDITIONS]
)
def test_a_value_must_meet_its_conditions(
    commands: Commands, operator: str, operand: Json, good: list[Json], bad: list[Json]
) -> None:
    condition = {"comparisonOperator": operator, "operand": operand}
    parameter = {"name": "x", "type": {"I": "INTEGER", "S": "STRING", "D": "DOUBLE", "UL": "UNSIGNEDLONG"}[
        next(iter(good[0]))], "valueConditions": [condition]}  # fmt: skip
    create(commands, template=f'{{"x":"{PLACE % "x"}"}}', parameters=[parameter])
    for value in good:
        start(commands, parameters={"x": value})
    for value in bad:
        with pytest.raises(InvalidError, match=f"condition {operator}"):
            start(commands, parameters={"x": value})


@pytest.mark.parametrize(
    ("kind", "operator", "operand"),
    [
        ("STRING", "LESS_THAN", {"string": "a"}),
        ("STRING", "IN_SET", {"numbers": ["1"]}),
        ("INTEGER", "EQUALS", {"string": "a"}),
        ("INTEGER", "EQUALS", {"number": "five"}),
        ("INTEGER", "EQUALS", {"number": "NaN"}),
        ("INTEGER", "IN_RANGE", {"numberRange": {"min": "2", "max": "1"}}),
        ("INTEGER", "EQUALS", {"number": "1", "numbers": ["1"]}),
        ("BOOLEAN", "EQUALS", {"string": "true"}),
        ("BINARY", "EQUALS", {"string": "AA=="}),
    ],
)
def test_a_condition_that_cannot_be_is_refused(commands: Commands, kind: str, operator: str, operand: Json) -> None:
    condition = {"comparisonOperator": operator, "operand": operand}
    parameter = {"name": "x", "type": kind, "valueConditions": [condition]}
    with pytest.raises(InvalidError, match="Parameter x"):
        create(commands, template=f'"{PLACE % "x"}"', parameters=[parameter])


# Executions


def report(commands: Commands, status: str, now_ms: int = 1, execution: str = "e-1", **more: Any) -> Execution:
    return commands.report(TARGET, execution, {"status": status, **more}, now_ms)


def rejection(commands: Commands, status: Any, now_ms: int = 1, execution: str = "e-1", **more: Any) -> str:
    with pytest.raises(ReportError) as caught:
        report(commands, status, now_ms, execution, **more)
    return caught.value.code


@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT"])
@pytest.mark.parametrize("first", [[], ["IN_PROGRESS"], ["IN_PROGRESS", "IN_PROGRESS"]])
def test_an_execution_ends_as_the_device_says(commands: Commands, first: list[str], end: str) -> None:
    create(commands)
    execution = start(commands)
    for status in [*first, end]:
        report(commands, status, 5, statusReason={"reasonCode": "R-1", "reasonDescription": "why"})
    assert (execution.status, execution.over, execution.completed_ms) == (end, True, 5)
    assert execution.reason == {"reasonCode": "R-1", "reasonDescription": "why"}
    assert rejection(commands, "IN_PROGRESS") == rejection(commands, end) == "TerminalStateReached"
    assert commands.elapse(1 << 40) == []


def test_a_time_out_of_the_cloud_is_not_the_end(commands: Commands) -> None:
    create(commands)
    execution = start(commands, now_ms=1000)
    assert commands.next_deadline_ms == 11_000
    assert commands.elapse(10_999) == []
    assert commands.elapse(11_000) == [execution]
    assert (execution.status, execution.reason) == ("TIMED_OUT", {"reasonCode": "$NO_RESPONSE_FROM_DEVICE"})
    assert execution.completed_ms is None
    assert rejection(commands, "IN_PROGRESS", 12_000) == "InvalidStateTransition"
    with pytest.raises(ConflictError):
        commands.delete_execution(execution)
    report(commands, "SUCCEEDED", 13_000)
    ended = commands.execution("e-1", LAMP)
    assert (ended.status, ended.reason, ended.completed_ms) == ("SUCCEEDED", None, 13_000)
    commands.delete_execution(execution)
    with pytest.raises(NotFoundError):
        commands.execution("e-1", LAMP)


def test_executions_are_kept_for_so_long(commands: Commands) -> None:
    create(commands)
    start(commands)
    commands.elapse(RETENTION_MS - 1)
    commands.execution("e-1", LAMP)
    commands.elapse(RETENTION_MS)
    with pytest.raises(NotFoundError):
        commands.execution("e-1", LAMP)


def test_a_repeated_request_is_the_same_execution(commands: Commands) -> None:
    create(commands)
    first, told = commands.start(commands.arn("on"), LAMP, 0, token="t")
    assert told is not None
    assert commands.start(commands.arn("on"), LAMP, 1, token="t") == (first, None)
    with pytest.raises(ConflictError):
        commands.start(commands.arn("on"), LAMP, 1, token="t", timeout_s=20)


def test_what_cannot_be_started(commands: Commands) -> None:
    create(commands)
    with pytest.raises(NotFoundError, match="Thing not found: x"):
        start(commands, target=f"{ACCOUNT}thing/x")
    for arn in ("x", f"{ACCOUNT}thinggroup/lamp", f"{ACCOUNT}thing/", "arn:aws:iot:eu-west-1:000000000000:thing/lamp"):
        with pytest.raises(InvalidError, match="Not the ARN of a thing"):
            start(commands, target=arn)
    with pytest.raises(InvalidError, match="Not the ARN of a command"):
        commands.start("arn:aws:iot:us-east-1:1:command/on", LAMP, 0)
    with pytest.raises(NotFoundError):
        start(commands, "off")
    with pytest.raises(InvalidError, match="at most 43200"):
        start(commands, timeout_s=12 * HOUR_MS // 1000 + 1)
    with pytest.raises(InvalidError, match="static payload"):
        start(commands, parameters={"a": {"S": "b"}})
    assert start(commands, target=f"{ACCOUNT}client/c-1").target == ("clients", "c-1")


def test_results_have_the_form_of_the_api(commands: Commands) -> None:
    create(commands)
    execution = start(commands)
    report(commands, "IN_PROGRESS", result={"a": {"s": "x"}, "b": {"b": False}, "c": {"bin": "AP8="}})
    assert execution.result == {"a": {"S": "x"}, "b": {"B": False}, "c": {"BIN": "AP8="}}
    report(commands, "IN_PROGRESS")
    assert execution.result is not None  # what was said stays
    report(commands, "SUCCEEDED", result={"c": {"bin": b"\x01"}})
    assert execution.result == {"c": {"BIN": "AQ=="}}


@pytest.mark.parametrize(
    "said",
    [
        {"status": "CREATED"}, {"status": None}, {"status": ["FAILED"]},
        {"statusReason": "x"}, {"statusReason": {}}, {"statusReason": {"reasonCode": "lower"}},
        {"statusReason": {"reasonCode": "A" * 65}}, {"statusReason": {"reasonCode": "A", "reasonDescription": 1}},
        {"statusReason": {"reasonCode": "A", "reasonDescription": "x" * 1025}},
        {"statusReason": {"reasonCode": "A", "reasonDescription": "a\nb"}},
        {"result": {}}, {"result": {"a b": {"s": "x"}}}, {"result": {"a": {"s": 1}}}, {"result": {"a": {"n": 1}}},
        {"result": {"a": {"s": "x", "b": True}}}, {"result": {"a": {"bin": "!"}}}, {"result": ["x"]},
        {"result": {"a": {"S": "x"}}},
    ],
)  # fmt: skip
def test_a_wrong_report_changes_nothing(commands: Commands, said: Json) -> None:
    create(commands)
    execution = start(commands)
    assert rejection(commands, **{"status": "FAILED", **said}) == "InvalidRequest"
    assert (execution.status, execution.reason, execution.result) == ("CREATED", None, None)


def test_a_report_is_for_an_execution_of_the_same_device(commands: Commands) -> None:
    create(commands)
    start(commands)
    assert rejection(commands, "FAILED", execution="e-2") == "ResourceNotFound"
    with pytest.raises(ReportError):
        commands.report(("things", "other"), "e-1", {"status": "FAILED"}, 1)
    with pytest.raises(ReportError):
        commands.report(("clients", "lamp"), "e-1", {"status": "FAILED"}, 1)


# CBOR

# The examples of RFC 8949, appendix A.
EXAMPLES: list[tuple[Any, str]] = [
    (0, "00"), (23, "17"), (24, "1818"), (1000, "1903e8"), (1000000, "1a000f4240"),
    (18446744073709551615, "1bffffffffffffffff"), (-1, "20"), (-1000, "3903e7"), (1.1, "fb3ff199999999999a"),
    (False, "f4"), (True, "f5"), (None, "f6"), (b"\x01\x02\x03\x04", "4401020304"), ("IETF", "6449455446"),
    ("\u00fc", "62c3bc"), ([1, [2, 3]], "8201820203"), ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
]  # fmt: skip
ONLY_READ: list[tuple[Any, str]] = [
    (1.5, "f93e00"), (100000.0, "fa47c35000"), ("streaming", "7f657374726561646d696e67ff"),
    ([1, [2, 3]], "9f01820203ff"), ({"a": 1}, "bf616101ff"), (None, "f7"), (1363896240, "c11a514b67b0"),
    (b"\x01\x02\x03", "5f42010241" + "03ff"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "encoded"), EXAMPLES, ids=[e[1] for e in EXAMPLES])
def test_cbor_both_ways(value: Any, encoded: str) -> None:
    assert cbor.encode(value).hex() == encoded
    assert cbor.decode(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize(("value", "encoded"), ONLY_READ, ids=[e[1] for e in ONLY_READ])
def test_cbor_that_others_write(value: Any, encoded: str) -> None:
    assert cbor.decode(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize("encoded", ["", "18", "1c", "1f", "61", "61ff", "81", "a161", "a10101", "ff", "8101ff", "0001",
                                     "f8", "f0", "7f01ff", "81ff", "9bffffffffffffffff", "81" * 40 + "00"])  # fmt: skip
def test_broken_cbor_is_an_error(encoded: str) -> None:
    with pytest.raises(ValueError, match="CBOR"):
        cbor.decode(bytes.fromhex(encoded))


def test_any_bytes_are_cbor_or_an_error() -> None:
    source = random.Random(1)  # noqa: S311 - no secret
    for _ in range(5000):
        data = source.randbytes(source.randrange(1, 40))
        try:
            cbor.decode(data)
        except ValueError:
            continue


def test_cbor_has_no_form_for_the_rest() -> None:
    for value in (object(), 1 << 64):
        with pytest.raises(ValueError, match="CBOR"):
            cbor.encode(value)


def test_a_deep_template_is_refused() -> None:
    deep = "[" * 100 + f'"{PLACE % "a"}"' + "]" * 100
    with pytest.raises(ValueError, match="deep"):
        command_values.fill(deep, {"a": {"S": ""}}, 1, "JSON")
