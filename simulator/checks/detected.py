"""Of the devices that were broken: for how many did the backend raise an alarm after that? (recall)"""

from typing import Literal

from simulator.checks import NO_API, Check, Facts, Measured, listed


class Detected(Check):
    """Counts the broken devices with an alarm raised after their fault began."""

    kind: Literal["detected"] = "detected"

    @property
    def title(self) -> str:
        return "broken devices noticed"

    def measure(self, facts: Facts) -> Measured:
        if facts.alarms is None:
            return Measured(None, NO_API)
        faulted = facts.faulted()
        seen = {a["thing"] for a in facts.alarms if a["raised_at_ms"] >= faulted.get(a["thing"], 1 << 62)}
        missed = sorted(set(faulted) - seen)
        return Measured(len(seen), f"missed: {listed(missed)}" if missed else f"of {len(faulted)}")
