"""Two sensors are swapped: each says what the other one reads."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._expecting import judged, untold, usually
from simulator.faults._sensor import Whole


class Swapped(Fault):
    """Swaps what the sensors of two signals say."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: swapped, signal: engine_temp_c, other: rpm}"

    kind: Literal["swapped"] = "swapped"
    signal: str = Field(description="The one.")
    other: str = Field(description="The other.")

    def unfit(self, subject: Subject) -> str | None:
        if self.signal == self.other:
            return f"cannot swap '{self.signal}' with itself"
        return untold(self.signal, subject) or untold(self.other, subject)

    def expects(self, subject: Subject) -> Expected:
        first, words = usually(subject.signals), f"{self.signal} and {self.other} are swapped"
        ways = ((self.signal, self.other), (self.other, self.signal))
        found = [judged(subject, name, first[read], words, self.ramp_s) for name, read in ways]
        return next((one for one in found if one.notice == "alarm"), found[0])

    def start(self, body: Body, now_ms: int) -> Active:
        return Crossed(self, now_ms, self.signal)


class Crossed(Whole):
    __slots__ = ()
    what: Swapped

    def change(self, body: Body, values: dict[str, float], now_ms: int) -> None:
        one, other = self.what.signal, self.what.other
        values[one], values[other] = values[other], values[one]
