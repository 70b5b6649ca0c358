"""Messages come twice: their acknowledgement got lost, and the device says them again.

A network does not double what is on a connection; a client does. This is one that does not keep its session: it says
the same again as a message of its own, with a packet id (MQTT) or an idempotency key (REST) of its own, and the same
`seq` (TCP). So neither broker nor gateway can know, and the backend has to, by device and timestamp.
"""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Subject
from simulator.faults._saying import Hitting, Saying, What
from simulator.messages import Later, Output, Publish


class Duplicate(Saying):
    """Says a message `copies` times more, each `after_s` after the one before."""

    family: ClassVar[Family] = "network"
    example: ClassVar[str] = "{kind: duplicate, probability: 0.2}"

    kind: Literal["duplicate"] = "duplicate"
    copies: int = Field(1, ge=1, le=100, description="How many times more it is said.")
    after_s: float = Field(0.0, ge=0, le=3600, description="How long after the one before; 0: at once.")

    def expects(self, subject: Subject) -> Expected:
        return Expected("", "what it says comes more than once, and is stored once", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Doubled(self, now_ms)


class Doubled(Hitting):
    __slots__ = ()
    what: Duplicate
    did: ClassVar[What] = "duplicated"

    def hit(self, body: Body, message: Publish, now_ms: int) -> list[Output | Later]:
        after_ms = int(self.what.after_s * 1000)
        again = range(1, self.what.copies + 1)
        return [message, *(Later(n * after_ms, message) if after_ms else message for n in again)]
