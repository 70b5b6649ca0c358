"""Commands: made once, sent to devices that are online, and answered by them.

A value on the command line is text, `name=value`; what type it has, the command's own parameters say. A device
answers within the time-out or the cloud calls it TIMED_OUT, which a late answer still overrides.
"""

import base64
import binascii
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from botocore.exceptions import ClientError

from simulator.errors import UsageError, did_you_mean
from simulator.ops.answers import THERE, at_once, named, pages, plain, refused
from simulator.ops.aws import Aws, code

TAG = "fleetsim"
PENDING = ("CREATED", "IN_PROGRESS")
FINAL = ("SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT")
TIMEOUT_MAX_S = 12 * 3600
LOOK_S = 0.5
_MEMBERS = {
    "STRING": "S", "INTEGER": "I", "LONG": "L", "DOUBLE": "D", "BOOLEAN": "B", "UNSIGNEDLONG": "UL", "BINARY": "BIN",
}  # fmt: skip
_PARAMETER = re.compile(r"(?P<name>[.$a-zA-Z0-9_-]{1,192})(?::(?P<type>[A-Za-z]+))?(?:=(?P<default>.*))?", re.DOTALL)
_IN_TEMPLATE = re.compile(r"\$\{aws:iot:commandexecution::parameter:([.$a-zA-Z0-9_-]+)\}")


def names(aws: Aws) -> Iterator[str]:
    """Ids of all commands."""
    return (str(one["commandId"]) for one in pages(aws.iot, "list_commands", "commands"))


def parameter(text: str) -> dict[str, Any]:
    """A parameter of a new command: `name`, `name:TYPE`, `name:TYPE=default`; a STRING unless it says otherwise."""
    read = _PARAMETER.fullmatch(text)
    kind = (read["type"] or "STRING").upper() if read else ""
    if not read or kind not in _MEMBERS:
        hint = did_you_mean(kind, tuple(_MEMBERS)) if read else ""
        raise UsageError(f"parameter '{text}': expected name, name:TYPE or name:TYPE=default{hint}")
    made: dict[str, Any] = {"name": read["name"], "type": kind}
    if read["default"] is not None:
        made["defaultValue"] = value(read["name"], kind, read["default"])
    return made


def value(name: str, kind: str, text: str) -> dict[str, Any]:
    """A value as the API wants it: `{"I": 3}`."""
    member = _MEMBERS[kind]
    with suppress(ValueError, binascii.Error):
        match member:
            case "I" | "L":
                return {member: int(text)}
            case "UL" if text.isascii() and text.isdigit():
                return {member: text}
            case "D":
                return {member: float(text)}
            case "B" if text.lower() in ("true", "false"):
                return {member: text.lower() == "true"}
            case "BIN":
                return {member: base64.b64decode(text, validate=True)}
            case "S" if text:
                return {member: text}
    raise UsageError(f"parameter '{name}': '{text}' is not a value of type {kind}")


def create(
    aws: Aws,
    command_id: str,
    payload: bytes | None = None,
    content_type: str = "application/json",
    *,
    template: str = "",
    parameters: Sequence[Mapping[str, Any]] = (),
    description: str = "",
    display_name: str = "",
    deployment: str = "fleet",
) -> dict[str, Any]:
    """A command with a payload of its own, or a template that its parameters fill in when it is sent."""
    if (payload is None) == (not template):
        raise UsageError("a command has a payload or a template: give one of them")
    wanted: dict[str, Any] = {"commandId": command_id, "namespace": "AWS-IoT"}
    if payload is not None:
        wanted["payload"] = {"content": payload, "contentType": content_type}
    if template:
        known = [str(one["name"]) for one in parameters]
        for name in _IN_TEMPLATE.findall(template):
            if name not in known:
                raise UsageError(
                    f"the template names parameter '{name}', which is not declared{did_you_mean(name, known)}"
                )
        wanted["payloadTemplate"] = template
        wanted["preprocessor"] = {"awsJsonSubstitution": {"outputFormat": "JSON"}}
    optional = {"mandatoryParameters": list(parameters), "description": description, "displayName": display_name}
    wanted |= {name: value for name, value in optional.items() if value}
    try:
        with refused(f"command '{command_id}'"):
            return dict(plain(aws.iot.create_command(tags=[{"Key": TAG, "Value": deployment}], **wanted)))
    except ClientError as error:
        if code(error) in THERE:
            going = aws.iot.get_command(commandId=command_id).get("pendingDeletion")
            why = (
                "is being deleted, which takes the service hours;" if going else "is there already; delete it first, or"
            )
            raise UsageError(f"command '{command_id}' {why} give another id") from None
        raise


def every(aws: Aws) -> list[dict[str, Any]]:
    """All commands, by id."""
    found = [plain(one) for one in pages(aws.iot, "list_commands", "commands", namespace="AWS-IoT")]
    return sorted(found, key=lambda one: str(one["commandId"]))


def show(aws: Aws, command_id: str) -> dict[str, Any]:
    """One command whole."""
    with named("command", command_id, lambda: names(aws)):
        return dict(plain(aws.iot.get_command(commandId=command_id)))


def delete(aws: Aws, command_id: str) -> str:
    """Delete a command: `deleted`, or `pending deletion` when it was used in the last hours."""
    show(aws, command_id)  # DeleteCommand itself does not say when there is none
    with refused(f"command '{command_id}' cannot be deleted", "ConflictException"):
        answer = aws.iot.delete_command(commandId=command_id)
    return "pending deletion" if answer.get("statusCode") == 202 else "deleted"


def targets(aws: Aws, things: Sequence[str] = (), clients: Sequence[str] = ()) -> list[str]:
    """ARNs of things, which must be there, and of MQTT client ids."""
    found = []
    for thing in things:
        with named("thing", thing):
            found.append(str(aws.iot.describe_thing(thingName=thing)["thingArn"]))
    region = aws.addresses.region
    return found + [f"arn:aws:iot:{region}:{aws.account}:client/{client}" for client in clients]


def values(command: Mapping[str, Any], given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`name=value` texts as values of the command's parameters; what has no default must be given."""
    known = {str(one["name"]): one for one in command.get("mandatoryParameters", [])}
    found = {}
    for text in given:
        name, equals, said = text.partition("=")
        if not equals:
            raise UsageError(f"parameter '{text}': expected name=value")
        if name not in known:
            raise UsageError(
                f"command '{command['commandId']}' has no parameter '{name}'{did_you_mean(name, list(known))}"
            )
        found[name] = value(name, str(known[name].get("type", "STRING")), said)
    for name, one in known.items():
        if name not in found and not one.get("defaultValue") and not one.get("value"):
            raise UsageError(f"command '{command['commandId']}' needs a value: --param {name}=…")
    return found


def send(
    aws: Aws,
    command: Mapping[str, Any],
    aims: Sequence[str],
    parameters: Mapping[str, Any],
    timeout_s: int = 10,
    progress: Callable[[str, int, int], object] = lambda what, done, of: None,
) -> list[dict[str, str]]:
    """Start an execution for each target: `[{"targetArn", "executionId"}]`."""
    if not 1 <= timeout_s <= TIMEOUT_MAX_S:
        raise UsageError(f"time-out of {timeout_s} s: 1 to {TIMEOUT_MAX_S}")
    about = {"parameters": dict(parameters)} if parameters else {}

    def one(arn: str) -> dict[str, str]:
        with refused(f"command '{command['commandId']}' for {arn.rsplit('/', 1)[-1]}", "ConflictException"):
            started = aws.jobs_data.start_command_execution(
                targetArn=arn, commandArn=command["commandArn"], executionTimeoutSeconds=timeout_s, **about
            )
        return {"targetArn": arn, "executionId": str(started["executionId"])}

    return at_once(one, aims, lambda done: progress("commands", done, len(aims)))


def execution(aws: Aws, execution_id: str, target_arn: str) -> dict[str, Any]:
    """One execution with reason, result and parameters."""
    with named("execution", execution_id):
        return dict(
            plain(aws.iot.get_command_execution(executionId=execution_id, targetArn=target_arn, includeResult=True))
        )


def wait(
    aws: Aws,
    started: Sequence[Mapping[str, str]],
    patience_s: float,
    progress: Callable[[str, int, int], object] = lambda what, done, of: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[dict[str, Any]]:
    """The executions when all have ended, or after so many seconds as they are then."""
    until_s = clock() + patience_s
    found: list[dict[str, Any]] = [dict(one) for one in started]
    while True:
        open_ones = [n for n, one in enumerate(found) if one.get("status") not in FINAL]
        for n, now in zip(
            open_ones,
            at_once(lambda n: execution(aws, found[n]["executionId"], found[n]["targetArn"]), open_ones),
            strict=True,
        ):
            found[n] = now
        ended = sum(one.get("status") in FINAL for one in found)
        progress("answers", ended, len(found))
        if ended == len(found) or clock() >= until_s:
            return found
        sleep(LOOK_S)


def executions(aws: Aws, command_id: str = "", target_arn: str = "", status: str | None = None) -> list[dict[str, Any]]:
    """Executions of a command, or of a target, or of both; the youngest first."""
    chosen: dict[str, Any] = {"namespace": "AWS-IoT"}
    if command_id:
        chosen["commandArn"] = show(aws, command_id)["commandArn"]
    if target_arn:
        chosen["targetArn"] = target_arn
    if len(chosen) == 1:
        raise UsageError("executions of what? Give a command, or --thing or --client")
    if command_id and target_arn:
        del chosen["commandArn"]  # the service is asked by one of the two; the rest is looked for in its answer
    found = [plain(one) for one in pages(aws.iot, "list_command_executions", "commandExecutions", **chosen)]
    found = [
        one
        for one in found
        if (not command_id or str(one["commandArn"]).rsplit("/", 1)[-1] == command_id)
        and (not status or one["status"] == status)
    ]
    return sorted(found, key=lambda one: str(one.get("createdAt", "")), reverse=True)


def delete_execution(aws: Aws, execution_id: str, target_arn: str) -> None:
    """Forget an execution that has ended."""
    execution(aws, execution_id, target_arn)
    with refused(f"execution '{execution_id}' cannot be deleted", "ConflictException"):
        aws.iot.delete_command_execution(executionId=execution_id, targetArn=target_arn)
