"""Everything takes longer on its way, to the backend and from it, and not always equally long."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._fitting import unshaped
from simulator.messages import Piece


class Latency(Fault):
    """Each way takes `delay_ms` longer, give or take `jitter_ms`."""

    family: ClassVar[Family] = "network"
    example: ClassVar[str] = "{kind: latency, delay_ms: 300, jitter_ms: 100}"

    kind: Literal["latency"] = "latency"
    delay_ms: float = Field(ge=0, le=60_000, description="How much longer each way takes.")
    jitter_ms: float = Field(0.0, ge=0, le=60_000, description="By how much that differs at most, both ways.")

    def unfit(self, subject: Subject) -> str | None:
        return unshaped(subject)

    def expects(self, subject: Subject) -> Expected:
        return Expected("", f"what it says arrives {self.delay_ms:g} ms later, whole and in order", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Late(self, now_ms)


class Late(Active):
    __slots__ = ()
    network: ClassVar[bool] = True
    what: Latency

    def carry(self, body: Body, piece: Piece, up: bool, now_ms: int) -> list[Piece]:
        if not self.chance(body):
            return [piece]
        late_ms = self.what.delay_ms
        if self.what.jitter_ms:
            late_ms += self.what.jitter_ms * (2 * self.draw(body, "jitter") - 1)
        return [Piece(piece.data, piece.after_ms + max(0, int(late_ms * self.strength(now_ms))))]
