"""The rates as every thread of a program meets them: it asks before each call, and waits for its turn.

Rules: threads are served in the order they ask. The lock is held for arithmetic only; the waiting is done without it.
"""

import threading
import time
from collections.abc import Callable

from simulator.ops import rates
from simulator.ops.rates import Bucket, Rate

RateOf = Callable[[str, str], Rate | None]


class Limits:
    """Keeps the rates of an account. Safe to share between threads and clients."""

    def __init__(
        self, rate_of: RateOf = rates.rate, clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._rate_of, self._clock, self._sleep = rate_of, clock, sleep
        self._lock = threading.Lock()
        self._buckets: dict[str, Bucket] = {}

    def wait(self, service: str, operation: str) -> float:
        """Returns when the operation may be called; the seconds that took."""
        rate = self._rate_of(service, operation)
        if rate is None:
            return 0.0
        with self._lock:
            wait_s = self._bucket(rate).take(self._clock())
        if wait_s > 0:
            self._sleep(wait_s)
        return wait_s

    def throttled(self, service: str, operation: str, pause_s: float) -> None:
        """The service refused a call as one too many: everybody who asks from now on waits at least so long."""
        rate = self._rate_of(service, operation)
        if rate is None:
            return
        with self._lock:
            self._bucket(rate).hold(self._clock() + pause_s)

    def _bucket(self, rate: Rate) -> Bucket:
        if rate.bucket not in self._buckets:
            self._buckets[rate.bucket] = Bucket(rate.per_s)
        return self._buckets[rate.bucket]


def none(service: str, operation: str) -> Rate | None:
    """As `rate_of`: the sandbox takes what it gets."""
    return None
