"""After an update a device runs another version than the job's, or says so; the job succeeds all the same."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Subject
from simulator.faults._ota import VERSION, Ota
from simulator.faults._versions import claiming
from simulator.messages import Later, Note, Output


class WrongVersion(Ota):
    """Installs `version` whatever the job says, or installs the job's and reports `version`."""

    example: ClassVar[str] = "{kind: wrong_version, version: 1.0.9, does: installs}"

    kind: Literal["wrong_version"] = "wrong_version"
    version: str = Field(pattern=VERSION, description="The version that is not the job's.")
    does: Literal["installs", "reports"] = "installs"

    def expects(self, subject: Subject) -> Expected:
        words = f"a job succeeds, and the device {self.does} {self.version} instead of its version"
        return Expected("", words, "version", 60 * self.minutes)

    def start(self, body: Body, now_ms: int) -> Active:
        return Mixed(self, now_ms)


class Mixed(Active):
    __slots__ = ("installed", "updated")
    what: WrongVersion

    def __init__(self, what: WrongVersion, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.installed = False  # and not yet started
        self.updated = False  # by a job, since the fault came

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        if type(said) is Note and said.kind == "installed":
            self.installed = self.chance(body)
        return [claiming(said, self.what.version) if self.updated and self.what.does == "reports" else said]

    def booted(self, body: Body, now_ms: int) -> None:
        if self.installed:
            self.installed, self.updated = False, True
            if self.what.does == "installs":
                body.version = body.flash["version"] = self.what.version
