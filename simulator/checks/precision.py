"""Of the alarms that were raised: how many had a reason?"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from simulator.checks import NO_API, Facts, Measured, Scoring, listed


class Precision(Scoring):
    """The share of alarms with a fault behind them, from 0 to 1; by itself at least 0.85."""

    usual: ClassVar[Mapping[str, float]] = {"at_least": 0.85}

    kind: Literal["precision"] = "precision"

    @property
    def title(self) -> str:
        return self.about("alarms with a fault behind them")

    def measure(self, facts: Facts) -> Measured:
        if facts.alarms is None:
            return Measured(None, NO_API)
        score = self.score(facts)
        if score.precision is None:
            return Measured(None, "no alarm was raised")
        false = f"; false: {listed(sorted(score.alarmed_falsely))}" if score.alarmed_falsely else ""
        return Measured(score.precision, f"{score.alarms} of {score.alarms + score.false_alarms}{false}")
