"""A loose terminal arcs: bursts of arcs with pauses between them."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from simulator.behaviours import Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject, no_signal, watched
from simulator.faults._event import Event
from simulator.faults._expecting import judged
from simulator.schema import Misplaced
from simulator.signals import Range


class Arcs(Fault):
    """A series of arcs: each burst draws how long it is, how dense, and how long it is quiet after it."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: arcs, per_s: [0.5, 3], burst_s: [2, 15], pause_s: [5, 40]}"

    kind: Literal["arcs"] = "arcs"
    signal: str = Field("fire_arcs", description="The signal that says how many arcs there are in a second.")
    per_s: Range = Field(Range(0.5, 3.0), description="Arcs in a second, in a burst: [low, high].")
    burst_s: Range = Field(Range(2.0, 15.0), description="How long a burst is: [low, high].")
    pause_s: Range = Field(Range(5.0, 40.0), description="How long it is quiet then: [low, high].")

    @model_validator(mode="after")
    def _ranges_rise(self) -> "Arcs":
        for name in ("per_s", "burst_s", "pause_s"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise Misplaced((name,), f"must rise from low to high and be above 0, is [{low:g}, {high:g}]")
        return self

    def unfit(self, subject: Subject) -> str | None:
        return no_signal(self.signal, subject)

    def expects(self, subject: Subject) -> Expected:
        seen = watched(subject.signals, self.signal)
        limit = subject.signals[seen].limit
        most = max(self.per_s.high, limit.high + 1 if limit else 0.0)  # a count: one arc is as far as it needs
        return judged(subject, seen, most, f"{seen} counts arcs", self.ramp_s + self.pause_s.high)

    def start(self, body: Body, now_ms: int) -> Active:
        return Series(self, body, now_ms)


class Series(Event):
    __slots__ = ()
    what: Arcs

    def step(self, body: Body, now_ms: int) -> Outputs:
        what = self.what
        if what.signal in self.held:
            self.free(body, what.signal, now_ms)
            lasts_s = self._drawn(body, what.pause_s)
        else:
            self.force(body, what.signal, self._drawn(body, what.per_s) * (self.strength(now_ms) or 0.1), now_ms)
            lasts_s = self._drawn(body, what.burst_s)
        self.wake_at_ms = now_ms + max(1, int(lasts_s * 1000))
        return []

    def _drawn(self, body: Body, of: Range) -> float:
        return of.low + (of.high - of.low) * self.draw(body)
