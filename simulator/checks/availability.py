"""How much of the time did the backend answer?"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from simulator.checks import NO_API, Check, Facts, Measured


class Availability(Check):
    """The time in which the backend's read API answered, in percent of the run; by itself at least 99.9."""

    usual: ClassVar[Mapping[str, float]] = {"at_least": 99.9}

    kind: Literal["availability"] = "availability"

    @property
    def title(self) -> str:
        return "time in which the backend answers"

    @property
    def unit(self) -> str:
        return "%"

    def measure(self, facts: Facts) -> Measured:
        if facts.alarms is None:
            return Measured(None, NO_API)
        if facts.watched_s <= 0:
            return Measured(None, "it was not asked yet")
        share = 1 - min(1.0, facts.unanswered_s / facts.watched_s)
        return Measured(100 * share, f"no answer in {facts.unanswered_s:.1f} s of {facts.watched_s:.0f} s")
