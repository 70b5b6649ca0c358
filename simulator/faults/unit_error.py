"""A sensor says its value in another unit than the backend takes it for: °F for °C, mV for V, kW for W."""

from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._expecting import judged, untold, usually
from simulator.faults._sensor import Whole


class Conversion(NamedTuple):
    """What is said is true × factor + offset."""

    unit: str  # of the true value; empty: any
    factor: float
    offset: float = 0.0


CONVERSIONS = {
    "fahrenheit": Conversion("°C", 1.8, 32),
    "kelvin": Conversion("°C", 1, 273.15),
    "miles": Conversion("km/h", 0.621371),
    "percent": Conversion("", 100),  # for a share of 1
    "milli": Conversion("", 1000),  # mV for V, mA for A
    "kilo": Conversion("", 0.001),  # kW for W
}


class UnitError(Fault):
    """The sensor of `signal` says its value in the unit `says`."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: unit_error, signal: engine_temp_c, says: fahrenheit}"

    kind: Literal["unit_error"] = "unit_error"
    signal: str = Field(description="Whose sensor it is.")
    says: Literal["fahrenheit", "kelvin", "miles", "percent", "milli", "kilo"] = Field(
        description="fahrenheit, kelvin: for °C · miles: an hour, for km/h · percent: for a share of 1 · "
        "milli: thousandths, as mV for V · kilo: thousands, as kW for W."
    )

    def unfit(self, subject: Subject) -> str | None:
        if why := untold(self.signal, subject):
            return why
        unit, wanted = subject.signals[self.signal].unit, CONVERSIONS[self.says].unit
        if wanted and unit != wanted:
            return f"has its '{self.signal}' in '{unit}', and '{self.says}' is for '{wanted}'"
        return None

    def said(self, true: float) -> float:
        """A value in the wrong unit."""
        _, factor, offset = CONVERSIONS[self.says]
        return round(true * factor + offset, 6)

    def expects(self, subject: Subject) -> Expected:
        reads = self.said(usually(subject.signals)[self.signal])
        return judged(subject, self.signal, reads, f"{self.signal} is said as {self.says}", self.ramp_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Converted(self, now_ms, self.signal)


class Converted(Whole):
    __slots__ = ()
    what: UnitError

    def change(self, body: Body, values: dict[str, float], now_ms: int) -> None:
        values[self.signal] = self.what.said(values[self.signal])
