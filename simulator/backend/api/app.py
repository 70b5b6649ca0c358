"""Puts the API together: routes, who may, what is asked, how it is answered; and the pages beside it."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.routing import Route as Address
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from simulator.backend.api import access, fleet, latest, lists, openapi, settings, status, stream
from simulator.backend.api.feed import Feed
from simulator.backend.api.gate import Gate, caller, json_response
from simulator.backend.api.reads import Readers, Reads
from simulator.backend.api.route import Call, Desk, ReadShadow, Route, read_query
from simulator.backend.api.sessions import Sessions
from simulator.backend.api.tokens import EVERYBODY, Tokens
from simulator.backend.changes import Changes
from simulator.backend.times import Times
from simulator.errors import UsageError

TYPES = frozenset(("application/json", "application/yaml", "text/yaml"))
JSON = "application/json"
PAGES = Path(__file__).parents[2] / "pages"

ROUTES: tuple[Route, ...] = (
    *status.ROUTES, *fleet.ROUTES, *latest.ROUTES, *lists.ROUTES, *stream.ROUTES, *settings.ROUTES, *settings.PLATFORM,
    *access.ROUTES, openapi.ROUTE,
)  # fmt: skip


class Api:
    """The application and what must be ended with it. `app` is what a server serves."""

    def __init__(
        self,
        store: Path,
        now_ms: Callable[[], int],
        *,
        tokens: Tokens | None = None,
        state_dir: Path | None = None,
        tcp: Mapping[str, int] | None = None,
        changes: Changes | None = None,
        times: Times | None = None,
        fatal: Callable[[BaseException], None] | None = None,
        shadow: ReadShadow | None = None,
        control: Callable[[Request], Awaitable[Response]] | None = None,
        more: Sequence[BaseRoute] = (),
        pages: Path = PAGES,
    ) -> None:
        """Answers from the store. Without `changes` it only answers; `fatal` hears what must end the process.

        Without `tokens` nobody needs one. `tcp`: what the TCP gateway counts. `more`: routes of others, before the
        pages.
        """
        tokens = tokens or Tokens()
        self._fatal, self._control = fatal, control
        self.readers = Readers(store)
        self.feed = Feed(self.readers)
        sessions = Sessions(tokens, now_ms, state_dir if tokens.needed else None)
        found = [Address(path, _Door(self._at(list(routes)))) for path, routes in _by_path(ROUTES)]
        found.append(Address("/control/{path:path}", _Door(self._controlled)))
        mounted: list[BaseRoute] = [Mount("/", StaticFiles(directory=pages, html=True))] if pages.is_dir() else []
        inner = Starlette(
            routes=[*found, *more, *mounted], exception_handlers={HTTPException: _error, Exception: _error}
        )
        inner.router.redirect_slashes = False
        self.app = Gate(inner)
        self._desk = Desk(
            self.readers, tokens, sessions, self.feed, now_ms, changes, tcp, times, self.app.answers, shadow
        )

    async def end(self) -> None:
        """End the streams, which would not end by themselves."""
        await self.feed.close()

    def close(self) -> None:
        """End the threads, and close the store."""
        self.readers.close()

    def _at(self, routes: list[Route]) -> Callable[[Request], Awaitable[Response]]:
        methods: dict[str, Route] = {route.method: route for route in routes}
        if (get := methods.get("GET")) and get.media == JSON:
            methods["HEAD"] = get
        allow = ", ".join(sorted(methods))

        async def handle(request: Request) -> Response:
            route = methods.get(request.method)
            if route is None:
                raise HTTPException(405, "Method Not Allowed", {"Allow": allow})
            try:
                return await self._answer(route, request)
            except UsageError as error:
                raise HTTPException(400, str(error)) from None
            except (HTTPException, ClientDisconnect):
                raise
            except Exception as error:
                if route.changes and self._fatal:  # a bug or a full disk: the process must not go on half alive
                    self._fatal(error)
                raise

        return handle

    async def _controlled(self, request: Request) -> Response:
        """What is asked of the run that the fleet comes from: for the service alone."""
        who = caller(request, self._desk.tokens, self._desk.sessions)
        if who.role != "service":
            raise HTTPException(403, f"not for the role '{who.role}'")
        if request.method not in ("GET", "POST"):
            raise HTTPException(405, "Method Not Allowed", {"Allow": "GET, POST"})
        if self._control is None:
            raise HTTPException(503, "no fleet is run here")
        return await self._control(request)

    async def _answer(self, route: Route, request: Request) -> Response:
        desk = self._desk
        who = caller(request, desk.tokens, desk.sessions) if route.roles else EVERYBODY
        if route.roles and who.role not in route.roles:
            raise HTTPException(403, f"not for the role '{who.role}'")
        asked = read_query(route.asked, request)
        body = await _body(route, request) if route.method != "GET" else b""
        name = "".join(request.path_params.values())  # there is one, or none
        if not name.isprintable():
            raise HTTPException(404, "there is nothing with such a name")

        def handle(reads: Reads) -> Any:
            return route.handler(Call(who, name, asked, reads, request, desk, body))

        slow = route.slow or (route.slow_for_owners and who.owner is not None)
        found = await self.readers.elsewhere(handle) if slow else handle(self.readers.here)
        if inspect.isawaitable(found):
            found = await found
        return found if isinstance(found, Response) else json_response(found, route.status)


class _Door:
    """One address as an ASGI application, which sees every method."""

    def __init__(self, handle: Callable[[Request], Awaitable[Response]]) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._handle(Request(scope, receive, send))
        await response(scope, receive, send)


def _by_path(routes: Iterable[Route]) -> Iterable[tuple[str, Iterable[Route]]]:
    """Routes of one address together; of addresses that both fit, the one with fewer names in it first."""
    return groupby(sorted(routes, key=lambda route: (route.path.count("{"), route.path)), key=lambda route: route.path)


async def _body(route: Route, request: Request) -> bytes:
    """What is to be changed; HTTPException when it is too much, or of no type that we read."""
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if route.body is not None and said not in TYPES:
        raise HTTPException(415, f"Content-Type must be {' or '.join(sorted(TYPES))}")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > route.body_max:
            raise HTTPException(413, f"the body is larger than {route.body_max} bytes")
    return bytes(body)


async def _error(_request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return json_response({"error": error.detail}, error.status_code, dict(error.headers or {}))
    return json_response({"error": "internal error"}, 500)
