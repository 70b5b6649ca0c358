"""A fire in stages: something smoulders and fills the air with gases, then there are flames, then all of it burns.

How the sensor sees it is the profile's business. The fire only moves what it moves in the world: gases and a little
warmth while it smoulders, then the `spark` from which the profile's own fire grows. What the profile says of that
follows: heat, more gas, arcs, leakage, the loss of the mains. Let go, it burns down and the air clears by itself.
"""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from simulator.behaviours import NEVER_MS, Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject, no_signal, watched
from simulator.faults._event import Event
from simulator.faults._expecting import judged
from simulator.messages import Note
from simulator.schema import Misplaced
from simulator.signals import Range

_GLOW = Range(0.02, 0.05)  # the fire's size when it begins to flame
_DEVELOPED = 0.8


class Fire(Fault):
    """Smoulders, flames, is fully developed. Each fire draws how long it smoulders and how much it smokes."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: fire, smoulder_s: [240, 900], for_s: 2400}"

    kind: Literal["fire"] = "fire"
    smoulder_s: Range = Field(Range(240.0, 900.0), description="How long it smoulders, when `ramp_s` does not say it.")
    co_ppm: Range = Field(Range(20.0, 60.0), description="Carbon monoxide in the air when it begins to flame.")
    voc: Range = Field(Range(300.0, 900.0), description="Organic vapours in the air then, in µg/m³.")
    spark: str = Field("ignition", description="The signal whose 1 lets the profile's fire grow.")
    size: str = Field("fire", description="The signal that is its size, 0 to 1.")
    co_signal: str = Field("co_air", description="The signal of the carbon monoxide in the air.")
    voc_signal: str = Field("voc_air", description="The signal of the organic vapours in the air.")

    @model_validator(mode="after")
    def _ranges_rise(self) -> "Fire":
        for name in ("smoulder_s", "co_ppm", "voc"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise Misplaced((name,), f"must rise from low to high and not be below 0, is [{low:g}, {high:g}]")
        return self

    def unfit(self, subject: Subject) -> str | None:
        names = (self.spark, self.size, self.co_signal, self.voc_signal)
        return next((why for name in names if (why := no_signal(name, subject))), None)

    def expects(self, subject: Subject) -> Expected:
        seen = watched(subject.signals, self.co_signal)
        words = "a fire: gases, then heat, then arcs, leakage and the loss of the mains"
        limit, smoulders_s = subject.signals[seen].limit, self.ramp_s or self.smoulder_s.high
        return judged(subject, seen, limit.high + 1 if limit else 0.0, words, smoulders_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Burning(self, body, now_ms)


class Burning(Event):
    __slots__ = ("air", "flames_ms", "glow", "smoke", "stage")
    what: Fire

    def __init__(self, what: Fire, body: Body, now_ms: int) -> None:
        super().__init__(what, body, now_ms)
        smoulders_s = what.ramp_s or self._drawn(body, what.smoulder_s)
        self.flames_ms = now_ms + int(smoulders_s * 1000)
        self.glow = self._drawn(body, _GLOW)
        self.smoke = {
            what.co_signal: self._drawn(body, what.co_ppm),
            what.voc_signal: self._drawn(body, what.voc),
        }
        self.air = {signal: body.truth(signal, now_ms) for signal in self.smoke}
        self.stage = ""

    def _drawn(self, body: Body, of: Range) -> float:
        return of.low + (of.high - of.low) * self.draw(body)

    def drive(self, body: Body, now_ms: int) -> Outputs:
        what = self.what
        if now_ms < self.flames_ms:
            share = (now_ms - self.since_ms) / (self.flames_ms - self.since_ms)
            self._smoke(body, share * share, now_ms)
            self.force(body, what.size, self.glow * share, now_ms)
            return self._enter("smouldering")
        self.free(body, what.size, now_ms)
        self.force(body, what.spark, 1.0, now_ms)
        if body.truth(what.size, now_ms) < _DEVELOPED:
            self._smoke(body, 1.0, now_ms)
            return self._enter("flaming")
        for signal in self.smoke:
            self.free(body, signal, now_ms)
        self.wake_at_ms = NEVER_MS
        return self._enter("developed")

    def _smoke(self, body: Body, share: float, now_ms: int) -> None:
        for signal, smoke in self.smoke.items():
            first = self.air[signal]
            way = max(0.0, smoke - first) * share
            self.force(body, signal, first + way * (1 + self.sway(body)), now_ms)

    def _enter(self, stage: str) -> Outputs:
        if self.stage == stage:
            return []
        self.stage = stage
        return [Note("fire_stage", {"stage": stage})]

    def end(self, body: Body, now_ms: int) -> Outputs:
        return [*super().end(body, now_ms), *self._enter("out")]
