"""The network loses packets. On a connection that means waiting, not missing bytes: TCP sends them again.

A lost packet is sent again after 200 ms, then after twice that and so on, up to 2 minutes; what came after it waits
for it. So a few percent are pauses, and at a high rate the pauses are longer than the patience of the device (no
acknowledgement in time), which connects anew; for that four of its first packets may get lost.
"""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._away import missed
from simulator.faults._fitting import unshaped
from simulator.messages import Piece

SEGMENT_BYTES = 1460
SEGMENTS_MAX = 64  # looked at for one write
RESEND_FIRST_MS, RESEND_MAX_MS = 200, 120_000
RESENDS_MAX = 15  # then the connection is over
CONNECT_TRIES = 4  # after 1, 3 and 7 s, within the time that a device waits for a connection
HOPELESS = 0.7  # at this rate most connections end before a message is acknowledged


class Loss(Fault):
    """Each packet gets lost with the chance `rate`."""

    family: ClassVar[Family] = "network"
    example: ClassVar[str] = "{kind: loss, rate: 0.1}"

    kind: Literal["loss"] = "loss"
    rate: float = Field(0.1, gt=0, le=1, description="What part of the packets, each way.")

    def unfit(self, subject: Subject) -> str | None:
        return unshaped(subject)

    def expects(self, subject: Subject) -> Expected:
        if self.rate >= HOPELESS:
            return missed(self.for_s, f"{self.rate:.0%} of its packets get lost")
        return Expected(
            "", f"{self.rate:.0%} of its packets are sent again: what it says is late, and whole", "nothing"
        )

    def start(self, body: Body, now_ms: int) -> Active:
        return Lossy(self, now_ms)


class Lossy(Active):
    __slots__ = ("dead",)
    network: ClassVar[bool] = True
    what: Loss

    def __init__(self, what: Loss, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.dead = False  # the connection that is up: nothing comes through any more

    def carry(self, body: Body, piece: Piece, up: bool, now_ms: int) -> list[Piece]:
        rate = self.what.rate * self.strength(now_ms)
        segments = min(SEGMENTS_MAX, 1 + max(0, len(piece.data) - 1) // SEGMENT_BYTES)
        resends = 0 if not self.chance(body) else max(self._lost(body, rate, RESENDS_MAX) for _ in range(segments))
        if self.dead or resends >= RESENDS_MAX:
            self.dead = True
            return []
        return [Piece(piece.data, piece.after_ms + waits_ms(resends))]

    def reach(self, body: Body, now_ms: int) -> str | None:
        self.dead = False
        rate = self.what.rate * self.strength(now_ms)
        return "no answer to a connection" if self._lost(body, rate, CONNECT_TRIES) >= CONNECT_TRIES else None

    def _lost(self, body: Body, rate: float, most: int) -> int:
        """How many times in a row a packet gets lost."""
        count = 0
        while count < most and self.draw(body, "lost") < rate:
            count += 1
        return count


def waits_ms(resends: int) -> int:
    """How long it takes until the so-manieth try."""
    return sum(min(RESEND_MAX_MS, RESEND_FIRST_MS << n) for n in range(resends))
