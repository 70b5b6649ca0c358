"""Updates fail at first and succeed then: what a retry of the job is for."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active
from simulator.faults._ota import Ota


class FailsFirst(Ota):
    """Fails to write the image `times` times; then it is over."""

    example: ClassVar[str] = "{kind: fails_first, times: 2}"
    words: ClassVar[str] = "jobs fail at first; a later one succeeds"

    kind: Literal["fails_first"] = "fails_first"
    times: int = Field(1, ge=1, le=1000, description="So many updates fail.")
    reason: str = Field("the image could not be written", min_length=1, max_length=200, description="What it says.")

    def start(self, body: Body, now_ms: int) -> Active:
        return Failing(self, now_ms, self.times)


class Failing(Active):
    __slots__ = ("left",)
    what: FailsFirst

    def __init__(self, what: FailsFirst, now_ms: int, left: int) -> None:
        super().__init__(what, now_ms)
        self.left = left

    def obstacle(self, body: Body, point: str, now_ms: int) -> str | None:
        if point != "jobs.install" or self.over or not self.chance(body):
            return None
        self.left -= 1
        self.over = self.left == 0
        return self.what.reason
