"""A link without a network, for virtual time: what is sent is acknowledged and recorded, at once and in order.

The far side is a function given by the runtime; what it answers reaches the device as if it had come over a
wire. A severed link keeps what was sent meanwhile and delivers it after `open`, as a real one does.
"""

from collections import deque
from collections.abc import Callable

from simulator.links import Sink
from simulator.messages import Publish

FarSide = Callable[[Publish], None]


class Memory:
    """One device's connection in memory."""

    __slots__ = ("_far", "_queue", "_queue_max", "_sink", "up")

    def __init__(self, sink: Sink, far: FarSide, queue_max: int = 1000) -> None:
        self._sink, self._far = sink, far
        self._queue: deque[Publish] | None = None  # made when needed: an empty one is as big as a device
        self._queue_max = queue_max
        self.up = False

    def open(self) -> None:
        if not self.up:
            self.up = True
            self._sink.connected(False)
            while self._queue and self.up:
                self._deliver(self._queue.popleft())

    def send(self, message: Publish) -> bool:
        if self.up and not self._queue:
            self._deliver(message)
            return True
        if self._queue is None:
            self._queue = deque()
        if len(self._queue) >= self._queue_max:
            return False
        self._queue.append(message)
        return True

    def _deliver(self, message: Publish) -> None:
        self._sink.acknowledged(message, 0.0, 0)
        self._far(message)

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
