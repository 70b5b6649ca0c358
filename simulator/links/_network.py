"""A transport with a bad network in it: what is written and what arrives takes the way that a `Network` says.

It stands between a link and its transport, and each of them takes it for the other. Bytes are held up, changed or
lost, but never overtake each other, as in TCP. When the connection ends, what is still on its way is lost.
"""

import asyncio
from collections import deque
from typing import Any

from simulator.links import Network

HELD_BYTES_MAX = 4 * 1024 * 1024  # on the way at once, each way; beyond it the connection is cut, as a full buffer is


class Way:
    """One direction: bytes with the time at which each piece may go on."""

    __slots__ = ("_deliver", "_handle", "_held", "_loop", "held_bytes")

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: Any) -> None:
        self._loop, self._deliver = loop, deliver
        self._held: deque[tuple[float, bytes]] = deque()
        self._handle: asyncio.TimerHandle | None = None
        self.held_bytes = 0

    def add(self, data: bytes, after_ms: int) -> None:
        """Let bytes go on after a while, and not before those before them."""
        if not after_ms and not self._held:
            self._deliver(data)
            return
        at_s = self._loop.time() + after_ms / 1000
        if self._held:
            at_s = max(at_s, self._held[-1][0])
        self._held.append((at_s, data))
        self.held_bytes += len(data)
        if self._handle is None:
            self._handle = self._loop.call_at(at_s, self._go_on)

    def _go_on(self) -> None:
        self._handle = None
        now_s = self._loop.time() + 0.001  # so early is due: the loop's clock is no finer
        while self._held and self._held[0][0] <= now_s:
            _, data = self._held.popleft()
            self.held_bytes -= len(data)
            self._deliver(data)
        if self._held and self._handle is None:
            self._handle = self._loop.call_at(self._held[0][0], self._go_on)

    def end(self) -> None:
        """Lose what is on the way."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._held.clear()


class Shaped(asyncio.Protocol):
    """The bad network between a link (as its transport) and a transport (as its protocol)."""

    def __init__(
        self,
        network: Network,
        protocol: asyncio.Protocol,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._network, self._protocol, self._transport = network, protocol, transport
        self._up = Way(loop, self._write)
        self._down = Way(loop, self._receive)
        self._ended = False

    # The link's transport

    def write(self, data: bytes) -> None:
        self._send_on(self._up, bytes(data), up=True)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    # The transport's protocol

    def data_received(self, data: bytes) -> None:
        self._send_on(self._down, data, up=False)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._up.end()
        self._down.end()
        self._protocol.connection_lost(exc)

    # Inside

    def _send_on(self, way: Way, data: bytes, *, up: bool) -> None:
        for piece in self._network.carry(data, up):
            way.add(piece.data, piece.after_ms)
        if way.held_bytes > HELD_BYTES_MAX:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if not self._ended and not self._transport.is_closing():
            self._transport.write(data)

    def _receive(self, data: bytes) -> None:
        if not self._ended:
            self._protocol.data_received(data)
