"""Control requests: hear one, act, answer with a control_result.

A request is {"data": {"control": {"name": "restart-fan", "id": "…"}}}, with a device_timestamp or without. The
device acts once for each id, however often the request comes, also after a reboot; what it cannot read or does not
know it answers as failed. One action at a time, in the order of the requests; too many at once are refused.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from simulator.behaviours import NEVER_MS, Behaviour, Body, Duty, Outputs, _acting
from simulator.behaviours._acting import ACTIONS_MAX, ID_MAX, RESULT_TOPIC, Action
from simulator.behaviours._platform import EVENT, asked, inside
from simulator.messages import Booted, Input, Note, Received
from simulator.schema import Misplaced
from simulator.signals import Signal

WAITING_MAX = 16
REMEMBERED = 64  # ids of requests that were done
_UNREADABLE = "unreadable"  # stands for a name or an id that is none: an answer has both


class Control(Behaviour):
    """Acts on control requests and answers each."""

    kind: Literal["control"] = "control"
    actions: dict[str, Action] = Field({}, max_length=ACTIONS_MAX, description="Actions by their names.")
    request_topic: str = Field(f"{EVENT}/pub/control_request/json", description="Where requests are heard.")
    result_topic: str = Field(RESULT_TOPIC, description="Where they are answered.")

    def signals(self) -> tuple[str, ...]:
        return tuple(name for action in self.actions.values() for name in action.signals())

    def misfits(self, others: Sequence[Behaviour], signals: Mapping[str, Signal]) -> Iterator[Misplaced]:
        return _acting.misfits(self.actions, others)

    def duty(self) -> Duty:
        return ControlDuty(self)


class ControlDuty(Duty):
    __slots__ = ("waiting", "what")

    def __init__(self, what: Control) -> None:
        super().__init__()
        self.what = what
        self.waiting: deque[tuple[str, str]] | None = None  # (name, id); the first is being done

    def filters(self, body: Body) -> tuple[str, ...]:
        return (body.topic(self.what.request_topic),)

    def receive(self, body: Body, said: Input, now_ms: int) -> Outputs:
        match said:
            case Booted():
                self.waiting, self.wake_at_ms = None, NEVER_MS
            case Received(topic, payload) if topic == body.topic(self.what.request_topic):
                return self._asked(body, inside(asked(payload), "control"), now_ms)
        return []

    def _asked(self, body: Body, control: dict[str, Any], now_ms: int) -> Outputs:
        name, action_id = _text(control.get("name")), _text(control.get("id"))
        wrong = "malformed request: " + ("no id" if name else "no name") if not (name and action_id) else ""
        waiting = self.waiting or ()
        if action_id and (action_id in body.flash.get("requests", ()) or any(action_id == of for _, of in waiting)):
            return []
        if not wrong and len(waiting) >= WAITING_MAX:
            wrong = f"busy: {WAITING_MAX} actions wait already"
        if wrong:
            shown = name or _UNREADABLE, action_id or _UNREADABLE
            return [_acting.answer(body, self.what.result_topic, *shown, "failed", wrong, now_ms)]
        self.waiting = self.waiting or deque()
        self.waiting.append((name, action_id))
        if len(self.waiting) == 1:
            self._begin(now_ms)
        return [Note("request_received", {"action": name, "id": action_id})]

    def _begin(self, now_ms: int) -> None:
        """Set the alarm for the end of what is first now."""
        self.wake_at_ms = NEVER_MS
        if self.waiting:
            action = self.what.actions.get(self.waiting[0][0])
            self.wake_at_ms = now_ms + (int(1000 * action.takes_s) if action else 0)

    def step(self, body: Body, now_ms: int) -> Outputs:
        said: Outputs = []
        while self.waiting and self.wake_at_ms <= now_ms:
            name, action_id = self.waiting.popleft()
            body.flash["requests"] = (*body.flash.get("requests", ()), action_id)[-REMEMBERED:]
            done, last = _acting.perform(body, self.what.actions, name, action_id, self.what.result_topic, now_ms)
            said += done
            self._begin(now_ms)
            if last:
                return said + last  # What waits is asked for again, or forgotten, as after any reboot.
        if not self.waiting:
            self.waiting, self.wake_at_ms = None, NEVER_MS
        return said


def _text(value: Any) -> str:
    """A name or an id as it may stand in an answer; empty for what is none."""
    return value if isinstance(value, str) and 0 < len(value) <= ID_MAX else ""
