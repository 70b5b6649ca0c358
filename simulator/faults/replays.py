"""A device says old messages again, word for word, as after a restore of its memory."""

from collections import deque
from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._disturbing import Disturbing
from simulator.faults._saying import What
from simulator.messages import Later, Output, Publish


class Replays(Fault):
    """Says its last messages of some kinds again, every so often."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: replays, every_s: 60, last: 10}"

    kind: Literal["replays"] = "replays"
    every_s: float = Field(60.0, ge=0.1, le=31_536_000, description="From one replay to the next.")
    last: int = Field(10, ge=1, le=1000, description="How many it says again.")
    kinds: list[str] = Field(["telemetry"], min_length=1, max_length=32, description="Of which kinds of messages.")

    def expects(self, subject: Subject) -> Expected:
        return Expected("", "messages come twice, the second time late and out of order", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Replaying(self, now_ms)


class Replaying(Disturbing):
    __slots__ = ("said",)
    what: Replays
    did: ClassVar[What] = "duplicated"

    def __init__(self, what: Replays, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.said: deque[Publish] = deque(maxlen=what.last)
        self.wake_at_ms = now_ms + int(1000 * what.every_s)

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        if type(said) is Publish and said.kind in self.what.kinds:
            self.said.append(said)
        return [said]

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms = now_ms + int(1000 * self.what.every_s)
        if not body.online or not self.chance(body):
            return []
        again: Outputs = []
        for message in self.said:
            again += [*self.disturbed(message), message._replace(due_ms=0)]
        return again
