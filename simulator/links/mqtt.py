"""MQTT 3.1.1 and 5 over TCP or TLS, bare or in a WebSocket: our own session on a bare transport.

Rules: one object is the link, its protocol and its session's owner; a message makes no task, no future and
no timer. What is sent in one turn of the loop leaves in one write. The connection is up from CONNACK on.

`sent_at_s` is `time.monotonic()`: the loop's clock, but not rounded to the millisecond at which this turn
of the loop began, as uvloop's own reading of it is.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import ClassVar
from weakref import WeakKeyDictionary

from simulator.links import Endpoint, Network, Sink, Taker, Turns
from simulator.links._connecting import Connecting
from simulator.links._turning import Turning
from simulator.messages import Publish, Turn
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

SUBPROTOCOL = "mqtt"
SILENT_S = 1.0  # who takes turns; longer, and the session looks after keep-alive and time-outs again


class Outbox:
    """The links of one loop that have something to write at the end of this turn, or when who holds it lets go."""

    __slots__ = ("_is_held", "_links")

    def __init__(self) -> None:
        self._links: list[Mqtt] = []
        self._is_held = False

    def add(self, link: "Mqtt", loop: asyncio.AbstractEventLoop) -> None:
        if not self._links and not self._is_held:
            loop.call_soon(self._flush, loop)
        self._links.append(link)

    def hold(self) -> None:
        """Wait for `let_go`, which spares a turn of the loop."""
        self._is_held = True

    def let_go(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write what came meanwhile."""
        self._is_held = False
        self._flush(loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        links, self._links = self._links, []
        for link in links:
            try:
                link.flush()
            except Exception as error:
                # A sink of one device failed; the others still have something to write.
                loop.call_exception_handler({"message": "a link's sink failed", "exception": error})


_outboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()


def outbox(loop: asyncio.AbstractEventLoop) -> Outbox:
    """The one of this loop."""
    return _outboxes.setdefault(loop, Outbox())


class Mqtt(Connecting):
    """One device's MQTT connection."""

    __slots__ = ("_due", "_endpoint", "_outbox", "_session", "_turning")

    _up_by: ClassVar[str] = "CONNACK"

    def __init__(self, endpoint: Endpoint, sink: Sink, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(endpoint, endpoint.client_id, sink, loop)
        self._endpoint = endpoint
        self._outbox = outbox(loop)
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
                subscribe_qos=endpoint.subscribe_qos,
            )
        )
        self._turning: Turning | None = None
        self._due = False  # already in the outbox, or about to be flushed

    # --- the Link ---

    @property
    def waiting(self) -> int:
        return self._session.waiting

    def send(self, message: Publish) -> bool:
        if self._turning is not None:
            self.end_turns()
        taken = self._session.publish(message, monotonic())
        if not self._due:
            self._due = True
            self._outbox.add(self, self._loop)
        return taken

    def subscribe(self, filters: tuple[str, ...]) -> None:
        self.end_turns()
        self._session.subscribe(filters, monotonic())
        if not self._due:
            self._due = True
            self._outbox.add(self, self._loop)

    def close(self) -> None:
        self.end_turns()
        if self._wanted:
            self._session.disconnect()
        super().close()

    def sever(self) -> None:
        self.end_turns()
        super().sever()

    def shape(self, network: Network) -> None:
        self.end_turns()
        super().shape(network)

    def raw(self, data: bytes) -> None:
        self.end_turns()
        super().raw(data)

    def tick(self, now_s: float) -> None:
        if self._turning is not None:
            if now_s - self._turning.sent_s < SILENT_S:
                return  # Neither side is.
            self.end_turns()
        self._session.tick(now_s)
        if self._session.has_news:
            self._settle()

    # --- turns ---

    @property
    def is_turning(self) -> bool:
        """Does it say on by itself?"""
        return self._turning is not None

    def take_turns(self, turns: Turns, taker: Taker, turn: Turn, first: Publish) -> bool:
        """Say on by yourself what a device says whenever it is answered, until `end_turns`; False: that cannot be.

        `first` was sent just now.
        """
        transport = self._transport
        if transport is None or self._network is not None or self._endpoint.websocket is not None:
            return False
        lent = self._session.lend(first)
        if lent is None:
            return False
        self._turning = Turning(turns, taker, turn, first, lent, self, transport.write)
        transport.set_protocol(self._turning)
        return True

    def end_turns(self) -> None:
        """Go on as always, if it is not so already; the taker is told."""
        if self._turning is None:
            return
        turning, self._turning = self._turning, None
        if self._transport is not None:
            self._transport.set_protocol(self)
        self._session.take_back(*turning.in_flight)
        turning.taker.turned(turning.said_ms)

    # --- out ---

    def flush(self) -> None:
        """Write what was sent in this turn, and tell of what left at QoS 0."""
        self._due = False
        if out := self._session.take():
            self._put(out)
        if self._session.events:
            self._settle()

    def _write(self) -> None:
        data = self._session.take()
        if data:
            self._put(data)

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
        if data:
            self._put(data)
        if session.events and not due:
            self._due = True
            self._outbox.add(self, self._loop)

    def _seldom(self, event: object) -> None:
        match event:
            case Opened(session_present):
                self._up(session_present)
            case Closed(reason):
                self._end(reason)
            case Subscribed(topic_filter, reason_code) if reason_code >= 0x80:
                # A device that cannot hear its commands is not connected in any useful sense.
                self._end(f"SUBSCRIBE '{topic_filter}' refused: {describe(reason_code)}")

    # --- the connection ---

    def _made(self) -> None:
        self._session.connected(monotonic())
        self._write()

    def _lost(self) -> None:
        self._session.lost()

    def _hang_up(self) -> None:
        """Write what is left first, such as a DISCONNECT."""
        if self._transport is not None:
            self._write()
        super()._hang_up()

    def data_received(self, data: bytes) -> None:
        session, now_s = self._session, monotonic()
        told = session.puback(data, now_s)
        if told is None:
            session.receive(data, now_s)
            self._settle()
            return
        self._sink.acknowledged(*told)  # What that sends leaves with what other links send in this turn.

    def pause_writing(self) -> None:
        self._session.pause()

    def resume_writing(self) -> None:
        self._session.resume(monotonic())
        self._settle()

    async def _reach(self) -> None:
        at = self._endpoint
        if at.websocket is None:
            await self._connect_to(self, at.port)
        else:
            await self._upgrade(at.websocket)

    async def _upgrade(self, url: Callable[[], str]) -> None:
        from simulator.links._websocket import Carrier
        from simulator.wire.websocket import WebSocket

        # In a thread, because whoever signs may have to fetch new credentials first.
        asked = await self._loop.run_in_executor(None, url)
        if asked.startswith("wss:") and self._endpoint.tls is None:
            raise ValueError("a URL of wss: needs TLS")
        carrier = Carrier(self, WebSocket(asked, SUBPROTOCOL), self._loop)
        try:
            # It looks like HTTPS, so there MQTT needs no name of its own.
            await self._connect_to(carrier)
            await carrier.opened
        except BaseException:
            carrier.give_up()
            raise
