"""Downloads from a real server on this machine: streams, the rest of a broken one, and servers that misbehave."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from simulator.cloud.authority import new_authority, server_certificate
from simulator.messages import Chunk, Download, DownloadEnded
from simulator.runtime import downloads as module
from simulator.runtime.downloads import Downloads
from tests.core.fleets import run

BODY = bytes(range(256)) * 1024  # 256 KiB: several pieces


class Server:
    """An object store with moods, one in each path."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.hung = asyncio.Event()  # somebody waits in /hang
        self.hanging = self.hanging_max = 0
        self.go_on = asyncio.Event()
        self.base = ""

    @asynccontextmanager
    async def up(self, context: ssl.SSLContext | None = None) -> AsyncIterator[Downloads]:
        app = web.Application()
        app.router.add_get("/{mood}", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        assert runner.addresses
        self.base = f"{'https' if context else 'http'}://localhost:{runner.addresses[0][1]}"
        downloads = Downloads()
        try:
            yield downloads
        finally:
            self.go_on.set()
            await downloads.close()
            await runner.cleanup()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        match request.match_info["mood"]:
            case "ok":
                wanted = request.http_range
                if wanted.start is None:
                    return web.Response(body=BODY)
                start = wanted.start
                if start >= len(BODY):
                    return web.Response(status=416)
                headers = {"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"}
                return web.Response(status=206, body=BODY[start:], headers=headers)
            case "ignores-range":
                return web.Response(body=BODY)
            case "wrong-range":
                return web.Response(status=206, body=BODY, headers={"Content-Range": "bytes 0-9/10"})
            case "no-range-header":
                return web.Response(status=206, body=BODY)
            case "gzip":
                return web.Response(body=BODY, headers={"Content-Encoding": "gzip"})
            case "moved":
                raise web.HTTPFound("/ok")
            case "empty":
                return web.Response(body=b"")
            case "cut" | "cut-chunked" as mood:
                response = web.StreamResponse()
                if mood == "cut":
                    response.content_length = len(BODY)
                await response.prepare(request)
                await response.write(BODY[:100_000])
                assert request.transport
                request.transport.abort()
                return response
            case "hang":
                self.hanging += 1
                self.hanging_max = max(self.hanging, self.hanging_max)
                self.hung.set()
                await self.go_on.wait()
                self.hanging -= 1
                return web.Response(body=b"late")
            case status:
                return web.Response(status=int(status), text="no")


async def get(
    downloads: Downloads, url: str, offset: int = 0, size_max: int = len(BODY)
) -> tuple[bytes, DownloadEnded]:
    """What a device hears of one download."""
    heard: list[Chunk] = []
    ended: asyncio.Future[DownloadEnded] = asyncio.get_running_loop().create_future()

    def hear(said: Chunk | DownloadEnded) -> None:
        assert said.token == "t"
        heard.append(said) if isinstance(said, Chunk) else ended.set_result(said)

    downloads.start(0, Download("t", url, offset, size_max), hear)
    result = await ended
    return b"".join(chunk.data for chunk in heard), result


OK = DownloadEnded("t", 200, "")
CASES = [
    ("ok", 0, len(BODY), BODY, OK),
    ("ok", 100_001, len(BODY), BODY[100_001:], DownloadEnded("t", 206, "")),
    ("ok", len(BODY) - 1, len(BODY), BODY[-1:], DownloadEnded("t", 206, "")),
    ("ok", len(BODY), len(BODY), b"", DownloadEnded("t", 416, "HTTP 416")),
    ("ignores-range", 100_001, len(BODY), BODY[100_001:], OK),
    ("wrong-range", 5, len(BODY), b"", DownloadEnded("t", 206, "unexpected Content-Range 'bytes 0-9/10'")),
    ("no-range-header", 5, len(BODY), b"", DownloadEnded("t", 206, "unexpected Content-Range ''")),
    ("ok", 0, 1000, BODY[:1001], OK),  # too long: one byte more than announced, then no more
    ("ok", 900, 1000, BODY[900:1001], DownloadEnded("t", 206, "")),
    ("ignores-range", 900, 1000, BODY[900:1001], OK),
    ("ok", 0, len(BODY) + 1, BODY, OK),  # too short is the device's to notice
    ("empty", 0, len(BODY), b"", OK),
    ("gzip", 0, len(BODY), BODY, OK),  # an artifact is its bytes, whatever they are called
    ("moved", 0, len(BODY), b"", DownloadEnded("t", 302, "HTTP 302")),
    ("403", 0, len(BODY), b"", DownloadEnded("t", 403, "HTTP 403")),
    ("503", 7, len(BODY), b"", DownloadEnded("t", 503, "HTTP 503")),
]


@pytest.mark.parametrize(("mood", "offset", "size_max", "data", "ended"), CASES)
def test_what_a_device_hears(mood: str, offset: int, size_max: int, data: bytes, ended: DownloadEnded) -> None:
    async def story() -> None:
        server = Server()
        async with server.up() as downloads:
            assert await get(downloads, f"{server.base}/{mood}", offset, size_max) == (data, ended)
            [asked] = server.asked
            assert asked.headers.get("Range") == (f"bytes={offset}-" if offset else None)

    run(story)


@pytest.mark.parametrize("mood", ["cut", "cut-chunked"])
def test_a_broken_download_is_an_error_and_goes_on_from_its_last_byte(mood: str) -> None:
    async def story() -> None:
        server = Server()
        async with server.up() as downloads:
            begun, ended = await get(downloads, f"{server.base}/{mood}")
            assert BODY.startswith(begun)
            assert ended.status == 0
            assert ended.error.startswith("Client")
            rest, ended = await get(downloads, f"{server.base}/ok", len(begun))
            assert (begun + rest, ended.error) == (BODY, "")

    run(story)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://", "http://[/", "https://:/", "ftp://x/y", "x"])
def test_where_nobody_answers(url: str) -> None:
    async def story() -> None:
        async with Server().up() as downloads:
            data, ended = await get(downloads, url)
            assert (data, ended.status) == (b"", 0)
            assert ended.error

    run(story)


def test_a_presigned_url_is_sent_as_it_was_signed() -> None:
    async def story() -> None:
        server = Server()
        async with server.up() as downloads:
            path = "/ok?X-Amz-Credential=A%2F2026%2fus&X-Amz-Security-Token=a+b%20c%3D%3d~&X=%41"
            await get(downloads, server.base + path)
            assert server.asked[0].raw_path == path

    run(story)


def test_a_cancelled_download_says_no_more() -> None:
    async def story() -> None:
        server, heard = Server(), list[object]()
        async with server.up() as downloads:
            for owner in (1, 2):
                downloads.start(owner, Download("t", f"{server.base}/hang"), heard.append)
            await server.hung.wait()
            downloads.cancel(1)
            downloads.cancel(3)  # has none
            server.go_on.set()
            while len(heard) < 2:
                await asyncio.sleep(0)
            assert heard == [Chunk("t", b"late"), OK]
            downloads.cancel(2)  # is over

    run(story)


def test_closing_ends_what_runs_and_leaves_no_task() -> None:
    async def story() -> None:
        server, heard = Server(), list[object]()
        async with server.up() as downloads:
            downloads.start(1, Download("t", f"{server.base}/hang"), heard.append)
            await server.hung.wait()
            before = asyncio.all_tasks()
            await downloads.close()
            assert heard == []
            assert {task.get_coro().__name__ for task in before - asyncio.all_tasks()} == {"_run"}  # type: ignore[union-attr]

    run(story)


def test_only_so_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONCURRENT_MAX", 3)

    async def story() -> None:
        server, ended = Server(), list[object]()
        async with server.up() as downloads:
            for owner in range(10):
                downloads.start(owner, Download(str(owner), f"{server.base}/hang"), ended.append)
            while server.hanging < 3:
                await asyncio.sleep(0)
            assert len(server.asked) == 3
            server.go_on.set()
            while sum(isinstance(one, DownloadEnded) for one in ended) < 10:
                await asyncio.sleep(0)
            assert server.hanging_max == 3

    run(story)


def test_https_trusts_the_given_authority_and_no_other(tmp_path: Path) -> None:
    authority = new_authority()
    pair = server_certificate(authority, ["localhost"], ["127.0.0.1"])
    for name, text in (("ca.pem", authority.certificate), ("server.pem", pair.certificate + pair.key)):
        (tmp_path / name).write_text(text)
    (tmp_path / "other.pem").write_text(new_authority().certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem")

    async def story() -> None:
        server = Server()
        async with server.up(context):
            for ca_file, status in (("ca.pem", 200), ("other.pem", 0), ("missing.pem", 0)):
                downloads = Downloads(str(tmp_path / ca_file))
                _, ended = await get(downloads, f"{server.base}/ok")
                assert ended.status == status, ended
                await downloads.close()

    run(story)
