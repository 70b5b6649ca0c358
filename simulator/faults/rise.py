"""Something in the world rises for a while: vapours while somebody cooks, the load when a heater is switched on."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject, no_signal, watched
from simulator.faults._event import Towards
from simulator.faults._expecting import judged, usually
from simulator.schema import Misplaced
from simulator.signals import Range


class Rise(Fault):
    """The world's `signal`, not what a sensor says of it, rises by `by` over `ramp_s`; all that follows it follows."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: rise, signal: voc_air, by: [250, 700], ramp_s: 60, for_s: 900, harmless: true}"

    kind: Literal["rise"] = "rise"
    signal: str = Field(description="What rises.")
    by: Range | float = Field(description="How much, in its unit; [low, high]: each draws its own. Below 0 it falls.")
    ramp_s: float = Field(60.0, ge=0, le=31_536_000, description="How long it takes to its full strength.")

    @model_validator(mode="after")
    def _rises(self) -> "Rise":
        low, high = self.span
        if low > high:
            raise Misplaced(("by",), f"must rise from low to high, is [{low:g}, {high:g}]")
        return self

    @property
    def span(self) -> Range:
        """From the least to the most."""
        return self.by if isinstance(self.by, Range) else Range(self.by, self.by)

    def unfit(self, subject: Subject) -> str | None:
        return no_signal(self.signal, subject)

    def expects(self, subject: Subject) -> Expected:
        seen = watched(subject.signals, self.signal)
        first = usually(subject.signals)[self.signal]
        far = max(self.span, key=abs)
        reads = usually(subject.signals, {self.signal: first + far})[seen]
        return judged(subject, seen, reads, f"{self.signal} moves by up to {far:+g}", self.ramp_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Rising(self, body, now_ms)


class Rising(Towards):
    __slots__ = ()
    what: Rise

    def __init__(self, what: Rise, body: Body, now_ms: int) -> None:
        super().__init__(what, body, now_ms, what.signal, 0.0)
        low, high = what.span
        self.to = self.first + low + (high - low) * self.draw(body, "by")
