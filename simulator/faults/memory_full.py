"""A device's memory is full: while it is offline it keeps only a few messages, and what comes then is lost."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._disturbing import Disturbing
from simulator.faults._saying import What
from simulator.messages import Connected, Dropped, Input, Later, Output, Publish


class MemoryFull(Fault):
    """Keeps `keep` messages of each time that it is offline: the first ones."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: memory_full, keep: 10}"

    kind: Literal["memory_full"] = "memory_full"
    keep: int = Field(10, ge=0, le=100_000, description="For so many messages there is room.")

    def expects(self, subject: Subject) -> Expected:
        return Expected("", f"of every time offline it tells the first {self.keep} messages only", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Full(self, now_ms)


class Full(Disturbing):
    __slots__ = ("kept",)
    what: MemoryFull
    did: ClassVar[What] = "dropped"

    def __init__(self, what: MemoryFull, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.kept = 0

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        if body.online or type(said) is not Publish:
            return [said]
        if self.kept < self.what.keep or not self.chance(body):
            self.kept += 1
            return [said]
        return [*self.disturbed(said), Dropped(said)]

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        if type(said) is Connected:
            self.kept = 0
        return [said]
