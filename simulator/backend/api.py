"""The API: counts, alarms, events, dispatches, telemetry, uploads, dead letters; rules and specs, also to change.

Rules: answers come from what was committed; a wrong argument is a 400 that says which, what is not there a 404.
What changes something is for this machine only: the address and the Host must be its own, and the body must
say that it is JSON or YAML, which a web page somewhere else cannot do.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.backend.changes import Changes
from simulator.backend.queries import Queries
from simulator.errors import UsageError

LIMIT_DEFAULT = 100
AUDIT_DEFAULT = 5000
NUMBER_MAX = 2**62
BODY_MAX = 256 * 1024
LOCAL = frozenset(("127.0.0.1", "localhost", "::1"))
TYPES = frozenset(("application/json", "application/yaml", "text/yaml"))


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")


def _number(request: Request, name: str, default: int) -> int:
    """A whole number ≥ 0 of the query."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > NUMBER_MAX:
        raise HTTPException(400, f"{name}: '{text[:40]}' is not a whole number")
    return int(text)


async def _error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "internal error"
    return _json({"error": detail}, status)


async def _body(request: Request) -> bytes:
    """What is to be changed, from somebody who may."""
    if (request.client and request.client.host not in LOCAL) or request.url.hostname not in LOCAL:
        raise HTTPException(403, "changes are taken from this machine only")
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method != "DELETE" and said not in TYPES:
        raise HTTPException(415, f"Content-Type must be {' or '.join(sorted(TYPES))}")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_MAX:
            raise HTTPException(413, f"the body is larger than {BODY_MAX} bytes")
    return body


def make_app(
    queries: Queries,
    tcp: Mapping[str, int] | None = None,
    changes: Changes | None = None,
    fatal: Callable[[BaseException], None] | None = None,
) -> Starlette:
    """The application that answers from `queries`; `tcp`: what the TCP gateway counts, in this process.

    Without `changes` it only answers. `fatal` hears what must end the process.
    """

    def changing(change: Callable[[Request, Changes], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            if changes is None:
                raise HTTPException(405, "nothing can be changed here")
            try:
                return await change(request, changes)
            except UsageError as error:
                raise HTTPException(400, str(error)) from None
            except (HTTPException, ClientDisconnect):
                raise
            except Exception as error:  # a bug or a full disk: the process must not go on half alive
                if fatal:
                    fatal(error)
                raise

        return handle

    async def rules(_request: Request) -> Response:
        return _json(queries.current("rule"))

    async def specs(_request: Request) -> Response:
        return _json(queries.current("spec"))

    def history(kind: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            name = request.path_params["name"]
            found = queries.history(kind, name)
            if not found:
                raise HTTPException(404, f"unknown {kind} '{name}'")
            return _json(found[0] | {"versions": found})

        return answer

    async def put_rule(request: Request, changes: Changes) -> Response:
        name = request.path_params["name"]
        return _json({"ruleId": name, "version": changes.put_rule(name, await _body(request))})

    async def delete_rule(request: Request, changes: Changes) -> Response:
        name = request.path_params["name"]
        await _body(request)
        if not changes.delete_rule(name):
            raise HTTPException(404, f"unknown rule '{name}'")
        return _json({"ruleId": name})

    async def put_spec(request: Request, changes: Changes) -> Response:
        name = request.path_params["name"]
        return _json({"productId": name, "version": changes.put_spec(name, await _body(request))})

    async def replay(request: Request, changes: Changes) -> Response:
        return _json(await changes.replay(await _body(request)))

    async def audit(request: Request) -> Response:
        limit, since_ms = _number(request, "limit", AUDIT_DEFAULT), _number(request, "since", 0)
        try:
            return _json(queries.audit(request.query_params.get("after", "0"), limit, since_ms))
        except UsageError as error:
            raise HTTPException(400, str(error)) from None

    async def hubs(_request: Request) -> Response:
        return _json(queries.hubs())

    async def uploads(request: Request) -> Response:
        return _json(queries.uploads(_number(request, "limit", LIMIT_DEFAULT)))

    async def health(_request: Request) -> Response:
        return _json({"status": "ok"})

    async def counts(_request: Request) -> Response:
        return _json(queries.counts() | ({} if tcp is None else {"tcp": dict(tcp)}))

    async def alarms(_request: Request) -> Response:
        return _json(queries.alarms())

    async def events(request: Request) -> Response:
        return _json(queries.events(_number(request, "after", 0)))

    async def dispatches(_request: Request) -> Response:
        return _json(queries.dispatches())

    async def telemetry(request: Request) -> Response:
        thing = request.path_params["thing"]
        samples = queries.telemetry(thing, _number(request, "limit", LIMIT_DEFAULT))
        if samples is None:
            raise HTTPException(404, f"unknown device '{thing}'")
        return _json(samples)

    async def dead_letters(request: Request) -> Response:
        after, limit = _number(request, "after", 0), _number(request, "limit", LIMIT_DEFAULT)
        query = request.query_params
        return _json(queries.dead_letters(after, limit, query.get("reason"), query.get("replayed") == "true"))

    return Starlette(
        routes=[
            Route("/api/health", health),
            Route("/api/counts", counts),
            Route("/api/alarms", alarms),
            Route("/api/events", events),
            Route("/api/dispatches", dispatches),
            Route("/api/telemetry/{thing}", telemetry),
            Route("/api/dead_letters", dead_letters),
            Route("/api/dead_letters/replay", changing(replay), methods=["POST"]),
            Route("/api/audit", audit),
            Route("/api/hubs", hubs),
            Route("/api/uploads", uploads),
            Route("/api/rules", rules),
            Route("/api/rules/{name}", history("rule"), methods=["GET"]),
            Route("/api/rules/{name}", changing(put_rule), methods=["PUT"]),
            Route("/api/rules/{name}", changing(delete_rule), methods=["DELETE"]),
            Route("/api/specs", specs),
            Route("/api/specs/{name}", history("spec"), methods=["GET"]),
            Route("/api/specs/{name}", changing(put_spec), methods=["PUT"]),
        ],
        exception_handlers={HTTPException: _error, Exception: _error},
    )
