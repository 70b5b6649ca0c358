"""The mains fail: the device goes on with its battery and sees it, or it is dead until they are back."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import NEVER_MS, Body, Outputs
from simulator.faults import DETECT_WITHIN_S, Active, Expected, Family, Fault, Subject, no_signal, watched
from simulator.faults._event import Event
from simulator.faults._expecting import judged, usually
from simulator.messages import Input, Later, PowerCycle, PowerOn

MISSED_S = 60.0  # nobody can be expected to miss a device sooner


class Outage(Fault):
    """`signal` is 0 while it lasts; a device without a battery is dead so long, and measures nothing."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: outage, battery: false, for_s: 600}"

    kind: Literal["outage"] = "outage"
    signal: str = Field("mains_on", description="What is 0 then: whether there are mains, or their voltage.")
    battery: bool = Field(True, description="True: the device goes on and tells; false: it is dead.")

    def unfit(self, subject: Subject) -> str | None:
        return no_signal(self.signal, subject) if self.battery else None

    def expects(self, subject: Subject) -> Expected:
        if self.battery:
            seen = watched(subject.signals, self.signal)
            return judged(subject, seen, usually(subject.signals, {self.signal: 0.0})[seen], f"{seen} is gone")
        if self.for_s is not None and self.for_s < MISSED_S:
            return Expected("", f"the device is dead for {self.for_s:g} s, too short to be missed", "nothing")
        return Expected("", "the device is dead", "silence", DETECT_WITHIN_S)

    def start(self, body: Body, now_ms: int) -> Active:
        return Dark(self, body, now_ms)


class Dark(Event):
    __slots__ = ("off",)
    what: Outage

    def __init__(self, what: Outage, body: Body, now_ms: int) -> None:
        super().__init__(what, body, now_ms)
        self.off = False  # it was this outage that switched the device off

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms = NEVER_MS
        if self.what.battery:
            self.force(body, self.what.signal, 0.0, now_ms)
        elif body.powered:
            self.off = True
            return [PowerCycle(None)]
        return []

    def booted(self, body: Body, now_ms: int) -> None:
        """It had been off for another reason, and that one is over: off again."""
        if not self.what.battery:
            self.off, self.wake_at_ms = False, now_ms

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        return [said] if self.what.battery else []

    def end(self, body: Body, now_ms: int) -> Outputs:
        return [*super().end(body, now_ms), *([PowerOn()] if self.off else [])]
