"""How many job executions ended in a status."""

from typing import Literal

from pydantic import Field

from simulator.checks import Check, Facts, Measured, listed

Status = Literal["QUEUED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "CANCELED", "REMOVED"]


class Jobs(Check):
    """Counts job executions with `status`, as the cloud has them."""

    kind: Literal["jobs"] = "jobs"
    status: Status = Field(description="The status to count.")

    @property
    def title(self) -> str:
        return f"job executions {self.status}"

    def measure(self, facts: Facts) -> Measured:
        found = [e for e in facts.executions if e["status"] == self.status]
        other = [f"{e['thing']} {e['status']}{_reason(e)}" for e in facts.executions if e["status"] != self.status]
        return Measured(len(found), f"others: {listed(sorted(other))}" if other else "")


def _reason(execution: "dict[str, object] | object") -> str:
    reason = execution.get("reason") if isinstance(execution, dict) else None
    return f" ({reason})" if reason else ""
