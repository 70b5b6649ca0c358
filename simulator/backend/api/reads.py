"""Connections to read by: one for the loop, and one for each of a few threads that read what is much.

Rules: what reads much is asked for in SQL that gives one row: sqlite3 gives other threads their turn at every row, and
each of those turns may cost milliseconds while messages come in. How many wait for a thread has a bound.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from starlette.exceptions import HTTPException

from simulator.backend.platform.queries import PlatformQueries
from simulator.backend.queries import Queries

THREADS = 2
WAITING_MAX = 64
RETRY_S = "1"

T = TypeVar("T")


class Reads:
    """One set of connections."""

    def __init__(self, path: Path) -> None:
        self.queries, self.platform = Queries(path), PlatformQueries(path)

    def interrupt(self) -> None:
        """Give up what is read at this moment; from any thread."""
        self.queries.db.interrupt()
        self.platform.db.interrupt()

    def close(self) -> None:
        """Close them."""
        self.queries.close()
        self.platform.close()


class Readers:
    """The sets of connections, and the threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.here = Reads(path)
        self._opened = [self.here]
        self._mine = threading.local()
        self._pool = ThreadPoolExecutor(THREADS, "api", self._begin)
        self._waiting = 0
        self.refused = 0

    def _begin(self) -> None:
        self._mine.reads = Reads(self._path)
        self._opened.append(self._mine.reads)

    async def elsewhere(self, read: Callable[[Reads], T]) -> T:
        """Do it in a thread; HTTPException 503 when too many wait for one."""
        if self._waiting >= WAITING_MAX:
            self.refused += 1
            raise HTTPException(503, "too many requests are waiting; try again", {"Retry-After": RETRY_S})
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, lambda: read(self._mine.reads))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the threads, and what each is at."""
        for reads in self._opened:
            reads.interrupt()
        self._pool.shutdown(cancel_futures=True)
        for reads in self._opened:
            reads.close()
