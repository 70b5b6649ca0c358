"""A device's clock jumps, forth or back: once or every so often, for good or until it is set right a while later."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._clocks import wrong_time


class ClockJump(Fault):
    """The clock jumps by `by_s`. With `every_s` it does again, farther each time unless `lasts_s` sets it right."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: clock_jump, by_s: -45, every_s: 300, lasts_s: 60}"

    kind: Literal["clock_jump"] = "clock_jump"
    by_s: float = Field(ge=-3_153_600_000, le=3_153_600_000, description="How far ahead; below 0 back.")
    every_s: float | None = Field(None, ge=0.1, le=31_536_000, description="From one jump to the next; absent: one.")
    lasts_s: float | None = Field(
        None, ge=0.1, le=31_536_000, description="After so long it is set right; absent: when the fault ends."
    )

    def expects(self, subject: Subject) -> Expected:
        often = "once" if self.every_s is None else f"every {self.every_s:g} s"
        return wrong_time(self.by_s, f"its clock jumps by {self.by_s:+g} s, {often}")

    def start(self, body: Body, now_ms: int) -> Active:
        return Jumped(self, now_ms)


class Jumped(Active):
    __slots__ = ()
    what: ClockJump

    def clock_ms(self, body: Body, at_ms: int) -> int:
        after_ms, jumps = max(0, at_ms - self.since_ms), 1
        if self.what.every_s is not None:
            earlier, after_ms = divmod(after_ms, int(1000 * self.what.every_s))
            jumps = earlier + 1 if self.what.lasts_s is None else 1
        if self.what.lasts_s is not None and after_ms >= 1000 * self.what.lasts_s:
            return at_ms
        return at_ms + int(1000 * self.what.by_s) * jumps
