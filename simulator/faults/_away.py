"""What faults of a connection share: being away, coming back, and when a backend should miss the device."""

from typing import ClassVar

from simulator.behaviours import NEVER_MS, Body, Outputs
from simulator.faults import Active, Expected, Fault
from simulator.messages import Piece, Sever

SILENCE_S = 60.0  # a device that is not heard for so long is missed; shorter gaps are a network's daily life


def missed(for_s: float | None, words: str) -> Expected:
    """The device is not heard for so long."""
    if for_s is None or for_s >= SILENCE_S:
        return Expected("", f"{words}: the device is missed", "silence")
    return Expected("", f"{words}, for so short a time that it only comes late", "nothing")


def back(body: Body) -> Outputs:
    """The network is there again, and the device sees it: it connects at once, without the rest of its backoff."""
    return [] if body.online else [Sever(0, "network back")]


class Away(Active):
    """No connection can be made; the one that there is ends, unless told otherwise."""

    __slots__ = ("why",)
    network: ClassVar[bool] = True

    def __init__(self, what: Fault, now_ms: int, why: str, *, cut: bool = True) -> None:
        super().__init__(what, now_ms)
        self.why = why
        self.wake_at_ms = now_ms if cut else NEVER_MS

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms = NEVER_MS
        return [Sever(0, self.why)]

    def reach(self, body: Body, now_ms: int) -> str | None:
        return self.why if self.chance(body) else None

    def end(self, body: Body, now_ms: int) -> Outputs:
        return back(body)


class Hole(Active):
    """Bytes vanish, and the connection stays up. What it has lost it never gets, so in the end it is cut."""

    __slots__ = ()
    network: ClassVar[bool] = True

    def vanishes(self, piece: Piece, up: bool) -> bool:
        """Does it get lost?"""
        raise NotImplementedError

    def carry(self, body: Body, piece: Piece, up: bool, now_ms: int) -> list[Piece]:
        return [] if self.vanishes(piece, up) else [piece]

    def end(self, body: Body, now_ms: int) -> Outputs:
        return [Sever(0, "connection reset")] if body.online else []
