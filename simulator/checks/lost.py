"""Messages that were acknowledged and are not in the backend's store."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.checks import STORED_KINDS, Check, Facts, Measured


class Lost(Check):
    """Acknowledged minus stored, over the kinds of message that the backend stores."""

    needs_pace: ClassVar[bool] = False

    kind: Literal["lost"] = "lost"
    messages: list[str] = Field(list(STORED_KINDS), min_length=1, description="Kinds of message to count.")

    @property
    def title(self) -> str:
        return "acknowledged messages missing from the store"

    def measure(self, facts: Facts) -> Measured:
        if facts.stored is None:
            return Measured(None, "this target has no store to look into")
        acknowledged = {kind: facts.ledger.acknowledged[kind] for kind in self.messages}
        lost = {kind: max(0, count - facts.stored.get(kind, 0)) for kind, count in acknowledged.items()}
        return Measured(
            sum(lost.values()),
            ", ".join(f"{kind} {count} acknowledged" for kind, count in acknowledged.items()),
        )
