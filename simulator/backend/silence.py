"""When a device is next missed: a queue of moments, looked at a few times a second. Pure.

Rules: hearing a device costs nothing here; only when its moment has come is it looked at, and put back when it was
heard meanwhile. A device has at most one moment that counts; one that was put in before is stale.
"""

import heapq
from collections.abc import Iterator


class Moments:
    """Who is to be looked at, and when."""

    __slots__ = ("_at", "_queue")

    def __init__(self) -> None:
        self._queue: list[tuple[int, str]] = []
        self._at: dict[str, int] = {}

    def expect(self, thing: str, at_ms: int | None) -> None:
        """Look at it then, and not as was said before; None: never."""
        if at_ms is None:
            self._at.pop(thing, None)
        elif self._at.get(thing) != at_ms:
            self._at[thing] = at_ms
            heapq.heappush(self._queue, (at_ms, thing))

    def come(self, now_ms: int) -> Iterator[str]:
        """Those whose moment has come. The taker says when to look again."""
        queue = self._queue
        while queue and queue[0][0] <= now_ms:
            at_ms, thing = heapq.heappop(queue)
            if self._at.get(thing) == at_ms:
                del self._at[thing]
                yield thing

    def clear(self) -> None:
        """Nobody is expected any more."""
        self._queue.clear()
        self._at.clear()
