"""How long an alarm with a reason stayed open."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from simulator.checks import NO_API, Facts, Measured, TimedScoring
from simulator.truth import percentile


class TimeToClose(TimedScoring):
    """The time from an alarm to its end, in seconds: of the slowest, or a percentile; by itself at most half an hour.

    An alarm that is still open does not count.
    """

    usual: ClassVar[Mapping[str, float]] = {"at_most": 1800}

    kind: Literal["time_to_close"] = "time_to_close"

    @property
    def title(self) -> str:
        return self.timed("time from alarm to its end")

    def measure(self, facts: Facts) -> Measured:
        if facts.alarms is None:
            return Measured(None, NO_API)
        score = self.score(facts)
        took_ms = percentile(score.close_ms, self.percentile)
        if took_ms is None:
            return Measured(None, "no alarm with a fault behind it was closed")
        still = len(score.detected) - len(score.close_ms)
        return Measured(took_ms / 1000, f"{still} of {len(score.detected)} are still open" if still else "")
