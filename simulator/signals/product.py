"""A value that is the product of others: active power P = V · I · pf."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from simulator.seeds import Floats
from simulator.signals import Draw, Signal


class Product(Signal):
    """`scale` times the signals in `of`."""

    kind: Literal["product"] = "product"
    of: list[str] = Field(min_length=1, max_length=8)
    scale: float = 1.0

    def inputs(self) -> tuple[str, ...]:
        return tuple(self.of)

    def start(self, draw: Draw) -> Floats:
        return np.zeros(len(draw.keys))

    def settle(self, value: Floats, of: Mapping[str, Floats]) -> Floats:
        result = np.full(len(value), self.scale)
        for name in self.of:
            result = result * of[name]
        return result

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        return self.settle(value, of)
