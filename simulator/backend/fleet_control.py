"""The way from the pages to the run that the fleet comes from: /control/* is passed on as it is.

Rules: who may is the API's to say; the run's token stays on this side. Without a run it is 503. What is passed on is a
word and a short query: nothing that the far side, or the way to it, could take for another path.
"""

import re

import aiohttp
import orjson
from starlette.requests import Request
from starlette.responses import Response

from simulator.backend.config import Control

TIMEOUT_S = 10.0
BODY_MAX = 64 * 1024
QUERY_MAX = 1024
_WORD = re.compile(r"[a-z_]{1,40}", re.ASCII)
NOBODY = "no fleet is run here: `fleetsim run` and `fleetsim demo` run one"


class FleetControl:
    """Passes requests on."""

    def __init__(self, control: Control | None) -> None:
        self._control = control

    async def handle(self, request: Request) -> Response:
        """A request below /control/."""
        if self._control is None:
            return _error(503, NOBODY)
        path = request.path_params["path"]
        if not _WORD.fullmatch(path):
            return _error(404, f"nothing is called '{path[:80]}' here")
        if len(request.url.query) > QUERY_MAX:
            return _error(400, f"the query is longer than {QUERY_MAX} characters")
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > BODY_MAX:
                return _error(413, f"the body is larger than {BODY_MAX} bytes")
        try:
            # A session each: a page asks a few times a second at most, and none is left over at the end.
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
                session.request(
                    request.method, f"{self._control.url}/{path}",
                    params=dict(request.query_params), data=body or None, allow_redirects=False,
                    headers={"Authorization": f"Bearer {self._control.token}"},
                ) as answer,
            ):  # fmt: skip
                return Response(await answer.read(), answer.status, media_type="application/json")
        except (aiohttp.ClientError, TimeoutError, OSError):
            return _error(503, NOBODY)


def _error(status: int, why: str) -> Response:
    return Response(orjson.dumps({"error": why}), status, media_type="application/json")
