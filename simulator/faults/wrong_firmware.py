"""A device runs another firmware than it says in `$package`: somebody flashed it by hand."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._ota import VERSION, no_agent
from simulator.faults._versions import claiming
from simulator.messages import Later, Output


class WrongFirmware(Fault):
    """Runs `version` and claims the one it had, until a job brings it another one."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: wrong_firmware, version: 0.9.7}"

    kind: Literal["wrong_firmware"] = "wrong_firmware"
    version: str = Field(pattern=VERSION, description="What it really runs.")

    def unfit(self, subject: Subject) -> str | None:
        return no_agent(subject)

    def expects(self, subject: Subject) -> Expected:
        return Expected("", f"it runs {self.version}, and $package says another version", "version")

    def start(self, body: Body, now_ms: int) -> Active:
        active = Flashed(self, now_ms, body.version)
        active.over = body.version == self.version
        body.version = body.flash["version"] = self.version
        return active


class Flashed(Active):
    __slots__ = ("before",)
    what: WrongFirmware

    def __init__(self, what: WrongFirmware, now_ms: int, before: str) -> None:
        super().__init__(what, now_ms)
        self.before = before

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        return [claiming(said, self.before)]

    def booted(self, body: Body, now_ms: int) -> None:
        self.over = body.version != self.what.version

    def end(self, body: Body, now_ms: int) -> Outputs:
        if body.flash["version"] == self.what.version:  # and no job has installed another one meanwhile
            body.flash["version"] = self.before
        body.version = self.before
        return []
