"""How many messages in a hundred did not arrive, whoever is to blame?"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from simulator.checks import STORED_KINDS, Check, Facts, Measured
from simulator.matching import Fate

_ERRORS: tuple[Fate, ...] = ("refused", "lost", "never_sent")


class ErrorRate(Check):
    """Messages that were refused, lost or never sent, in percent of those that were said; by itself at most 5."""

    usual: ClassVar[Mapping[str, float]] = {"at_most": 5}

    kind: Literal["error_rate"] = "error_rate"
    messages: list[str] = Field(list(STORED_KINDS), min_length=1, description="Kinds of message to count.")

    @property
    def title(self) -> str:
        return "messages that did not arrive"

    @property
    def unit(self) -> str:
        return "%"

    def measure(self, facts: Facts) -> Measured:
        audit, ledger = facts.audit, facts.ledger
        if audit:
            said = sum(tally.said for tally in audit.tallies if tally.kind in self.messages)
            errors = {fate.replace("_", " "): audit.count([fate], self.messages) for fate in _ERRORS}
        else:
            said = sum(ledger.attempted[kind] for kind in self.messages)
            errors = {
                name: sum(getattr(ledger, name)[kind] for kind in self.messages) for name in ("refused", "dropped")
            }
        if not said:
            return Measured(None, "nothing was said")
        counts = ", ".join(f"{count} {name}" for name, count in errors.items() if count)
        return Measured(100 * sum(errors.values()) / said, f"{counts or 'none'} of {said}")
