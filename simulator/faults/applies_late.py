"""A device applies what its shadow desires late: it takes the delta, and only begins a while after."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._deltas import delta, no_shadow
from simulator.messages import Input, Later


class AppliesLate(Fault):
    """Hears every delta `by_s` later; what it has not heard when its power goes it never does."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: applies_late, by_s: 45}"

    kind: Literal["applies_late"] = "applies_late"
    by_s: float = Field(gt=0, le=86_400, description="How much later.")

    def unfit(self, subject: Subject) -> str | None:
        return no_shadow(subject)

    def expects(self, subject: Subject) -> Expected:
        return Expected("", f"what is desired is done {self.by_s:g} s late", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Delaying(self, now_ms)


class Delaying(Active):
    __slots__ = ()
    what: AppliesLate

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        if delta(body, said) and self.chance(body):
            return [Later(int(1000 * self.what.by_s * self.strength(now_ms)), said)]
        return [said]
