"""REST over HTTP/1.1: a device POSTs what it has to say, one by one, in JSON batches or in CSV batches.

Rules: the devices of one loop that have the same endpoint share a pool of kept connections (`_http.py`). A
message's topic is the path it is POSTed to, its payload one JSON document; a batch holds messages
of one device and one path, in order. What CSV cannot hold goes as a JSON batch.

Nothing is sent twice with two names: the idempotency key of a request is made of seed, device, counter and
body, and stays the same however often it is tried. 408, 429, 5xx and connections that fail are tried again, later
each time by a seeded jitter and not before Retry-After; the device's other messages wait meanwhile. After
`retries_max`, and at once for any other answer that is no 2xx, the messages are refused (`acknowledged` with a
reason code ≥ 0x80).

There is no connection that could be up: a device is connected from `open` on, disconnected once the endpoint
cannot be reached, and connected again by the next answer, whatever it says. Where a bad network lets no connection
through, `open` looks again after a while, later each time.
"""

import asyncio
import gzip
import time
from collections import deque
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from math import inf
from pathlib import Path
from typing import Literal, NamedTuple

import orjson

from simulator.links import Network, Sink
from simulator.links._http import KEEP_ALIVE_S, Answer, Far, Pool, Request, pool_of
from simulator.messages import Publish
from simulator.seeds import fraction
from simulator.wire import csv_batch

BATCH_BYTES_MAX = 512 * 1024  # of payloads in one request
RETRY_AFTER_MAX_S = 300.0
CLOSE_TIMEOUT_S = 2.0
EARLY_S = 0.001  # so early is due: the loop's clock is no finer

JSON, CSV = "application/json", "text/csv; charset=utf-8"

# What a refusal is in MQTT's reason codes, which sinks know.
NOT_AUTHORIZED, QUOTA_EXCEEDED, UNAVAILABLE, PAYLOAD_INVALID, REFUSED = 0x87, 0x97, 0x88, 0x99, 0x83
_REASONS = {
    400: PAYLOAD_INVALID, 401: NOT_AUTHORIZED, 403: NOT_AUTHORIZED,
    413: PAYLOAD_INVALID, 415: PAYLOAD_INVALID, 422: PAYLOAD_INVALID, 429: QUOTA_EXCEEDED,
}  # fmt: skip


class RestEndpoint(NamedTuple):
    """Where one device sends, how, and as whom. Devices that differ only in `client_id` share connections."""

    url: str  # before the path
    client_id: str
    token: str | None = None
    ca_file: Path | None = None  # for https; absent: what the machine trusts
    mode: Literal["one", "batch", "csv"] = "one"
    batch_max: int = 100
    batch_wait_s: float = 1.0  # the first message of a batch waits so long for others
    gzip: bool = False
    in_flight_max: int = 1  # requests of this device; with one, everything arrives in order
    queue_max: int = 1000
    retries_max: int = 8
    backoff_first_s: float = 0.25
    backoff_max_s: float = 30.0
    connections_max: int = 16
    connect_timeout_s: float = 10.0
    ack_timeout_s: float = 10.0
    jitter_key: int = 0  # seeds jitter and idempotency keys


class Rest:
    """One device's way to POST."""

    __slots__ = (
        "_again", "_at", "_close_at_s", "_count", "_free_at_s", "_knock", "_knocks", "_loop", "_open", "_queue",
        "_ripe_at_s", "_sink", "_up", "_wake_at_s", "_wanted", "kept_until_s", "listed", "network", "pool",
    )  # fmt: skip

    def __init__(self, endpoint: RestEndpoint, sink: Sink, loop: asyncio.AbstractEventLoop) -> None:
        for name in (endpoint.client_id, endpoint.token or "-"):
            if not (name.isascii() and name.isprintable() and name):
                raise ValueError(f"'{name[:40]}' cannot stand in an HTTP header")
        self._at, self._sink, self._loop = endpoint, sink, loop
        self.pool: Pool | None = None  # while this link may send
        self._queue: deque[Publish] = deque()
        self._again: list[Request] = []  # to be tried again, in order
        self._open: list[Request] = []  # under way
        self._count = 0  # requests so far
        self._ripe_at_s = 0.0  # when the head of the queue has waited long enough for others
        self._free_at_s = 0.0  # not before, after a failure
        self._wake_at_s = inf  # when the pool will look at us
        self._close_at_s = inf  # closed: what is queued is still sent until then
        self._wanted = False
        self._up = False
        self.listed = False  # among the pool's ready ones
        self.network: Network | None = None
        self.kept_until_s = 0.0  # when the connection would end that our last answer came on
        self._knock: asyncio.TimerHandle | None = None  # looks again whether we are connected
        self._knocks = 0

    # --- the Link ---

    @property
    def waiting(self) -> int:
        return len(self._queue) + sum(len(request.messages) for request in self._again)

    def open(self) -> None:
        if self._wanted:
            return
        self._wanted, self._close_at_s = True, inf
        self._free_at_s = 0.0
        if self.pool is None:
            at = self._at
            far = Far(at.url, at.token, at.ca_file, at.connections_max, at.connect_timeout_s, at.ack_timeout_s)
            self.pool = pool_of(far, self._loop)
            self.pool.join(self)
        self._knocks = 0
        self._loop.call_soon(self._arrive)
        self.look()

    def send(self, message: Publish) -> bool:
        if len(self._queue) >= self._at.queue_max:
            return False
        if not self._queue:
            self._ripe_at_s = self._loop.time() + (0.0 if self._at.mode == "one" else self._at.batch_wait_s)
        self._queue.append(message)
        self.look()
        return True

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Nothing can be heard over REST."""

    def close(self) -> None:
        """Send what is queued, without waiting for more and trying each once, and stay closed."""
        if self._wanted:
            self._wanted = False
            self._stand_still()
            self._close_at_s = self._loop.time() + CLOSE_TIMEOUT_S
            self._loop.call_soon(self._fall, "closed")
            if self._free_at_s > self._loop.time():
                self._stop()
            else:
                self.look()

    def sever(self) -> None:
        if self._wanted:
            self._loop.call_soon(self._fall, "severed")
        self._wanted = False
        self._stand_still()
        self._stop()

    def shape(self, network: Network) -> None:
        self.network = network

    def raw(self, data: bytes) -> None:
        """There is no connection of this device's own to write on."""

    def tick(self, now_s: float) -> None:
        """The pool has its own timer."""

    # --- what the pool asks ---

    def look(self) -> None:
        """Begin what may begin now, or be woken when it may."""
        pool = self.pool
        if pool is None:
            return
        due_s, now_s = self._due_s(), self._loop.time() + EARLY_S
        if not self._wanted and (now_s >= self._close_at_s or (due_s == inf and not self._open)):
            self._stop()
        elif due_s <= now_s:
            pool.ready(self)
        elif (due_s := min(due_s, self._close_at_s)) < self._wake_at_s:
            self._wake_at_s = due_s
            pool.wake_at(due_s, self)

    def awake(self) -> None:
        """The moment came that was asked for."""
        self._wake_at_s = inf
        self.look()

    def take(self) -> Request | None:
        """The next request, if there is one that may go now."""
        if self.pool is None or self._due_s() > self._loop.time() + EARLY_S:
            return None
        request = self._again.pop(0) if self._again else self._form()
        self._open.append(request)
        return request

    def answered(self, request: Request, answer: Answer) -> None:
        """A request came to an end."""
        if request not in self._open:
            return  # severed meanwhile: it will be sent again, under the same key
        self._open.remove(request)
        self.kept_until_s = self._loop.time() + KEEP_ALIVE_S if answer.status else 0.0
        try:
            if answer.status and self._wanted:
                self._rise()
            if 200 <= answer.status < 300:
                self._tell(request, 0)
            elif answer.status in (0, 408, 429) or answer.status >= 500:
                self._failed(request, answer)
            else:
                self._tell(request, _REASONS.get(answer.status, REFUSED))
        finally:
            self.look()

    # --- inside ---

    def _due_s(self) -> float:
        """When the next request may begin."""
        at, queue = self._at, self._queue
        if len(self._open) >= at.in_flight_max:
            return inf
        if self._again or len(queue) >= at.batch_max or (queue and not self._wanted):
            return self._free_at_s
        return max(self._free_at_s, self._ripe_at_s) if queue else inf

    def _form(self) -> Request:
        """A request of what is queued; the queue is not empty."""
        at, queue = self._at, self._queue
        messages = [queue.popleft()]
        path = messages[0].topic
        if at.mode == "one":
            body, media = messages[0].payload, JSON
        else:
            size = len(messages[0].payload)
            while queue and len(messages) < at.batch_max and queue[0].topic == path:
                size += len(queue[0].payload)
                if size > BATCH_BYTES_MAX:
                    break
                messages.append(queue.popleft())
            self._ripe_at_s = self._loop.time() + at.batch_wait_s
            body, media = _batch([message.payload for message in messages], at.mode)
        self._count += 1
        name = f"{at.jitter_key}\x1f{at.client_id}\x1f{self._count}\x1f{path}\x1f".encode()
        key = blake2b(name + body, digest_size=16).hexdigest()
        headers = {"Content-Type": media, "Idempotency-Key": key, "X-Client-Id": at.client_id}
        if at.gzip:
            body = gzip.compress(body, 1, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return Request(self._count, path, messages, body, headers)

    def _failed(self, request: Request, answer: Answer) -> None:
        """Try again later, or give up."""
        at = self._at
        if answer.broken and not request.broken:
            request.broken = True
            self._keep(request)
            return
        if not answer.status:
            self._fall(answer.why)
        request.attempts += 1
        if request.attempts > at.retries_max:
            self._tell(request, _REASONS.get(answer.status, UNAVAILABLE))
            return
        self._keep(request)
        delay_s = min(at.backoff_max_s, at.backoff_first_s * 2.0 ** min(request.attempts - 1, 32))
        delay_s *= 0.5 + 0.5 * fraction(at.jitter_key, "rest", at.client_id, request.number, request.attempts)
        self._free_at_s = self._loop.time() + max(delay_s, retry_after_s(answer.retry_after, time.time()))
        if not self._wanted:
            self._stop()

    def _keep(self, request: Request) -> None:
        self._again.append(request)
        self._again.sort(key=lambda request: request.number)

    def _tell(self, request: Request, reason_code: int) -> None:
        acknowledged = self._sink.acknowledged
        for message in request.messages:
            acknowledged(message, request.sent_at_s, reason_code)

    def _stop(self) -> None:
        """Send nothing any more; what was not acknowledged is kept for the next `open`."""
        self.kept_until_s = 0.0
        pool, self.pool, self.listed = self.pool, None, False
        self._close_at_s = self._wake_at_s = inf
        carried, self._open = self._open, []
        for request in carried:
            self._keep(request)
            if pool is not None:
                pool.cut(request)
        if pool is not None:
            pool.leave(self)

    def _arrive(self) -> None:
        """Connected, if the network lets us."""
        self._stand_still()
        why = self.network.reach() if self.network and self._wanted and not self._up else None
        if why is None:
            self._rise()
            return
        if not self._knocks:
            self._sink.disconnected(why)
        delay_s = min(self._at.backoff_max_s, self._at.backoff_first_s * 2.0 ** min(self._knocks, 32))
        self._knocks += 1
        self._knock = self._loop.call_later(delay_s, self._arrive)

    def _stand_still(self) -> None:
        if self._knock is not None:
            self._knock.cancel()
            self._knock = None

    def _rise(self) -> None:
        if not self._up:
            self._up = True
            self._sink.connected(False)

    def _fall(self, why: str) -> None:
        if self._up:
            self._up = False
            self._sink.disconnected(why)


def retry_after_s(text: str, now_s: float) -> float:
    """The seconds that a Retry-After header asks for (a number, or a date), bounded; 0 for what is neither."""
    text = text.strip()[:64]
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        wait_s = parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, OverflowError):
        return 0.0
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)


def _batch(payloads: list[bytes], mode: Literal["one", "batch", "csv"]) -> tuple[bytes, str]:
    """The body of a batch, and what it is."""
    if mode == "csv":
        try:
            return csv_batch.encode([orjson.loads(payload) for payload in payloads]), CSV
        except ValueError:
            pass  # not standard telemetry, or a value without a place in CSV
    return b'{"messages":[' + b",".join(payloads) + b"]}", JSON
