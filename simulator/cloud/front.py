"""The ASGI app that every request meets first: the package catalog answers here, MiniStack the rest.

Rules: a request is ours by its path and the scope of its signature (`iot`, or none), because a bucket may be
called `packages` too. It is authenticated, by MiniStack's own code, before anything about it is judged.
MiniStack's administration paths (reset, configuration) are closed: they ask for no credentials.
"""

import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, quote

from simulator.cloud.catalog import Catalog
from simulator.cloud.emulator import Emulator
from simulator.cloud.jobs import refuse_job
from simulator.cloud.packages import OPERATIONS, Packages
from simulator.cloud.rest_json import Answer, error, iot_api

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_BODY_BYTES_MAX = 1024 * 1024
_OURS = re.compile(r"/(packages(/.*)?|package-configuration|jobs/[^/]+)")
_SCOPE = re.compile(r"Credential=[^,/]*/[^,/]*/[^,/]*/([^,/]+)/aws4_request")
_ADMINISTRATION = ("/_ministack/", "/_localstack/")
_HEALTH = "/_ministack/health"


class Front:
    """Decides who answers."""

    def __init__(self, emulator: Emulator, catalog: Catalog, *, auth: bool) -> None:
        self._emulator = emulator
        self._catalog = catalog
        self._packages = Packages(catalog)
        self._auth = auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket" and self._auth and not _signed(scope):
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self._emulator.app(scope, receive, send)
        elif scope["path"].startswith(_ADMINISTRATION) and scope["path"] != _HEALTH:
            await _send(send, error(404, "NotFoundException", f"No such path: {scope['path']}"))
        elif _OURS.fullmatch(scope["path"]) and _signing_service(scope) in ("iot", ""):
            await self._ours(scope, receive, send)
        else:
            await self._emulator.app(scope, receive, send)

    async def _ours(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1").partition("?")[0]
        found = iot_api().match(scope["method"], raw_path)
        operation, in_path = found if found else ("", {})
        if operation not in OPERATIONS and operation != "CreateJob":
            await self._emulator.app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            await _send(send, error(413, "RequestEntityTooLargeException", f"More than {_BODY_BYTES_MAX} bytes"))
            return
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        # MiniStack itself judges whether the caller may create this job.
        arn = None if operation == "CreateJob" else self._catalog.arn(**in_path)
        answer: Answer | None = self._emulator.refuse(
            operation, arn, scope["method"], raw_path, query, scope["headers"], body, str(uuid.uuid4())
        )
        if answer is None and operation == "CreateJob":
            answer = refuse_job(self._catalog, body)
            if answer is None:
                await self._emulator.app(scope, _replay(body, receive), send)
                return
        if answer is None:
            now_ms = time.time_ns() // 1_000_000
            answer = self._packages.answer(operation, in_path, query, body, now_ms)
        await _send(send, answer)


def _headers(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), "")


def _signing_service(scope: Scope) -> str:
    """The service that a request is signed for, empty when it is not signed."""
    found = _SCOPE.search(_headers(scope, b"authorization"))
    if found:
        return found[1]
    credential = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("X-Amz-Credential", [""])[0]
    parts = credential.split("/")
    return parts[3] if len(parts) == 5 else ""


def _signed(scope: Scope) -> bool:
    """Whether a WebSocket upgrade is signed: MiniStack checks a signature, but lets in who has none."""
    return bool(_headers(scope, b"authorization")) or b"X-Amz-Signature=" in scope.get("query_string", b"")


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None when it is too long."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _BODY_BYTES_MAX:
            return None
        if message["type"] != "http.request" or not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was already read, and then goes on."""
    pending: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> MutableMapping[str, Any]:
        return pending.pop() if pending else await receive()

    return replay


async def _send(send: Send, answer: Answer) -> None:
    status, headers, body = answer
    request_id = str(uuid.uuid4())
    pairs = {"x-amzn-RequestId": request_id, **headers, "Content-Length": str(len(body))}
    raw = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in pairs.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing to do at either end: the process starts and stops the emulator itself."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
