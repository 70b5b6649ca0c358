"""Making a transport and keeping it: attempts, backoff, giving up, and what the sink hears of it.

Rules: at most one transport exists at a time; an `open` that comes while an old one is ending waits for its
end. Every attempt ends in `connected` or in `disconnected`, and every `connected` is followed by one
`disconnected`. The backoff doubles, with a jitter that is a function of the device and the attempt; only a
connection that was up, and for long enough, starts it anew.
"""

import asyncio
import re
import socket
import ssl
import sys
from errno import ECONNREFUSED
from time import monotonic
from typing import Any, ClassVar, Protocol, cast

from simulator.links import Network, Sink, TlsFiles
from simulator.links._network import Shaped
from simulator.links._tls import TlsFileError, tls_context
from simulator.seeds import fraction
from simulator.wire import ProtocolError

CLOSE_TIMEOUT_S = 2.0
CLOSED = "closed"
IP_BIND_ADDRESS_NO_PORT = 24  # of linux/in.h; the module `socket` has no name for it
STABLE_S = 5.0  # a connection that lasted so long starts the backoff anew


class UnreachableError(Exception):
    """What stands between us and the far side lets no connection through."""


class Where(Protocol):
    """What an endpoint says about connecting."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def tls(self) -> TlsFiles | None: ...
    @property
    def connect_timeout_s(self) -> float: ...
    @property
    def backoff_first_s(self) -> float: ...
    @property
    def backoff_max_s(self) -> float: ...
    @property
    def jitter_key(self) -> int: ...
    @property
    def source(self) -> str | None: ...


class Connecting(asyncio.Protocol):
    """The half of a link that owns the transport; the other half is a subclass, which says what travels on it."""

    _up_by: ClassVar[str] = ""  # what the far side has to say before the connection is up, if anything

    __slots__ = (
        "_at",
        "_at_once",
        "_attempt",
        "_attempts",
        "_ghost",
        "_loop",
        "_name",
        "_network",
        "_reason",
        "_retry",
        "_sink",
        "_transport",
        "_untold",
        "_up_since_s",
        "_wanted",
    )

    def __init__(self, at: Where, name: str, sink: Sink, loop: asyncio.AbstractEventLoop) -> None:
        self._at = at
        self._name = name  # makes the jitter the device's own
        self._sink = sink
        self._loop = loop
        self._network: Network | None = None
        self._ghost: Shaped | None = None  # a connection that we have done with and the far side has not
        self._transport: asyncio.Transport | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._attempts = 0  # since the last good connection
        self._wanted = False
        self._reason = ""  # why we end the transport
        self._untold = False  # the sink has not heard yet how this attempt or connection ended
        self._at_once = False  # opened again while the old transport was ending: no backoff
        self._up_since_s: float | None = None

    # --- for the subclass ---

    def _made(self) -> None:
        """There is a transport."""
        raise NotImplementedError

    def _lost(self) -> None:
        """There is none any more, or it was severed; after `sever` this comes twice."""
        raise NotImplementedError

    async def _reach(self) -> None:
        """Make a transport, within the time of one attempt."""
        await self._connect_to(self)

    def _up(self, session_present: bool) -> None:
        """The connection is up: to be called once for each, by `_made` or later."""
        self._up_since_s = monotonic()
        self._sink.connected(session_present)

    def _end(self, reason: str) -> None:
        """Give this connection up, and try again."""
        if self._transport is not None and not self._reason:
            self._reason = reason
            self._hang_up()

    # --- of the Link ---

    def open(self) -> None:
        if self._wanted:
            return
        self._wanted = True
        self._attempts = 0
        if self._transport is None and self._attempt is None:
            self._connect()
        else:
            self._at_once = True

    def close(self) -> None:
        self._haunted(None)
        if self._stop(CLOSED):
            self._hang_up()

    def sever(self) -> None:
        if self._stop("severed") and self._transport is not None:
            self._lost()
            self._transport.abort()

    def shape(self, network: Network) -> None:
        if self._network is None and self._transport is not None:
            self._transport = self._shaped(network, self._transport)
        self._network = network

    def raw(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._put(data)

    def _put(self, data: bytes) -> None:
        """Write, if there is a transport; of one that has broken we hear later, and what it has not sent is kept."""
        if self._transport is not None:
            try:  # noqa: SIM105 - for every message, and a context would cost as much as the rest
                self._transport.write(data)
            except RuntimeError:  # uvloop's word for a transport that has failed in this turn
                pass

    def _shaped(self, network: Network, transport: asyncio.Transport) -> asyncio.Transport:
        """The transport, as it is behind a network."""
        between = Shaped(network, self, transport, self._loop)
        transport.set_protocol(between)
        return cast(asyncio.Transport, between)

    def _haunted(self, by: Shaped | None) -> None:
        """No connection is a ghost any more but this."""
        before, self._ghost = self._ghost, by
        if before is not None:
            before.bury()

    def _stop(self, reason: str) -> bool:
        """Want no connection any more; False when there was none wanted."""
        if not self._wanted:
            return False
        self._wanted = self._at_once = False
        self._reason = reason
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
            self._reason = ""
        if self._attempt is not None and self._transport is None:
            self._attempt.cancel()  # with a transport it ends by itself; cancelled, it would close that past a network
        return True

    def _hang_up(self) -> None:
        """End it; a far side that takes nothing any more is cut off."""
        if self._transport is not None:
            self._transport.close()
            self._loop.call_later(CLOSE_TIMEOUT_S, self._transport.abort)

    # --- the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not derive from asyncio's
        if not self._wanted:
            self._transport.abort()
            return
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._network is not None:
            self._transport = self._shaped(self._network, self._transport)
        self._made()

    def connection_lost(self, exc: Exception | None) -> None:
        reason, self._reason = self._reason, ""
        up_since_s, self._up_since_s = self._up_since_s, None
        if isinstance(self._transport, Shaped) and self._transport.is_ghost:
            self._haunted(self._transport)
            if reason == CLOSED:
                self._haunted(None)
        self._transport = None
        self._lost()
        if up_since_s is not None and monotonic() - up_since_s >= STABLE_S:
            self._attempts = 0
        if not reason:
            when = f" before {self._up_by}" if self._up_by and up_since_s is None else ""
            reason = _why(exc, self._at) if exc else f"the server closed the connection{when}"
        self._down(reason)

    # --- connecting ---

    def _connect(self) -> None:
        self._retry = None
        self._untold = True
        self._attempt = self._loop.create_task(self._try())
        self._attempt.add_done_callback(self._tried)

    async def _try(self) -> None:
        if self._network is not None and (why := self._network.reach()):
            raise UnreachableError(why)
        async with asyncio.timeout(self._at.connect_timeout_s):
            await self._reach()

    async def _connect_to(self, protocol: asyncio.BaseProtocol, alpn_port: int = 0) -> None:
        """Connect a protocol; `alpn_port` is the port when what we speak may have to be named there."""
        at = self._at
        context = None if at.tls is None else tls_context(at.tls, alpn_port)
        sock = None if at.source is None else await self._socket(at.source)
        to: dict[str, Any] = {"host": at.host, "port": at.port} if sock is None else {"sock": sock}
        try:
            await self._loop.create_connection(
                lambda: protocol,
                **to,
                ssl=context,
                server_hostname=at.host if context else None,
                ssl_handshake_timeout=2 * at.connect_timeout_s if context else None,  # ours comes first
                ssl_shutdown_timeout=CLOSE_TIMEOUT_S if context else None,
            )
        except BaseException:
            if sock is not None:
                sock.close()
            raise

    async def _socket(self, source: str) -> socket.socket:
        """A connected socket from a local address. (uvloop's own `local_addr` takes twenty times as long.)"""
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            if sys.platform == "linux":  # The port is chosen when it connects, so each destination has all of them.
                made.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            made.bind((source, 0))
            await self._loop.sock_connect(made, (self._at.host, self._at.port))
        except BaseException:
            made.close()
            raise
        return made

    def _tried(self, attempt: asyncio.Task[None]) -> None:
        self._attempt = None
        why = ""
        if attempt.cancelled():
            if not self._reason:
                return  # not our own doing: the loop is ending
        elif error := attempt.exception():
            why = _why(error, self._at)
        if self._transport is None:
            reason, self._reason = self._reason or why, ""
            self._down(reason)

    def _down(self, reason: str) -> None:
        """There is no transport: say so, and try again after a while."""
        if self._untold:
            self._untold = False
            self._sink.disconnected(reason)
        if not self._wanted or self._transport is not None or self._attempt or self._retry:
            return
        if self._at_once:
            self._at_once = False
            self._connect()
            return
        at = self._at
        delay_s = min(at.backoff_max_s, at.backoff_first_s * 2.0 ** min(self._attempts, 32))
        delay_s *= 0.5 + 0.5 * fraction(at.jitter_key, "backoff", self._name, self._attempts)
        self._attempts += 1
        self._retry = self._loop.call_later(delay_s, self._connect)


def _why(error: BaseException, at: Where) -> str:
    """An error of a connection in one line."""
    where = f"{at.host}:{at.port}"
    match error:
        case TimeoutError(errno=None):
            return f"connect to {where} timed out after {at.connect_timeout_s:g} s"
        case ssl.SSLCertVerificationError():
            return f"TLS: certificate verify failed: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}"
        case socket.gaierror():
            return f"connect to {where}: {(error.strerror or 'name not known').lower()}"
        case ConnectionResetError() | BrokenPipeError():
            return f"connection to {where} reset"
        case TimeoutError():
            return f"connection to {where} timed out"
        case TlsFileError():
            return f"TLS: {error}"
        case ProtocolError() | UnreachableError():
            return str(error)
        case OSError():
            # A name with several addresses gives one OSError with no errno and a text of all of them.
            numbers = {int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))} | {error.errno}
            if ECONNREFUSED in numbers:
                return f"connect to {where} refused"
            return f"connect to {where}: {(error.strerror or str(error)).lower()}"
    return f"connect to {where}: {error}"
