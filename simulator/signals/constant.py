"""A value that stays, the same for all devices or spread around it. The smallest signal: copy this one."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from simulator.seeds import Floats
from simulator.signals import Draw, Signal


class Constant(Signal):
    """`value`, give or take `spread`, for life."""

    kind: Literal["constant"] = "constant"
    value: float
    spread: float = Field(0.0, ge=0, description="Each device gets its own value within ± this.")

    def start(self, draw: Draw) -> Floats:
        return np.asarray(self.value + self.spread * (2.0 * draw.fixed() - 1.0))

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        return self.start(draw)  # not `value`: a part that hung comes back to its own
