"""A timeline over and over."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from simulator.schema import OneOf
from simulator.steps import Again, Command, Entry, Step


class Repeat(Step):
    """Plays its steps `times` times, or until `for_s` seconds are over; each round to its end."""

    model_config = ConfigDict(defer_build=True)  # it may hold any step, itself too: all of them come first

    kind: Literal["repeat"] = "repeat"
    steps: list[Annotated[Step, OneOf("steps")]] = Field(min_length=1, max_length=100)
    times: int | None = Field(None, ge=1, le=1_000_000)
    for_s: float | None = Field(None, gt=0, le=864_000)

    @model_validator(mode="after")
    def _ends(self) -> "Repeat":
        if (self.times is None) == (self.for_s is None):
            raise ValueError("a repeat needs an end: 'times' or 'for_s'")
        if self.for_s is not None and not any(step.lasts_s()[1] or step.delay_s for step in self.steps):
            raise ValueError("a repeat with 'for_s' needs a step that takes time, such as hold")
        return self

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        return [Again(tuple(self.steps), self.times, self.for_s)]

    def within(self) -> Sequence[Sequence[Step]]:
        return (self.steps,)

    def lasts_s(self) -> tuple[float, float]:
        low, high = (sum(ends) for ends in zip(*(step.lasts_s() for step in self.steps), strict=True))
        if self.times is None:
            return float(self.for_s or 0), float(self.for_s or 0) + high
        return low * self.times, high * self.times
