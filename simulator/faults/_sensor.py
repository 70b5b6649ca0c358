"""What the faults of sensors share: which readings they hit, and what a wrong reading looks like.

Rules: a reading may be asked for often, by telemetry, alerts, the shadow and whoever looks on, so what is drawn for
it depends on the moment alone, and not on how often it was asked.
"""

from simulator.behaviours import Body
from simulator.faults import Active, Fault


class Sensing(Active):
    """A fault of one sensor."""

    __slots__ = ("signal",)

    def __init__(self, what: Fault, now_ms: int, signal: str) -> None:
        super().__init__(what, now_ms)
        self.signal = signal

    def luck(self, body: Body, now_ms: int, *names: str | int) -> float:
        """A number in [0, 1) of this moment."""
        return self.lot(body, self.signal, *names, now_ms)

    def hits(self, body: Body, now_ms: int, share: float = 1.0) -> bool:
        """Is the reading of this moment hit? By `share` of the fault's probability."""
        chance = self.what.probability * share
        return chance >= 1 or self.luck(body, now_ms, "hit") < chance


class Wrong(Sensing):
    """The sensor reads another value, all the more so the stronger the fault is. Members say which."""

    __slots__ = ()

    def wrong(self, body: Body, true: float, now_ms: int) -> float:
        """What it reads at full strength where a sound one reads `true`."""
        raise NotImplementedError

    def reading(self, body: Body, values: dict[str, float], now_ms: int) -> None:
        if not self.hits(body, now_ms):
            return
        true, strength = values[self.signal], self.strength(now_ms)
        wrong = self.wrong(body, true, now_ms)
        wrong = wrong if strength >= 1 else true + (wrong - true) * strength
        values[self.signal] = in_steps(wrong, body.signals[self.signal].resolution)


class Whole(Sensing):
    """A fault that cannot be there by half: while it comes, it hits more and more readings. Members say what it does.

    So `ramp_s` is how long it takes until it hits all of them.
    """

    __slots__ = ()

    def change(self, body: Body, values: dict[str, float], now_ms: int) -> None:
        """Change a reading that is hit, in place."""
        raise NotImplementedError

    def reading(self, body: Body, values: dict[str, float], now_ms: int) -> None:
        if self.hits(body, now_ms, self.strength(now_ms)):
            self.change(body, values, now_ms)


def in_steps(value: float, step: float) -> float:
    """The nearest multiple of a step, as decimal as it can be; what is no number stays so."""
    steps = value / step
    if not -1e15 < steps < 1e15:
        return value
    return round(round(steps) * step, 9) + 0.0
