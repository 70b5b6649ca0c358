"""A sensor is noisier than it should be: a loose contact, a bad earth."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._expecting import judged, untold, usually
from simulator.faults._sensor import Wrong

_TO_ONE = 3**0.5  # four uniform numbers have the standard deviation 1 / √3
_FAR = 2.0  # deviations beyond which one reading of twenty lies


class Noise(Fault):
    """Adds noise to what the sensor of `signal` says, another amount with every reading."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: noise, signal: engine_temp_c, deviation: 15}"

    kind: Literal["noise"] = "noise"
    signal: str = Field(description="Whose sensor it is.")
    deviation: float = Field(gt=0, description="Standard deviation of the noise, in the signal's unit; mean 0.")

    def unfit(self, subject: Subject) -> str | None:
        return untold(self.signal, subject)

    def expects(self, subject: Subject) -> Expected:
        words = f"{self.signal} strays by {self.deviation:g} around the truth"
        first, limit = usually(subject.signals)[self.signal], subject.signals[self.signal].limit
        upwards = limit is None or limit.high - first <= first - limit.low
        far = _FAR * self.deviation
        return judged(subject, self.signal, first + far if upwards else first - far, words, self.ramp_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Noisy(self, now_ms, self.signal)


class Noisy(Wrong):
    __slots__ = ()
    what: Noise

    def wrong(self, body: Body, true: float, now_ms: int) -> float:
        total = sum(self.luck(body, now_ms, "noise", n) for n in range(4))
        return true + self.what.deviation * _TO_ONE * (total - 2)
