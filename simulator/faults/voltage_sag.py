"""The supply sags: a part of the voltage is gone for a while."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject, no_signal, watched
from simulator.faults._event import Towards
from simulator.faults._expecting import judged, usually


class VoltageSag(Fault):
    """The voltage `signal` loses the share `depth` of what it is. Readings show it only while it lasts."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: voltage_sag, signal: grid, depth: 0.3, for_s: 20}"

    kind: Literal["voltage_sag"] = "voltage_sag"
    signal: str = Field("grid", description="The voltage of the supply.")
    depth: float = Field(0.3, gt=0, lt=1, description="How much of it is gone: 0.3 leaves 70 %.")

    def unfit(self, subject: Subject) -> str | None:
        return no_signal(self.signal, subject)

    def expects(self, subject: Subject) -> Expected:
        first, seen = usually(subject.signals)[self.signal], watched(subject.signals, self.signal)
        reads = usually(subject.signals, {self.signal: first * (1 - self.depth)})[seen]
        return judged(subject, seen, reads, f"{seen} sags to {reads:.3g}", self.ramp_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Towards(self, body, now_ms, self.signal, body.truth(self.signal, now_ms) * (1 - self.depth))
