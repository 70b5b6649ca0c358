"""How long the backend took to notice: from a device's first bad sample to its alarm."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from simulator.checks import NO_API, Facts, Measured, TimedScoring
from simulator.truth import percentile


class TimeToDetect(TimedScoring):
    """The time from a first bad sample to the alarm, in seconds: of the slowest, or a percentile.

    By itself at most 300. A fault that no sample shows counts from its beginning; what was never noticed does not.
    """

    usual: ClassVar[Mapping[str, float]] = {"at_most": 300}

    kind: Literal["time_to_detect"] = "time_to_detect"

    @property
    def title(self) -> str:
        return self.timed("time from first bad sample to alarm")

    def measure(self, facts: Facts) -> Measured:
        if facts.alarms is None:
            return Measured(None, NO_API)
        detected = self.score(facts).detected
        took_ms = percentile([detect_ms for _, detect_ms in detected], self.percentile)
        if took_ms is None:
            return Measured(None, "no broken device has an alarm")
        return Measured(took_ms / 1000, f"slowest: {max(detected, key=lambda one: one[1])[0]}")
