"""Where a vehicle is: one coordinate of a point that moves along a closed route with the distance travelled."""

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from simulator.seeds import Floats
from simulator.signals import Draw, Signal

_KM_PER_DEGREE = 111.195  # of latitude, on a sphere
_RADIANS = 0.017453292519943295


class Route(Signal):
    """Follows an odometer around `points` = [[latitude, longitude], …], from the last one back to the first.

    Two signals with the same points give latitude and longitude; the odometer says where each device begins.
    """

    kind: Literal["route"] = "route"
    of: str = Field(description="The signal that gives the distance travelled, in km.")
    axis: Literal["latitude", "longitude"]
    points: list[tuple[float, float]] = Field(
        min_length=2, max_length=1000, description="[[latitude, longitude], …], in degrees."
    )

    @model_validator(mode="after")
    def _on_earth(self) -> "Route":
        for latitude, longitude in self.points:
            if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
                raise ValueError(f"[{latitude:g}, {longitude:g}] is not on earth: latitude ±90, longitude ±180")
        if any(a == b for a, b in self._legs()):
            raise ValueError("two neighbours of 'points' are the same place (the last one leads back to the first)")
        return self

    def _legs(self) -> list[tuple[tuple[float, float], tuple[float, float]]]:
        return list(pairwise([*self.points, self.points[0]]))

    @cached_property
    def _curve(self) -> tuple[Floats, Floats]:
        """Kilometres from the first point to each, and the coordinate there."""
        km = [0.0]
        for (lat_a, lon_a), (lat_b, lon_b) in self._legs():
            north, east = lat_b - lat_a, (lon_b - lon_a) * _cosine((lat_a + lat_b) / 2)
            km.append(km[-1] + _KM_PER_DEGREE * float(np.sqrt(north * north + east * east)))
        axis = 0 if self.axis == "latitude" else 1
        return np.array(km), np.array([point[axis] for point in [*self.points, self.points[0]]])

    def inputs(self) -> tuple[str, ...]:
        return (self.of,)

    def start(self, draw: Draw) -> Floats:
        return np.zeros(len(draw.keys))

    def settle(self, value: Floats, of: Mapping[str, Floats]) -> Floats:
        km, coordinate = self._curve
        rounds = of[self.of] / km[-1]
        return np.asarray(np.interp((rounds - np.floor(rounds)) * km[-1], km, coordinate))

    def advance(self, value: Floats, of: Mapping[str, Floats], at_s: float, dt_s: float, draw: Draw) -> Floats:
        return self.settle(value, of)


def _cosine(degrees: float) -> float:
    """The first terms of its series, which every machine adds up alike; right to 1e-7 within ±90°."""
    square = degrees * _RADIANS * (degrees * _RADIANS)
    total = 1.0
    for n in (90, 56, 30, 12, 2):
        total = 1.0 - square / n * total
    return total
