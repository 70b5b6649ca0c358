"""Of the faults that a good backend notices: how many did it notice in time?"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from simulator.checks import NO_API, Facts, Measured, Scoring, listed


class Recall(Scoring):
    """The share of faults that were noticed as they should be, from 0 to 1; by itself at least 0.9."""

    usual: ClassVar[Mapping[str, float]] = {"at_least": 0.9}

    kind: Literal["recall"] = "recall"

    @property
    def title(self) -> str:
        return self.about("faults noticed, of those to be noticed")

    def measure(self, facts: Facts) -> Measured:
        if facts.alarms is None:
            return Measured(None, NO_API)
        score = self.score(facts)
        missed = f"; missed: {listed(score.missed)}" if score.missed else ""
        why = f"{score.noticed} of {score.faults}{missed}" if score.faults else "no fault was to be noticed"
        return Measured(score.recall, why)
