"""What physical events share: they force signals along a course, and let them go at the end.

Rules: an event moves the plant and not what sensors say, so all that follows from a signal follows; let go, a signal
goes back by its own dynamics, a temperature cools down. Two devices never have quite the same event.
"""

from simulator.behaviours import Body, Outputs
from simulator.faults import Active, Fault

STEP_MS = 1000
_PACE = (0.8, 1.25)  # as fast as said, give or take
_SWAY, _SWAY_BACK = 0.01, 0.05  # each step


class Event(Active):
    """One event on one device."""

    __slots__ = ("held", "pace", "swaying")

    def __init__(self, what: Fault, body: Body, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.held: dict[str, float] = {}
        self.swaying = 0.0
        low, high = _PACE
        self.pace = low + (high - low) * self.draw(body, "pace")
        self.wake_at_ms = now_ms

    def drive(self, body: Body, now_ms: int) -> Outputs:
        """Force the signals to what they are by now. Called every `STEP_MS`."""
        raise NotImplementedError

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms = now_ms + STEP_MS
        return self.drive(body, now_ms)

    def force(self, body: Body, signal: str, value: float, now_ms: int) -> None:
        """Hold a signal at a value."""
        self.held[signal] = value
        body.hold(signal, value, now_ms)

    def free(self, body: Body, signal: str, now_ms: int) -> None:
        """Let a signal go, if it is held."""
        if self.held.pop(signal, None) is not None:
            body.hold(signal, None, now_ms)

    def risen(self, now_ms: int) -> float:
        """From 0 to 1 over `ramp_s`, at this event's own pace: quick at first, then slower."""
        ramp_ms = self.what.ramp_s * 1000
        left = 1.0 - min(1.0, (now_ms - self.since_ms) * self.pace / ramp_ms) if ramp_ms > 0 else 0.0
        return 1.0 - left * left

    def sway(self, body: Body) -> float:
        """A small number that wanders around 0, for what is never quite still."""
        self.swaying += _SWAY * (2 * self.draw(body, "sway") - 1) - _SWAY_BACK * self.swaying
        return self.swaying

    def end(self, body: Body, now_ms: int) -> Outputs:
        for signal in list(self.held):
            self.free(body, signal, now_ms)
        return []


class Towards(Event):
    """Moves one signal from what it is to another value."""

    __slots__ = ("first", "signal", "to")

    def __init__(self, what: Fault, body: Body, now_ms: int, signal: str, to: float) -> None:
        super().__init__(what, body, now_ms)
        self.signal, self.to, self.first = signal, to, body.truth(signal, now_ms)

    def drive(self, body: Body, now_ms: int) -> Outputs:
        way = (self.to - self.first) * self.risen(now_ms)
        self.force(body, self.signal, self.first + way * (1 + self.sway(body)), now_ms)
        return []
