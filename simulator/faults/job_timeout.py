"""A device finishes an update too late: the cloud has ended the job by a time-out, and then the new version runs.

The image is written, but the restart into it has to wait, as for a vehicle that is driving.
"""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body, Outputs
from simulator.faults import Active, Expected, Subject
from simulator.faults._ota import Ota
from simulator.messages import Later, Note, Output, PowerCycle


class JobTimeout(Ota):
    """Restarts `late_s` later into what it has installed, or when the fault ends."""

    example: ClassVar[str] = "{kind: job_timeout, late_s: 900}"

    kind: Literal["job_timeout"] = "job_timeout"
    late_s: float = Field(3600.0, gt=0, le=31_536_000, description="How much later: more than the job's time-out.")

    def expects(self, subject: Subject) -> Expected:
        words = "a job times out, and its version runs later all the same"
        return Expected("", words, "job", 60 * self.minutes + self.late_s)

    def start(self, body: Body, now_ms: int) -> Active:
        return Waiting(self, now_ms)


class Waiting(Active):
    __slots__ = ("held", "installed")
    what: JobTimeout

    def __init__(self, what: JobTimeout, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.installed = False
        self.held: PowerCycle | None = None  # the restart that has to wait

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        if type(said) is Note and said.kind == "installed":
            self.installed = self.chance(body)
        elif self.installed and type(said) is Note and said.kind == "rebooting":
            return [Later(int(1000 * self.what.late_s), said)]
        elif self.installed and type(said) is PowerCycle:
            self.installed, self.held = False, said
            return [Later(int(1000 * self.what.late_s), said)]
        return [said]

    def booted(self, body: Body, now_ms: int) -> None:
        self.installed, self.held = False, None

    def end(self, body: Body, now_ms: int) -> Outputs:
        return [self.held] if self.held else []
