"""A sensor reads more and more beside the truth: it ages, or gets dirty."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._expecting import judged, untold, usually
from simulator.faults._sensor import Wrong

_HOUR_S = 3600


class Drift(Fault):
    """Adds `per_h` more with every hour to what the sensor of `signal` says."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: drift, signal: engine_temp_c, per_h: 12}"

    kind: Literal["drift"] = "drift"
    signal: str = Field(description="Whose sensor it is.")
    per_h: float = Field(description="How much it adds in an hour, in the signal's unit; below 0 it reads less.")
    most: float | None = Field(None, gt=0, description="So far beside the truth it stops; absent: never.")

    def unfit(self, subject: Subject) -> str | None:
        return untold(self.signal, subject)

    def beside(self, after_s: float) -> float:
        """How far it reads beside the truth after a while."""
        far = self.per_h * after_s / _HOUR_S
        return far if self.most is None else max(-self.most, min(self.most, far))

    def expects(self, subject: Subject) -> Expected:
        words = f"{self.signal} drifts by {self.per_h:+g} an hour"
        limit, first = subject.signals[self.signal].limit, usually(subject.signals)[self.signal]
        if limit is None or self.per_h == 0:
            return judged(subject, self.signal, first, words)
        room = limit.high - first if self.per_h > 0 else first - limit.low
        crosses_s = max(0.0, room / abs(self.per_h) * _HOUR_S)
        if self.most is not None and self.most <= room:
            return judged(subject, self.signal, first, f"{words}, {self.most:g} at most")
        if self.for_s is not None and self.for_s <= crosses_s:
            return judged(subject, self.signal, first, f"{words}, for {self.for_s:g} s")
        words += f"; a threshold sees it when it leaves its normal range, after some {crosses_s:.0f} s"
        return judged(subject, self.signal, limit.high + 1 if self.per_h > 0 else limit.low - 1, words, crosses_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Drifting(self, now_ms, self.signal)


class Drifting(Wrong):
    __slots__ = ()
    what: Drift

    def wrong(self, body: Body, true: float, now_ms: int) -> float:
        return true + self.what.beside((now_ms - self.since_ms) / 1000)
