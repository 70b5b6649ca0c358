"""Commands over MQTT: what devices are sent, what they answer, what the world is told.

    $aws/commands/{things|clients}/{name}/executions/{id}/request[/json|/cbor]                  to the device
    $aws/commands/{things|clients}/{name}/executions/{id}/response/{json|cbor}                  from the device
    $aws/commands/{things|clients}/{name}/executions/{id}/response/{accepted|rejected}/{format} to it again
    $aws/events/commandExecution/{command}/{STATUS}                                             to the world

Rules: accepted and rejected go to the connection that asked, subscribed or not, and to no other. Reports come in the
order in which they were published, so that two never meet (the service's DataConflict does not occur).
"""

import asyncio
import json
import re
import time
from typing import Any, Protocol

from simulator.cloud.commands import cbor
from simulator.cloud.commands.commands import Commands, Execution, Instruction, ReportError
from simulator.cloud.emulator import Emulator

_RESPONSE = re.compile(r"\$aws/commands/(things|clients)/([^/]+)/executions/([^/]+)/response/(json|cbor)")
# MiniStack allows these with a format behind them only; AWS's own example policies have them without one too.
_PLAIN_ANSWERS = r"commands/(things|clients|\+)/[^/]+/executions/[^/]+/response/(accepted|rejected)"
_FORMATS = {"application/json": "/json", "application/cbor": "/cbor"}
_PAYLOAD_BYTES_MAX = 128 * 1024


class CommandTopics:
    """The commands' side of the broker."""

    def __init__(self, emulator: Emulator, commands: Commands) -> None:
        self._emulator = emulator
        self._commands = commands
        self._alarm: asyncio.TimerHandle | None = None
        self._telling: set[asyncio.Task[None]] = set()
        install(emulator.iot, self.answer)

    # -- to the device and the world ---

    async def begin(self, execution: Execution, instruction: Instruction) -> None:
        """Send a device its command."""
        iot = self._emulator.iot
        kind, name = execution.target
        topic = f"$aws/commands/{kind}/{name}/executions/{execution.id}/request"
        text = instruction.content_type == "application/json"
        properties: list[tuple[int, Any]] = [(iot.PROP_CONTENT_TYPE, instruction.content_type)]
        if text:
            properties.insert(0, (iot.PROP_PAYLOAD_FORMAT_INDICATOR, 1))
        await self._publish(
            topic + _FORMATS.get(instruction.content_type, ""), instruction.payload, iot._encode_properties(properties)
        )
        await self.tell(execution)
        self._set_alarm()

    async def tell(self, execution: Execution) -> None:
        """The event of an execution's status."""
        event = {
            "executionId": execution.id,
            "status": execution.status,
            "eventType": "COMMAND_EXECUTION",
            "commandArn": execution.command.arn,
            "targetArn": execution.target_arn,
            "timestamp": execution.updated_ms,
        }
        if execution.reason:
            event["statusReason"] = execution.reason
        topic = f"$aws/events/commandExecution/{execution.command.id}/{execution.status}"
        await self._publish(topic, json.dumps(event).encode())

    async def _publish(self, topic: str, payload: bytes, properties: bytes = b"") -> None:
        iot = self._emulator.iot
        with self._emulator.scoped():
            account, region = iot.get_account_id(), iot.get_region()
            await iot.broker_publish(account, region, topic, payload, qos=1, properties=properties)

    # -- time ---

    async def elapse(self, now_ms: int) -> None:
        """Let time pass, and tell what it did."""
        for execution in self._commands.elapse(now_ms):
            await self.tell(execution)

    def _set_alarm(self) -> None:
        deadline_ms = self._commands.next_deadline_ms
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if deadline_ms is not None:
            delay_s = max(0.0, (deadline_ms - _now_ms()) / 1000)
            self._alarm = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _ring(self) -> None:
        telling = asyncio.get_running_loop().create_task(self.elapse(_now_ms()))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)
        telling.add_done_callback(lambda _: self._set_alarm())

    # -- from the device ---

    async def answer(self, topic: str, payload: bytes) -> tuple[str, bytes] | None:
        """Where a device's report is answered, and with what; None: it is none."""
        found = _RESPONSE.fullmatch(topic)
        if found is None:
            return None
        kind, name, execution_id, form = found.groups()
        said: dict[str, Any] = {}
        try:
            said = _decoded(payload, form)
            now_ms = _now_ms()
            await self.elapse(now_ms)
            execution = self._commands.report((kind, name), execution_id, said, now_ms)
        except ReportError as problem:
            verdict, document = "rejected", {"error": problem.code, "errorMessage": str(problem)}
        else:
            verdict, document = "accepted", {}
            await self.tell(execution)
        token = said.get("clientToken")
        head = {"executionId": execution_id, **({"clientToken": token} if isinstance(token, str) else {})}
        encoded = cbor.encode({**head, **document}) if form == "cbor" else json.dumps({**head, **document}).encode()
        return f"{topic.rpartition('/')[0]}/{verdict}/{form}", encoded


class _Answer(Protocol):
    async def __call__(self, topic: str, payload: bytes) -> tuple[str, bytes] | None: ...


def install(iot: Any, answer: _Answer) -> None:
    """Let MiniStack's broker hear reports: it knows the topics, but nobody behind them.

    Its sessions ask `_parse_fleet_provisioning_topic` of every message that was published and acknowledged, and
    answer those that it knows on the same connection; this is the one place that has the requester in its hand.
    """
    parse, respond = iot._parse_fleet_provisioning_topic, iot._WSSession._answer_fleet_provisioning

    def parse_or_ours(topic: str) -> Any:
        return ("command", None) if _RESPONSE.fullmatch(topic) else parse(topic)

    async def respond_or_ours(session: Any, topic: str, operation: str, template: Any, payload: bytes) -> None:
        if operation != "command":
            await respond(session, topic, operation, template, payload)
            return
        found = await answer(topic, payload)
        if found is not None:
            await session.answered(*found)

    iot._parse_fleet_provisioning_topic = parse_or_ours
    iot._WSSession._answer_fleet_provisioning = respond_or_ours
    known: str = iot._RESERVED_FILTER_RE.pattern
    iot._RESERVED_FILTER_RE = re.compile(rf"{known}|\$aws/{_PLAIN_ANSWERS}")


def _decoded(payload: bytes, form: str) -> dict[str, Any]:
    if len(payload) > _PAYLOAD_BYTES_MAX:
        raise ReportError("InvalidRequest", f"The report has more than {_PAYLOAD_BYTES_MAX} bytes")
    try:
        said = cbor.decode(payload) if form == "cbor" else json.loads(payload)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise ReportError("InvalidJson", "The report is not a JSON object" if form == "json" else "Not a CBOR map")
    return said


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
