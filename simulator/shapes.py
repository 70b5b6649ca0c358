"""Shapes of a load: how many devices are on, as a function of time. Pure.

    ramp    up to `to` over a while, hold, and down again         steps   a level higher every so often
    soak    a ramp, and then the same for long                    spike   a base, and above it for a while
    knee    a level higher every so often, until a check fails; then back to the last good level, and stay there

Rules: `users(now_s)` is the whole of it; None is the end. Only the knee wants to know more: when a check failed.
"""

from math import ceil
from typing import Annotated, Literal

from pydantic import Field, model_validator

from simulator.checks import Check
from simulator.schema import Misplaced, OneOf, Strict

DEVICES_MAX = 100_000
LASTS_MAX_S = 864_000

Devices = Annotated[int, Field(ge=1, le=DEVICES_MAX)]
Seconds = Annotated[float, Field(ge=0, le=LASTS_MAX_S)]
Length = Annotated[float, Field(gt=0, le=LASTS_MAX_S)]


class _Shape(Strict):
    """What every shape can say."""

    to: Devices = Field(description="Devices that are on at the most.")

    def users(self, now_s: float, failed_at_s: float | None = None) -> int | None:
        """How many devices are on so long after the start; None when it is over."""
        raise NotImplementedError

    @property
    def most(self) -> int:
        """Devices that it ever wants."""
        return self.to


class Ramp(_Shape):
    """Evenly up to `to`, and down again."""

    kind: Literal["ramp"]
    over_s: Seconds = Field(description="How long the way up takes.")
    hold_s: Seconds = Field(0.0, description="How long it stays there.")
    down_s: Seconds = Field(0.0, description="How long the way down takes.")

    def users(self, now_s: float, failed_at_s: float | None = None) -> int | None:
        if now_s < self.over_s:
            return ceil(self.to * now_s / self.over_s)
        left_s = self.over_s + self.hold_s + self.down_s - now_s
        if left_s >= self.down_s:
            return self.to if left_s > 0 else None
        return ceil(self.to * left_s / self.down_s) if left_s > 0 else None


class Steps(_Shape):
    """`step` more devices every `every_s`, the last level for as long as the others."""

    kind: Literal["steps"]
    step: Devices = Field(description="Devices that come with each step.")
    every_s: Length = Field(description="How long each level lasts.")

    def users(self, now_s: float, failed_at_s: float | None = None) -> int | None:
        level = int(now_s / self.every_s)
        return None if level >= ceil(self.to / self.step) else min(self.to, self.step * (level + 1))


class Spike(_Shape):
    """`base` devices, and `to` of them at once for a while, so many times."""

    kind: Literal["spike"]
    base: Devices = Field(description="Devices that are on before, between and after.")
    after_s: Length = Field(description="How long it is quiet before each spike, and after the last.")
    for_s: Length = Field(description="How long each spike lasts.")
    times: int = Field(1, ge=1, le=10_000)

    @model_validator(mode="after")
    def _rises(self) -> "Spike":
        if self.base >= self.to:
            raise Misplaced(("base",), f"a spike rises: 'base' {self.base} is not below 'to' {self.to}")
        return self

    def users(self, now_s: float, failed_at_s: float | None = None) -> int | None:
        round_s = self.after_s + self.for_s
        if now_s >= self.times * round_s:
            return self.base if now_s < self.times * round_s + self.after_s else None
        return self.base if now_s % round_s < self.after_s else self.to


class Soak(_Shape):
    """Up to `to`, and then the same for `for_s`: what leaks, shows."""

    kind: Literal["soak"]
    over_s: Seconds = Field(60.0, description="How long the way up takes.")
    for_s: Length = Field(description="How long it lasts from there.")

    def users(self, now_s: float, failed_at_s: float | None = None) -> int | None:
        if now_s < self.over_s:
            return ceil(self.to * now_s / self.over_s)
        return self.to if now_s < self.over_s + self.for_s else None


class Knee(_Shape):
    """A level higher every `every_s`, until one of `checks` fails; then back to the last good level for `hold_s`.

    Each check looks at one level alone, from `settle_s` after its beginning.
    """

    kind: Literal["knee"]
    start: Devices = Field(description="Devices at the first level.")
    step: Devices = Field(description="Devices that come with each level.")
    every_s: Length = Field(description="How long each level lasts.")
    settle_s: Seconds = Field(0.0, description="So much of the beginning of a level is not judged.")
    hold_s: Seconds = Field(0.0, description="How long the last good level is held at the end.")
    checks: list[Annotated[Check, OneOf("checks")]] = Field(
        min_length=1, max_length=20, description="What makes a level good."
    )

    @model_validator(mode="after")
    def _fits(self) -> "Knee":
        if self.start > self.to:
            raise Misplaced(("start",), f"'start' {self.start} is above 'to' {self.to}")
        if self.settle_s >= self.every_s:
            raise Misplaced(("settle_s",), f"nothing of a level of {self.every_s:g} s would be judged")
        return self

    @property
    def levels(self) -> int:
        """How many there are."""
        return 1 + ceil((self.to - self.start) / self.step)

    def level(self, now_s: float) -> int:
        """Which one it is now; as many as there are when all are over."""
        return min(self.levels, int(now_s / self.every_s))

    def at_level(self, level: int) -> int:
        """Devices that are on at a level."""
        return min(self.to, self.start + self.step * level)

    def users(self, now_s: float, failed_at_s: float | None = None) -> int | None:
        """`failed_at_s`: the moment at which a level that was over was found to be bad."""
        if failed_at_s is None:
            level = self.level(now_s)
            return self.at_level(level) if level < self.levels else None
        bad = round(failed_at_s / self.every_s) - 1
        if bad <= 0 or now_s >= failed_at_s + self.hold_s:
            return None
        return self.at_level(bad - 1)


Shape = Annotated[Ramp | Steps | Spike | Soak | Knee, Field(discriminator="kind")]
