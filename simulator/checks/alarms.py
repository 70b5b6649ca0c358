"""How many alarms the backend raised, closed, escalated; and how many of them nobody had caused."""

from typing import Literal

from pydantic import Field

from simulator.checks import NO_API, Check, Facts, Measured, listed

Which = Literal["raised", "open", "closed", "escalated", "settled", "false"]


class Alarms(Check):
    """Counts alarms. settled: closed or escalated; false: raised where nothing was broken."""

    kind: Literal["alarms"] = "alarms"
    which: Which = Field(description="Which alarms to count.")

    @property
    def title(self) -> str:
        return f"alarms {self.which}"

    def measure(self, facts: Facts) -> Measured:
        if facts.alarms is None:
            return Measured(None, NO_API)
        faulted = facts.faulted()
        states = {"open": ("open", "acting", "verifying", "updating"), "closed": ("closed",),
                  "escalated": ("escalated",), "settled": ("closed", "escalated")}  # fmt: skip
        match self.which:
            case "raised":
                found = list(facts.alarms)
            case "false":
                found = [a for a in facts.alarms if a["raised_at_ms"] < faulted.get(a["thing"], 1 << 62)]
            case which:
                found = [a for a in facts.alarms if a["state"] in states[which]]
        return Measured(len(found), listed(sorted(a["thing"] for a in found)))
