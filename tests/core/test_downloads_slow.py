"""Slow downloads from a real server: no faster than their rate, in pieces, and in nobody's way."""

import asyncio

import pytest

from simulator.messages import Chunk, Download, DownloadEnded
from simulator.runtime import downloads as module
from tests.core.fleets import run
from tests.core.test_downloads import BODY, Server


@pytest.mark.parametrize(("offset", "rate", "pieces_min"), [(0, 1024.0, 4), (200_000, 256.0, 1)])
def test_a_slow_download_takes_as_long_as_its_rate_says(offset: int, rate: float, pieces_min: int) -> None:
    heard: list[Chunk] = []

    async def story() -> None:
        server, loop = Server(), asyncio.get_running_loop()
        ended: asyncio.Future[DownloadEnded] = loop.create_future()

        def hear(said: Chunk | DownloadEnded) -> None:
            heard.append(said) if isinstance(said, Chunk) else ended.set_result(said)

        async with server.up() as downloads:
            begun_s = loop.time()
            downloads.start(0, Download("t", f"{server.base}/ok", offset, len(BODY), rate), hear)
            assert (await ended).error == ""
            assert loop.time() - begun_s >= (len(BODY) - offset) / 1024 / rate - 0.01

    run(story)
    assert b"".join(chunk.data for chunk in heard) == BODY[offset:]
    assert len(heard) >= pieces_min


def test_slow_ones_keep_no_quick_one_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONCURRENT_MAX", 1)

    async def story() -> None:
        server = Server()
        quick: asyncio.Future[DownloadEnded] = asyncio.get_running_loop().create_future()
        slow: list[Chunk | DownloadEnded] = []

        def hear(said: Chunk | DownloadEnded) -> None:
            if isinstance(said, DownloadEnded):
                quick.set_result(said)

        async with server.up() as downloads:
            downloads.start(0, Download("slow", f"{server.base}/ok", 0, len(BODY), 0.001), slow.append)
            downloads.start(1, Download("quick", f"{server.base}/ok", 0, len(BODY)), hear)
            assert (await quick).error == ""
            downloads.cancel(0)
        assert not [said for said in slow if isinstance(said, DownloadEnded)]

    run(story)
