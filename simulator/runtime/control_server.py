"""Where a run is controlled from outside: HTTP on loopback, for whoever has its token.

Rules: it is there only where the target is the sandbox: nobody but the sandbox's pages is told of it. It listens before
they start, so that they can be told where; while there is no run it answers 503. The token is in the header
`Authorization: Bearer`, and in no log and no URL.
"""

import hmac
import secrets
import socket
from typing import NamedTuple

import orjson
from aiohttp import web

from simulator.runtime.control import Controls

LOOPBACK = "127.0.0.1"
BODY_MAX = 64 * 1024
BACKLOG = 64


class ControlPlace(NamedTuple):
    """Where, and how to be let in."""

    url: str
    token: str


class ControlServer:
    """Holds its port from the beginning; `controls` come and go with runs."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0), backlog=BACKLOG)
        port = self._listener.getsockname()[1]
        self.place = ControlPlace(f"http://{LOOPBACK}:{port}", secrets.token_urlsafe(32))
        self.controls: Controls | None = None
        self._runner: web.AppRunner | None = None

    async def serve(self) -> None:
        """Answers from now on, until `stop`."""
        app = web.Application(client_max_size=BODY_MAX)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener).start()

    def release(self) -> None:
        """The run is over."""
        if self.controls:
            self.controls.close()
            self.controls = None

    async def stop(self) -> None:
        self.release()
        if self._runner:
            await self._runner.cleanup()

    def close(self) -> None:
        """Gives the port back."""
        self._listener.close()

    async def _handle(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self.place.token}".encode()):
            return _json(401, {"error": "this needs the run's token"})
        if self.controls is None:
            return _json(503, {"error": "no run is on"})
        path = request.match_info["path"]
        return _json(*await self.controls.answer(request.method, path, request.query, await request.read()))


def _json(status: int, body: dict[str, object]) -> web.Response:
    return web.Response(
        status=status, body=orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS, default=str),
        content_type="application/json",
    )  # fmt: skip
