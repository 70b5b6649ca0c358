"""A sensor reads what cannot be, or must not: a value outside of its normal range."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._expecting import judged, untold
from simulator.faults._sensor import Wrong
from simulator.signals import Signal

_BEYOND = 0.2  # of the width of the normal range


class OutOfRange(Fault):
    """The sensor of `signal` reads a value above or below its normal range."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: out_of_range, signal: vibration_g, side: high}"

    kind: Literal["out_of_range"] = "out_of_range"
    signal: str = Field(description="Whose sensor it is.")
    at: float | None = Field(None, description="The value; absent: a fifth of the normal range's width beyond it.")
    side: Literal["high", "low"] = Field("high", description="Above or below, when there is no `at`.")

    def unfit(self, subject: Subject) -> str | None:
        if why := untold(self.signal, subject):
            return why
        limit = subject.signals[self.signal].limit
        if limit is None:
            return None if self.at is not None else f"has no normal range of '{self.signal}': say 'at'"
        if self.at is not None and limit.low <= self.at <= limit.high:
            return f"has {self.at:g} inside the normal range of '{self.signal}', [{limit.low:g}, {limit.high:g}]"
        return None

    def value(self, signal: Signal) -> float:
        """What it reads."""
        if self.at is not None or signal.limit is None:
            return self.at or 0.0
        low, high = signal.limit
        beyond = _BEYOND * (high - low)
        return high + beyond if self.side == "high" else low - beyond

    def expects(self, subject: Subject) -> Expected:
        reads = self.value(subject.signals[self.signal])
        return judged(subject, self.signal, reads, f"{self.signal} reads {reads:g}", self.ramp_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Outside(self, now_ms, self.signal)


class Outside(Wrong):
    __slots__ = ()
    what: OutOfRange

    def wrong(self, body: Body, true: float, now_ms: int) -> float:
        return self.what.value(body.signals[self.signal])
