"""What a device can do when it is asked, by its shadow or by a control request: one table, one way to answer.

The answer, `control_result`: {"device_timestamp": ms, "data": {"control": {"name", "id", "result", "reason"}}}
with result `done` or `failed`. An action that reboots answers first; the answer leaves before the power goes, or
from the link's queue when it is back.
"""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field, model_validator

from simulator.behaviours import Behaviour, Body, Outputs
from simulator.behaviours._platform import EVENT, report
from simulator.errors import did_you_mean
from simulator.messages import Note, PowerCycle, Publish
from simulator.schema import Misplaced, Strict

RESULT_TOPIC = f"{EVENT}/pub/control_result/json"
ID_MAX = 128
ACTIONS_MAX = 16


class Action(Strict):
    """Something a device does when asked by name: restart a part, set parts, upload a file, reboot."""

    restarts: str | None = Field(None, description="The part (a signal) that is restarted.")
    sets: dict[str, float] = Field({}, max_length=16, description="Parts (signals) and the values they are set to.")
    uploads: str | None = Field(None, description="The upload behaviour, by its `name`, that begins.")
    reboots_s: float | None = Field(None, ge=0, le=86_400, description="The device is away so long.")
    takes_s: float = Field(1.0, ge=0, le=3600, description="How long the device takes to do it.")

    @model_validator(mode="after")
    def _does_something(self) -> "Action":
        if not (self.restarts or self.sets or self.uploads) and self.reboots_s is None:
            raise ValueError("does nothing: give restarts, sets, uploads or reboots_s")
        return self

    def signals(self) -> tuple[str, ...]:
        return (*([self.restarts] if self.restarts else []), *self.sets)


def misfits(actions: Mapping[str, Action], others: Sequence[Behaviour]) -> Iterator[Misplaced]:
    """Actions that need a behaviour which the profile has not."""
    uploads = [str(name) for other in others if (name := getattr(other, "uploads_as", None))]
    for name, action in actions.items():
        if action.uploads is not None and action.uploads not in uploads:
            hint = did_you_mean(action.uploads, uploads)
            yield Misplaced(("actions", name, "uploads"), f"no upload behaviour is named '{action.uploads}'{hint}")


def act(
    body: Body, actions: Mapping[str, Action], name: str, action_id: str, now_ms: int
) -> tuple[str, Outputs, Outputs]:
    """Do it: why it failed (empty when it did not), what is said, and what must come after everything else."""
    action = actions.get(name)
    said: Outputs = []
    wrong = "" if action else f"unknown action '{name}'"
    if action:
        if action.restarts:
            body.restart_part(action.restarts, now_ms)
        for part, value in action.sets.items():
            body.set_part(part, value, now_ms)
        if action.uploads:
            said += body.tell(f"upload.{action.uploads}", None, now_ms)
    said.append(Note("acted", {"action": name, "id": action_id, "result": "failed" if wrong else "done"}))
    last: Outputs = []
    if action and action.reboots_s is not None:
        off_ms = int(1000 * action.reboots_s)
        last = [Note("rebooting", {"off_ms": off_ms}), PowerCycle(off_ms)]
    return wrong, said, last


def perform(
    body: Body, actions: Mapping[str, Action], name: str, action_id: str, topic: str, now_ms: int
) -> tuple[Outputs, Outputs]:
    """Do it and answer; beside it what must come after everything else: the power going."""
    wrong, said, last = act(body, actions, name, action_id, now_ms)
    said.append(answer(body, topic, name, action_id, "failed" if wrong else "done", wrong, now_ms))
    return said, last


def answer(body: Body, topic: str, name: str, action_id: str, result: str, reason: str, now_ms: int) -> Publish:
    """A control_result."""
    control = {"name": name, "id": action_id, "result": result, "reason": reason}
    return report(body, now_ms, "control_result", body.topic(topic), {"control": control})
