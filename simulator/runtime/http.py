"""HTTP of the fleet: one session for all devices of an engine, and the tasks that use it, by device.

Rules: presigned URLs are signed over their exact bytes, so they are sent as they came; no proxy of the host's is
meant for devices, and no answer is decompressed: a file is its bytes.
"""

import asyncio
import ssl
from collections.abc import Coroutine

import aiohttp

CONNECT_S = 10.0
SILENCE_MAX_S = 30.0


class Http:
    """The session and the tasks of one engine."""

    def __init__(self, ca_file: str | None = None) -> None:
        """`ca_file` is a PEM file of authorities to trust instead of the system's."""
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None
        self._running: dict[int, set[asyncio.Task[None]]] = {}

    def run(self, owner: int, what: Coroutine[None, None, None]) -> None:
        """Run something for a device until its end, or until the device is cancelled."""
        task = asyncio.get_running_loop().create_task(what)
        running = self._running.setdefault(owner, set())
        running.add(task)
        task.add_done_callback(running.discard)

    def cancel(self, owner: int) -> None:
        """Forget what a device does: its power is gone."""
        for task in tuple(self._running.pop(owner, ())):
            task.cancel()

    async def close(self) -> None:
        """End all of it."""
        tasks = [task for owner in tuple(self._running) for task in tuple(self._running[owner])]
        for owner in tuple(self._running):
            self.cancel(owner)
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session:
            await self._session.close()

    def session(self) -> aiohttp.ClientSession:
        """The session, made when it is needed first."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_MAX_S)
            connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=self._ca_file), limit=0)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False)
        return self._session
