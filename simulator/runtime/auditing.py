"""The audit at the end of a run: asks the backend what it got, and matches that with what the fleet said.

The backend's half comes from the sandbox's own API, from an API of the same form (`audit_url` of the target), from a
DynamoDB table (`audit`), or from nowhere: then only the devices' half is told. Rules: what was acknowledged and is not
there yet is waited for, at most `PATIENCE_S`; a source that cannot be read leaves the run without an audit, and says
why, but does not end it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from simulator.audit import Books
from simulator.causes import Causes
from simulator.checks import STORED_KINDS
from simulator.errors import BackendUnavailable
from simulator.ledger import Event
from simulator.matching import Audited, Deliveries, Lives, match
from simulator.ops import audit_table
from simulator.ops.aws import Aws
from simulator.targets import Addresses, AuditTable, Target

PATIENCE_S = 15.0
LOOK_S = 0.5
PAGE = 5000
TIMEOUT_S = 30.0
_NO_ANSWER = (aiohttp.ClientError, TimeoutError, AttributeError, LookupError, TypeError, ValueError)


class Source(Protocol):
    """Where the backend's half is from."""

    where: str

    async def read(self, got: Deliveries) -> Deliveries:
        """All there is by now: `got` and what is new, or everything anew. BackendUnavailable when it cannot be had."""
        ...


class Api:
    """GET `?after=…&limit=…&since=…`: {"next": "…", "stored": [[kind, thing, stamp, ingest_ms, seq], …], …}."""

    def __init__(self, url: str, since_ms: int, where: str = "", headers: Mapping[str, str] | None = None) -> None:
        """What was stored before `since_ms` is of another run. `where` is what reports call it; absent: the URL."""
        self._headers = headers
        parts = urlsplit(url)
        address = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
        self.where = where or f"{parts.scheme}://{address}{parts.path}"  # and no password in it
        self._url, self._since_ms, self._next = url, since_ms, "0"

    async def read(self, got: Deliveries) -> Deliveries:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
                while True:
                    asked = {"after": self._next, "limit": str(PAGE), "since": str(self._since_ms)}
                    async with session.get(self._url, params=asked) as answer:
                        answer.raise_for_status()
                        page = await answer.json()
                    rows, after = got.page(page), str(page["next"])
                    if not rows or after == self._next:
                        return got
                    self._next = after
        except _NO_ANSWER as error:
            if isinstance(error, aiohttp.ClientResponseError):  # its words hold the whole URL
                why = f"HTTP {error.status}" if error.status >= 400 else "the answer is no JSON"
            else:
                why = str(error) or type(error).__name__
            raise BackendUnavailable(f"what {self.where} got cannot be read: {why}") from None


class Table:
    """A DynamoDB table, read as a whole each time."""

    def __init__(self, aws: Aws, table: AuditTable, since_ms: int) -> None:
        self.where, self._aws, self._table, self._since_ms = f"DynamoDB {table.dynamodb}", aws, table, since_ms

    async def read(self, got: Deliveries) -> Deliveries:
        try:
            return await asyncio.to_thread(self._read, got.anew())
        except (BotoCoreError, ClientError) as error:
            raise BackendUnavailable(f"the table '{self._table.dynamodb}' cannot be read: {error}") from None

    def _read(self, got: Deliveries) -> Deliveries:
        for item in audit_table.items(self._aws, self._table):
            if item is not None and not 0 <= item.stored_ms < self._since_ms:
                got.stored(item.kind, item.thing, item.stamp, item.stored_ms)
        return got


def source(target: Target, addresses: Addresses, aws: Aws | None, since_ms: int) -> Source | None:
    """Where a target's half of the audit is; None: nowhere."""
    if target.audit and aws:
        return Table(aws, target.audit, since_ms)
    if target.audit_url:
        same = addresses.api_url and target.audit_url.startswith(f"{addresses.api_url}/")
        return Api(target.audit_url, since_ms, headers=addresses.api_headers if same else None)
    if addresses.kind == "sandbox":
        return Api(f"{addresses.api_url}/api/audit", since_ms, "the sandbox's store", addresses.api_headers)
    return None


async def audited(
    audit: Books, of: Source | None, events: Iterable[Event], end_ms: int, carriers: Mapping[str, str],
    patience_s: float = PATIENCE_S, follow: Callable[[Lives], None] | None = None,
) -> Audited:  # fmt: skip
    """The fate of every message, and what explains it; BackendUnavailable when the source cannot be read.

    `follow` is told the life of each message, some at a time, from another thread.
    """
    got = None
    if of is not None:
        got = Deliveries(of.where, audit.subjects, STORED_KINDS)
        deadline_s = time.monotonic() + patience_s
        while (got := await of.read(got)).count < audit.taken and time.monotonic() < deadline_s:
            await asyncio.sleep(LOOK_S)
    causes = Causes(events, end_ms, carriers)
    return await asyncio.to_thread(lambda: match(audit, got, causes, follow=follow))
