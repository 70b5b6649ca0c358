"""Requests to an ASGI application in this process, without a server and without a library of its own ideas."""

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson
from starlette.types import ASGIApp


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


async def asked(
    app: ASGIApp, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None,
    peer: str = "127.0.0.1",
) -> Answer:  # fmt: skip
    """Send a request as uvicorn would hand it on."""
    raw, _, query = path.partition("?")
    content = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    said = {"host": "127.0.0.1"} | ({} if body is None else {"content-type": "application/json"})
    said |= {name.lower(): value for name, value in (headers or {}).items()}
    scope = {
        "type": "http", "method": method, "path": unquote(raw), "raw_path": raw.encode(), "client": (peer, 1),
        "query_string": query.encode(), "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 80),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in said.items()], "root_path": "",
    }  # fmt: skip
    sent: list[MutableMapping[str, Any]] = []
    parts = iter([content])

    async def receive() -> MutableMapping[str, Any]:
        part = next(parts, None)
        if part is None:
            await asyncio.Event().wait()  # whoever asks stays and listens
        return {"type": "http.request", "body": part}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))


def ask(app: ASGIApp, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """The same, where no loop runs; header names with underscores."""
    return asyncio.run(asked(app, method, path, body, {name.replace("_", "-"): v for name, v in headers.items()}))


def get(app: ASGIApp, path: str) -> tuple[int, Any]:
    """GET a path: status and JSON."""
    answer = ask(app, "GET", path)
    return answer.status, answer.json
