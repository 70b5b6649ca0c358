"""A device's clock is wrong by a constant: its messages carry the wrong time, and nothing else changes."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._clocks import wrong_time


class ClockSkew(Fault):
    """The clock is `by_s` ahead; below 0 behind."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: clock_skew, by_s: -90}"

    kind: Literal["clock_skew"] = "clock_skew"
    by_s: float = Field(ge=-3_153_600_000, le=3_153_600_000, description="How far it is ahead.")

    def expects(self, subject: Subject) -> Expected:
        return wrong_time(self.by_s, f"its clock is {self.by_s:+g} s beside the time")

    def start(self, body: Body, now_ms: int) -> Active:
        return Skewed(self, now_ms)


class Skewed(Active):
    __slots__ = ()
    what: ClockSkew

    def clock_ms(self, body: Body, at_ms: int) -> int:
        return at_ms + int(1000 * self.what.by_s * self.strength(at_ms))
