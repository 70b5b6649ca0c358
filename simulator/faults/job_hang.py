"""A job agent hangs: at some point of an update it goes neither on nor back, until the cloud's time-out ends the job.

Everything else of the device works. A power cycle, or the end of the fault, makes the agent begin anew.
"""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.behaviours.jobs import HANGS
from simulator.faults import Active
from simulator.faults._ota import Downloading, Ota


class JobHang(Ota):
    """Hangs as it is told of a job, in the download, before the check, with the image written, or after the reboot."""

    example: ClassVar[str] = "{kind: job_hang, at: install}"
    words: ClassVar[str] = "a job is never done: it runs into its time-out"

    kind: Literal["job_hang"] = "job_hang"
    at: Literal["accept", "download", "verify", "install", "boot"] = "install"
    percent: float = Field(50.0, ge=0, le=100, description="For `download`: when so much has come.")

    def start(self, body: Body, now_ms: int) -> Active:
        return Hanging(self, now_ms)


class Hanging(Downloading):
    __slots__ = ("hangs", "judged")
    what: JobHang

    def __init__(self, what: JobHang, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.hangs = False
        self.judged: str | None = None  # the download of which was drawn whether it hangs

    def obstacle(self, body: Body, point: str, now_ms: int) -> str | None:
        if point != f"jobs.{self.what.at}":
            return None
        if self.what.at != "download":
            self.hangs = self.hangs or self.chance(body)
        elif self.percent >= self.what.percent and self.judged != self.token:
            self.hangs, self.judged = self.hangs or self.chance(body), self.token
        return HANGS if self.hangs else None

    def booted(self, body: Body, now_ms: int) -> None:
        super().booted(body, now_ms)
        self.hangs = False
