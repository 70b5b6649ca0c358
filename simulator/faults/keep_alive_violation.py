"""The device hangs with its connection open: no word, no ping, no goodbye, until it is restarted.

What it had to say waits in its queue. The backend should end the connection by itself, after one and a half times
the keep-alive (MQTT) or its own time-out, and take the device when it comes back.
"""

from typing import ClassVar, Literal

from simulator.behaviours import Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._away import Hole, missed
from simulator.faults._fitting import no_connection
from simulator.messages import Piece, Sever


class KeepAliveViolation(Fault):
    """Says nothing, as long as it lasts, on a connection that stays open."""

    family: ClassVar[Family] = "protocol"
    example: ClassVar[str] = "{kind: keep_alive_violation, for_s: 150}"

    kind: Literal["keep_alive_violation"] = "keep_alive_violation"

    def unfit(self, subject: Subject) -> str | None:
        return no_connection(subject)

    def expects(self, subject: Subject) -> Expected:
        return missed(self.for_s, "it says nothing, not even that it is there, and its connection stays open")

    def start(self, body: Body, now_ms: int) -> Active:
        return Mute(self, now_ms)


class Mute(Hole):
    __slots__ = ()
    what: KeepAliveViolation

    def vanishes(self, piece: Piece, up: bool) -> bool:
        return up

    def reach(self, body: Body, now_ms: int) -> str | None:
        return "the device hangs"

    def end(self, body: Body, now_ms: int) -> Outputs:
        return [Sever(0, "restarted")]
