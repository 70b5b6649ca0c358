"""A value that is the weighted sum of others: mains minus a dip, room warmth plus a fire's heat."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from simulator.seeds import Floats
from simulator.signals import Draw, Range, Signal


class Blend(Signal):
    """`offset` plus the signals in `of`, each times its number in `gains`."""

    kind: Literal["blend"] = "blend"
    of: list[str] = Field(min_length=1, max_length=8)
    gains: list[float] = Field([], max_length=8, description="One number for each signal in 'of'; absent: all 1.")
    offset: float = 0.0
    bounds: Range | None = Field(None, description="[low, high] where the value stops.")

    @model_validator(mode="after")
    def _as_many(self) -> "Blend":
        if self.gains and len(self.gains) != len(self.of):
            raise ValueError(f"'gains' must be as many as 'of': {len(self.of)}, are {len(self.gains)}")
        return self

    def inputs(self) -> tuple[str, ...]:
        return tuple(self.of)

    def start(self, draw: Draw) -> Floats:
        return np.zeros(len(draw.keys))

    def settle(self, value: Floats, of: Mapping[str, Floats]) -> Floats:
        gains = self.gains or [1.0] * len(self.of)
        total = of[self.of[0]] * gains[0] + self.offset
        for name, gain in zip(self.of[1:], gains[1:], strict=True):
            total = total + of[name] * gain
        return np.asarray(total).clip(*self.bounds) if self.bounds else np.asarray(total)

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        return self.settle(value, of)
