"""The device writes byte by byte, so slowly that each message keeps the backend waiting for its end (slowloris)."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._away import missed
from simulator.faults._fitting import unshaped
from simulator.messages import Piece

PIECES_MAX = 1000  # of what was written at once
PATIENCE_BYTES_PER_S = 50  # slower than this a message takes longer than anybody waits for it


class SlowSender(Fault):
    """Writes `bytes` at a time, one bit of a message every `every_ms`."""

    family: ClassVar[Family] = "protocol"
    example: ClassVar[str] = "{kind: slow_sender, bytes: 2, every_ms: 20}"

    kind: Literal["slow_sender"] = "slow_sender"
    bytes: int = Field(1, ge=1, le=65_536, description="So many at a time.")
    every_ms: int = Field(20, ge=1, le=60_000, description="And so long until the next.")

    def unfit(self, subject: Subject) -> str | None:
        return unshaped(subject)

    def expects(self, subject: Subject) -> Expected:
        per_s = 1000 * self.bytes / self.every_ms
        words = f"it writes {per_s:g} bytes a second"
        if per_s < PATIENCE_BYTES_PER_S:
            return missed(self.for_s, f"{words}: no message comes through")
        return Expected("", f"{words}: what it says is late and whole, and nobody else waits for it", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Trickle(self, now_ms)


class Trickle(Active):
    __slots__ = ("free_ms",)
    network: ClassVar[bool] = True
    what: SlowSender

    def __init__(self, what: SlowSender, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.free_ms = 0  # when it has written all that it was given

    def carry(self, body: Body, piece: Piece, up: bool, now_ms: int) -> list[Piece]:
        if not up:
            return [piece]
        at_ms = max(now_ms + piece.after_ms, self.free_ms)
        if not piece.data:
            return [Piece(b"", at_ms - now_ms)]
        if not self.chance(body):
            return [piece]
        size = max(self.what.bytes, -(-len(piece.data) // PIECES_MAX))
        every_ms = self.what.every_ms * size // self.what.bytes
        pieces = []
        for start in range(0, len(piece.data), size):
            pieces.append(Piece(piece.data[start : start + size], at_ms - now_ms))
            at_ms += every_ms
        self.free_ms = at_ms
        return pieces

    def reach(self, body: Body, now_ms: int) -> str | None:
        self.free_ms = 0  # what waited belonged to the connection before
        return None
