"""Bytes on their way to one client, over TCP or in a WebSocket. Nobody waits for them.

Rules: what is written in one turn of the loop goes out as one. What the client does not read is bounded: above
BYTES_MAX `overflowed` is called once, and its owner gives the client up.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

BYTES_MAX = 16 * 1024 * 1024
_LINGER_S = 1.0  # for the last packet to leave, before a connection is cut
_LOG = logging.getLogger("fleetsim.cloud")

Transmit = Callable[[dict[str, Any]], Awaitable[None]]  # takes the ASGI messages websocket.send and websocket.close


class Outbox:
    """`writer` is that of a TCP connection; a WebSocket has none, and everything goes through `transmit`."""

    def __init__(self, transmit: Transmit, writer: asyncio.StreamWriter | None, overflowed: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._transmit = transmit
        self._writer = writer
        self._overflowed = overflowed
        self._parts: list[bytes] = []
        self._size = 0
        self._due: asyncio.Handle | None = None
        self._sending: asyncio.Task[None] | None = None
        self.is_cut = False  # nothing is taken any more

    def write(self, data: bytes) -> None:
        """Say it at the end of this turn of the loop."""
        if self.is_cut:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._due is None and self._sending is None:
            self._due = self._loop.call_soon(self._flush)

    @property
    def backlog(self) -> int:
        """Bytes that the client has not read."""
        unsent = 0 if self._writer is None else self._writer.transport.get_write_buffer_size()
        return int(unsent) + self._size

    def finish(self) -> None:
        """Do not wait for the end of the turn."""
        if self._due is not None:
            self._due.cancel()
            self._flush()

    def cut(self) -> None:
        """Take nothing more; what was written goes out as far as the client reads, for a moment."""
        self.finish()
        self.is_cut = True
        if self._writer is not None:
            self._loop.call_later(_LINGER_S, self._writer.transport.abort)

    async def transmit(self, message: dict[str, Any]) -> None:
        """What MiniStack sends itself: only the end of the connection, behind everything else."""
        self.finish()
        if self._sending is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._sending), _LINGER_S)
        self.is_cut = True
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self._transmit(message)

    def _flush(self) -> None:
        self._due = None
        if self._writer is None:
            self._sending = self._loop.create_task(self._send())
            return
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        transport = self._writer.transport
        if transport.is_closing():
            self.is_cut = True
            return
        transport.write(data)
        if transport.get_write_buffer_size() > BYTES_MAX:
            self._overflowed()

    async def _send(self) -> None:
        try:
            while self._parts:
                data = b"".join(self._parts)
                self._parts.clear()
                await self._transmit({"type": "websocket.send", "bytes": data})
                self._size -= len(data)
                if self._size > BYTES_MAX:
                    self._overflowed()
        except Exception as error:  # it went away; its receiving side hears of it and cleans up
            self.is_cut = True
            _LOG.debug("a WebSocket went away: %s", error)
        finally:
            self._sending = None
