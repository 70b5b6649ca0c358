"""Messages that went astray, and no fault explains it: those are the backend's own."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from simulator.checks import Check, Facts, Measured
from simulator.matching import ODD, Fate

_SHOWN = 3


class Unexplained(Check):
    """Counts messages with one of these fates that nothing explains; by itself there may be none."""

    usual: ClassVar[Mapping[str, float]] = {"equals": 0}

    kind: Literal["unexplained"] = "unexplained"
    fates: list[Fate] = Field(list(ODD), min_length=1, description="What became of them.")
    messages: list[str] = Field([], max_length=20, description="Kinds of message to look at; absent: all.")

    @property
    def title(self) -> str:
        what = "" if set(self.fates) == set(ODD) else f" {', '.join(self.fates).replace('_', ' ')}"
        return f"messages{what or ' astray'} that nothing explains"

    def measure(self, facts: Facts) -> Measured:
        audit = facts.audit
        if audit is None:
            return Measured(None, facts.no_audit)
        kinds = self.messages or [tally.kind for tally in audit.tallies]
        count = audit.count(self.fates, kinds, unexplained=True)
        found = [odd for odd in audit.unexplained if odd.fate in self.fates and odd.kind in kinds]
        shown = [f"{odd.kind} of {odd.thing}: {odd.fate.replace('_', ' ')}, {odd.hop}" for odd in found[:_SHOWN]]
        if count > len(shown) > 0:
            shown.append(f"and {count - len(shown):,} more")
        said, unaudited = sum(t.said for t in audit.tallies if t.kind in kinds), audit.unaudited.total()
        of = f"of {said:,} messages" + ("" if audit.sees_store else ", as far as their devices know")
        left = f"; {unaudited:,} were not looked at" if unaudited else ""
        return Measured(count, f"{'; '.join(shown) or of}{left}")
