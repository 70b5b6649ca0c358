"""A link without a network, for virtual time: what is sent is acknowledged and recorded, at once and in order.

The far side is a function given by the runtime; what it answers reaches the device as if it had come over a
wire. A severed link keeps what was sent meanwhile and delivers it after `open`, as a real one does. Over a bad
network a message takes as long as its pieces, and none overtakes another; one that gets lost is sent again, as TCP
or QoS 1 would, after `RESEND_MS`.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from simulator.links import Network, Sink
from simulator.messages import Publish

FarSide = Callable[[Publish], None]
After = Callable[[int, Callable[[], None]], None]  # (so many milliseconds later, do this)
RESEND_MS = 1000


class Memory:
    """One device's connection in memory."""

    __slots__ = ("_after", "_busy", "_far", "_network", "_queue", "_queue_max", "_sink", "up")

    def __init__(self, sink: Sink, far: FarSide, queue_max: int = 1000, after: After | None = None) -> None:
        """`after` is a timer of virtual time; without it a network takes no time."""
        self._sink, self._far, self._after = sink, far, after
        self._network: Network | None = None
        self._busy = False  # a message is on its way through the network
        self._queue: deque[Publish] | None = None  # made when needed: an empty one is as big as a device
        self._queue_max = queue_max
        self.up = False

    def open(self) -> None:
        if self.up:
            return
        if self._network and (why := self._network.reach()):
            self._sink.disconnected(why)
            if self._after:
                self._after(RESEND_MS, self.open)
            return
        self.up = True
        self._sink.connected(False)
        self._go_on()

    def send(self, message: Publish) -> bool:
        if self.up and not self._queue and self._network is None:
            self._deliver(message)
            return True
        if self._queue is None:
            self._queue = deque()
        if len(self._queue) >= self._queue_max:
            return False
        self._queue.append(message)
        self._go_on()
        return True

    def _go_on(self) -> None:
        """Deliver what waits, in order, as far as the connection and the network let it."""
        while self._queue and self.up and not self._busy:
            if self._network is None:
                self._deliver(self._queue.popleft())
                continue
            pieces = self._network.carry(self._queue[0].payload, True)
            payload = b"".join(piece.data for piece in pieces) if pieces else None
            took_ms = sum(piece.after_ms for piece in pieces) if pieces else RESEND_MS
            if took_ms and self._after:
                self._busy = True
                self._after(took_ms, partial(self._arrive, payload))
            else:
                self._deliver(self._queue.popleft()._replace(payload=payload or b""))

    def _arrive(self, payload: bytes | None) -> None:
        """A message is through, or got lost (None)."""
        self._busy = False
        if payload is not None and self.up and self._queue:
            self._deliver(self._queue.popleft()._replace(payload=payload))
        self._go_on()

    def _deliver(self, message: Publish) -> None:
        self._sink.acknowledged(message, 0.0, 0)
        self._far(message)

    def shape(self, network: Network) -> None:
        self._network = network

    def raw(self, data: bytes) -> None:
        """There is no wire here whose bytes could be wrong."""

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """All that the far side says to this device reaches it, so there is nothing to do."""

    def close(self) -> None:
        self._down("closed")

    def sever(self) -> None:
        self._down("severed")

    def _down(self, reason: str) -> None:
        if self.up:
            self.up = False
            self._sink.disconnected(reason)

    def tick(self, now_s: float) -> None:
        """There is nothing that could time out."""
