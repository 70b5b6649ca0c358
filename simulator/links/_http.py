"""Kept HTTP connections to one far side, shared by all devices of a loop that POST there.

Rules: at most `connections_max` connections; one task for each that is at work and one timer for all links
that wait; links that have something to send take turns. A POST is tried once here: what an answer means, and
whether to try again, is the link's business.

Over a bad network a POST is a task of its own, beside those connections, so that nobody waits for a device that is
held up. The connection is not the device's own: the network carries bodies up and answers down, and is asked for a
connection when the link had no answer for as long as one is kept.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from heapq import heappop, heappush
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

import aiohttp
from yarl import URL

from simulator.links import Network, TlsFiles
from simulator.links._tls import TlsFileError, tls_context
from simulator.messages import Piece, Publish

ANSWER_MAX = 64 * 1024
BYTES_MAX = 1024 * 1024  # aiohttp wants what is larger as a file
URLS_CACHED = 256
KEEP_ALIVE_S = 30.0


class Far(NamedTuple):
    """The far side, and how to connect to it."""

    url: str
    token: str | None
    ca_file: Path | None  # for https; None: what the machine trusts
    connections_max: int
    connect_timeout_s: float
    ack_timeout_s: float


class Answer(NamedTuple):
    """How a POST ended: an HTTP status, or 0 and why there was none."""

    status: int
    retry_after: str = ""
    why: str = ""
    broken: bool = False  # the connection ended under way, as one does that the server had just closed


class Request:
    """Some messages under one idempotency key."""

    __slots__ = ("attempts", "body", "broken", "headers", "messages", "number", "path", "sent_at_s", "task")

    def __init__(self, number: int, path: str, messages: list[Publish], body: bytes, headers: dict[str, str]) -> None:
        self.number, self.path, self.messages = number, path, messages
        self.body, self.headers = body, headers
        self.attempts = 0  # that failed
        self.broken = False  # tried again at once because the connection broke: only so once
        self.sent_at_s = 0.0
        self.task: asyncio.Task[None] | None = None  # that carries it


class Poster(Protocol):
    """A link as its pool sees it."""

    listed: bool  # among the ready ones
    network: Network | None  # that its requests go through
    pool: "Pool | None"  # while it may send
    kept_until_s: float  # when the connection would end that its last answer came on

    def look(self) -> None:
        """See what may begin, and tell the pool."""

    def awake(self) -> None:
        """The moment came that `wake_at` was asked for."""

    def take(self) -> Request | None:
        """The next request, if there is one that may go now."""

    def answered(self, request: Request, answer: Answer) -> None:
        """A request came to an end."""


class Pool:
    """The connections to one endpoint, for all devices of a loop that use it."""

    def __init__(self, at: Far, loop: asyncio.AbstractEventLoop) -> None:
        self._at, self._loop = at, loop
        self._links: set[Poster] = set()
        self._ready: deque[Poster] = deque()  # links that may begin a request now, each once
        self._workers: set[asyncio.Task[None]] = set()
        self._detours: set[asyncio.Task[None]] = set()  # requests that go through a bad network
        self._cut: set[asyncio.Task[None]] = set()  # workers that were cancelled by us
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[str, URL] = {}
        self._waiting: list[tuple[float, int, Poster]] = []
        self._serial = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    def join(self, link: Poster) -> None:
        """A link will send."""
        self._links.add(link)

    def leave(self, link: Poster) -> None:
        """A link will send no more; the last one ends the connections."""
        self._links.discard(link)
        if self._links or self._ending:
            return
        self._forget()
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
        if self._session is not None:
            self._ending = self._loop.create_task(self._session.close())

    def _forget(self) -> None:
        """Be no pool for others any more."""
        if (pools := _pools.get(self._loop)) is not None and pools.get(self._at) is self:
            del pools[self._at]
            if not pools:
                del _pools[self._loop]

    def ready(self, link: Poster) -> None:
        """A link has a request to begin."""
        if not link.listed:
            link.listed = True
            self._ready.append(link)
            if len(self._workers) < self._at.connections_max:  # every worker there is has something to carry
                worker = self._loop.create_task(self._work())
                self._workers.add(worker)
                worker.add_done_callback(self._worked)

    def wake_at(self, due_s: float, link: Poster) -> None:
        """Look at a link again then."""
        self._serial += 1
        heappush(self._waiting, (due_s, self._serial, link))
        if self._waiting[0][2] is link:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._waiting[0][0], self._wake) if self._waiting else None

    def _wake(self) -> None:
        # A millisecond early is due: the loop's clock is no finer.
        now_s = self._loop.time() + 0.001
        while self._waiting and self._waiting[0][0] <= now_s:
            link = heappop(self._waiting)[2]
            link.awake()
        self._arm()

    async def _work(self) -> None:
        """Carry requests while there are any; ends when there are none."""
        task = asyncio.current_task()
        while self._ready:
            link = self._ready.popleft()
            if link.pool is not self:
                continue  # severed, and perhaps with another pool by now
            link.listed = False
            request = link.take()
            if request is None:
                continue
            if link.network is None:
                request.task = task
                link.look()
                await self._carry(link, request)
            else:
                request.task = self._loop.create_task(self._carry(link, request))
                self._detours.add(request.task)
                request.task.add_done_callback(self._worked)
                link.look()

    async def _carry(self, link: Poster, request: Request) -> None:
        """Carry a request to its end."""
        try:
            answer = await (self._through(link, link.network, request) if link.network else self._post(request))
        except asyncio.CancelledError:
            if asyncio.current_task() not in self._cut:  # not our own doing: the loop is ending
                self._forget()
                if self._session is not None:
                    await self._session.close()
            raise
        request.task = None
        link.answered(request, answer)

    def cut(self, request: Request) -> None:
        """End the connection that carries a request."""
        if request.task is not None:
            self._cut.add(request.task)
            request.task.cancel()
            request.task = None

    def _worked(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._detours.discard(worker)
        cut = worker in self._cut
        self._cut.discard(worker)
        if worker.cancelled():
            if not cut:
                return  # the loop is ending
        elif (error := worker.exception()) is not None:
            # A sink of one device failed; the others still have something to send.
            self._loop.call_exception_handler({"message": "a link's sink failed", "exception": error})
        if self._ready:
            link = self._ready.popleft()
            if link.pool is self:
                link.listed = False
                link.look()

    async def _through(self, link: Poster, network: Network, request: Request) -> Answer:
        """One try over a bad network."""
        loop = self._loop
        if loop.time() >= link.kept_until_s and (why := network.reach()):
            return Answer(0, "", why)
        try:
            async with asyncio.timeout(self._at.ack_timeout_s):
                pieces = await _arrived(network.carry(request.body, True), loop)
                answer = await self._post(request, pieces)
                if answer.status:
                    await _arrived(network.carry(str(answer.status).encode(), False), loop)
                return answer
        except TimeoutError:
            return Answer(0, "", f"no answer from {self._at.url} within {self._at.ack_timeout_s:g} s")

    async def _post(self, request: Request, pieces: list[Piece] | None = None) -> Answer:
        """One try; `pieces` is what a bad network makes of the body."""
        try:
            session = self._session or self._connect()
            request.sent_at_s = request.sent_at_s or time.monotonic()
            url, headers = self._url(request.path), request.headers
            data = request.body if pieces is None else b"".join(piece.data for piece in pieces)
            body: bytes | BytesIO | AsyncIterator[bytes] = data
            if pieces is not None and pieces[-1].after_ms:
                headers = {**headers, "Content-Length": str(len(data))}
                body = _trickle(pieces, self._loop)
            elif len(data) > BYTES_MAX:
                body = BytesIO(data)
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.content.read(ANSWER_MAX)  # what is left is cut off
                return Answer(answer.status, answer.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            broken = isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError | BrokenPipeError)
            return Answer(0, "", _why(error, self._at), broken)

    def _connect(self) -> aiohttp.ClientSession:
        at = self._at
        context: ssl.SSLContext | bool = True
        if at.url.startswith("https:"):
            context = ssl.create_default_context() if at.ca_file is None else tls_context(TlsFiles(at.ca_file))
        headers = {"User-Agent": "fleetsim"}
        if at.token is not None:
            headers["Authorization"] = f"Bearer {at.token}"
        connector = aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=KEEP_ALIVE_S)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding"),
            timeout=aiohttp.ClientTimeout(total=at.ack_timeout_s, connect=at.connect_timeout_s),
        )
        return self._session

    def _url(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            if len(self._urls) >= 256:
                self._urls.clear()
            url = self._urls[path] = URL(self._at.url.rstrip("/") + "/" + path.lstrip("/"))
        return url


async def _arrived(pieces: list[Piece], loop: asyncio.AbstractEventLoop) -> list[Piece]:
    """Wait for the first of them, for ever if there is none; what is left to wait for."""
    if not pieces:
        await loop.create_future()
    first_ms = pieces[0].after_ms
    if first_ms:
        await asyncio.sleep(first_ms / 1000)
    return [Piece(data, max(0, after_ms - first_ms)) for data, after_ms in pieces]


async def _trickle(pieces: list[Piece], loop: asyncio.AbstractEventLoop) -> AsyncIterator[bytes]:
    """A body that is written as its pieces come."""
    began_s = loop.time()
    for data, after_ms in pieces:
        if (wait_s := began_s + after_ms / 1000 - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        yield data


_pools: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Far, Pool]]" = WeakKeyDictionary()


def pool_of(at: Far, loop: asyncio.AbstractEventLoop) -> Pool:
    """The pool for a far side."""
    pools = _pools.setdefault(loop, {})
    return pools.get(at) or pools.setdefault(at, Pool(at, loop))


def _why(error: BaseException, at: Far) -> str:
    """An error of a connection in one line."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return f"connect to {at.url} timed out after {at.connect_timeout_s:g} s"
        case TimeoutError():
            return f"no answer from {at.url} within {at.ack_timeout_s:g} s"
        case aiohttp.ClientConnectorCertificateError():
            words = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
            return f"TLS: certificate verify failed: {words}"
        case aiohttp.ClientSSLError():
            return f"TLS: {(error.os_error.strerror or str(error)).lower()}"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return f"connect to {at.url} refused"
        case aiohttp.ClientConnectorError():
            return f"connect to {at.url}: {(error.os_error.strerror or str(error)).lower()}"
        case aiohttp.ServerDisconnectedError() | ConnectionResetError() | BrokenPipeError():
            return f"connection to {at.url} reset"
        case TlsFileError():
            return f"TLS: {error}"
    return f"POST to {at.url}: {error or type(error).__name__}"
