"""A count of random events: arcs in a second, people through a door. The rate may follow another signal."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from simulator.seeds import Floats
from simulator.signals import Draw, Signal


class Count(Signal):
    """How many events there were in the last step; `per_s + gain × of` a second in the mean."""

    kind: Literal["count"] = "count"
    per_s: float = Field(0.0, ge=0, description="Events a second by themselves.")
    of: str | None = Field(None, description="The signal that brings more of them.")
    gain: float = Field(1.0, description="Events a second for each unit of that signal.")

    def inputs(self) -> tuple[str, ...]:
        return (self.of,) if self.of else ()

    def start(self, draw: Draw) -> Floats:
        return np.zeros(len(draw.keys))

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        rate = self.per_s + self.gain * of[self.of] if self.of else self.per_s
        expected = np.maximum(rate, 0.0) * dt_s
        # floor(x + u) is x in the mean; 2v spreads it, as Poisson's law would, without an exp.
        return np.asarray(np.floor(2.0 * draw.uniform() * expected + draw.uniform(1)))
