"""One record of a fire sensor, its values in order; what is missing or no number is as on a sound sensor."""

from collections.abc import Mapping
from math import nan
from typing import Any, NamedTuple

ARCS_MAX = 1_000_000
_NUMBERS = frozenset((int, float))


class Reading(NamedTuple):
    """The record's values under names of their own."""

    volt: float  # V
    volt_low: float  # V
    current: float  # A
    leakage: float  # mA
    resistive: float  # mA
    power: float  # kW; NaN when it is not said
    pcb_c: float
    sensor_c: float
    co: float  # ppm
    voc: float  # µg/m³
    power_factor: float
    arcs: int
    status: int

    @property
    def temperature(self) -> float:
        """The higher of the two, in °C."""
        return max(self.pcb_c, self.sensor_c)


# The values' names in the store, after the ingest rule has renamed some.
NAMES = (
    "volt", "voltLow", "current", "leakage_current", "resistive_leakage", "power", "pcbTemp", "sensorTemp", "co", "voc",
    "power_factor", "arc_count", "status",
)  # fmt: skip
_SOUND = (220.0, nan, 0.0, 0.0, 0.0, nan, 0.0, 0.0, 0.0, 0.0, 1.0, 0, 0)
_NAMED = tuple(zip(NAMES, _SOUND, strict=True))


def read(metrics: Mapping[str, Any]) -> Reading:
    """The reading that a record's metrics are, which keep the data contract."""
    values: list[Any] = [metrics.get(name, sound) for name, sound in _NAMED]
    if not _NUMBERS.issuperset(map(type, values)):
        values = [value if type(value) in _NUMBERS else sound for value, (_, sound) in zip(values, _NAMED, strict=True)]
    if values[1] != values[1]:
        values[1] = values[0]
    arcs, status = values[11], values[12]
    if type(arcs) is not int or not 0 <= arcs <= ARCS_MAX:
        values[11] = int(min(max(arcs, 0), ARCS_MAX))
    if type(status) is not int or status < 0:
        values[12] = 0
    return Reading._make(values)


def values_of(reading: Reading) -> dict[str, float]:
    """A reading under the names of the store."""
    return dict(zip(NAMES, reading, strict=True))
