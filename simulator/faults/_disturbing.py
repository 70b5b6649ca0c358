"""What faults share that lie between a device and all it says: they tell which messages they hit, as `_saying` does."""

from typing import ClassVar

from simulator.behaviours import Body, Outputs
from simulator.faults import Active, Fault
from simulator.faults._saying import TOLD_MAX, What
from simulator.messages import Note, Publish


class Disturbing(Active):
    """A fault that says which messages it hit, so that each loss or duplicate can be explained."""

    __slots__ = ("hits",)
    did: ClassVar[What]

    def __init__(self, what: Fault, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.hits = 0

    def disturbed(self, message: Publish) -> Outputs:
        """The note for a message that was hit."""
        self.hits += 1
        if self.hits > TOLD_MAX:
            return []
        return [Note("disturbed", {"fault": self.kind, "what": self.did, "kind": message.kind, "stamp": message.stamp})]

    def end(self, body: Body, now_ms: int) -> Outputs:
        more, self.hits = self.hits - TOLD_MAX, 0
        return [Note("disturbed", {"fault": self.kind, "what": self.did, "count": more})] if more > 0 else []
