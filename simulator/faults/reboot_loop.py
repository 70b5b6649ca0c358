"""A device restarts over and over: it comes up, crashes a little later, and so on."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import NEVER_MS, Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.messages import PowerCycle


class RebootLoop(Fault):
    """Crashes `up_s` after every start."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: reboot_loop, up_s: 10, off_s: 30, for_s: 600}"

    kind: Literal["reboot_loop"] = "reboot_loop"
    up_s: float = Field(10.0, ge=0.1, le=86_400, description="How long it lives after a start.")
    off_s: float = Field(30.0, ge=0.1, le=86_400, description="How long a start takes.")

    def expects(self, subject: Subject) -> Expected:
        words = f"it is there for {self.up_s:g} s and away for {self.off_s:g} s, again and again"
        return Expected("", words, "silence")

    def start(self, body: Body, now_ms: int) -> Active:
        active = Looping(self, now_ms)
        active.wake_at_ms = now_ms
        return active


class Looping(Active):
    __slots__ = ()
    what: RebootLoop

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms = NEVER_MS
        return [PowerCycle(int(1000 * self.what.off_s))]

    def booted(self, body: Body, now_ms: int) -> None:
        self.wake_at_ms = now_ms + int(1000 * self.what.up_s)
