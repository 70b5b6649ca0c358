"""A value that follows another one with a lag: rpm after speed, gas that comes fast and clears slowly."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from simulator.seeds import Floats
from simulator.signals import Draw, Signal


class Follow(Signal):
    """Moves towards `offset + gain × of` with the time constant `tau_s`."""

    kind: Literal["follow"] = "follow"
    of: str = Field(description="The signal to follow.")
    gain: float = 1.0
    offset: float = 0.0
    tau_s: float = Field(0.0, ge=0, description="Time constant of the lag; 0 follows at once.")
    fall_tau_s: float | None = Field(None, ge=0, description="Time constant on the way down; absent: the same.")

    def inputs(self) -> tuple[str, ...]:
        return (self.of,)

    def start(self, draw: Draw) -> Floats:
        return np.full(len(draw.keys), self.offset)

    def settle(self, value: Floats, of: Mapping[str, Floats]) -> Floats:
        return self.offset + self.gain * of[self.of]

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        way = self.settle(value, of) - value
        share = dt_s / (self.tau_s + dt_s)
        if self.fall_tau_s is None:
            return value + way * share
        return value + way * np.where(way < 0.0, dt_s / (self.fall_tau_s + dt_s), share)
