"""A value that repeats a curve: a drive cycle, a daily load. Each device enters the curve at its own moment."""

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from simulator.seeds import Floats
from simulator.signals import Draw, Signal


class Cycle(Signal):
    """Runs along `points` = [[second, value], …], joined by straight lines, again and again."""

    kind: Literal["cycle"] = "cycle"
    points: list[tuple[float, float]] = Field(
        min_length=2, max_length=1000, description="[[second, value], …], from second 0 on."
    )
    in_step: bool = Field(
        False, description="True: all devices run the curve together, as a daily load does; second 0 is midnight."
    )

    @model_validator(mode="after")
    def _seconds_rise(self) -> "Cycle":
        seconds = [second for second, _ in self.points]
        if seconds[0] != 0 or any(b <= a for a, b in pairwise(seconds)):
            raise ValueError(f"the seconds of 'points' must start at 0 and rise, are {seconds}")
        return self

    @cached_property
    def _curve(self) -> tuple[Floats, Floats]:
        return np.array([second for second, _ in self.points]), np.array([value for _, value in self.points])

    def _at(self, at_s: float, draw: Draw) -> Floats:
        seconds, values = self._curve
        period_s = self.points[-1][0]
        if self.in_step:
            return np.full(len(draw.keys), np.interp(at_s - at_s // period_s * period_s, seconds, values))
        where = at_s + draw.fixed() * period_s
        return np.asarray(np.interp(where - np.floor(where / period_s) * period_s, seconds, values))

    def start(self, draw: Draw) -> Floats:
        return self._at(0.0, draw)

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        return self._at(at_s + dt_s, draw)
