"""The ASGI app that every request meets first: a feature of ours answers, or MiniStack.

Rules: a request is ours by its path and the scope of its signature, because a bucket may be called `packages` too,
and because the services of AWS IoT share paths. It is authenticated, by MiniStack's own code, before anything about
it is judged. The sandbox is one region: what is signed for AWS IoT in another is refused, as an endpoint of AWS does.
MiniStack's administration paths (reset, configuration) are closed: they ask for no credentials.
"""

import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs, quote

from simulator.cloud.emulator import Emulator
from simulator.cloud.rest_json import Answer, Api, BadRequestError, api, error
from simulator.cloud.service import Feature, Request, ServiceError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_BODY_BYTES_MAX = 1024 * 1024
_SCOPE = re.compile(r"Credential=[^,/]*/[^,/]*/([^,/]*)/([^,/]+)/aws4_request")
_ADMINISTRATION = ("/_ministack/", "/_localstack/")
_HEALTH = "/_ministack/health"
# Scope of a signature → the models that may be meant; the data planes are signed in two ways.
SERVICES: dict[str, tuple[str, ...]] = {
    "": ("iot",),
    "iot": ("iot",),
    "iot-jobs-data": ("iot-jobs-data",),
    "iotdata": ("iot-data",),
    "iotdevicegateway": ("iot-data",),
}


class Front:
    """Decides who answers."""

    def __init__(self, emulator: Emulator, features: Sequence[Feature], *, auth: bool) -> None:
        self._emulator = emulator
        self._features: dict[str, Feature] = {}
        for feature in features:
            for name in feature.operations:
                operation = name if ":" in name else f"iot:{name}"
                if self._features.setdefault(operation, feature) is not feature:
                    raise ValueError(f"two features answer {operation}")
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
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        region, service = signed_for(scope)
        if service in SERVICES and region not in ("", self._emulator.region):
            text = f"Credential should be scoped to a valid region, not '{region}'."
            await _send(send, error(403, "InvalidSignatureException", text))
            return
        for model in map(api, SERVICES.get(service, ())):
            found = model.match(scope["method"], raw_path(scope))
            feature = self._features.get(f"{model.service}:{found[0]}") if found else None
            if found and feature:
                await _send(send, await self._ours(feature, model, *found, scope, receive))
                return
        await self._emulator.app(scope, receive, send)

    async def _ours(
        self, feature: Feature, model: Api, operation: str, in_path: Mapping[str, str], scope: Scope, receive: Receive
    ) -> Answer:
        body = await _read(receive)
        if body is None:
            return error(413, "RequestEntityTooLargeException", f"More than {_BODY_BYTES_MAX} bytes")
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        refusal: Answer | None = self._emulator.refuse(
            operation, feature.arn(operation, in_path), scope["method"], raw_path(scope), query, scope["headers"],
            body, str(uuid.uuid4()),
        )  # fmt: skip
        if refusal is not None:
            return refusal

        async def forward(changed: bytes | None) -> Answer:
            if changed is None:
                return await _answer_of(self._emulator.app, scope, _replay(body, receive))
            return await self._emulator.unjudged(model.service, scope["method"], scope["path"], changed, query)

        request = Request(model, operation, in_path, query, body, time.time_ns() // 1_000_000, forward)
        try:
            result = await feature.answer(request)
        except BadRequestError as problem:
            return error(400, feature.invalid, str(problem))
        except ServiceError as problem:
            return error(problem.status, problem.code, str(problem))
        return result if isinstance(result, tuple) else model.answer(operation, result or {})


def raw_path(scope: Scope) -> str:
    """The path as it was sent."""
    return (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1").partition("?")[0]


def _headers(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), "")


def signing_service(scope: Scope) -> str:
    """The service that a request is signed for, empty when it is not signed."""
    return signed_for(scope)[1]


def signed_for(scope: Scope) -> tuple[str, str]:
    """The region and the service that a request is signed for, both empty when it is not signed."""
    found = _SCOPE.search(_headers(scope, b"authorization"))
    if found:
        return found[1], found[2]
    credential = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("X-Amz-Credential", [""])[0]
    parts = credential.split("/")
    return (parts[2], parts[3]) if len(parts) == 5 else ("", "")


def _signed(scope: Scope) -> bool:
    """Whether a WebSocket upgrade is signed: MiniStack checks a signature, but lets in who has none."""
    return bool(_headers(scope, b"authorization")) or b"X-Amz-Signature=" in scope.get("query_string", b"")


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None when it is too long; heard to its end, for a client does not read while it sends."""
    body, size = bytearray(), 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if size <= _BODY_BYTES_MAX:
            body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body", False):
            return bytes(body) if size <= _BODY_BYTES_MAX else None


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was already read, and then goes on."""
    pending: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> MutableMapping[str, Any]:
        return pending.pop() if pending else await receive()

    return replay


async def _answer_of(app: Callable[[Any, Any, Any], Awaitable[None]], scope: Scope, receive: Receive) -> Answer:
    """What an app answers, as a whole."""
    status, headers, body = 500, dict[str, str](), bytearray()

    async def collect(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            headers.update((name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"])
        elif message["type"] == "http.response.body":
            body.extend(message.get("body", b""))

    await app(scope, receive, collect)
    headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
    return status, headers, bytes(body)


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
