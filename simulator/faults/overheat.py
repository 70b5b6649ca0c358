"""Something gets too hot: the thing itself, not its sensor. When it is over it cools down by itself."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._event import Towards
from simulator.faults._expecting import judged, untold


class Overheat(Fault):
    """The temperature `signal` rises to `to` over `ramp_s`, a little faster or slower on each device."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: overheat, signal: engine_temp_c, to: 128, ramp_s: 120}"

    kind: Literal["overheat"] = "overheat"
    signal: str = Field(description="A signal of the kind thermal.")
    to: float = Field(description="How hot it gets, in the signal's unit.")
    ramp_s: float = Field(120.0, ge=0, le=31_536_000, description="How long it takes to get so hot.")

    def unfit(self, subject: Subject) -> str | None:
        if why := untold(self.signal, subject):
            return why
        thermal = subject.signals[self.signal].model_dump()["kind"] == "thermal"
        return None if thermal else f"has no temperature '{self.signal}': it is not of the kind thermal"

    def expects(self, subject: Subject) -> Expected:
        return judged(subject, self.signal, self.to, f"{self.signal} rises to {self.to:g}", self.ramp_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Towards(self, body, now_ms, self.signal, self.to)
