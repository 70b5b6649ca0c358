"""A sensor reads in steps that are far too coarse: bits of its converter are dead."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._expecting import judged, untold, usually
from simulator.faults._sensor import Wrong, in_steps


class Quantised(Fault):
    """The sensor of `signal` reads the nearest multiple of `step`."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: quantised, signal: engine_temp_c, step: 16}"

    kind: Literal["quantised"] = "quantised"
    signal: str = Field(description="Whose sensor it is.")
    step: float = Field(gt=0, description="The width of a step, in the signal's unit.")

    def unfit(self, subject: Subject) -> str | None:
        return untold(self.signal, subject)

    def expects(self, subject: Subject) -> Expected:
        reads = in_steps(usually(subject.signals)[self.signal], self.step)
        return judged(subject, self.signal, reads, f"{self.signal} moves in steps of {self.step:g}", self.ramp_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Coarse(self, now_ms, self.signal)


class Coarse(Wrong):
    __slots__ = ()
    what: Quantised

    def wrong(self, body: Body, true: float, now_ms: int) -> float:
        return in_steps(true, self.what.step)
