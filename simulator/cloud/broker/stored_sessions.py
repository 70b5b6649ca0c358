"""The MQTT sessions of a broker: those with a connection, and those that wait for one.

Rules: a stored session ends when its time is over, by the clock; its subscriptions leave the broker with it.
"""

import asyncio
from typing import Any, Protocol

from simulator.cloud.broker.broker import Broker
from simulator.cloud.broker.mailbox import Mailbox

_TICK_S = 1.0

Key = tuple[str, str, str]  # account, region, client id


class Ticking(Protocol):
    """A connection that is looked after."""

    def tick(self, now_s: float) -> None: ...


class Stored:
    """A session without a connection."""

    def __init__(self, mailbox: Mailbox, subscriptions: dict[str, str], session_identifier: str) -> None:
        self.mailbox = mailbox
        self.subscriptions = subscriptions  # id → filter
        self.session_identifier = session_identifier
        self.end: asyncio.TimerHandle | None = None


class Sessions:
    """What the connections have in common."""

    def __init__(self, iot: Any, broker: Broker) -> None:
        self.iot, self.broker = iot, broker
        self.open: set[Ticking] = set()
        self.stored: dict[Key, Stored] = {}
        self._ticking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look after silence and late acknowledgements, on the running loop, as long as anyone is connected."""
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    async def _tick(self) -> None:
        while self.open:
            await asyncio.sleep(_TICK_S)
            now_s = asyncio.get_running_loop().time()
            for connection in list(self.open):
                connection.tick(now_s)

    def store(self, key: Key, stored: Stored, expiry_s: float) -> None:
        stored.end = asyncio.get_running_loop().call_later(expiry_s, self.forget, key)
        self.stored[key] = stored

    def take(self, key: Key) -> Stored | None:
        stored = self.stored.pop(key, None)
        if stored is not None and stored.end is not None:
            stored.end.cancel()
        return stored

    def forget(self, key: Key) -> None:
        """End a stored session."""
        stored = self.take(key)
        if stored is not None:
            self.drop(stored)
            self.iot._persistent_sessions.pop(key, None)

    def drop(self, stored: Stored) -> None:
        for subscription_id in stored.subscriptions:
            self.broker.remove(subscription_id)
