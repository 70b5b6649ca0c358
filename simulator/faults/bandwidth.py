"""The line is thin: so many bytes a second go through it, each way, and what is more has to wait."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._fitting import unshaped
from simulator.messages import Piece

STEP_MS = 50  # bytes go on so often
PIECES_MAX = 64  # of what was written at once


class Bandwidth(Fault):
    """No more than `bytes_per_s` each way."""

    family: ClassVar[Family] = "network"
    example: ClassVar[str] = "{kind: bandwidth, bytes_per_s: 500}"

    kind: Literal["bandwidth"] = "bandwidth"
    bytes_per_s: float = Field(ge=1, le=1e9, description="Each way.")

    def unfit(self, subject: Subject) -> str | None:
        return unshaped(subject)

    def expects(self, subject: Subject) -> Expected:
        words = f"what it says comes with {self.bytes_per_s:g} bytes a second: late, whole and in order"
        return Expected("", words, "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Thin(self, now_ms)


class Thin(Active):
    __slots__ = ("free_ms",)
    network: ClassVar[bool] = True
    what: Bandwidth

    def __init__(self, what: Bandwidth, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.free_ms = [0.0, 0.0]  # when the line is free, down and up

    def carry(self, body: Body, piece: Piece, up: bool, now_ms: int) -> list[Piece]:
        at_ms = max(now_ms + piece.after_ms, self.free_ms[up])
        if not piece.data:
            return [Piece(b"", int(at_ms - now_ms))]
        per_ms = self.what.bytes_per_s / max(self.strength(now_ms), 0.001) / 1000
        size = max(1, int(per_ms * STEP_MS), -(-len(piece.data) // PIECES_MAX))
        pieces = []
        for start in range(0, len(piece.data), size):
            data = piece.data[start : start + size]
            at_ms += len(data) / per_ms
            pieces.append(Piece(data, int(at_ms - now_ms)))
        self.free_ms[up] = at_ms
        return pieces

    def reach(self, body: Body, now_ms: int) -> str | None:
        self.free_ms = [0.0, 0.0]  # what waited belonged to the connection before
        return None
