"""The read API: counts, alarms, events, dispatches, telemetry, dead letters. JSON, GET only.

Rules: answers come from what was committed; a wrong argument is a 400 that says which, an unknown device
a 404.
"""

from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.backend.queries import Queries

LIMIT_DEFAULT = 100
NUMBER_MAX = 2**62


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


def make_app(queries: Queries) -> Starlette:
    """The application that answers from `queries`."""

    async def health(_request: Request) -> Response:
        return _json({"status": "ok"})

    async def counts(_request: Request) -> Response:
        return _json(queries.counts())

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
        return _json(queries.dead_letters(_number(request, "limit", LIMIT_DEFAULT)))

    return Starlette(
        routes=[
            Route("/api/health", health),
            Route("/api/counts", counts),
            Route("/api/alarms", alarms),
            Route("/api/events", events),
            Route("/api/dispatches", dispatches),
            Route("/api/telemetry/{thing}", telemetry),
            Route("/api/dead_letters", dead_letters),
        ],
        exception_handlers={HTTPException: _error, Exception: _error},
    )
