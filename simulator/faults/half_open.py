"""The connection is dead and nobody was told, as when a router forgets it: what is said on it vanishes.

A new connection would work. The device finds out when an acknowledgement or the answer to its ping does not come, and
makes one; the backend finds out by its own keep-alive, or when the device is suddenly there twice.
"""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._away import Hole
from simulator.faults._fitting import unshaped
from simulator.messages import Connected, Input, Later, Piece


class HalfOpen(Fault):
    """Nothing passes on the connection that there is: `blocks` says which way."""

    family: ClassVar[Family] = "network"
    example: ClassVar[str] = "{kind: half_open, blocks: both}"

    kind: Literal["half_open"] = "half_open"
    blocks: Literal["up", "down", "both"] = Field("both", description="What does not pass: to the backend, from it.")

    def unfit(self, subject: Subject) -> str | None:
        return unshaped(subject)

    def expects(self, subject: Subject) -> Expected:
        words = "it misses an answer and connects anew; nothing is lost, and nothing is stored twice"
        return Expected("", words, "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Dead(self, now_ms)


class Dead(Hole):
    __slots__ = ("alive", "anew")
    what: HalfOpen

    def __init__(self, what: HalfOpen, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.alive = False  # the network has a new connection of it …
        self.anew = False  # … and the device knows

    def vanishes(self, piece: Piece, up: bool) -> bool:
        return not self.alive and self.what.blocks in ("both", "up" if up else "down")

    def reach(self, body: Body, now_ms: int) -> str | None:
        self.alive = True
        return None

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        self.anew = self.anew or type(said) is Connected
        return [said]

    def end(self, body: Body, now_ms: int) -> Outputs:
        return [] if self.anew else super().end(body, now_ms)
