"""How long messages take from their arrival to their commit: a histogram with the bounds of Prometheus.

Rules: measured by the batch, so that a message costs one addition; a message counts as long as the first of its batch.
"""

from bisect import bisect_left
from typing import Any

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


class Times:
    """All batches so far."""

    __slots__ = ("_counts", "count", "max_s", "sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self.count = 0
        self.sum_s = self.max_s = 0.0

    def note(self, messages: int, took_s: float) -> None:
        """So many messages took so long."""
        self._counts[bisect_left(BOUNDS_S, took_s)] += messages
        self.count += messages
        self.sum_s += messages * took_s
        self.max_s = max(self.max_s, took_s)

    def percentile(self, percent: float) -> float:
        """So many percent took no longer than this, by the bound above it."""
        left = self.count * percent / 100
        for bound_s, count in zip(BOUNDS_S, self._counts, strict=False):
            left -= count
            if left <= 0:
                return min(bound_s, self.max_s)
        return self.max_s

    def document(self) -> dict[str, Any]:
        """As JSON; the buckets as Prometheus has them, each with all that is below it."""
        buckets, below = [], 0
        for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], self._counts, strict=True):
            below += count
            buckets.append([bound, below])
        return {
            "count": self.count, "sum_s": self.sum_s, "max_s": self.max_s, "p50_s": self.percentile(50),
            "p95_s": self.percentile(95), "p99_s": self.percentile(99), "buckets": buckets,
        }  # fmt: skip
