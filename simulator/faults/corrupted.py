"""An artifact comes corrupted: one bit of it is wrong."""

from typing import ClassVar, Literal

from simulator.behaviours import Body
from simulator.faults import Active
from simulator.faults._ota import Ota
from simulator.messages import Chunk, Download, Input, Later, Output


class Corrupted(Ota):
    """Flips a bit in the first piece of every download."""

    example: ClassVar[str] = "{kind: corrupted}"
    words: ClassVar[str] = "the artifact has another hash, so the job fails and the old version stays"

    kind: Literal["corrupted"] = "corrupted"

    def start(self, body: Body, now_ms: int) -> Active:
        return Flipping(self, now_ms)


class Flipping(Active):
    __slots__ = ("token",)

    def __init__(self, what: Corrupted, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.token = ""  # of the download that is to be hit

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        if type(said) is Download:
            self.token = said.token if self.chance(body) else ""
        return [said]

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        if type(said) is not Chunk or said.token != self.token or not said.data:
            return [said]
        self.token, data = "", bytearray(said.data)
        bit = int(8 * len(data) * self.draw(body, "bit"))
        data[bit // 8] ^= 1 << bit % 8
        return [said._replace(data=bytes(data))]
