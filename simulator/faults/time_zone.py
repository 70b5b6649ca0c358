"""A device takes its local time for UTC: its clock is wrong by whole hours."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._clocks import wrong_time

_HOUR_MS = 3_600_000


class TimeZone(Fault):
    """The clock shows the time of a zone `hours` east of Greenwich; below 0 west."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: time_zone, hours: -5}"

    kind: Literal["time_zone"] = "time_zone"
    hours: int = Field(ge=-12, le=14, description="How far east.")

    def expects(self, subject: Subject) -> Expected:
        return wrong_time(3600 * self.hours, f"its clock is {self.hours:+d} h beside the time")

    def start(self, body: Body, now_ms: int) -> Active:
        return Elsewhere(self, now_ms)


class Elsewhere(Active):
    __slots__ = ()
    what: TimeZone

    def clock_ms(self, body: Body, at_ms: int) -> int:
        return at_ms + _HOUR_MS * self.what.hours
