"""A device is slow: everything that it says, answers too, leaves it later than it should, with the times it had."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._disturbing import Disturbing
from simulator.faults._saying import What
from simulator.messages import Later, Output, Publish


class Slow(Fault):
    """Says every message `by_s` later. What it has not said when its power goes is lost.

    When the fault ends, what is said then comes before what is still late.
    """

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: slow, by_s: 8, ramp_s: 60, for_s: 600}"

    kind: Literal["slow"] = "slow"
    by_s: float = Field(gt=0, le=3600, description="How much later.")

    def expects(self, subject: Subject) -> Expected:
        return Expected("", f"it says everything {self.by_s:g} s late", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Slowed(self, now_ms)


class Slowed(Disturbing):
    __slots__ = ()
    what: Slow
    did: ClassVar[What] = "delayed"

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        after_ms = int(1000 * self.what.by_s * self.strength(now_ms))
        if type(said) is not Publish or not after_ms or not self.chance(body):
            return [said]
        return [*self.disturbed(said), Later(after_ms, said)]
