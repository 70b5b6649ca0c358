"""A battery dies: its level falls to nothing, then the device goes dark, until the fault ends: a new battery."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import NEVER_MS, Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._darkness import missed
from simulator.faults._expecting import untold
from simulator.faults._sensor import in_steps
from simulator.messages import PowerCycle, PowerOn

_FOR_GOOD_S = 31_536_000.0


class BatteryDying(Fault):
    """Lets `signal` fall from what it is to 0 in `over_s`, and switches the device off then."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: battery_dying, signal: battery_percent, over_s: 600}"

    kind: Literal["battery_dying"] = "battery_dying"
    signal: str = Field(description="The level of the battery.")
    over_s: float = Field(600.0, gt=0, le=31_536_000, description="How long it still lasts.")

    def unfit(self, subject: Subject) -> str | None:
        return untold(self.signal, subject)

    def expects(self, subject: Subject) -> Expected:
        words = f"{self.signal} falls to 0 within {self.over_s:g} s, then the device is silent"
        dark_s = _FOR_GOOD_S if self.for_s is None else self.for_s - self.over_s
        return missed(dark_s, words, self.over_s)._replace(signal=self.signal)

    def start(self, body: Body, now_ms: int) -> Active:
        active = Dying(self, now_ms)
        active.level = body.reading(now_ms)[self.signal]
        active.wake_at_ms = now_ms + int(1000 * self.over_s)
        return active


class Dying(Active):
    __slots__ = ("empty", "level")
    what: BatteryDying

    def __init__(self, what: BatteryDying, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.level, self.empty = 0.0, False

    def reading(self, body: Body, values: dict[str, float], now_ms: int) -> None:
        left = max(0.0, 1 - (now_ms - self.since_ms) / (1000 * self.what.over_s))
        values[self.what.signal] = in_steps(self.level * left, body.signals[self.what.signal].resolution)

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms, self.empty = NEVER_MS, True
        return [PowerCycle(None)]

    def booted(self, body: Body, now_ms: int) -> None:
        if self.empty:
            self.wake_at_ms = now_ms  # whoever switched it on: there is no power

    def end(self, body: Body, now_ms: int) -> Outputs:
        return [PowerOn()] if self.empty else []
