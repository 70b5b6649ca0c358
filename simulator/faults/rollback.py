"""A new version does not start: the device boots back into the old one, and says so."""

from typing import ClassVar, Literal

from simulator.behaviours import Body
from simulator.faults import Active
from simulator.faults._ota import Ota
from simulator.messages import Later, Note, Output


class Rollback(Ota):
    """Falls back to the version it had at the first start after every installation."""

    example: ClassVar[str] = "{kind: rollback}"
    words: ClassVar[str] = "the new version does not start, so the job fails and the old version is back"

    kind: Literal["rollback"] = "rollback"

    def start(self, body: Body, now_ms: int) -> Active:
        return FallingBack(self, now_ms)


class FallingBack(Active):
    __slots__ = ("failed", "old")
    what: Rollback

    def __init__(self, what: Rollback, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.old = ""  # the version that ran when the new one was installed, until it starts
        self.failed = ""  # the version that did not start

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        if type(said) is Note and said.kind == "installed" and self.chance(body):
            self.old = body.version
        elif type(said) is Note and said.kind == "download_started":
            self.failed = ""
        return [said]

    def booted(self, body: Body, now_ms: int) -> None:
        if self.old:
            self.failed = body.version
            body.version = body.flash["version"] = self.old
            self.old = ""

    def obstacle(self, body: Body, point: str, now_ms: int) -> str | None:
        if point != "jobs.boot" or not self.failed:
            return None
        return f"{self.failed} does not start: back in {body.version}"
