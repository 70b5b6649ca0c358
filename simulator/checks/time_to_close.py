"""How long an alarm with a reason stayed open."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from simulator.checks import NO_API, Facts, Measured, Scoring
from simulator.truth import percentile


class TimeToClose(Scoring):
    """The time from an alarm to its end, in seconds: of the slowest, or a percentile; by itself at most half an hour.

    An alarm that is still open does not count.
    """

    usual: ClassVar[Mapping[str, float]] = {"at_most": 1800}

    kind: Literal["time_to_close"] = "time_to_close"
    percentile: float = Field(100, gt=0, le=100, description="So many percent took no longer; 100: the slowest.")

    @property
    def title(self) -> str:
        which = "slowest" if self.percentile == 100 else f"p{self.percentile:g}"
        return self.about(f"time from alarm to its end, {which}")

    @property
    def unit(self) -> str:
        return "s"

    def measure(self, facts: Facts) -> Measured:
        if facts.alarms is None:
            return Measured(None, NO_API)
        score = self.score(facts)
        took_ms = percentile(score.close_ms, self.percentile)
        if took_ms is None:
            return Measured(None, "no alarm with a fault behind it was closed")
        still = len(score.detected) - len(score.close_ms)
        return Measured(took_ms / 1000, f"{still} of {len(score.detected)} are still open" if still else "")
