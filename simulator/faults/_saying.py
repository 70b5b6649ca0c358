"""What faults of messages share: which ones they may hit, and a note for each that they hit."""

from fnmatch import fnmatchcase
from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body, Outputs
from simulator.faults import Active, Fault
from simulator.messages import Later, Note, Output, Publish

TOLD_MAX = 1000  # messages with a note of their own; the others are counted in one at the end

What = Literal["dropped", "duplicated", "delayed", "reordered", "mangled", "cut"]


class Saying(Fault):
    """A fault of some of the messages a device says; members add `kind` and their keys."""

    messages: list[str] = Field(
        ["telemetry"], min_length=1, max_length=50, description="Kinds of message that it may hit, with wildcards."
    )


class Hitting(Active):
    """Hits messages, each by chance; members say what becomes of one."""

    __slots__ = ("hits",)
    what: Saying
    did: ClassVar[What] = "mangled"

    def __init__(self, what: Saying, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.hits = 0

    def hit(self, body: Body, message: Publish, now_ms: int) -> list[Output | Later] | None:
        """What becomes of a message; None when it cannot be hit."""
        raise NotImplementedError

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        if type(said) is not Publish or not any(fnmatchcase(said.kind, kind) for kind in self.what.messages):
            return [said]
        if not self.chance(body) or (self.what.ramp_s and self.draw(body, "ramp") >= self.strength(now_ms)):
            return [said]
        found = self.hit(body, said, now_ms)
        return [said] if found is None else [*self.told(said), *found]

    def told(self, message: Publish) -> list[Note]:
        """The note for a message that was hit."""
        self.hits += 1
        if self.hits > TOLD_MAX:
            return []
        detail = {"fault": self.kind, "what": self.did, "kind": message.kind, "stamp": message.stamp}
        return [Note("disturbed", detail)]

    def end(self, body: Body, now_ms: int) -> Outputs:
        more, self.hits = self.hits - TOLD_MAX, 0
        return [Note("disturbed", {"fault": self.kind, "what": self.did, "count": more})] if more > 0 else []
