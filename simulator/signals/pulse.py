"""A value that comes now and then for a while: a dip of the mains, a door left open, a rush of traffic."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from simulator.seeds import Floats
from simulator.signals import Draw, Range, Signal


class Pulse(Signal):
    """0, and once in `every_s` for `lasts_s` a value drawn from `height`; both times are means."""

    kind: Literal["pulse"] = "pulse"
    every_s: float = Field(gt=0, description="Mean time from the end of one to the next.")
    lasts_s: float = Field(gt=0, description="Mean length of one; none is shorter than a step.")
    height: Range = Field(description="[low, high]; each one draws its own.")

    def start(self, draw: Draw) -> Floats:
        return np.zeros(len(draw.keys))

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        low, high = self.height
        chance = draw.uniform()
        begun = np.where(chance * max(self.every_s, dt_s) < dt_s, low + (high - low) * draw.uniform(1), 0.0)
        left = np.where(chance * max(self.lasts_s, dt_s) < dt_s, 0.0, value)
        return np.where(value == 0.0, begun, left)
