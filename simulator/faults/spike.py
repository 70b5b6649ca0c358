"""Single readings of a sensor are far off: a disturbance on its line."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._expecting import judged, untold, usually
from simulator.faults._sensor import Wrong


class Spike(Fault):
    """Adds `by` to a reading of `signal` now and then, as `probability` says."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: spike, signal: engine_temp_c, by: 60, probability: 0.05}"

    kind: Literal["spike"] = "spike"
    signal: str = Field(description="Whose sensor it is.")
    by: float = Field(description="How far off such a reading is, in the signal's unit.")
    probability: float = Field(0.02, gt=0, le=1, description="Of each reading that it is one.")

    def unfit(self, subject: Subject) -> str | None:
        return untold(self.signal, subject)

    def expects(self, subject: Subject) -> Expected:
        reads = usually(subject.signals)[self.signal] + self.by
        words = f"one reading of {1 / self.probability:.0f} of {self.signal} is {self.by:+g} beside the truth"
        return judged(subject, self.signal, reads, words, self.ramp_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Spiky(self, now_ms, self.signal)


class Spiky(Wrong):
    __slots__ = ()
    what: Spike

    def wrong(self, body: Body, true: float, now_ms: int) -> float:
        return true + self.what.by
