"""The network goes away: the connection is cut, and none can be made until the network is back.

The device sees it come back and connects at once. What it says meanwhile waits in its queue.
"""

from typing import ClassVar, Literal

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._away import Away, missed


class Disconnect(Fault):
    """No network, as long as it lasts."""

    family: ClassVar[Family] = "network"
    example: ClassVar[str] = "{kind: disconnect, for_s: 30}"

    kind: Literal["disconnect"] = "disconnect"

    def expects(self, subject: Subject) -> Expected:
        return missed(self.for_s, "it has no network")

    def start(self, body: Body, now_ms: int) -> Active:
        return Away(self, now_ms, "no network")
