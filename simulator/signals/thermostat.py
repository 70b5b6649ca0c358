"""A controller with two thresholds: on above one, off below the other. A part that faults can hang."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import model_validator

from simulator.seeds import Floats
from simulator.signals import Draw, Signal


class Thermostat(Signal):
    """`on` when the watched signal is above `on_above`, `off` when it is below `off_below`, else as it was."""

    kind: Literal["thermostat"] = "thermostat"
    watches: str
    on_above: float
    off_below: float
    on: float = 1.0
    off: float = 0.0

    @model_validator(mode="after")
    def _apart(self) -> "Thermostat":
        if self.off_below >= self.on_above:
            raise ValueError(f"'off_below' ({self.off_below:g}) must be below 'on_above' ({self.on_above:g})")
        return self

    def inputs(self) -> tuple[str, ...]:
        return (self.watches,)

    def start(self, draw: Draw) -> Floats:
        return np.full(len(draw.keys), self.off)

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        watched = of[self.watches]
        return np.where(watched > self.on_above, self.on, np.where(watched < self.off_below, self.off, value))
