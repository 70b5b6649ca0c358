"""A sensor stays at one value, whatever happens."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._expecting import judged, untold
from simulator.faults._sensor import Wrong

FLAT_WITHIN_S = 3600.0  # a line without its noise is told from a quiet hour by then


class Stuck(Fault):
    """The sensor of `signal` reads the same again and again."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: stuck, signal: engine_temp_c}"

    kind: Literal["stuck"] = "stuck"
    signal: str = Field(description="Whose sensor it is.")
    at: float | None = Field(None, description="The value; absent: what it reads when it gets stuck.")

    def unfit(self, subject: Subject) -> str | None:
        return untold(self.signal, subject)

    def expects(self, subject: Subject) -> Expected:
        limit = subject.signals[self.signal].limit
        if self.at is not None and limit and not limit.low <= self.at <= limit.high:
            return judged(subject, self.signal, self.at, f"{self.signal} stays at {self.at:g}", self.ramp_s)
        if subject.signals[self.signal].noise == 0:
            words = f"{self.signal} stays at one value, and has no noise that would be missed: it may as well be so"
            return Expected(self.signal, words, "nothing")
        words = f"{self.signal} is a flat line without its noise; no threshold sees it, only who watches for change"
        return Expected(self.signal, words, "alarm", FLAT_WITHIN_S + self.ramp_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Still(self, now_ms, self.signal, body.reading(now_ms)[self.signal] if self.at is None else self.at)


class Still(Wrong):
    __slots__ = ("at",)

    def __init__(self, what: Stuck, now_ms: int, signal: str, at: float) -> None:
        super().__init__(what, now_ms, signal)
        self.at = at

    def wrong(self, body: Body, true: float, now_ms: int) -> float:
        return self.at
