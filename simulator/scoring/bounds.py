"""Minimum and target of the contracts ("Targets that the checks use by default"), and what comes of them."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from simulator.scoring.figures import Figures

Judged = Literal["records", "alerts"]
State = Literal["target", "minimum", "below", "unknown"]
Verdict = Literal["passed", "failed", "inconclusive"]


class Bound(NamedTuple):
    """A measure and what it must be. A target is to be exceeded, a minimum to be met."""

    name: str
    value: float | None
    target: float
    minimum: float
    rises: bool = True  # more is better

    @property
    def state(self) -> State:
        if self.value is None:
            return "unknown"
        sign = 1 if self.rises else -1
        if sign * self.value > sign * self.target:
            return "target"
        return "minimum" if sign * self.value >= sign * self.minimum else "below"


def bounds(found: Figures, judged: Judged) -> list[Bound]:
    """The measures of the contracts, by records or by alerts."""
    if judged == "records":
        precision, recall, false = found.precision, found.recall, found.false_positive_rate
    else:
        precision, recall, false = found.alert_precision, found.fire_recall, found.devices_alarmed_share
    return [
        Bound("accuracy", found.accuracy, 0.90, 0.85),
        *measures(precision, recall, false),
    ]


def measures(precision: float | None, recall: float | None, false: float | None) -> list[Bound]:
    """The same without accuracy, which alarms alone do not have."""
    return [
        Bound("precision", precision, 0.85, 0.80),
        Bound("recall", recall, 0.90, 0.85),
        Bound("false alarms", false, 0.05, 0.10, rises=False),
    ]


def passed(found: Sequence[Bound]) -> bool:
    """Is nothing below the minimum? What cannot be known has not passed."""
    return all(bound.state in ("target", "minimum") for bound in found)


def verdict(found: Sequence[Bound]) -> Verdict:
    """Passed or failed; where there was nothing to be noticed, there is nothing to judge."""
    if any(bound.name == "recall" and bound.value is None for bound in found):
        return "inconclusive"
    return "passed" if passed(found) else "failed"
