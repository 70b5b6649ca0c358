"""A device is a copy of another one: it connects with that one's client id and certificate, and each ends the other.

Where the broker has policies, the copy may be that other one, but say nothing on its own topics. Injected into several
devices, all of them are copies of one; that one itself stays what it is. In virtual time there is no broker to see it.
"""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import NEVER_MS, Body, Outputs
from simulator.faults import Active, Disguise, Expected, Family, Fault, Subject
from simulator.messages import Relink


class DuplicateClientId(Fault):
    """Connects as `of`. Inject it into `of`, too, if what happens to that one is to be explained."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: duplicate_client_id, of: sedan-001}"

    kind: Literal["duplicate_client_id"] = "duplicate_client_id"
    of: str = Field(pattern=r"^[a-zA-Z0-9:_-]{1,128}$", description="The thing whose copy it is.")

    def unfit(self, subject: Subject) -> str | None:
        return None if subject.channel == "mqtt" else "speaks no MQTT"

    def expects(self, subject: Subject) -> Expected:
        return Expected("", f"it and {self.of} are connected by turns, or not at all", "silence")

    def start(self, body: Body, now_ms: int) -> Active:
        return Copy(self, now_ms, body.thing != self.of)


class Copy(Active):
    __slots__ = ("another",)
    what: DuplicateClientId

    def __init__(self, what: DuplicateClientId, now_ms: int, another: bool) -> None:
        super().__init__(what, now_ms)
        self.another = another  # than `of`
        self.wake_at_ms = now_ms if another else NEVER_MS

    def disguise(self) -> Disguise | None:
        return Disguise(client_id=self.what.of) if self.another else None

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms = NEVER_MS
        return [Relink()]

    def end(self, body: Body, now_ms: int) -> Outputs:
        return [Relink()] if self.another else []
