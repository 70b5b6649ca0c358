"""Signals: one physical quantity each, advanced for all devices of a profile at once.

A signal is described in a profile's YAML and is a pure function on numpy columns (one entry a device):
the value a step later, from the value now, the other signals' values, the length of the step and
counter-based noise. It keeps no state of its own, so the same seed gives the same values everywhere.

To add one, copy `constant.py`, name the file as the kind and the class as the file.

Rules: only + - * / and comparisons (no exp, sin or log: their last bits differ between machines); a step
may be of any length, so use the implicit form `x' = (x + a·dt) / (1 + b·dt)` for anything that decays.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from pydantic import Field, model_validator

from simulator import seeds
from simulator.schema import Strict
from simulator.seeds import Floats, Keys

_AHEAD = 2048  # random numbers are made for many steps at once where there are few devices: a call costs the most


class Draw:
    """Noise for one signal at one step: `keys` of the devices, the signal's channel, which step.

    It remembers what it made, which is only quicker: a number depends on key, channel, salt and step alone.
    """

    __slots__ = ("_ahead", "_fixed", "channel", "keys", "step")

    def __init__(self, keys: Keys, channel: int, step: int) -> None:
        self.keys, self.channel, self.step = keys, channel, step
        self._fixed: dict[int, Floats] = {}
        self._ahead: dict[int, tuple[int, Floats]] = {}

    def normal(self) -> Floats:
        """Fresh noise of this step, mean 0 and standard deviation 1."""
        return self._fresh(seeds.normal, 0)

    def uniform(self, salt: int = 0) -> Floats:
        """A fresh number in [0, 1) at this step; another one for each salt."""
        return self._fresh(seeds.uniform, salt + 1)

    def fixed(self, salt: int = 0) -> Floats:
        """A number in [0, 1) that a device keeps for life."""
        found = self._fixed.get(salt)
        if found is None:
            found = self._fixed[salt] = seeds.uniform(self._salted(salt + 1), 0)
        return found

    def _salted(self, salt: int) -> Keys:
        return seeds.salted(self.keys, self.channel + 1_000_003 * salt)

    def _fresh(self, kind: Callable[[Keys, int], Floats], salt: int) -> Floats:
        first, made = self._ahead.get(salt, (0, _NOTHING))
        if not first <= self.step < first + len(made):
            steps = max(1, _AHEAD // max(1, len(self.keys)))
            first, made = self.step, kind(seeds.ahead(self._salted(salt), self.step, steps), 0)
            self._ahead[salt] = first, made
        row: Floats = made[self.step - first]
        return row


_NOTHING: Floats = np.zeros((0, 0))


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

    def settle(self, value: Floats, of: Mapping[str, Floats]) -> Floats:
        """The first value again, now that the other signals have theirs: what follows them begins in balance."""
        return value

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        """The value `dt_s` after `at_s` (seconds of simulated time since the start)."""
        raise NotImplementedError
