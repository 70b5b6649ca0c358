"""Messages overtake each other: some are held up on the device, and said after later ones.

Nothing overtakes on one connection; a device with several senders or a store beside its live path does it.
"""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Subject
from simulator.faults._saying import Hitting, Saying, What
from simulator.messages import Later, Output, Publish
from simulator.schema import Misplaced
from simulator.signals import Range


class Reorder(Saying):
    """Says a message only `by_s` later, whatever comes meanwhile."""

    family: ClassVar[Family] = "network"
    example: ClassVar[str] = "{kind: reorder, by_s: [2, 15], probability: 0.3}"

    kind: Literal["reorder"] = "reorder"
    by_s: Range = Field(Range(2, 15), description="How long it is held up: each time drawn between the two.")

    @model_validator(mode="after")
    def _span(self) -> "Reorder":
        low, high = self.by_s
        if not 0.001 <= low <= high <= 3600:
            raise Misplaced(("by_s",), f"must rise between 0.001 and 3600 seconds, is [{low:g}, {high:g}]")
        return self

    def expects(self, subject: Subject) -> Expected:
        return Expected("", "what it says comes out of order; the latest state is still that of the latest", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Shuffled(self, now_ms)


class Shuffled(Hitting):
    __slots__ = ()
    what: Reorder
    did: ClassVar[What] = "reordered"

    def hit(self, body: Body, message: Publish, now_ms: int) -> list[Output | Later]:
        low, high = self.what.by_s
        return [Later(max(1, int(1000 * (low + (high - low) * self.draw(body, "by")))), message)]
