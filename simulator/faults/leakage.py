"""An insulation fails: a leakage current flows, all the time and not quite steadily."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject, no_signal, watched
from simulator.faults._event import Towards
from simulator.faults._expecting import judged, usually


class Leakage(Fault):
    """The leakage `signal` rises to `to` over `ramp_s`."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: leakage, to: 20, ramp_s: 60}"

    kind: Literal["leakage"] = "leakage"
    signal: str = Field("leak", description="The signal that leaks.")
    to: float = Field(20.0, description="How much, in the signal's unit.")
    ramp_s: float = Field(60.0, ge=0, le=31_536_000, description="How long it takes to its full strength.")

    def unfit(self, subject: Subject) -> str | None:
        return no_signal(self.signal, subject)

    def expects(self, subject: Subject) -> Expected:
        seen = watched(subject.signals, self.signal)
        reads = usually(subject.signals, {self.signal: self.to})[seen]
        return judged(subject, seen, reads, f"{seen} rises to {reads:.3g}", self.ramp_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Towards(self, body, now_ms, self.signal, self.to)
