"""Heartbeat: a small sign of life when nothing else was said for a while. The smallest behaviour: copy this one.

A heartbeat says that the device is alive now, so while it is offline it says none, and keeps none for later.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Behaviour, Body, Duty, Outputs
from simulator.behaviours._platform import EVENT, document
from simulator.messages import Connected, Input, Publish, Told
from simulator.signals import Range

PERIOD_S = Range(0.1, 86_400)
SILENT_TIMES = 10  # a device that measures seldom is not silent before it left out so many


class Heartbeat(Behaviour):
    """Says that the device is alive when it said nothing else."""

    settable: ClassVar[Mapping[str, Range]] = {"every_s": PERIOD_S}

    kind: Literal["heartbeat"] = "heartbeat"
    every_s: float = Field(ge=PERIOD_S.low, le=PERIOD_S.high, description="The longest silence of a device.")
    topic: str = Field(f"{EVENT}/pub/heartbeat/json", description="With {env}, {hub} and {thing} filled in.")
    qos: Literal[0, 1] = 0

    def every(self, period_s: float) -> "Heartbeat":
        return self.model_copy(update={"every_s": min(PERIOD_S.high, max(self.every_s, SILENT_TIMES * period_s))})

    def duty(self) -> Duty:
        return HeartbeatDuty(self)


class HeartbeatDuty(Duty):
    __slots__ = ("count", "every_ms", "what")

    def __init__(self, what: Heartbeat) -> None:
        super().__init__()
        self.what = what
        self.every_ms = int(1000 * what.every_s)
        self.count = 0

    def receive(self, body: Body, said: Input, now_ms: int) -> Outputs:
        if isinstance(said, Told) and said.what == "heartbeat.every_s":
            self.every_ms = max(1, int(1000 * float(said.value)))
        elif not isinstance(said, Connected):
            return []
        self.wake_at_ms = now_ms + self.every_ms
        return []

    def step(self, body: Body, now_ms: int) -> Outputs:
        due_ms = body.said_ms + self.every_ms
        if due_ms > now_ms or not body.online:
            self.wake_at_ms = max(due_ms, now_ms + 1) if body.online else now_ms + self.every_ms
            return []
        self.wake_at_ms = now_ms + self.every_ms
        self.count += 1
        payload = document(body, now_ms, {"heartbeat": {"count": self.count}})
        return [Publish("heartbeat", body.topic(self.what.topic), payload, self.what.qos)]
