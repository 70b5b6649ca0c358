"""An artifact comes truncated: its end is missing, and nothing says so."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active
from simulator.faults._ota import Downloading, Ota
from simulator.messages import Chunk, Download, Input, Later, Output


class Truncated(Ota):
    """Lets the first `percent` of an artifact through, and ends the download as if that were all."""

    example: ClassVar[str] = "{kind: truncated, percent: 60}"
    words: ClassVar[str] = "the artifact is too short, so the job fails and the old version stays"

    kind: Literal["truncated"] = "truncated"
    percent: float = Field(50.0, ge=0, lt=100, description="So much of it comes.")

    def start(self, body: Body, now_ms: int) -> Active:
        return Cut(self, now_ms)


class Cut(Downloading):
    __slots__ = ("hit",)
    what: Truncated

    def __init__(self, what: Truncated, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.hit = False

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        if type(said) is Download:
            self.hit = self.chance(body)
        return super().say(body, said, now_ms)

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        before = self.got
        heard = super().hear(body, said, now_ms)
        if type(said) is not Chunk or said.token != self.token or not self.hit:
            return heard
        room = max(0, int(self.size * self.what.percent / 100) - before)
        return [said._replace(data=said.data[:room])] if room else []
