"""A temperature: heat comes in with load, and leaves to the surroundings, faster when a fan runs."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from simulator.seeds import Floats
from simulator.signals import Draw, Signal


class Thermal(Signal):
    """One heat capacity between a heat source and the surroundings.

    C·dT/dt = heat_w + heat_w_per_unit·load − (loss_w_per_k + fan_w_per_k·fan)·(T − ambient)
    """

    kind: Literal["thermal"] = "thermal"
    start_c: float = Field(description="Temperature at the start.")
    ambient: str = Field(description="The signal that gives the surroundings' temperature.")
    load: str = Field(description="The signal that brings heat in.")
    fan: str | None = Field(None, description="The signal that cools, 0 (off) to 1 (full).")
    capacity_j_per_k: float = Field(gt=0)
    heat_w: float = Field(0.0, ge=0, description="Heat at no load.")
    heat_w_per_unit: float = Field(ge=0, description="Heat for each unit of load.")
    loss_w_per_k: float = Field(gt=0)
    fan_w_per_k: float = Field(0.0, ge=0)

    def inputs(self) -> tuple[str, ...]:
        return (self.ambient, self.load, *([self.fan] if self.fan else []))

    def start(self, draw: Draw) -> Floats:
        return np.full(len(draw.keys), self.start_c)

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        per_k = dt_s / self.capacity_j_per_k
        loss = self.loss_w_per_k + self.fan_w_per_k * of[self.fan] if self.fan else self.loss_w_per_k
        heat = self.heat_w + self.heat_w_per_unit * of[self.load]
        return np.asarray((value + per_k * (heat + loss * of[self.ambient])) / (1.0 + per_k * loss))
