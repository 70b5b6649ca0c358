"""A listening port that can be shut: its connections are cut, new ones refused, and it opens again on the same port.

Rules: while it is shut a bound socket keeps the port, so nobody else is given it, and no client of ours connects from
it to itself.
"""

import asyncio
import socket
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

Serve = Callable[[Callable[[], Any], socket.socket], Awaitable[asyncio.Server]]


class Door:
    """One port. `serve` makes a server of a factory of protocols and a bound socket."""

    def __init__(self, factory: Callable[[], Any], serve: Serve) -> None:
        self._factory, self._serve = factory, serve
        self._server: asyncio.Server | None = None
        self._kept: socket.socket | None = None  # while it is shut
        self._transports: weakref.WeakSet[Any] = weakref.WeakSet()

    async def open(self, sock: socket.socket | None = None) -> asyncio.Server:
        """Serve on a socket, at first, or on that of before."""
        sock, self._kept = sock or self._kept, None
        assert sock is not None
        self._server = await self._serve(self._protocol, sock)
        return self._server

    def shut(self) -> None:
        """Cut everybody off, and refuse who comes."""
        if self._server is None or not self._server.sockets:
            return
        address = self._server.sockets[0].getsockname()
        self.close()
        self._kept = bound(*address)
        for transport in list(self._transports):
            transport.abort()

    @property
    def is_shut(self) -> bool:
        return self._kept is not None

    def close(self) -> None:
        """For good."""
        if self._server is not None:
            self._server.close()
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _protocol(self) -> Any:
        """A protocol whose connection is known here."""
        protocol = self._factory()
        made = protocol.connection_made

        def connection_made(transport: Any) -> None:
            self._transports.add(transport)
            made(transport)
            if not transport.is_reading():
                asyncio.get_running_loop().call_soon(_pause_again, transport)
            if self.is_shut:  # it was on its way in
                transport.abort()

        protocol.connection_made = connection_made
        return protocol


def _pause_again(transport: asyncio.ReadTransport) -> None:
    """Let a protocol's pause in `connection_made` last.

    CPython up to 3.11.2 at least begins to read afterwards all the same, with the transport thinking that it is
    paused: MiniStack's upgrade to TLS then never saw the client's first words, and both sides waited for ever.
    """
    transport.resume_reading()
    transport.pause_reading()


def bound(host: str, port: int) -> socket.socket:
    """A socket that has a port and does not listen."""
    # The protocol is named, or asyncio would not set TCP_NODELAY on the connections, and each answer took 40 ms.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
