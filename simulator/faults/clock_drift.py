"""A device's clock runs too fast or too slow: it is wrong by more and more, until the fault ends and it is set."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._clocks import wrong_time


class ClockDrift(Fault):
    """The clock gains `s_per_h` in every hour; below 0 it loses them."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: clock_drift, s_per_h: 30}"

    kind: Literal["clock_drift"] = "clock_drift"
    s_per_h: float = Field(gt=-3600, le=3600, description="How much it gains in an hour.")

    def expects(self, subject: Subject) -> Expected:
        return wrong_time(0, f"its clock gains {self.s_per_h:+g} s an hour")

    def start(self, body: Body, now_ms: int) -> Active:
        return Drifting(self, now_ms)


class Drifting(Active):
    __slots__ = ()
    what: ClockDrift

    def clock_ms(self, body: Body, at_ms: int) -> int:
        return at_ms + int(max(0, at_ms - self.since_ms) * self.what.s_per_h / 3600)
