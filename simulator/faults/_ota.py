"""What faults of updates share: whom they fit, and how far a download is."""

from typing import ClassVar

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.messages import Chunk, Download, DownloadEnded, Input, Later, Output

VERSION = r"^[a-zA-Z0-9._-]{1,64}$"


class Ota(Fault):
    """A fault of a device's job agent: it shows with the next job."""

    family: ClassVar[Family] = "ota"
    words: ClassVar[str] = ""  # what should be noticed
    minutes: ClassVar[float] = 15.0  # by then, counted from the fault: a job has to come first

    def unfit(self, subject: Subject) -> str | None:
        return no_agent(subject)

    def expects(self, subject: Subject) -> Expected:
        return Expected("", self.words, "job", 60 * self.minutes)


def no_agent(subject: Subject) -> str | None:
    """What `unfit` says of a device that executes no jobs."""
    return None if "jobs" in subject.duties else "has no job agent"


class Downloading(Active):
    """Knows how much of an artifact has come."""

    __slots__ = ("got", "size", "token")

    def __init__(self, what: Fault, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.token, self.got, self.size = "", 0, 0

    @property
    def percent(self) -> float:
        """How much of it, in percent."""
        return 100 * self.got / self.size if self.size else 0.0

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        if type(said) is Download:
            self.token, self.got, self.size = said.token, said.offset, said.size_max
        return [said]

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        if type(said) is Chunk and said.token == self.token:
            self.got += len(said.data)
        elif type(said) is DownloadEnded and said.token == self.token:
            self.token, self.got = "", 0
        return [said]

    def booted(self, body: Body, now_ms: int) -> None:
        self.token, self.got = "", 0
