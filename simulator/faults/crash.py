"""A device crashes: its power is gone at once and comes back after a while; what was in its memory is lost."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import NEVER_MS, Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._darkness import missed
from simulator.messages import PowerCycle


class Crash(Fault):
    """Cuts the power for `off_s`, once or every so often."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: crash, off_s: 5, every_s: 300}"

    kind: Literal["crash"] = "crash"
    off_s: float = Field(5.0, ge=0, le=31_536_000, description="How long it is away.")
    every_s: float | None = Field(
        None, ge=0.1, le=31_536_000, description="From one crash to the next; absent: only once, at once."
    )

    def expects(self, subject: Subject) -> Expected:
        often = "once" if self.every_s is None else f"every {self.every_s:g} s"
        return missed(self.off_s, f"it is away for {self.off_s:g} s, {often}")

    def start(self, body: Body, now_ms: int) -> Active:
        active = Crashing(self, now_ms)
        active.wake_at_ms = now_ms
        return active


class Crashing(Active):
    __slots__ = ()
    what: Crash

    def step(self, body: Body, now_ms: int) -> Outputs:
        every_s = self.what.every_s
        self.wake_at_ms = NEVER_MS if every_s is None else now_ms + int(1000 * every_s)
        if self.chance(body):
            return [PowerCycle(int(1000 * self.what.off_s))]
        self.over = every_s is None
        return []

    def booted(self, body: Body, now_ms: int) -> None:
        self.over = self.what.every_s is None
