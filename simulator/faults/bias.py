"""A sensor reads too much or too little by a constant. The smallest fault: copy this one."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._expecting import judged, untold, usually
from simulator.faults._sensor import Wrong


class Bias(Fault):
    """Adds `by` to what the sensor of `signal` says."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: bias, signal: engine_temp_c, by: 40, ramp_s: 30}"

    kind: Literal["bias"] = "bias"
    signal: str = Field(description="Whose sensor is wrong.")
    by: float = Field(description="How much it adds, in the signal's unit.")

    def unfit(self, subject: Subject) -> str | None:
        return untold(self.signal, subject)

    def expects(self, subject: Subject) -> Expected:
        reads = usually(subject.signals)[self.signal] + self.by
        return judged(subject, self.signal, reads, f"{self.signal} reads {self.by:+g} beside the truth", self.ramp_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Biased(self, now_ms, self.signal)


class Biased(Wrong):
    __slots__ = ()
    what: Bias

    def wrong(self, body: Body, true: float, now_ms: int) -> float:
        return true + self.what.by
