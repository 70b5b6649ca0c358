"""A WebSocket between a transport and the protocol above it, which does not notice.

Rules: to the transport below this is a protocol, to the protocol above a transport. The protocol above hears
`connection_made` when the upgrade was granted, and only then `connection_lost`; `opened` tells whoever connects.
"""

import asyncio
from typing import Any

from simulator.wire.websocket import WebSocket, WebSocketError


class Carrier(asyncio.Transport, asyncio.Protocol):
    """One connection."""

    __slots__ = ("_above", "_below", "_socket", "opened")

    def __init__(self, above: asyncio.Protocol, socket: WebSocket, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._above = above
        self._below: asyncio.Transport  # from `connection_made` on
        self._socket = socket
        self.opened: asyncio.Future[None] = loop.create_future()

    def give_up(self) -> None:
        """Nobody waits for `opened` any more."""
        self.opened.cancel()
        if hasattr(self, "_below"):
            self._below.abort()

    # --- the protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = transport  # type: ignore[assignment]  # uvloop's is none by class
        self._below.write(self._socket.take())

    def data_received(self, data: bytes) -> None:
        socket = self._socket
        found = socket.receive(data)
        if socket.is_open and not self.opened.done():
            self.opened.set_result(None)
            self._above.connection_made(self)
        if found and self._has_opened():
            self._above.data_received(found)
        out = socket.take()
        if out and not self._below.is_closing():
            self._below.write(out)
        if socket.ended:
            self._below.close()

    def pause_writing(self) -> None:
        if self._has_opened():
            self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._has_opened():
            self._above.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._socket.lost()
        error = exc or WebSocketError(self._socket.ended)
        if self._has_opened():
            self._above.connection_lost(error)
        elif not self.opened.done():
            self.opened.set_exception(error)

    def _has_opened(self) -> bool:
        return self.opened.done() and not self.opened.cancelled() and self.opened.exception() is None

    # --- the transport ---

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._below.is_closing():
            self._below.write(self._socket.send(bytes(data)))

    def close(self) -> None:
        if not self._below.is_closing():
            self._below.write(self._socket.close())
        self._below.close()

    def abort(self) -> None:
        self._below.abort()

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._above = protocol  # type: ignore[assignment]  # it is one that hears bytes

    def is_closing(self) -> bool:
        return self._below.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get_extra_info(name, default)
