"""AWS IoT commands: hear one, act, say what became of it.

    $aws/commands/things/{thing}/executions/{execution}/request/json      {"name": "restart-fan"}
    $aws/commands/things/{thing}/executions/{execution}/response/json     {"status": "IN_PROGRESS" … "SUCCEEDED"}

The name is that of an action, as in control requests. What the device cannot read, does not know or has no room for it
rejects. It acts once for each execution, however often the request comes, also after a reboot. One action at a time.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import orjson
from pydantic import Field

from simulator.behaviours import NEVER_MS, Behaviour, Body, Duty, Outputs, _acting
from simulator.behaviours._acting import ACTIONS_MAX, ID_MAX, Action
from simulator.behaviours._platform import asked
from simulator.messages import Booted, Input, Note, Publish, Received
from simulator.schema import Misplaced
from simulator.signals import Signal

WAITING_MAX = 16
REMEMBERED = 64  # executions that were done
_REASON_MAX = 1024


class Commands(Behaviour):
    """Acts on the commands of AWS IoT Device Management and answers each."""

    through_hub = False

    kind: Literal["commands"] = "commands"
    actions: dict[str, Action] = Field({}, max_length=ACTIONS_MAX, description="Actions by their names.")

    def signals(self) -> tuple[str, ...]:
        return tuple(name for action in self.actions.values() for name in action.signals())

    def misfits(self, others: Sequence[Behaviour], signals: Mapping[str, Signal]) -> Iterator[Misplaced]:
        return _acting.misfits(self.actions, others)

    def duty(self) -> Duty:
        return CommandsDuty(self)


class CommandsDuty(Duty):
    __slots__ = ("waiting", "what")

    def __init__(self, what: Commands) -> None:
        super().__init__()
        self.what = what
        self.waiting: deque[tuple[str, str]] | None = None  # (name, execution); the first is being done

    def filters(self, body: Body) -> tuple[str, ...]:
        return (_topic(body, "+", "request"), _topic(body, "+", "response/rejected"))

    def receive(self, body: Body, said: Input, now_ms: int) -> Outputs:
        match said:
            case Booted():
                self.waiting, self.wake_at_ms = None, NEVER_MS
            case Received(topic, payload) if topic.startswith(_prefix(body)):
                execution, _, leaf = topic.removeprefix(_prefix(body)).partition("/")
                if leaf == "request/json":
                    return self._asked(body, execution, asked(payload).get("name"), now_ms)
                if leaf == "response/rejected/json":
                    return [Note("command_refused", {"id": execution, "why": str(asked(payload).get("error"))})]
        return []

    def _asked(self, body: Body, execution: str, name: object, now_ms: int) -> Outputs:
        waiting = self.waiting or ()
        if execution in body.flash.get("commands", ()) or any(execution == of for _, of in waiting):
            return []
        if not isinstance(name, str) or not 0 < len(name) <= ID_MAX:
            return [_answer(body, execution, "REJECTED", "MALFORMED", "no name")]
        if name not in self.what.actions:
            return [_answer(body, execution, "REJECTED", "UNKNOWN_ACTION", f"unknown action '{name}'")]
        if len(waiting) >= WAITING_MAX:
            return [_answer(body, execution, "REJECTED", "BUSY", f"{WAITING_MAX} actions wait already")]
        self.waiting = self.waiting or deque()
        self.waiting.append((name, execution))
        if len(self.waiting) == 1:
            self._begin(now_ms)
        return [Note("command_received", {"action": name, "id": execution}), _answer(body, execution, "IN_PROGRESS")]

    def _begin(self, now_ms: int) -> None:
        """Set the alarm for the end of what is first now."""
        self.wake_at_ms = NEVER_MS
        if self.waiting:
            self.wake_at_ms = now_ms + int(1000 * self.what.actions[self.waiting[0][0]].takes_s)

    def step(self, body: Body, now_ms: int) -> Outputs:
        said: Outputs = []
        while self.waiting and self.wake_at_ms <= now_ms:
            name, execution = self.waiting.popleft()
            body.flash["commands"] = (*body.flash.get("commands", ()), execution)[-REMEMBERED:]
            _, done, last = _acting.act(body, self.what.actions, name, execution, now_ms)
            said += [*done, _answer(body, execution, "SUCCEEDED")]
            self._begin(now_ms)
            if last:
                return said + last  # What waits is not answered: its time runs out at the cloud.
        if not self.waiting:
            self.waiting, self.wake_at_ms = None, NEVER_MS
        return said


def _prefix(body: Body) -> str:
    return f"$aws/commands/things/{body.thing}/executions/"


def _topic(body: Body, execution: str, leaf: str) -> str:
    return f"{_prefix(body)}{execution}/{leaf}/json"


def _answer(body: Body, execution: str, status: str, code: str = "", text: str = "") -> Publish:
    report: dict[str, object] = {"status": status}
    if code:
        shown = "".join(c if c.isprintable() else "?" for c in text[:_REASON_MAX])
        report["statusReason"] = {"reasonCode": code, "reasonDescription": shown}
    return Publish("command_report", _topic(body, execution, "response"), orjson.dumps(report))
