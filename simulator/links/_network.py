"""A transport with a bad network in it: what is written and what arrives takes the way that a `Network` says.

It stands between a link and its transport, and each of them takes it for the other. Bytes are held up, changed or
lost, but never overtake each other, as in TCP; the end of the connection comes behind them. What a bad network holds
up counts as not yet written, and as not yet read: beyond HIGH_BYTES the link is asked to pause, and the far side is
not read.

An end that gets lost leaves the other side with half a connection: the far side's end that never arrives leaves us
with a link that finds out by its own time-outs; ours leaves the far side with a connection of which nothing is heard.
The latter is a ghost: no link has it any more, until its far side ends it, the link is closed, another one takes its
place, or GHOST_MAX_S have passed.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from simulator.links import Network

HIGH_BYTES, LOW_BYTES = 64 * 1024, 16 * 1024  # on the way, each way: pause above the one, go on below the other
HELD_BYTES_MAX = 4 * 1024 * 1024  # of somebody who does not pause: beyond it the connection is cut
GHOST_MAX_S = 3600.0
EARLY_S = 0.001  # so early is due: the loop's clock is no finer
END = b""  # stands for the end of a connection behind its bytes


class Way:
    """One direction: bytes with the time at which each piece may go on."""

    __slots__ = ("_deliver", "_handle", "_held", "_loop", "held_bytes")

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: Callable[[bytes], None]) -> None:
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
        now_s = self._loop.time() + EARLY_S
        try:
            while self._held and self._held[0][0] <= now_s:
                data = self._held[0][1]
                self.held_bytes -= len(data)
                try:
                    self._deliver(data)
                finally:
                    if self._held:  # nothing was added before it meanwhile, but all may have been lost
                        self._held.popleft()
        finally:
            self._handle = self._loop.call_at(self._held[0][0], self._go_on) if self._held else None

    def end(self) -> None:
        """Lose what is on the way."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._held.clear()
        self.held_bytes = 0


class Shaped(asyncio.Protocol):
    """The bad network between a link (as its transport) and a transport (as its protocol)."""

    def __init__(
        self,
        network: Network,
        protocol: asyncio.Protocol,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._network, self._protocol, self._transport, self._loop = network, protocol, transport, loop
        self._up = Way(loop, self._write)
        self._down = Way(loop, self._receive)
        self._closing = False  # the link wants no more of it
        self._told = False  # the link knows, or is about to hear, that it is over
        self._gone = False  # there is no transport below any more
        self._why: Exception | None = None  # the transport ended
        self._full = [False, False]  # too much to write: on the way, and in the transport
        self._unread = False  # so much is on the way down that the transport is not read
        self._grave: asyncio.TimerHandle | None = None

    @property
    def is_ghost(self) -> bool:
        """The link has done with it, and the far side does not know."""
        return self._grave is not None

    def bury(self) -> None:
        """End a ghost."""
        if self._grave is not None:
            self._grave.cancel()
            self._grave = None
            self._transport.abort()

    # The link's transport

    def write(self, data: bytes) -> None:
        if data and not self._closing:
            self._send_on(self._up, bytes(data), up=True)
            self._balance()

    def is_closing(self) -> bool:
        return self._closing or self._told

    def close(self) -> None:
        """End it behind what was written, as far as the network lets the end through."""
        if self._closing or self._told:
            return
        self._closing = True
        if self._gone:
            self._tell_soon()
        elif not (pieces := self._network.carry(END, True)):
            self._haunt(GHOST_MAX_S)
        else:
            self._up.add(END, _last(pieces))

    def abort(self) -> None:
        """End it at once. The far side hears of it when the network lets it."""
        if self._told:
            return
        self._closing = True
        if self._gone:
            self._tell_soon()
        elif not (pieces := self._network.carry(END, True)):
            self._haunt(GHOST_MAX_S)
        elif after_ms := _last(pieces):
            self._haunt(min(after_ms / 1000, GHOST_MAX_S))
        else:
            self._end_ways()
            self._transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    # The transport's protocol

    def data_received(self, data: bytes) -> None:
        if not self._closing:
            self._send_on(self._down, data, up=False)
            self._balance()

    def pause_writing(self) -> None:
        self._fill(1, True)

    def resume_writing(self) -> None:
        self._full[1] = True  # so it was, perhaps before we came between
        self._fill(1, False)

    def eof_received(self) -> None:
        """The transport then ends itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone, self._why = True, exc
        if self._grave is not None:
            self._grave.cancel()
            self._grave = None
        self._up.end()
        if self._told:
            return
        if self._closing:
            self._tell()
        elif pieces := self._network.carry(END, False):
            self._down.add(END, _last(pieces))

    # Inside

    def _send_on(self, way: Way, data: bytes, *, up: bool) -> None:
        for piece in self._network.carry(data, up):
            if piece.data:
                way.add(piece.data, piece.after_ms)
        if way.held_bytes > HELD_BYTES_MAX:
            self._end_ways()
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if data == END:
            self._end_ways()
            self._transport.close()
            return
        if not self._gone and not self._transport.is_closing():
            self._transport.write(data)
        self._balance()

    def _receive(self, data: bytes) -> None:
        if data == END:
            self._tell()
        elif not self._closing:
            self._protocol.data_received(data)
        self._balance()

    def _balance(self) -> None:
        """Ask for more, or for a pause, by what is on the way."""
        held = self._up.held_bytes
        if held > HIGH_BYTES or held < LOW_BYTES:
            self._fill(0, held > HIGH_BYTES)
        held = self._down.held_bytes
        if self._gone or self._transport.is_closing():
            return
        if held > HIGH_BYTES and not self._unread:
            self._unread = True
            self._transport.pause_reading()
        elif held < LOW_BYTES and self._unread:
            self._unread = False
            self._transport.resume_reading()

    def _fill(self, which: int, full: bool) -> None:
        """The link has to wait while one of the two is full."""
        before, self._full[which] = any(self._full), full
        if self._told or before == any(self._full):
            return
        if full:
            self._protocol.pause_writing()
        else:
            self._protocol.resume_writing()

    def _end_ways(self) -> None:
        self._up.end()
        self._down.end()

    def _haunt(self, for_s: float) -> None:
        """The link has done with it; the far side will not know for so long."""
        self._end_ways()
        self._tell_soon()
        if self._unread:  # or its end would not be noticed
            self._transport.resume_reading()
        self._grave = self._loop.call_later(for_s, self.bury)

    def _tell_soon(self) -> None:
        self._told = True
        self._loop.call_soon(self._protocol.connection_lost, None)

    def _tell(self) -> None:
        self._told = True
        self._end_ways()
        self._protocol.connection_lost(self._why)


def _last(pieces: list[Any]) -> int:
    """After how long all of them are through."""
    return max(int(piece.after_ms) for piece in pieces)
