"""A device rejects a job: it says no, and does nothing."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active
from simulator.faults._ota import Ota


class Reject(Ota):
    """Answers every job with REJECTED."""

    example: ClassVar[str] = "{kind: reject, reason: the vehicle is driving}"
    words: ClassVar[str] = "the job is rejected and the old version stays"

    kind: Literal["reject"] = "reject"
    reason: str = Field("not now", min_length=1, max_length=200, description="What it says.")

    def start(self, body: Body, now_ms: int) -> Active:
        return Rejecting(self, now_ms)


class Rejecting(Active):
    __slots__ = ()
    what: Reject

    def obstacle(self, body: Body, point: str, now_ms: int) -> str | None:
        return self.what.reason if point == "jobs.accept" and self.chance(body) else None
