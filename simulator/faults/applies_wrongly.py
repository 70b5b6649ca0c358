"""A device applies what its shadow desires wrongly: it sets, and reports, another value than the one desired."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._deltas import delta, no_shadow
from simulator.messages import Input, Later

REMEMBERED = 64


class AppliesWrongly(Fault):
    """Takes numbers times `factor` and true for false; it takes that for done, however often it is told again."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: applies_wrongly, factor: 2}"

    kind: Literal["applies_wrongly"] = "applies_wrongly"
    factor: float = Field(2.0, description="By which a number is wrong.")

    def unfit(self, subject: Subject) -> str | None:
        return no_shadow(subject)

    def expects(self, subject: Subject) -> Expected:
        return Expected("", "what is reported is not what was desired, and stays so", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Mistaken(self, now_ms)


class Mistaken(Active):
    __slots__ = ("done",)
    what: AppliesWrongly

    def __init__(self, what: AppliesWrongly, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.done: dict[str, Any] = {}  # key → the desired value that it got wrong

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        found = delta(body, said)
        if found is None:
            return [said]
        state: dict[str, Any] = {}
        for name, value in found.state.items():
            wrong = self._wrong(value)
            if wrong == value and type(wrong) is type(value):
                state[name] = value
            elif name not in self.done or self.done[name] != value:  # else it is told again what it takes for done
                state[name] = value
                if len(self.done) < REMEMBERED and self.chance(body):
                    self.done[name], state[name] = value, wrong
        return [*found.replaced(state)]

    def _wrong(self, value: Any) -> Any:
        if isinstance(value, bool):
            return not value
        if not isinstance(value, int | float):
            return value
        wrong = value * self.what.factor
        return int(wrong) if isinstance(value, int) and wrong.is_integer() else wrong
