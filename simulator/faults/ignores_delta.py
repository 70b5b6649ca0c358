"""A device ignores what its shadow desires: it hears the delta and does nothing, so desired and reported stay apart."""

from typing import ClassVar, Literal

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._deltas import delta, no_shadow
from simulator.messages import Input, Later


class IgnoresDelta(Fault):
    """Loses every delta, also the one it gets when it asks for its shadow after connecting."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: ignores_delta, for_s: 600}"

    kind: Literal["ignores_delta"] = "ignores_delta"

    def unfit(self, subject: Subject) -> str | None:
        return no_shadow(subject)

    def expects(self, subject: Subject) -> Expected:
        return Expected("", "what is desired is not done, and an action is not answered", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Ignoring(self, now_ms)


class Ignoring(Active):
    __slots__ = ()

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        found = delta(body, said)
        return [*found.replaced({})] if found and self.chance(body) else [said]
