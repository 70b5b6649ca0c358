"""What is done to the platform on purpose: a slow store, slow gateways, refused requests, a wrong clock.

What can be hit: `store` (each commit takes longer, and everything waits for it, as for a slow disk), `rest` and `api`
(their answers), `tcp` (its acknowledgements). The clock is that of arrival times and of waiting for devices; not of
signatures for AWS, which boto3 makes by the real time.
"""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from simulator.backend.store import Store
from simulator.disturbances import Answer, App, Disturbances, Order

RETRY_S = 1

log = logging.getLogger("backend")


class Disturbance:
    """Carries the orders out in this process."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self.orders = Disturbances()
        self._clock_ms = clock_ms

    def take(self, line: bytes) -> None:
        """Obey a line of stdin."""
        try:
            log.info("disturbance: %s", self.orders.take(line))
        except ValueError as error:
            log.warning("ignored on stdin: %s", error)

    def now_ms(self) -> int:
        """The clock of this process."""
        return self._clock_ms() + int(1000 * self.orders.off_s())

    def tcp_delay_s(self) -> float:
        """So much later does a device hear that its frames are stored."""
        return self.orders.delay_s("tcp")

    def around(self, name: str, app: App) -> App:
        """A server of ours, with what is done to its answers."""
        return self.orders.around(app, lambda _scope: name, refusal)


def refusal(name: str, order: Order) -> Answer:
    """The answer of a gateway that has too much to do, or is ill."""
    status, why = (429, "too many requests") if order.kind == "throttling" else (order.status, "not well")
    headers = {"content-type": "application/json", "retry-after": str(RETRY_S)}
    return status, headers, orjson.dumps({"error": why})


class DisturbedStore(Store):
    """The store, whose commits may take longer."""

    def __init__(self, folder: Path, orders: Disturbances) -> None:
        super().__init__(folder)
        self._orders = orders

    def commit(self, received: Mapping[str, int], dead: Mapping[str, int], *more: Any) -> None:
        if delay_s := self._orders.delay_s("store"):
            time.sleep(delay_s)
        super().commit(received, dead, *more)
