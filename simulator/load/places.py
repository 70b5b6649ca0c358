"""Which devices of a fleet are in use: a user takes a place, and gives it back. Pure."""

import heapq


class Places:
    """The places of a fleet, by index; the lowest free one is the next."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = list(range(size))

    def take(self) -> int | None:
        """A free place, or None when the fleet is used up."""
        return heapq.heappop(self._free) if self._free else None

    def give_back(self, index: int) -> None:
        """The place is free again."""
        heapq.heappush(self._free, index)

    @property
    def taken(self) -> int:
        return self.size - len(self._free)
