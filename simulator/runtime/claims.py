"""Which devices of a fleet are in use, and by which worker. Pure.

A worker says how many devices of a channel it wants; it is given the first that are free, and gives back what it does
not want any more. Each device is one worker's at a time; what a worker that died had, is free again.
"""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence

Grants = dict[str, list[int]]  # worker → the devices that it gets now


class Claims:
    """The places of one fleet."""

    def __init__(self, places: Mapping[str, Sequence[int]]) -> None:
        """`places`: the devices of each channel, by index, in the order in which they are given out."""
        self._order = {channel: list(indexes) for channel, indexes in places.items()}
        self._rank = {index: rank for order in self._order.values() for rank, index in enumerate(order)}
        self._channel = {index: channel for channel, order in self._order.items() for index in order}
        self._free = {channel: list(range(len(order))) for channel, order in self._order.items()}  # heaps of ranks
        self._wanted: dict[str, Counter[str]] = {}  # worker → channel → how many
        self._held: dict[str, dict[str, set[int]]] = {}
        self.owner: dict[int, str] = {}

    def want(self, worker: str, wanted: Mapping[str, int]) -> Grants:
        """A worker wants so many in all, by channel; who gets what. Of what it has too much, it gives back itself."""
        self._wanted[worker] = Counter({channel: n for channel, n in wanted.items() if channel in self._order})
        return self._grant()

    def release(self, worker: str, indexes: Sequence[int]) -> Grants:
        """A worker gives devices back."""
        for index in indexes:
            if self.owner.get(index) == worker:
                self._give_back(worker, index)
        return self._grant()

    def lost(self, worker: str) -> tuple[list[int], Grants]:
        """A worker is gone: what it had, and who gets it now."""
        self._wanted.pop(worker, None)
        had = sorted(index for of in self._held.get(worker, {}).values() for index in of)
        for index in had:
            self._give_back(worker, index)
        self._held.pop(worker, None)
        return had, self._grant()

    @property
    def taken(self) -> int:
        """Devices that are somebody's."""
        return len(self.owner)

    @property
    def idle(self) -> int:
        """How many more are wanted than there are."""
        wanted = sum(counts.total() for counts in self._wanted.values())
        return wanted - sum(
            min(len(self._held.get(worker, {}).get(channel, ())), count)
            for worker, counts in self._wanted.items()
            for channel, count in counts.items()
        )

    def _grant(self) -> Grants:
        """Give out what is free to who waits."""
        grants: Grants = {}
        for worker, wanted in self._wanted.items():
            for channel, count in wanted.items():
                held = self._held.setdefault(worker, {}).setdefault(channel, set())
                free, order = self._free[channel], self._order[channel]
                while len(held) < count and free:
                    index = order[heapq.heappop(free)]
                    held.add(index)
                    self.owner[index] = worker
                    grants.setdefault(worker, []).append(index)
        return grants

    def _give_back(self, worker: str, index: int) -> None:
        channel = self._channel[index]
        del self.owner[index]
        self._held[worker][channel].discard(index)
        heapq.heappush(self._free[channel], self._rank[index])


def interleaved(sizes: Sequence[int]) -> list[int]:
    """The devices of groups that follow one another, so that any first n of them are of all groups in proportion."""
    first, ranked = 0, []
    for group, size in enumerate(sizes):
        ranked += [((place + 0.5) / size, group, first + place) for place in range(size)]
        first += size
    return [index for _, _, index in sorted(ranked)]
