"""Events as they happen, for many listeners: one reader of the store, a bounded queue for each listener.

Rules: an event has the number of its row, so whoever comes back with the last one it saw misses nothing: what is older
than its place in line is read from the store first. Who reads too slowly loses the oldest of its queue, and is told how
many; nobody else waits for it. The store is looked at only while somebody listens.
"""

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from simulator.backend.api.reads import Readers, Reads
from simulator.backend.queries import PAGE

LISTENERS_MAX = 100
LISTENERS_EACH_MAX = 25  # of a customer
QUEUE_MAX = 1000
OLD_PAGE = 200
LOOK_S = 0.2
HEARTBEAT_S = 15.0
RETRY_S = 5.0

Row = dict[str, Any]

log = logging.getLogger("backend")


class Wish(NamedTuple):
    """What a listener wants to hear."""

    kinds: tuple[str, ...] = ()
    thing: str | None = None
    owner: str | None = None

    def fits(self, event: Row, customer: str | None) -> bool:
        """Is this event, of a device of this customer, for it?"""
        return (
            (not self.kinds or event["kind"] in self.kinds)
            and (self.thing is None or event["thing"] == self.thing)
            and self.owner in (None, customer)
        )


class Dropped(NamedTuple):
    """So many events were lost, because the listener was too slow."""

    dropped: int


class Listener:
    """One that listens."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.queue: deque[Row] = deque()
        self.dropped = 0
        self.news = asyncio.Event()

    def put(self, event: Row) -> bool:
        """Hand it an event; False when another had to go for it."""
        full = len(self.queue) >= QUEUE_MAX
        if full:
            self.queue.popleft()
            self.dropped += 1
        self.queue.append(event)
        self.news.set()
        return not full


class Feed:
    """Reads what is new, and hands it out."""

    def __init__(self, readers: Readers, look_s: float = LOOK_S, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._readers, self._reads = readers, readers.here
        self._look_s, self._heartbeat_s = look_s, heartbeat_s
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._at = 0
        self._closed = False
        self.sent = self.dropped = self.refused = 0

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def room(self, owner: str | None) -> bool:
        """Can one more listen, of this customer?"""
        its = 0 if owner is None else sum(listener.wish.owner == owner for listener in self._listeners)
        if len(self._listeners) < LISTENERS_MAX and its < LISTENERS_EACH_MAX:
            return True
        self.refused += 1
        return False

    async def listen(
        self, wish: Wish, after: int | None, still: Callable[[], bool]
    ) -> AsyncGenerator[Row | Dropped | None, None]:
        """Events after that one (None: from now on), `Dropped`, and None now and then; while `still` says so."""
        if not self.room(wish.owner):  # many may have asked at once
            return
        listener = Listener(wish)
        if not self._listeners:
            self._at = self._reads.queries.last_event()
        self._listeners.add(listener)
        begin = self._at
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._look())
        try:
            if after is not None:
                async for event in self._old(wish, after, begin):
                    yield event
            while not self._closed and still():
                if listener.dropped:
                    count, listener.dropped = listener.dropped, 0
                    yield Dropped(count)
                elif listener.queue:
                    self.sent += 1
                    yield listener.queue.popleft()
                else:
                    listener.news.clear()
                    try:
                        await asyncio.wait_for(listener.news.wait(), self._heartbeat_s)
                    except TimeoutError:
                        yield None
        finally:
            self._listeners.discard(listener)

    async def _old(self, wish: Wish, after: int, until: int) -> AsyncIterator[Row]:
        """What was there already when somebody came back; the customer's condition is the query's."""
        while after < until and not self._closed:
            page = await self._readers.elsewhere(partial(_page, wish, after))
            for event in page["events"]:
                if event["seq"] > until:
                    return
                self.sent += 1
                yield event
            if page["next"] == after:
                return
            after = page["next"]

    async def _look(self) -> None:
        """While somebody listens."""
        while self._listeners and not self._closed:
            try:
                page = self._reads.queries.events(self._at, PAGE)
            except sqlite3.Error as error:  # a full disk; who listens need not know
                log.warning("events cannot be read: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            for event in page["events"]:
                customer = self._reads.queries.customer_of(event["thing"])
                for listener in self._listeners:
                    if listener.wish.fits(event, customer) and not listener.put(event):
                        self.dropped += 1
            self._at = page["next"]
            if len(page["events"]) < PAGE:
                await asyncio.sleep(self._look_s)
            else:
                await asyncio.sleep(0)

    async def close(self) -> None:
        """Send everybody home."""
        self._closed = True
        for listener in self._listeners:
            listener.news.set()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


def _page(wish: Wish, after: int, reads: Reads) -> dict[str, Any]:
    return reads.queries.events(after, OLD_PAGE, wish.owner, kinds=wish.kinds, thing=wish.thing)
