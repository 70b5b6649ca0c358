"""A value that another one decides, by a curve: gas from a fire's size, mains that are on until it reaches them."""

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from simulator.seeds import Floats
from simulator.signals import Draw, Signal


class Lookup(Signal):
    """Reads `points` = [[of, value], …], joined by straight lines; beyond the ends it stays as at the end."""

    kind: Literal["lookup"] = "lookup"
    of: str = Field(description="The signal that decides.")
    points: list[tuple[float, float]] = Field(min_length=2, max_length=1000, description="[[of, value], …].")

    @model_validator(mode="after")
    def _rise(self) -> "Lookup":
        where = [x for x, _ in self.points]
        if any(b <= a for a, b in pairwise(where)):
            raise ValueError(f"the first numbers of 'points' must rise, are {where}")
        return self

    @cached_property
    def _curve(self) -> tuple[Floats, Floats]:
        return np.array([x for x, _ in self.points]), np.array([y for _, y in self.points])

    def inputs(self) -> tuple[str, ...]:
        return (self.of,)

    def start(self, draw: Draw) -> Floats:
        return np.zeros(len(draw.keys))

    def settle(self, value: Floats, of: Mapping[str, Floats]) -> Floats:
        return np.asarray(np.interp(of[self.of], *self._curve))

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        return self.settle(value, of)
