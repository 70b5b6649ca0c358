"""Uploads of the fleet: HTTP PUTs of parts of files, made as they are sent.

Rules: at most `CONCURRENT_MAX` at a time, the others wait; every one ends with exactly one `UploadEnded`, unless
it was cancelled with its device; a file is never held whole.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp

from simulator.messages import Upload, UploadEnded
from simulator.runtime.http import Http
from simulator.wire.content import pieces

CONCURRENT_MAX = 64
PART_MAX_S = 600.0

Hear = Callable[[UploadEnded], None]


class Uploads:
    """Runs the uploads of one engine."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._places = asyncio.Semaphore(CONCURRENT_MAX)

    def start(self, owner: int, wanted: Upload, hear: Hear) -> None:
        """Begin to PUT a part for a device; how it went is told to `hear`."""
        self._http.run(owner, self._run(wanted, hear))

    async def _run(self, wanted: Upload, hear: Hear) -> None:
        async with self._places:
            status, etag, error = 0, "", ""
            try:
                status, etag = await self._put(wanted)
                error = "" if 200 <= status < 300 else f"HTTP {status}"
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
                error = f"{type(failure).__name__}: {failure}"
            hear(UploadEnded(wanted.token, wanted.part, status, etag, error))

    async def _put(self, wanted: Upload) -> tuple[int, str]:
        from yarl import URL

        # The length is said, because an object store takes no chunks.
        headers = {"Content-Length": str(wanted.size)}
        async with self._http.session().put(
            URL(wanted.url, encoded=True), data=_body(wanted), headers=headers, allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=PART_MAX_S, sock_connect=10),
        ) as answer:  # fmt: skip
            await answer.read()
            return answer.status, answer.headers.get("ETag", "")


async def _body(wanted: Upload) -> AsyncIterator[bytes]:
    for piece in pieces(wanted.seed, wanted.content_type, wanted.offset, wanted.size):
        yield piece
