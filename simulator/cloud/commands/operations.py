"""The operations of commands: parameters in, answer out; the rules are in `commands`, the topics in `topics`.

Rules: one method per operation, named as the operation. Lists are the newest first, unless asked otherwise.
"""

import json
import re
import uuid
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from simulator.cloud.commands.commands import (
    NAMESPACE,
    RETENTION_MS,
    Command,
    Commands,
    Execution,
    InvalidError,
    NotFoundError,
)
from simulator.cloud.commands.topics import CommandTopics
from simulator.cloud.config import ACCOUNT_ID, CloudConfig
from simulator.cloud.emulator import Emulator
from simulator.cloud.rest_json import Answer
from simulator.cloud.service import Request, ServiceError
from simulator.cloud.tags import Tags

_One = TypeVar("_One", Command, Execution)
_PAGE = 25
_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(;.*)?")


class _AccessDeniedError(ServiceError):
    code, status = "AccessDeniedException", 403


class CommandOperations:
    """Answers requests about commands."""

    operations = frozenset(
        {
            "CreateCommand",
            "DeleteCommand",
            "DeleteCommandExecution",
            "GetCommand",
            "GetCommandExecution",
            "ListCommandExecutions",
            "ListCommands",
            "UpdateCommand",
            "iot-jobs-data:StartCommandExecution",
        }
    )
    invalid = "ValidationException"

    def __init__(self, emulator: Emulator, config: CloudConfig, tags: Tags) -> None:
        self._emulator = emulator
        self._commands = Commands(
            config.region,
            ACCOUNT_ID,
            new_id=lambda: str(uuid.uuid4()),
            thing_exists=lambda name: name in emulator.iot._things,
        )
        self._topics = CommandTopics(emulator, self._commands)
        tags.know("command", self._commands.knows, "Command {name} does not exist.")
        self._tags = tags

    def arn(self, operation: str, in_path: Mapping[str, str]) -> str | None:
        """What a policy calls the command; None for an execution, whose command and device are judged later."""
        if operation == "ListCommands":
            return self._commands.arn("*")
        if operation == "ListCommandExecutions":
            return "*"
        return self._commands.arn(in_path["commandId"]) if "commandId" in in_path else None

    async def answer(self, request: Request) -> Mapping[str, Any] | Answer | None:
        """Do one operation."""
        await self._topics.elapse(request.now_ms)
        handler = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", request.operation).lower())
        result: Mapping[str, Any] | Answer | None = await handler(request.parameters, request.now_ms)
        return result

    # -- commands ---

    async def _create_command(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        if p.get("namespace", NAMESPACE) != NAMESPACE:
            raise InvalidError("The sandbox has commands of the namespace AWS-IoT only")
        if "roleArn" in p:
            raise InvalidError("roleArn is not supported in the namespace AWS-IoT")
        template, preprocessor = p.get("payloadTemplate"), p.get("preprocessor", {}).get("awsJsonSubstitution")
        if (template is None) != (preprocessor is None):
            raise InvalidError("payloadTemplate and preprocessor.awsJsonSubstitution belong together")
        content, content_type = _payload(p.get("payload") or {})
        arn = self._commands.arn(p["commandId"])
        command = self._commands.create(
            Command(
                p["commandId"],
                arn,
                now_ms,
                now_ms,
                display_name=p.get("displayName"),
                description=p.get("description"),
                content=content,
                content_type=content_type,
                template=template,
                output_format=(preprocessor or {}).get("outputFormat", "JSON"),
                parameters=p.get("mandatoryParameters", []),
            )
        )
        self._tags.created(arn, {tag["Key"]: tag.get("Value", "") for tag in p.get("tags", ())})
        return {"commandId": command.id, "commandArn": command.arn}

    async def _get_command(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        command = self._commands.command(p["commandId"])
        payload = {"content": b64encode(command.content).decode(), "contentType": command.content_type}
        preprocessor = {"awsJsonSubstitution": {"outputFormat": command.output_format}}
        dynamic = command.template is not None
        return {
            **_command_summary(command),
            "namespace": NAMESPACE,
            "description": command.description,
            "mandatoryParameters": command.parameters or None,
            "payload": None if dynamic else _without_none(payload),
            "payloadTemplate": command.template,
            "preprocessor": preprocessor if dynamic else None,
        }

    async def _list_commands(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        found = self._commands.commands(p.get("commandParameterName"))
        if p.get("namespace", NAMESPACE) != NAMESPACE:
            found = []
        part, token = _page(found, p)
        return {"commands": [_without_none(_command_summary(one)) for one in part], "nextToken": token}

    async def _update_command(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        command = self._commands.update(
            p["commandId"],
            now_ms,
            display_name=p.get("displayName"),
            description=p.get("description"),
            deprecated=p.get("deprecated"),
        )
        return {
            "commandId": command.id,
            "displayName": command.display_name,
            "description": command.description,
            "deprecated": command.deprecated_ms is not None,
            "lastUpdatedAt": command.updated_ms / 1000,
        }

    async def _delete_command(self, p: dict[str, Any], now_ms: int) -> Answer:
        gone = self._commands.delete(p["commandId"], now_ms)
        return (204, {}, b"") if gone else (202, {"Content-Type": "application/json"}, b"{}")

    # -- executions ---

    def _judge(self, operation: str, *arns: str) -> None:
        """As AWS does: the caller must be allowed this with the command and with the device."""
        for arn in arns:
            if not self._emulator.allows(operation, arn):
                raise _AccessDeniedError(f"Not authorized to perform: iot:{operation} on resource: {arn}")

    def _found(self, operation: str, p: dict[str, Any]) -> Execution:
        self._judge(operation, p["targetArn"])
        execution = self._commands.execution(p["executionId"], p["targetArn"])
        self._judge(operation, execution.command.arn)
        return execution

    async def _start_command_execution(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        self._judge("StartCommandExecution", p["commandArn"], p["targetArn"])
        with self._emulator.scoped():
            execution, instruction = self._commands.start(
                p["commandArn"],
                p["targetArn"],
                now_ms,
                parameters=p.get("parameters"),
                timeout_s=p.get("executionTimeoutSeconds"),
                token=p.get("clientToken"),
            )
        if instruction is not None:
            await self._topics.begin(execution, instruction)
        return {"executionId": execution.id}

    async def _get_command_execution(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        execution = self._found("GetCommandExecution", p)
        return {
            **_execution_summary(execution),
            "statusReason": execution.reason,
            "result": execution.result if p.get("includeResult") else None,
            "parameters": execution.parameters,
            "executionTimeoutSeconds": execution.timeout_s,
            "lastUpdatedAt": execution.updated_ms / 1000,
            "timeToLive": (execution.created_ms + RETENTION_MS) / 1000,
        }

    async def _list_command_executions(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        if ("commandArn" in p) == ("targetArn" in p):
            raise InvalidError("Exactly one of commandArn and targetArn must be given")
        if "startedTimeFilter" in p and "completedTimeFilter" in p:
            raise InvalidError("Only one of startedTimeFilter and completedTimeFilter may be given")
        if "commandArn" in p and "status" in p:
            raise InvalidError("The executions of a command cannot be filtered by their status")
        started, completed = _between(p.get("startedTimeFilter")), _between(p.get("completedTimeFilter"))
        found = [
            one
            for one in self._commands.executions()
            if one.command.arn == p.get("commandArn", one.command.arn)
            and one.target_arn == p.get("targetArn", one.target_arn)
            and one.status == p.get("status", one.status)
            and (started is None or started[0] <= one.created_ms <= started[1])
            and (completed is None or completed[0] <= (one.completed_ms or -1) <= completed[1])
            and p.get("namespace", NAMESPACE) == NAMESPACE
        ]
        part, token = _page(found, p)
        return {"commandExecutions": [_without_none(_execution_summary(one)) for one in part], "nextToken": token}

    async def _delete_command_execution(self, p: dict[str, Any], now_ms: int) -> None:
        with suppress(NotFoundError):  # as good as deleted: the operation has no ResourceNotFoundException
            self._commands.delete_execution(self._found("DeleteCommandExecution", p))


def _payload(payload: Mapping[str, Any]) -> tuple[bytes, str | None]:
    content, content_type = payload.get("content", ""), payload.get("contentType")
    try:
        decoded = b64decode(content, validate=True)
    except (TypeError, ValueError):
        raise InvalidError("payload.content is not base64") from None
    if content_type is not None and not _TYPE.fullmatch(content_type):
        raise InvalidError(f"payload.contentType must have the form type/subtype, got {content_type}")
    return decoded, content_type


def _command_summary(command: Command) -> dict[str, Any]:
    return {
        "commandId": command.id,
        "commandArn": command.arn,
        "displayName": command.display_name,
        "deprecated": command.deprecated_ms is not None,
        "createdAt": command.created_ms / 1000,
        "lastUpdatedAt": command.updated_ms / 1000,
        "pendingDeletion": command.deleted_ms is not None,
    }


def _execution_summary(execution: Execution) -> dict[str, Any]:
    return {
        "executionId": execution.id,
        "commandArn": execution.command.arn,
        "targetArn": execution.target_arn,
        "status": execution.status,
        "createdAt": execution.created_ms / 1000,
        "startedAt": execution.created_ms / 1000,  # AWS's answers have the same time here, whatever the device said
        "completedAt": execution.completed_ms / 1000 if execution.completed_ms is not None else None,
    }


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _between(times: Mapping[str, str] | None) -> tuple[float, float] | None:
    """The moments of a filter, in ms."""
    if times is None:
        return None

    def at_ms(name: str, default: float) -> float:
        text = times.get(name)
        if text is None:
            return default
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise InvalidError(f"'{name}' must have the form yyyy-MM-ddTHH:mm, got {text}") from None
        return 1000 * (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()

    return at_ms("after", 0.0), at_ms("before", float("inf"))


def _page(items: Sequence[_One], p: Mapping[str, Any]) -> tuple[Sequence[_One], str | None]:
    """A page of items that are in the order of their creation, and the token for the rest."""
    rising = p.get("sortOrder") == "ASCENDING"
    ordered = sorted(items, key=lambda one: (one.created_ms, one.id), reverse=not rising)
    if token := p.get("nextToken"):
        last = _position(token)
        places = [((one.created_ms, one.id), one) for one in ordered]
        ordered = [one for place, one in places if (place > last if rising else place < last)]
    part = ordered[: p.get("maxResults", _PAGE)]
    if len(part) == len(ordered):
        return part, None
    return part, urlsafe_b64encode(json.dumps([part[-1].created_ms, part[-1].id]).encode()).decode()


def _position(token: str) -> tuple[int, str]:
    try:
        at_ms, name = json.loads(urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError):
        raise InvalidError("The nextToken is not valid") from None
    if not isinstance(at_ms, int) or not isinstance(name, str):
        raise InvalidError("The nextToken is not valid")
    return at_ms, name
