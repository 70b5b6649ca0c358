"""A value that adds up another one over time: an odometer, a battery that drains."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from simulator.seeds import Floats
from simulator.signals import Draw, Range, Signal


class Accumulate(Signal):
    """Starts somewhere in `start_range` and changes by `per_s + gain × of` a second, inside `bounds`."""

    kind: Literal["accumulate"] = "accumulate"
    start_range: Range = Field(description="[low, high] of the first value; each device draws its own.")
    of: str | None = Field(None, description="The signal to add up.")
    gain: float = Field(0.0, description="Change a second for each unit of that signal.")
    per_s: float = Field(0.0, description="Change a second by itself.")
    bounds: Range | None = Field(None, description="[low, high] where the value stops.")

    @model_validator(mode="after")
    def _inside(self) -> "Accumulate":
        low, high = self.start_range
        if low > high:
            raise ValueError(f"'start_range' must rise from low to high, is [{low:g}, {high:g}]")
        if self.bounds and not self.bounds.low <= low <= high <= self.bounds.high:
            raise ValueError(
                f"'bounds' [{self.bounds.low:g}, {self.bounds.high:g}] must hold 'start_range' [{low:g}, {high:g}]"
            )
        return self

    def inputs(self) -> tuple[str, ...]:
        return (self.of,) if self.of else ()

    def start(self, draw: Draw) -> Floats:
        low, high = self.start_range
        return np.asarray(low + (high - low) * draw.fixed())

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        rate = self.per_s + self.gain * of[self.of] if self.of else self.per_s
        moved = value + rate * dt_s
        return np.clip(moved, *self.bounds) if self.bounds else np.asarray(moved)
