"""Signals: one physical quantity each, advanced for all devices of a profile at once.

A signal is described in a profile's YAML and is a pure function on numpy columns (one entry a device):
the value a step later, from the value now, the other signals' values, the length of the step and
counter-based noise. It keeps no state of its own, so the same seed gives the same values everywhere.

To add one, copy `constant.py`, name the file as the kind and the class as the file.

Rules: only + - * / and comparisons (no exp, sin or log: their last bits differ between machines); a step
may be of any length, so use the implicit form `x' = (x + a·dt) / (1 + b·dt)` for anything that decays.
"""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import Field, model_validator

from simulator import seeds
from simulator.schema import Strict
from simulator.seeds import Floats, Keys


class Draw(NamedTuple):
    """Noise for one signal at one step: `keys` of the devices, the signal's channel, which step."""

    keys: Keys
    channel: int
    step: int

    def normal(self) -> Floats:
        """Fresh noise of this step, mean 0 and standard deviation 1."""
        return seeds.normal(seeds.salted(self.keys, self.channel), self.step)

    def fixed(self, salt: int = 0) -> Floats:
        """A number in [0, 1) that a device keeps for life."""
        return seeds.uniform(seeds.salted(self.keys, self.channel + 1_000_003 * (salt + 1)), 0)


class Range(NamedTuple):
    """From low to high, both included."""

    low: float
    high: float


class Signal(Strict):
    """What every signal says about itself in YAML; members add `kind` and their own keys."""

    unit: str = Field("", description="Unit of the value, as people read it: °C, km/h, V.")
    sensor: Range | None = Field(None, description="What the sensor can read: [low, high]; readings stop there.")
    resolution: float = Field(0.01, gt=0, description="The step in which the sensor reads.")
    noise: float = Field(0.0, ge=0, description="Standard deviation of the sensor's noise.")
    limit: Range | None = Field(None, description="Normal range [low, high]; a reading outside is noted as bad.")

    @model_validator(mode="after")
    def _ranges_rise(self) -> "Signal":
        for name, pair in (("sensor", self.sensor), ("limit", self.limit)):
            if pair and pair.low >= pair.high:
                raise ValueError(f"'{name}' must rise from low to high, is [{pair.low:g}, {pair.high:g}]")
        return self

    def inputs(self) -> tuple[str, ...]:
        """Names of the signals this one reads."""
        return ()

    def start(self, draw: Draw) -> Floats:
        """The first value of each device."""
        raise NotImplementedError

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        """The value `dt_s` after `at_s` (seconds of simulated time since the start)."""
        raise NotImplementedError
