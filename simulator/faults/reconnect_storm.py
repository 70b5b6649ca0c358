"""All connections are cut in the same moment, and all devices come back in the same moment, without any backoff.

To be injected into many devices at once. Their firmware knows no jitter: who is cut connects again at once, and who
does not get through tries again `again_s` later, with all others.
"""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.messages import Sever

SAME_MS = 1000  # devices that get it within a second of the clock are cut in the same moment


class ReconnectStorm(Fault):
    """Cuts the connection `times` times, `every_s`; it is made again at once."""

    family: ClassVar[Family] = "network"
    example: ClassVar[str] = "{kind: reconnect_storm, times: 3, every_s: 20}"

    kind: Literal["reconnect_storm"] = "reconnect_storm"
    times: int = Field(1, ge=1, le=1000, description="How many times all are cut.")
    every_s: float = Field(30.0, ge=1, le=3600, description="Time between two.")
    again_s: float = Field(5.0, ge=0.5, le=600, description="Who is not connected then tries again, all at once.")

    def expects(self, subject: Subject) -> Expected:
        return Expected("", "all devices connect at once; nothing is lost, and everybody gets through", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Storming(self, now_ms)


class Storming(Active):
    __slots__ = ("cut_at_ms", "left")
    what: ReconnectStorm

    def __init__(self, what: ReconnectStorm, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.left = what.times
        self.wake_at_ms = self.cut_at_ms = -(-now_ms // SAME_MS) * SAME_MS

    def step(self, body: Body, now_ms: int) -> Outputs:
        again_at_ms = now_ms + int(self.what.again_s * 1000)
        if self.left and now_ms >= self.cut_at_ms:
            self.left -= 1
            self.cut_at_ms += int(self.what.every_s * 1000)
            self.wake_at_ms = min(again_at_ms, self.cut_at_ms) if self.left else again_at_ms
            return [Sever(0, "reconnect storm")]
        if self.left:
            self.wake_at_ms = self.cut_at_ms if body.online else min(again_at_ms, self.cut_at_ms)
        elif body.online:
            self.over = True
        else:
            self.wake_at_ms = again_at_ms
        return [] if body.online else [Sever(0, "tries again")]
