"""Do device, `$package` shadow and job agree on the version at the end?"""

from typing import Literal

from simulator.checks import Check, Facts, Measured, listed


class Disagreements(Check):
    """Counts devices whose version differs from their `$package` shadow or their last succeeded job."""

    kind: Literal["disagreements"] = "disagreements"

    @property
    def title(self) -> str:
        return "devices whose version, $package and job disagree"

    def measure(self, facts: Facts) -> Measured:
        if not facts.packages:
            return Measured(None, "the cloud's $package shadows were not to be had")
        wrong = [words for _, words in facts.disagreeing()]
        return Measured(len(wrong), listed(wrong, 3))
