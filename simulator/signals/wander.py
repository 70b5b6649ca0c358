"""A value that wanders around its mean, like a mains voltage or a gas background: mean-reverting noise."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from simulator.seeds import Floats
from simulator.signals import Draw, Signal


class Wander(Signal):
    """Returns to `mean` with the time constant `tau_s`, and strays from it by `deviation`."""

    kind: Literal["wander"] = "wander"
    mean: float
    deviation: float = Field(ge=0, description="Standard deviation around the mean in the long run.")
    tau_s: float = Field(60.0, gt=0, description="How long a deviation lasts.")

    def start(self, draw: Draw) -> Floats:
        return np.asarray(self.mean + self.deviation * (2.0 * draw.fixed() - 1.0))

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        decay = dt_s / (self.tau_s + dt_s)
        # With x' = x(1-d) + s·n the variance in the long run is s²/(d(2-d)); s is chosen to make it deviation².
        kick = self.deviation * float(np.sqrt(decay * (2.0 - decay)))
        return np.asarray(value + (self.mean - value) * decay + kick * draw.normal())
