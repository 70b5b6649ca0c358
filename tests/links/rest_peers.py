"""Whom the `rest` link is tested against: a server that answers as told, under a clock that can be moved."""

import asyncio
import gc
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from aiohttp import web

from simulator.links import _http
from simulator.links.rest import Rest, RestEndpoint
from simulator.messages import Publish
from simulator.wire.payloads import platform_rest
from tests.links.mqtt_peers import Recorder

PATIENCE_S = 10.0
AT_MS = 1_767_225_600_000
TELEMETRY = "/ingest/telemetry"


class JumpLoop(asyncio.SelectorEventLoop):
    """A loop whose clock a test can move ahead."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


def run(test: Callable[[], Awaitable[None]], on_uvloop: bool = False) -> None:
    """Run a test in a loop of its own; nothing of the links may be left behind."""

    async def main() -> None:
        try:
            await test()
        finally:
            for link in opened:
                link.sever()
            opened.clear()
            await asyncio.sleep(0.02)  # sessions tell their end in a later turn
        assert not _http._pools.get(asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if on_uvloop else JumpLoop) as runner:
        runner.run(main())
    gc.collect()


def jump(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, JumpLoop)
    loop.ahead_s += seconds


async def until(true: Callable[[], bool]) -> None:
    """Wait by the wall's clock, which nobody moves."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        await asyncio.sleep(0.001)


async def a_while() -> None:
    """Long enough for what should not happen."""
    await asyncio.sleep(0.03)


class Scripted:
    """An HTTP server that gives the answers of a script, and 202 when there are none left."""

    def __init__(self, *script: Any, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.script = deque(script)
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.sockets: set[Any] = set()
        self.at_work = self.at_work_max = 0
        self.go_on = asyncio.Event()
        self._tls, self._port = tls, port

    async def __aenter__(self) -> "Scripted":
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://localhost:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.go_on.set()
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        self.at_work += 1
        self.at_work_max = max(self.at_work_max, self.at_work)
        try:
            body = await request.read()
            self.bodies.append(body)
            self.requests.append(request)
            self.sockets.add(request.transport)
            said = self.script.popleft() if self.script else 202
            if said == "reset":
                assert request.transport is not None
                request.transport.abort()
                said = 500
            elif said == "slow":
                await self.go_on.wait()
                said = 202
            elif said == "pause":
                await asyncio.sleep(0.002)
                said = 202
            status, headers = said if isinstance(said, tuple) else (said, {})
            return web.Response(status=status, headers=headers, text="{}")
        finally:
            self.at_work -= 1

    @property
    def keys(self) -> list[str]:
        return [request.headers["Idempotency-Key"] for request in self.requests]


opened: list[Rest] = []


def connect(url: str, thing: str = "press-01", **settings: Any) -> tuple[Rest, Recorder]:
    """An open link and its sink; impatient, so that a test need not be patient."""
    quick = {"backoff_first_s": 0.01, "backoff_max_s": 0.02, "batch_wait_s": 0.03}
    sink = Recorder()
    link = Rest(RestEndpoint(url, thing, **quick | settings), sink, asyncio.get_running_loop())
    link.open()
    opened.append(link)
    return link, sink


def sample(number: int, thing: str = "press-01", **metrics: Any) -> Publish:
    payload = platform_rest("prod-a")(thing, number, AT_MS + number, metrics or {"tempC": 20.5 + number})
    return Publish("telemetry", TELEMETRY, payload)


def codes(sink: Recorder) -> list[int]:
    return [code for _, _, code in sink.acknowledgements]
