"""A hidden process that grows by itself once it has begun: a fire, a crack, rust. Others look up what it does.

A fault starts it through its `spark`, for instance a constant 0 that a fault holds at 1.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from simulator.seeds import Floats
from simulator.signals import Draw, Range, Signal

_OVER = 1e-6  # what is smaller has gone out


class Growth(Signal):
    """From 0 (nothing) to 1 (all of it): slow at first, then fast, then there is nothing left to take.

    A spark above 0 starts it and keeps it going; below 0 puts it out. Without a spark it goes on when it is
    large enough, and dies down otherwise.
    """

    kind: Literal["growth"] = "growth"
    spark: str = Field(description="The signal that starts it (> 0) or puts it out (< 0).")
    tau_s: Range = Field(description="[low, high] of its time constant; each device draws its own.")
    begins_at: float = Field(0.01, gt=0, lt=1, description="Its size when it has just begun.")
    lasts_from: float = Field(0.15, ge=0, le=1, description="Beyond this size it needs no spark; 1: it always does.")

    def inputs(self) -> tuple[str, ...]:
        return (self.spark,)

    def start(self, draw: Draw) -> Floats:
        return np.zeros(len(draw.keys))

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        spark, (low, high) = of[self.spark], self.tau_s
        rate = dt_s / (low + (high - low) * draw.fixed())
        lit = spark > 0.0
        now = np.where(lit, np.maximum(value, self.begins_at), value)
        grown = now * (1.0 + rate) / (1.0 + rate * now)  # logistic growth, never beyond 1
        dying = now / (1.0 + rate)
        goes_on = lit | ((spark == 0.0) & (now > self.lasts_from))
        return np.where(goes_on, grown, np.where(dying < _OVER, 0.0, dying))
