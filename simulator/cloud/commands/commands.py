"""Remote commands: what they are, what may be asked, and how an execution ends; state and rules, no HTTP, no MQTT.

Rules: time comes in as `now_ms`; whoever calls passes time on with `elapse`. An execution goes CREATED → IN_PROGRESS →
SUCCEEDED, FAILED, REJECTED or TIMED_OUT. Its timer starts when it is created. A time-out that the cloud set is not the
end: the device may still say what became of it. Values arrive checked against the service model (`rest_json`).
https://docs.aws.amazon.com/iot/latest/developerguide/iot-remote-command-concepts.html
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.cloud.commands import values as command_values
from simulator.cloud.service import ServiceError

COMMANDS_MAX = 10_000
EXECUTIONS_MAX = 100_000
TOKENS_MAX = 10_000
PAYLOAD_BYTES_MAX = 32 * 1024
TIMEOUT_S = 10
HOUR_MS = 3_600_000
TIMEOUT_MAX_MS = 12 * HOUR_MS
RETENTION_MS = 180 * 24 * HOUR_MS
NAMESPACE = "AWS-IoT"

CREATED, IN_PROGRESS, TIMED_OUT = "CREATED", "IN_PROGRESS", "TIMED_OUT"
_ENDS = ("SUCCEEDED", "FAILED", "REJECTED")
_NO_RESPONSE = {"reasonCode": "$NO_RESPONSE_FROM_DEVICE"}

Json = dict[str, Any]


class CommandError(ServiceError):
    """An answer of the service about commands."""


class ConflictError(CommandError):
    code, status = "ConflictException", 409


class InvalidError(CommandError):
    code, status = "ValidationException", 400


class NotFoundError(CommandError):
    code, status = "ResourceNotFoundException", 404


class QuotaExceededError(CommandError):
    code, status = "ServiceQuotaExceededException", 402


class ReportError(Exception):
    """Why a device's report is rejected; `code` is for the device."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Command:
    """A reusable instruction."""

    id: str
    arn: str
    created_ms: int
    updated_ms: int
    display_name: str | None = None
    description: str | None = None
    content: bytes = b""
    content_type: str | None = None
    template: str | None = None  # instead of the content
    output_format: str = "JSON"  # of what a template becomes
    parameters: list[Json] = field(default_factory=list)
    deprecated_ms: int | None = None
    deleted_ms: int | None = None  # it goes TIMEOUT_MAX_MS later


@dataclass(slots=True)
class Execution:
    """One command on one device."""

    id: str
    command: Command
    target_arn: str
    created_ms: int
    updated_ms: int
    timeout_s: int
    parameters: Json | None
    status: str = CREATED
    reason: Json | None = None
    result: Json | None = None  # as the API has it
    completed_ms: int | None = None
    over: bool = False  # nothing changes any more

    @property
    def deadline_ms(self) -> int:
        return self.created_ms + 1000 * self.timeout_s

    @property
    def target(self) -> tuple[str, str]:
        """(`things` or `clients`, the name), as in topics."""
        kind, _, name = self.target_arn.split(":", 5)[5].partition("/")
        return f"{kind}s", name


@dataclass(frozen=True, slots=True)
class Instruction:
    """What a device is sent."""

    payload: bytes
    content_type: str


class Commands:
    """All commands and executions of one account in one region."""

    def __init__(
        self, region: str, account_id: str, *, new_id: Callable[[], str], thing_exists: Callable[[str], bool]
    ) -> None:
        self._arn = f"arn:aws:iot:{region}:{account_id}:"
        self._new_id = new_id
        self._thing_exists = thing_exists
        self._commands: dict[str, Command] = {}
        self._executions: OrderedDict[str, Execution] = OrderedDict()  # by age
        self._deadlines: list[tuple[int, str]] = []  # a heap
        self._started: OrderedDict[str, tuple[Json, str]] = OrderedDict()  # client token → request, execution

    def arn(self, command_id: str) -> str:
        """What a policy calls a command, whether it exists or not."""
        return f"{self._arn}command/{command_id}"

    # -- commands ---

    def create(self, wanted: Command) -> Command:
        """Keep a new command; what it says is checked here."""
        if wanted.id in self._commands:
            raise ConflictError(f"Command already exists: {wanted.id}")
        if len(self._commands) >= COMMANDS_MAX:
            raise QuotaExceededError(f"The limit of {COMMANDS_MAX} commands is reached")
        try:
            _check(wanted)
        except ValueError as problem:
            raise InvalidError(str(problem)) from None
        self._commands[wanted.id] = wanted
        return wanted

    def knows(self, command_id: str) -> bool:
        return command_id in self._commands

    def command(self, command_id: str) -> Command:
        try:
            return self._commands[command_id]
        except KeyError:
            raise NotFoundError(f"Command not found: {command_id}") from None

    def commands(self, parameter: str | None = None) -> list[Command]:
        """Those that are not being deleted, in the order they were created."""
        found = (command for command in self._commands.values() if command.deleted_ms is None)
        return [c for c in found if parameter is None or any(p["name"] == parameter for p in c.parameters)]

    def update(
        self,
        command_id: str,
        now_ms: int,
        *,
        display_name: str | None = None,
        description: str | None = None,
        deprecated: bool | None = None,
    ) -> Command:
        command = self.command(command_id)
        if command.deleted_ms is not None:
            raise ConflictError(f"Command {command_id} is pending deletion")
        stays_deprecated = command.deprecated_ms is not None and deprecated is not False
        if stays_deprecated and (display_name is not None or description is not None):
            raise ConflictError(f"Command {command_id} is deprecated; restore it before changing it")
        if deprecated is not None and deprecated != (command.deprecated_ms is not None):
            command.deprecated_ms = now_ms if deprecated else None
        if display_name is not None:
            command.display_name = display_name
        if description is not None:
            command.description = description
        command.updated_ms = now_ms
        return command

    def delete(self, command_id: str, now_ms: int) -> bool:
        """Whether it is gone already. Unknown is as good as deleted: the operation has no ResourceNotFoundException."""
        command = self._commands.get(command_id)
        if command is None:
            return True
        if command.deprecated_ms is not None and now_ms - command.deprecated_ms >= TIMEOUT_MAX_MS:
            del self._commands[command_id]
            return True
        if command.deleted_ms is None:
            command.deleted_ms = now_ms
        return False

    # -- executions ---

    def start(
        self,
        command_arn: str,
        target_arn: str,
        now_ms: int,
        *,
        parameters: Json | None = None,
        timeout_s: int | None = None,
        token: str | None = None,
    ) -> tuple[Execution, Instruction | None]:
        """A new execution and what its device is told; nothing is told for a repeated request."""
        request = {"command": command_arn, "target": target_arn, "parameters": parameters, "timeout": timeout_s}
        if token is not None and token in self._started:
            before, execution_id = self._started[token]
            if before != request or execution_id not in self._executions:
                raise ConflictError(f"clientToken {token} was used for another request")
            return self._executions[execution_id], None
        command = self._usable(command_arn)
        self._check_target(target_arn)
        timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
        if 1000 * timeout_s > TIMEOUT_MAX_MS:
            raise InvalidError(f"executionTimeoutSeconds must be at most {TIMEOUT_MAX_MS // 1000}")
        try:
            instruction = _instruction(command, parameters or {}, timeout_s)
        except ValueError as problem:
            raise InvalidError(str(problem)) from None
        execution = Execution(self._new_id(), command, target_arn, now_ms, now_ms, timeout_s, parameters)
        self._executions[execution.id] = execution
        if len(self._executions) > EXECUTIONS_MAX:
            self._executions.popitem(last=False)
        heapq.heappush(self._deadlines, (execution.deadline_ms, execution.id))
        if token is not None:
            self._started[token] = request, execution.id
            if len(self._started) > TOKENS_MAX:
                self._started.popitem(last=False)
        return execution, instruction

    def _usable(self, command_arn: str) -> Command:
        prefix = self.arn("")
        if not command_arn.startswith(prefix):
            raise InvalidError(f"Not the ARN of a command of this account and region: {command_arn}")
        command = self.command(command_arn.removeprefix(prefix))
        if command.deprecated_ms is not None or command.deleted_ms is not None:
            state = "pending deletion" if command.deleted_ms is not None else "deprecated"
            raise InvalidError(f"Command {command.id} is {state}; it takes no new executions")
        return command

    def _check_target(self, arn: str) -> None:
        kind, _, name = arn.removeprefix(self._arn).partition("/")
        if not arn.startswith(self._arn) or kind not in ("thing", "client") or not name or "/" in name:
            raise InvalidError(f"Not the ARN of a thing or a client of this account and region: {arn}")
        if kind == "thing" and not self._thing_exists(name):
            raise NotFoundError(f"Thing not found: {name}")

    def execution(self, execution_id: str, target_arn: str) -> Execution:
        found = self._executions.get(execution_id)
        if found is None or found.target_arn != target_arn:
            raise NotFoundError(f"Command execution not found: {execution_id}")
        return found

    def executions(self) -> Iterable[Execution]:
        """All, in the order they were created."""
        return self._executions.values()

    def delete_execution(self, execution: Execution) -> None:
        if not execution.over:
            raise ConflictError(f"Command execution {execution.id} is {execution.status}, which is not terminal")
        self._executions.pop(execution.id, None)

    # -- what devices say, and time ---

    def report(self, target: tuple[str, str], execution_id: str, said: Mapping[str, Any], now_ms: int) -> Execution:
        """Take a device's report (see `command_values.report`); raises ReportError."""
        found = self._executions.get(execution_id)
        if found is None or found.target != target:
            raise ReportError("ResourceNotFound", f"Command execution not found: {execution_id}")
        if found.over:
            raise ReportError("TerminalStateReached", f"Command execution {execution_id} is already {found.status}")
        try:
            status, reason, result = command_values.report(said)
        except ValueError as problem:
            raise ReportError("InvalidRequest", str(problem)) from None
        if found.status == TIMED_OUT and status == IN_PROGRESS:
            raise ReportError("InvalidStateTransition", f"{found.status} cannot become {status}")
        found.status, found.reason, found.updated_ms = status, reason, now_ms
        if result is not None:
            found.result = result
        if status in _ENDS or status == TIMED_OUT:
            found.over, found.completed_ms = True, now_ms
        return found

    def elapse(self, now_ms: int) -> list[Execution]:
        """Let time pass: the executions that timed out now. What is kept long enough goes."""
        timed_out = []
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            deadline_ms, execution_id = heapq.heappop(self._deadlines)
            found = self._executions.get(execution_id)
            if found is not None and not found.over and found.status != TIMED_OUT:
                found.status, found.reason, found.updated_ms = TIMED_OUT, dict(_NO_RESPONSE), deadline_ms
                timed_out.append(found)
        while self._executions and next(iter(self._executions.values())).created_ms + RETENTION_MS <= now_ms:
            self._executions.popitem(last=False)
        for command in [c for c in self._commands.values() if c.deleted_ms is not None]:
            if now_ms - (command.deleted_ms or 0) >= TIMEOUT_MAX_MS:
                del self._commands[command.id]
        return timed_out

    @property
    def next_deadline_ms(self) -> int | None:
        """When `elapse` may have something to say."""
        return self._deadlines[0][0] if self._deadlines else None


def _check(command: Command) -> None:
    """Raise ValueError with what is wrong with a new command."""
    if (command.template is None) == (not command.content):
        raise ValueError("Exactly one of payload and payloadTemplate must be given, and not be empty")
    if len(command.content) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"The payload has {len(command.content)} bytes; the limit is {PAYLOAD_BYTES_MAX}")
    if command.template is None and command.parameters:
        raise ValueError("mandatoryParameters need a payloadTemplate")
    if command.template is not None:
        command_values.check_template(command.template)
    names = [parameter["name"] for parameter in command.parameters]
    if len(set(names)) < len(names):
        raise ValueError("Two of the mandatoryParameters have the same name")
    for parameter in command.parameters:
        command_values.check_parameter(parameter)


def _instruction(command: Command, given: Json, timeout_s: int) -> Instruction:
    """What the device is sent; raises ValueError."""
    if command.template is None:
        if given:
            raise ValueError(f"Command {command.id} has a static payload and takes no parameters")
        return Instruction(command.content, command.content_type or "application/octet-stream")
    known = command_values.names_in(command.template) | {parameter["name"] for parameter in command.parameters}
    if strange := sorted(set(given) - known):
        raise ValueError(f"Command {command.id} has no parameter {', '.join(strange)}")
    values = command_values.resolve(command.parameters, given)
    payload = command_values.fill(command.template, values, timeout_s, command.output_format)
    return Instruction(payload, f"application/{command.output_format.lower()}")
