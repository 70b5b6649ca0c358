"""Messages that are in the backend's store more often than the fleet said them."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.checks import STORED_KINDS, Check, Facts, Measured


class Duplicates(Check):
    """Stored minus said, over the kinds of message that the backend stores."""

    needs_pace: ClassVar[bool] = False

    kind: Literal["duplicates"] = "duplicates"
    messages: list[str] = Field(list(STORED_KINDS), min_length=1, description="Kinds of message to count.")

    @property
    def title(self) -> str:
        return "messages stored more than once"

    def measure(self, facts: Facts) -> Measured:
        if facts.stored is None:
            return Measured(None, "this target has no store to look into")
        stored = {kind: facts.stored.get(kind, 0) for kind in self.messages}
        surplus = {kind: max(0, count - facts.ledger.attempted[kind]) for kind, count in stored.items()}
        return Measured(sum(surplus.values()), ", ".join(f"{kind} {count} stored" for kind, count in stored.items()))
