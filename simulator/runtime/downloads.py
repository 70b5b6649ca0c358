"""Downloads of the fleet: streamed HTTP GETs whose pieces go to the device as they come.

Rules: at most `CONCURRENT_MAX` at a time, the others wait, and slow ones keep no quick one waiting; a body longer than
what was announced is cut and reported; every download ends with exactly one `DownloadEnded`, unless it was cancelled
with its device. One with a rate is read no faster than that, so its sender feels it, too.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp

from simulator.messages import Chunk, Download, DownloadEnded
from simulator.runtime.http import Http

CONCURRENT_MAX = 1000
CHUNK_BYTES = 64 * 1024
PIECE_S = 0.25  # what a slow download gives at once is what its rate gives in this

Hear = Callable[[Chunk | DownloadEnded], None]


class Downloads:
    """Runs the downloads of one engine."""

    def __init__(self, ca_file: str | None = None) -> None:
        """`ca_file` is a PEM file of authorities to trust instead of the system's."""
        self.http = Http(ca_file)
        self._places = asyncio.Semaphore(CONCURRENT_MAX)
        self._slow_places = asyncio.Semaphore(CONCURRENT_MAX)

    def start(self, owner: int, wanted: Download, hear: Hear) -> None:
        """Begin a download for a device; what comes is told to `hear`."""
        self.http.run(owner, self._run(wanted, hear))

    def cancel(self, owner: int) -> None:
        """Forget a device's downloads, and whatever else it does over HTTP: its power is gone."""
        self.http.cancel(owner)

    async def close(self) -> None:
        """End all of them."""
        await self.http.close()

    async def _run(self, wanted: Download, hear: Hear) -> None:
        async with self._slow_places if wanted.rate_kib_per_s else self._places:
            status, error = 0, ""
            try:
                status, error = await self._get(wanted, hear)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
                error = f"{type(failure).__name__}: {failure}"
            hear(DownloadEnded(wanted.token, status, error))

    async def _get(self, wanted: Download, hear: Hear) -> tuple[int, str]:
        from yarl import URL

        headers = {"Range": f"bytes={wanted.offset}-"} if wanted.offset else {}
        url = URL(wanted.url, encoded=True)
        async with self.http.session().get(url, headers=headers, allow_redirects=False) as answer:
            if answer.status not in (200, 206):
                return answer.status, f"HTTP {answer.status}"
            # A server that ignores Range sends everything again: skip what the device has.
            skip = wanted.offset if answer.status == 200 else 0
            if answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(
                f"bytes {wanted.offset}-"
            ):
                return answer.status, f"unexpected Content-Range {answer.headers.get('Content-Range', '')!r}"
            left = wanted.size_max - wanted.offset
            async for data in _paced(answer.content, wanted.rate_kib_per_s):
                piece, skip = data[skip:], max(0, skip - len(data))
                if len(piece) > left:
                    # One byte too many is enough to make the size check of the device fail, as it should.
                    hear(Chunk(wanted.token, piece[: left + 1]))
                    return answer.status, ""
                if piece:
                    left -= len(piece)
                    hear(Chunk(wanted.token, piece))
            return answer.status, ""


async def _paced(body: aiohttp.StreamReader, rate_kib_per_s: float | None) -> AsyncIterator[bytes]:
    """A body in pieces, at this rate."""
    if rate_kib_per_s is None:
        async for data in body.iter_chunked(CHUNK_BYTES):
            yield data
        return
    bytes_per_s = 1024 * rate_kib_per_s
    clock, got = asyncio.get_running_loop().time, 0
    begun_s = clock()
    async for data in body.iter_chunked(max(1, min(CHUNK_BYTES, int(bytes_per_s * PIECE_S)))):
        got += len(data)
        await asyncio.sleep(begun_s + got / bytes_per_s - clock())
        yield data
