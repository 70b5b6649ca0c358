"""MQTT 3.1.1 and 5 over TCP or TLS: our own session on a bare transport.

Rules: one object is the link, its protocol and its session's owner; a message makes no task, no future and
no timer. What is sent in one turn of the loop leaves in one write. At most one transport exists at a time:
an `open` that comes while an old one is ending waits for its end. Every attempt to connect ends in
`connected` or in `disconnected`, and every `connected` is followed by one `disconnected`.

`sent_at_s` is `time.monotonic()`: the loop's clock, but not rounded to the millisecond at which this turn
of the loop began, as uvloop's own reading of it is.
"""

import asyncio
import re
import socket
import ssl
from errno import ECONNREFUSED
from time import monotonic
from typing import cast
from weakref import WeakKeyDictionary

from simulator.links import Endpoint, Sink
from simulator.links._tls import TlsFileError, tls_context
from simulator.messages import Publish
from simulator.seeds import fraction
from simulator.wire.mqtt import (
    Acknowledged,
    Closed,
    Opened,
    Received,
    Session,
    Settings,
    Subscribed,
    describe,
)

CLOSE_TIMEOUT_S = 2.0
STABLE_S = 5.0  # a connection that lasted so long starts the backoff anew


class Outbox:
    """The links of one loop that have something to write at the end of this turn."""

    __slots__ = ("_links",)

    def __init__(self) -> None:
        self._links: list[Mqtt] = []

    def add(self, link: "Mqtt", loop: asyncio.AbstractEventLoop) -> None:
        if not self._links:
            loop.call_soon(self._flush, loop)
        self._links.append(link)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        links, self._links = self._links, []
        for link in links:
            try:
                link.flush()
            except Exception as error:
                # A sink of one device failed; the others still have something to write.
                loop.call_exception_handler({"message": "a link's sink failed", "exception": error})


_outboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()


class Mqtt(asyncio.Protocol):
    """One device's MQTT connection."""

    __slots__ = (
        "_at_once",
        "_attempt",
        "_attempts",
        "_due",
        "_endpoint",
        "_loop",
        "_outbox",
        "_reason",
        "_retry",
        "_session",
        "_sink",
        "_transport",
        "_untold",
        "_up_since_s",
        "_wanted",
    )

    def __init__(self, endpoint: Endpoint, sink: Sink, loop: asyncio.AbstractEventLoop) -> None:
        self._endpoint = endpoint
        self._sink = sink
        self._loop = loop
        self._outbox = _outboxes.setdefault(loop, Outbox())
        self._session = Session(
            Settings(
                client_id=endpoint.client_id,
                version=4 if endpoint.mqtt_version == "3.1.1" else 5,
                keep_alive_s=endpoint.keep_alive_s,
                clean_start=endpoint.clean_start,
                session_expiry_s=endpoint.session_expiry_s,
                username=endpoint.username,
                password=endpoint.password,
                will=endpoint.will,
                answer_timeout_s=endpoint.ack_timeout_s,
                in_flight_max=endpoint.in_flight_max,
                queue_max=endpoint.queue_max,
            )
        )
        self._transport: asyncio.Transport | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._attempts = 0  # since the last good connection
        self._wanted = False
        self._due = False  # already in the outbox, or about to be flushed
        self._reason = ""  # why we end the transport
        self._untold = False  # the sink has not heard yet how this attempt or connection ended
        self._at_once = False  # opened again while the old transport was ending: no backoff
        self._up_since_s: float | None = None

    # --- the Link ---

    def open(self) -> None:
        if self._wanted:
            return
        self._wanted = True
        self._attempts = 0
        if self._transport is None and self._attempt is None:
            self._connect()
        else:
            self._at_once = True

    def send(self, message: Publish) -> bool:
        taken = self._session.publish(message, monotonic())
        if not self._due:
            self._due = True
            self._outbox.add(self, self._loop)
        return taken

    def subscribe(self, filters: tuple[str, ...]) -> None:
        self._session.subscribe(filters, monotonic())
        if not self._due:
            self._due = True
            self._outbox.add(self, self._loop)

    def close(self) -> None:
        if self._stop("closed"):
            self._session.disconnect()
            self._hang_up()

    def sever(self) -> None:
        if self._stop("severed") and self._transport is not None:
            self._session.lost()
            self._transport.abort()

    def tick(self, now_s: float) -> None:
        self._session.tick(now_s)
        self._settle()

    # --- out ---

    def flush(self) -> None:
        """Write what was sent in this turn, and tell of what left at QoS 0."""
        self._due = False
        self._write()
        self._settle()

    def _write(self) -> None:
        data = self._session.take()
        if data and self._transport is not None:
            self._transport.write(data)

    def _settle(self) -> None:
        """Hand the session's events to the sink; what the sink sends meanwhile leaves in one write."""
        session, sink = self._session, self._sink
        due, self._due = self._due, True
        try:
            for event in session.drain():
                if isinstance(event, Acknowledged):
                    sink.acknowledged(*event)
                elif isinstance(event, Received):
                    sink.received(event.topic, event.payload)
                else:
                    self._seldom(event)
        finally:
            self._due = due
        data = session.take()
        if data and self._transport is not None:
            self._transport.write(data)
        if session.events and not due:
            self._due = True
            self._outbox.add(self, self._loop)

    def _seldom(self, event: object) -> None:
        match event:
            case Opened(session_present):
                self._up_since_s = monotonic()
                self._sink.connected(session_present)
            case Closed(reason):
                self._end(reason)
            case Subscribed(topic_filter, reason_code) if reason_code >= 0x80:
                # A device that cannot hear its commands is not connected in any useful sense.
                self._end(f"SUBSCRIBE '{topic_filter}' refused: {describe(reason_code)}")

    def _end(self, reason: str) -> None:
        """Give this connection up, and try again."""
        if self._transport is not None and not self._reason:
            self._reason = reason
            self._hang_up()

    def _hang_up(self) -> None:
        """Write what is left and end; a far side that takes nothing any more is cut off."""
        if self._transport is not None:
            self._write()
            self._transport.close()
            self._loop.call_later(CLOSE_TIMEOUT_S, self._transport.abort)

    # --- the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._wanted:
            self._transport.abort()
            return
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._session.connected(monotonic())
        self._write()

    def data_received(self, data: bytes) -> None:
        self._session.receive(data, monotonic())
        self._settle()

    def pause_writing(self) -> None:
        self._session.pause()

    def resume_writing(self) -> None:
        self._session.resume(monotonic())
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        reason, self._reason = self._reason, ""
        self._session.lost()
        self._transport = None
        up_since_s, self._up_since_s = self._up_since_s, None
        if up_since_s is not None and monotonic() - up_since_s >= STABLE_S:
            self._attempts = 0
        if not reason:
            when = " before CONNACK" if up_since_s is None else ""
            reason = _why(exc, self._endpoint) if exc else f"the server closed the connection{when}"
        self._down(reason)

    # --- connecting ---

    def _stop(self, reason: str) -> bool:
        """Want no connection any more; False when there was none wanted."""
        if not self._wanted:
            return False
        self._wanted = False
        self._reason = reason
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
            self._reason = ""
        if self._attempt is not None:
            self._attempt.cancel()
        return True

    def _connect(self) -> None:
        self._retry = None
        self._untold = True
        self._attempt = self._loop.create_task(self._try())
        self._attempt.add_done_callback(self._tried)

    async def _try(self) -> None:
        """One attempt to make a transport."""
        at = self._endpoint
        context = None if at.tls is None else tls_context(at.tls, at.port)
        async with asyncio.timeout(at.connect_timeout_s):
            await self._loop.create_connection(
                lambda: self,
                at.host,
                at.port,
                ssl=context,
                server_hostname=at.host if context else None,
                ssl_handshake_timeout=2 * at.connect_timeout_s if context else None,  # ours comes first
                ssl_shutdown_timeout=CLOSE_TIMEOUT_S if context else None,
            )

    def _tried(self, attempt: asyncio.Task[None]) -> None:
        self._attempt = None
        why = ""
        if attempt.cancelled():
            if not self._reason:
                return  # not our own doing: the loop is ending
        elif error := attempt.exception():
            why = _why(error, self._endpoint)
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
        at = self._endpoint
        delay_s = min(at.backoff_max_s, at.backoff_first_s * 2.0 ** min(self._attempts, 32))
        delay_s *= 0.5 + 0.5 * fraction(at.jitter_key, "backoff", at.client_id, self._attempts)
        self._attempts += 1
        self._retry = self._loop.call_later(delay_s, self._connect)


def _why(error: BaseException, at: Endpoint) -> str:
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
        case OSError():
            # A name with several addresses gives one OSError with no errno and a text of all of them.
            numbers = {int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))} | {error.errno}
            if ECONNREFUSED in numbers:
                return f"connect to {where} refused"
            return f"connect to {where}: {(error.strerror or str(error)).lower()}"
    return f"connect to {where}: {error}"
