"""A part of the network cannot be reached: nothing comes through either way, and nobody is told.

To be injected into a group. The connections stay up until somebody misses an answer; new ones get no answer. When it
is over the devices try again each after its own backoff.
"""

from typing import ClassVar, Literal

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._away import Hole, missed
from simulator.faults._fitting import unshaped
from simulator.messages import Piece


class Partition(Fault):
    """Nothing comes through, as long as it lasts."""

    family: ClassVar[Family] = "network"
    example: ClassVar[str] = "{kind: partition, for_s: 90}"

    kind: Literal["partition"] = "partition"

    def unfit(self, subject: Subject) -> str | None:
        return unshaped(subject)

    def expects(self, subject: Subject) -> Expected:
        return missed(self.for_s, "its part of the network cannot be reached")

    def start(self, body: Body, now_ms: int) -> Active:
        return Parted(self, now_ms)


class Parted(Hole):
    __slots__ = ()
    what: Partition

    def vanishes(self, piece: Piece, up: bool) -> bool:
        return True

    def reach(self, body: Body, now_ms: int) -> str | None:
        return "no answer to a connection" if self.chance(body) else None
