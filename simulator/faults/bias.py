"""A sensor reads too much or too little by a constant. The smallest fault: copy this one."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject, no_signal


class Bias(Fault):
    """Adds `by` to what the sensor of `signal` says."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: bias, signal: engine_temp_c, by: 40, ramp_s: 30}"

    kind: Literal["bias"] = "bias"
    signal: str = Field(description="Whose sensor is wrong.")
    by: float = Field(description="How much it adds, in the signal's unit.")

    def unfit(self, subject: Subject) -> str | None:
        return no_signal(self.signal, subject)

    def expects(self, subject: Subject) -> Expected:
        return Expected(self.signal, f"{self.signal} reads {self.by:+g} beside the truth")

    def start(self, body: Body, now_ms: int) -> Active:
        return Biased(self, now_ms)


class Biased(Active):
    __slots__ = ()
    what: Bias

    def reading(self, body: Body, values: dict[str, float], now_ms: int) -> None:
        values[self.what.signal] += self.what.by * self.strength(now_ms)
