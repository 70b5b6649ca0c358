"""The platform's REST door: `POST /ingest/telemetry` (JSON or CSV) and `POST /ingest/fire` (JSON).

Rules: 202 is said only after the transaction that holds the whole request was committed; whatever else is
said, nothing of it was stored. All requests that are ready in one turn of the loop share a commit. What is
refused is named to the sender, so it makes no dead letter. Everything has a bound: the body, packed and
unpacked, the time to send it, the requests at work, the memory of keys and of clients.

Idempotency: the id in the 202 is a function of key and body, and the store holds a sample once however often
it comes, so a repeated request is answered alike and stores nothing twice, over a restart too. What is kept
in memory (the last KEYS_MAX keys) is only what tells that a key came again with another body: that is a 422.

Answers: 202 {"id", "messages"}; 400 {"error", "problems": [{"index" or "row", "field", "problem"}]}; 401; 408;
413; 415; 422; 429 and 503 with Retry-After in seconds.
"""

import asyncio
import hmac
import logging
import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from simulator.backend.decode import Telemetry
from simulator.backend.pipeline import Pipeline
from simulator.backend.rest_body import (
    BODY_MAX,
    BodyRefused,
    Products,
    fire_from_json,
    telemetry_from_csv,
    telemetry_from_json,
    unpack,
)

REQUESTS_MAX = 1000  # at work at a time
BODY_TIMEOUT_S = 10.0
KEYS_MAX = 100_000
KEY_MAX = 255  # characters
CLIENTS_MAX = 10_000
LAG_PROBE_S = 0.05
LAG_MAX_S = 1.0  # the loop comes round this much too late: what it is given waits as long
RETRY_S = 1

Read = Callable[[bytes, int, Products], list[Telemetry]]

JSON, CSV = "application/json", "text/csv"
TELEMETRY: dict[str, Read] = {JSON: telemetry_from_json, CSV: telemetry_from_csv}
FIRE: dict[str, Read] = {JSON: fire_from_json}

log = logging.getLogger("backend.rest")


class Bucket:
    """So many requests a second, and the burst of one second."""

    __slots__ = ("_at_s", "_rate", "_tokens")

    def __init__(self, rate: float, now_s: float) -> None:
        self._rate, self._at_s = rate, now_s
        self._tokens = max(1.0, rate)

    def wait_s(self, now_s: float) -> float:
        """Take one: 0, or the seconds after which there will be one."""
        self._tokens = min(max(1.0, self._rate), self._tokens + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if self._tokens < 1.0:
            return (1.0 - self._tokens) / self._rate
        self._tokens -= 1.0
        return 0.0


class Refused(Exception):
    """An answer that is not 202."""

    def __init__(self, status: int, error: str, retry_s: float | None = None, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, **more}
        self.headers: dict[str, str] = {}
        if retry_s is not None:
            self.headers["retry-after"] = str(max(1, math.ceil(retry_s)))
        if status == 401:
            self.headers["www-authenticate"] = "Bearer"


class Gateway:
    """Takes requests for a pipeline; `fatal` is called with what must end the process."""

    def __init__(
        self,
        pipeline: Pipeline,
        fatal: Callable[[BaseException], None],
        token: str | None = None,
        requests_s: float = 20_000,
        client_requests_s: float = 10_000,
    ) -> None:
        self._pipeline, self._fatal = pipeline, fatal
        self._loop = asyncio.get_running_loop()
        self._token = None if token is None else f"Bearer {token}".encode()
        self._all = Bucket(requests_s, self._loop.time())
        self._client_rate = client_requests_s
        self._clients: OrderedDict[str, Bucket] = OrderedDict()
        self._keys: OrderedDict[str, tuple[bytes, int]] = OrderedDict()  # digest and number of messages
        self._commit_due: asyncio.Future[None] | None = None
        self._at_work = 0
        self.refused: Counter[int] = Counter()  # by status
        self._lag_s = 0.0
        self._probe = self._loop.call_later(LAG_PROBE_S, self._measure, self._loop.time() + LAG_PROBE_S)
        self.app = Starlette(
            routes=[
                Route("/ingest/telemetry", Door(self, TELEMETRY), methods=["POST"]),
                Route("/ingest/fire", Door(self, FIRE), methods=["POST"]),
            ],
            exception_handlers={HTTPException: _not_found},
        )

    def close(self) -> None:
        """Leave no timer behind."""
        self._probe.cancel()

    @property
    def behind(self) -> bool:
        """Is there more to do than is done?"""
        return self._at_work >= REQUESTS_MAX or self._lag_s > LAG_MAX_S

    def _measure(self, due_s: float) -> None:
        """How late are we? A late moment is forgotten slowly, so that a lull between two bursts counts less."""
        now_s = self._loop.time()
        self._lag_s = max(now_s - due_s, self._lag_s * 0.8)
        self._probe = self._loop.call_later(LAG_PROBE_S, self._measure, now_s + LAG_PROBE_S)

    async def take(self, scope: Scope, receive: Receive, reads: dict[str, Read]) -> dict[str, Any]:
        """Everything from the head of a request to its commit; the body of the 202, or `Refused`."""
        headers = Headers(scope=scope)
        self._admit(scope, headers)
        read = reads.get(headers.get("content-type", "").partition(";")[0].strip().lower())
        if read is None:
            raise Refused(415, f"Content-Type must be {' or '.join(reads)}")
        packing = headers.get("content-encoding", "identity").strip().lower()
        if packing not in ("identity", "gzip"):
            raise Refused(415, "Content-Encoding must be gzip, or absent")
        key = headers.get("idempotency-key")
        if key is not None and not (0 < len(key) <= KEY_MAX and key.isascii() and key.isprintable()):
            raise Refused(400, f"Idempotency-Key: must be 1 to {KEY_MAX} printable ASCII characters")
        self._at_work += 1
        try:
            body = await _body(headers, receive)
            try:
                return await self._ingest(unpack(body) if packing == "gzip" else body, read, key, scope["path"])
            except BodyRefused as why:
                more: dict[str, Any] = {"problems": why.problems} if why.problems else {}
                raise Refused(why.status, why.error, **more) from None
        finally:
            self._at_work -= 1

    def _admit(self, scope: Scope, headers: Headers) -> None:
        if self.behind:
            raise Refused(503, "the platform is behind; try again", RETRY_S)
        now_s = self._loop.time()
        wait_s = self._all.wait_s(now_s)
        if not wait_s:
            client = headers.get("x-client-id") or (scope.get("client") or ("",))[0]
            wait_s = self._client(client, now_s).wait_s(now_s)
        if wait_s:
            raise Refused(429, "too many requests", wait_s)
        if self._token is not None:
            given = headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, self._token):
                raise Refused(401, "Authorization: the token is wrong" if given else "Authorization: no token")

    def _client(self, name: str, now_s: float) -> Bucket:
        """The bucket of a client: of the id it gives itself, else of its address."""
        name = name[:KEY_MAX]
        bucket = self._clients.get(name)
        if bucket is None:
            bucket = self._clients[name] = Bucket(self._client_rate, now_s)
            if len(self._clients) > CLIENTS_MAX:
                self._clients.popitem(last=False)
        else:
            self._clients.move_to_end(name)
        return bucket

    async def _ingest(self, body: bytes, read: Read, key: str | None, path: str) -> dict[str, Any]:
        pipeline = self._pipeline
        digest = blake2b(f"{path}\n{read.__name__}\n".encode() + body, digest_size=16).digest()
        known = self._keys.get(key) if key else None
        if known is None:
            samples = read(body, pipeline.now_ms(), pipeline.core.product_of)
            for sample in samples:
                pipeline.take(sample)
            known = (digest, len(samples))
            if key:
                self._keys[key] = known
                if len(self._keys) > KEYS_MAX:
                    self._keys.popitem(last=False)
            if self._commit_due is None:
                self._commit_due = self._loop.create_future()
                self._loop.call_soon(self._commit, self._commit_due)
        elif known[0] != digest:
            raise Refused(422, "Idempotency-Key: this key came with another body before")
        if self._commit_due is not None:  # what is known may wait for its commit still
            await asyncio.shield(self._commit_due)
        name = blake2b((key or "").encode(), key=digest, digest_size=12).hexdigest()
        return {"id": name, "messages": known[1]}

    def _commit(self, done: asyncio.Future[None]) -> None:
        self._commit_due = None
        try:
            self._pipeline.commit()
        except Exception as error:  # a bug or a full disk: the process must not go on half alive
            done.set_exception(error)
            done.exception()  # told to `fatal`; whoever waits hears it too
            self._fatal(error)
        else:
            done.set_result(None)


class Door:
    """One path as an ASGI application: the cheapest way through Starlette."""

    def __init__(self, gateway: Gateway, reads: dict[str, Read]) -> None:
        self._gateway, self._reads = gateway, reads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[str, str] = {}
        try:
            status, body = 202, await self._gateway.take(scope, receive, self._reads)
        except Refused as why:
            status, body, headers = why.status, why.body, why.headers
            self._gateway.refused[status] += 1
        except Exception:
            log.exception("a request failed")
            status, body, headers = 503, {"error": "the platform is in trouble"}, {"retry-after": str(RETRY_S)}
        answer = Response(orjson.dumps(body), status, headers, media_type=JSON)
        await answer(scope, receive, send)


async def _body(headers: Headers, receive: Receive) -> bytes:
    """The whole body, as far as its bound."""
    if (announced := headers.get("content-length", "")).isdigit() and int(announced[:20]) > BODY_MAX:
        raise Refused(413, f"the body is larger than {BODY_MAX} bytes")
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "the body ended early")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > BODY_MAX:
                    raise Refused(413, f"the body is larger than {BODY_MAX} bytes")
                more = message.get("more_body", False)
    except TimeoutError:
        raise Refused(408, f"the body took longer than {BODY_TIMEOUT_S:g} s") from None
    return b"".join(parts) if len(parts) > 1 else parts[0]


async def _not_found(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Response(orjson.dumps({"error": error.detail}), error.status_code, error.headers, media_type=JSON)
