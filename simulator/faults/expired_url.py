"""The URL of an artifact has expired: the store answers 403, and the device has to ask for a fresh one."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Subject
from simulator.faults._ota import Ota
from simulator.messages import Download, DownloadEnded, Later, Output

ANSWER_MS = 50


class ExpiredUrl(Ota):
    """Answers the first `times` downloads as the store would; they never reach it."""

    example: ClassVar[str] = "{kind: expired_url, times: 2}"

    kind: Literal["expired_url"] = "expired_url"
    times: int | None = Field(None, ge=1, le=100, description="How many downloads; absent: all, until the job fails.")

    def expects(self, subject: Subject) -> Expected:
        if self.times is None:
            return Expected("", "no URL is ever good, so the job fails", "job", 60 * self.minutes)
        return Expected("", "it asks for a fresh URL and goes on", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Expired(self, now_ms, self.times)


class Expired(Active):
    __slots__ = ("left",)
    what: ExpiredUrl

    def __init__(self, what: ExpiredUrl, now_ms: int, left: int | None) -> None:
        super().__init__(what, now_ms)
        self.left = left

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        if type(said) is not Download or self.over or not self.chance(body):
            return [said]
        if self.left is not None:
            self.left -= 1
            self.over = self.left == 0
        return [Later(ANSWER_MS, DownloadEnded(said.token, 403, "HTTP 403"))]
