"""The TCP channel: devices that keep one connection and send binary frames by their product's spec.

Rules: a frame is acknowledged only after the transaction that holds what came of it was committed; what came
in one turn of the loop, from all connections, is one batch. What is refused is a dead letter, and acknowledged
with its status, so that a device does not send it for ever. A connection speaks the product whose frames it
is first understood as. Every connection has limits: one that is too fast is not read for a while, one that
says nothing, or nothing but garbage, is closed; each of them is counted by its reason. Bytes are never an
error; an error of ours ends the process.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from typing import cast

from simulator.backend.config import Tcp
from simulator.backend.decode import frame_topic
from simulator.backend.pipeline import Pipeline
from simulator.wire.frames import Frame, FrameDecoder, FrameEncoder, Framing, Garbage
from simulator.wire.spec import ProductSpec, SpecError

BATCH_MAX = 500
BACKLOG = 4096
CLOSE_TIMEOUT_S = 2.0
APART_S = 0.001  # timers of the same moment need not fire in order
STORED, REFUSED = 0, 1  # the status of an acknowledgement


class Speech:
    """How one product speaks on a connection; one serves all of them."""

    __slots__ = ("codec", "encoder", "framing", "product", "spec", "topic")

    def __init__(self, product: str, spec: ProductSpec) -> None:
        self.product, self.spec = product, spec
        self.topic = frame_topic(product)
        self.codec = spec.codec
        self.framing = Framing(spec)
        self.encoder = FrameEncoder(spec)

    def ack(self, body: bytes, status: int) -> bytes:
        """The frame that answers a body; nothing for a product that has no acknowledgements."""
        if not self.codec.has("ack"):
            return b""
        try:
            return self.encoder.encode(self.codec.answer(body, "ack", {"status": status}))
        except SpecError:
            return b""  # it is too short for a header: there is nothing to answer to


class Gateway:
    """Listens for devices. `fatal` is called with what must end the process."""

    def __init__(
        self,
        pipeline: Pipeline,
        limits: Tcp,
        fatal: Callable[[BaseException], None],
        delay_s: Callable[[], float] = float,
    ) -> None:
        """`delay_s`: so much later does a device hear that its frames are stored."""
        self.limits = limits
        self.counts: Counter[str] = Counter()  # by what happened, see `count`
        self.connections: set[Connection] = set()
        self.paused: set[Connection] = set()
        self.speeches: list[Speech] = []
        self._pipeline = pipeline
        self._fatal = fatal
        self._delay_s = delay_s
        self.loop = asyncio.get_running_loop()
        self._answers: list[tuple[Connection, bytes]] = []
        self._flush_due = False
        self._server: asyncio.Server | None = None

    def replace_specs(self, specs: Mapping[str, ProductSpec]) -> None:
        """Speak these products from now on. Who speaks one that changed is cut off, and comes back by itself."""
        before = {speech.product: speech for speech in self.speeches}
        self.speeches = [
            before[product] if product in before and before[product].spec == spec else Speech(product, spec)
            for product, spec in specs.items()
            if spec.frame is not None
        ]
        for connection in list(self.connections):
            if connection.speech is None or connection.speech not in self.speeches:
                connection.cut("spec_changed")

    async def open(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Take connections."""
        self._server = await self.loop.create_server(lambda: Connection(self), sock=listener, ssl=tls, backlog=BACKLOG)

    def close(self) -> None:
        """Store and acknowledge what came, and end all connections."""
        self.flush()
        self.end()

    def end(self) -> None:
        """End all connections, also after something broke; what was not acknowledged will be sent again."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.cut("closing")

    def resume(self, now_s: float) -> None:
        """A few times a second: read again from who has waited long enough."""
        for connection in list(self.paused):
            connection.again(now_s)

    def tick(self, now_s: float) -> None:
        """Once a second or so: end the silent ones."""
        oldest_s = now_s - self.limits.idle_timeout_s
        for connection in [one for one in self.connections if one.heard_at_s < oldest_s]:
            if connection not in self.paused:
                connection.cut("silent")

    # -- for the connections

    def take(self, connection: "Connection", speech: Speech, body: bytes) -> None:
        """Take a frame's body into the batch."""
        reason = self._pipeline.ingest(speech.topic, body)
        self.counts["frames"] += 1
        self._answers.append((connection, speech.ack(body, REFUSED if reason else STORED)))
        if len(self._answers) >= BATCH_MAX:
            self.flush()
        elif not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush_soon)

    def failed(self, error: Exception) -> None:
        """Something of ours broke: a bug, or a full disk."""
        self._fatal(error)

    def _flush_soon(self) -> None:
        self._flush_due = False
        try:
            self.flush()
        except Exception as error:
            self._fatal(error)

    def flush(self) -> None:
        """Commit the batch, then acknowledge it, with one write for each connection."""
        self._pipeline.commit()
        answers, self._answers = self._answers, []
        frames: dict[Connection, list[bytes]] = {}
        for connection, frame in answers:
            frames.setdefault(connection, []).append(frame)
        for connection, parts in frames.items():
            connection.say_later(b"".join(parts), self._delay_s())


class Connection(asyncio.Protocol):
    """One device's connection."""

    __slots__ = (
        "_bytes_left",
        "_candidates",
        "_choking",
        "_decoder",
        "_frames_left",
        "_gateway",
        "_in_vain",
        "_refilled_at_s",
        "_said_at_s",
        "_transport",
        "heard_at_s",
        "speech",
    )

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self.speech: Speech | None = None
        self._decoder: FrameDecoder | None = None
        self._candidates: list[tuple[Speech, FrameDecoder]] = []  # until one of them understood a frame
        self._in_vain = 0  # bytes since the last good frame that were no frame
        self._choking = False  # it does not read its answers
        self._bytes_left = float(gateway.limits.bytes_per_s)
        self._frames_left = float(gateway.limits.frames_per_s)
        self._refilled_at_s = self.heard_at_s = gateway.loop.time()
        self._said_at_s = 0.0  # when the last answer goes out

    # -- the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        gateway = self._gateway
        self._transport = cast(asyncio.Transport, transport)
        gateway.counts["accepted"] += 1
        if len(gateway.connections) >= gateway.limits.connections_max:
            self.cut("too_many")
            return
        gateway.connections.add(self)
        self._candidates = [(speech, FrameDecoder(speech.framing)) for speech in gateway.speeches]

    def connection_lost(self, error: Exception | None) -> None:
        self._forget()

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return  # it was cut while this was on its way
        try:
            frames = self._heard(data)
        except Exception as error:
            self._gateway.failed(error)
            return
        self._refill(self._gateway.loop.time())
        self._bytes_left -= len(data)
        self._frames_left -= frames
        if self._bytes_left <= 0 or self._frames_left <= 0:
            self._hold("paused.bytes" if self._bytes_left <= 0 else "paused.frames")

    def eof_received(self) -> None:
        try:
            self._gateway.flush()  # it says nothing more, but may wait for its answers
        except Exception as error:
            self._gateway.failed(error)

    def pause_writing(self) -> None:
        self._choking = True
        self._hold("paused.unread")

    def resume_writing(self) -> None:
        self._choking = False

    # -- what it says

    def _heard(self, data: bytes) -> int:
        """Take what came; the number of frames in it."""
        items = self._choose(data) if self._decoder is None else self._decoder.feed(data)
        frames = 0
        for item in items:
            if self._transport is None:
                break  # cut; what is left of it was never acknowledged
            if isinstance(item, Frame):
                frames += 1
                self._frame(item.body)
            else:
                self._garbage(item)
        return frames

    def _choose(self, data: bytes) -> list[Frame | Garbage]:
        """Give the bytes to all products' decoders; the first that understands a frame gets the connection."""
        first: list[Frame | Garbage] = []
        framed: tuple[Speech, FrameDecoder, list[Frame | Garbage]] | None = None
        for i, (speech, decoder) in enumerate(self._candidates):
            items = decoder.feed(data)
            first = items if i == 0 else first
            bodies = [item.body for item in items if isinstance(item, Frame)]
            if bodies and _understood(speech, bodies[0]):
                framed = (speech, decoder, items)
                break
            if bodies and framed is None and (speech.framing.tail.size or len(self._candidates) == 1):
                framed = (speech, decoder, items)  # a good frame, though not a message: its dead letter says so
        if framed is None:
            if not self._candidates:
                self._garbage(Garbage(len(data), "no_product"))
            return first  # garbage, by the first product's reading
        self.speech, self._decoder, items = framed
        self._candidates = []
        return items

    def _frame(self, body: bytes) -> None:
        speech = self.speech
        assert speech is not None
        self.heard_at_s = self._gateway.loop.time()
        self._in_vain = 0
        try:
            message = speech.codec.message(body)
        except SpecError:
            message = ""  # the pipeline makes a dead letter of it
        if message == "heartbeat":
            self._gateway.counts["heartbeats"] += 1
            self.say(speech.encoder.encode(body))
        elif message != "ack":
            self._gateway.take(self, speech, body)

    def _garbage(self, item: Garbage) -> None:
        counts = self._gateway.counts
        counts[f"garbage.{item.reason}"] += 1
        counts["garbage_bytes"] += item.size
        self._in_vain += item.size
        if self._in_vain > self._gateway.limits.garbage_max_bytes:
            self.cut("garbage")

    # -- what is said to it

    def say(self, data: bytes) -> None:
        """Write, when there is still somebody."""
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def say_later(self, data: bytes, delay_s: float) -> None:
        """Write after a while, and behind what waits already."""
        loop = self._gateway.loop
        now_s = loop.time()
        if not delay_s and now_s >= self._said_at_s:
            self.say(data)
            return
        self._said_at_s = max(now_s + delay_s, self._said_at_s + APART_S)
        loop.call_at(self._said_at_s, self.say, data)

    def cut(self, reason: str) -> None:
        """End the connection, and count why."""
        if self._transport is not None:
            self._gateway.counts[f"closed.{reason}"] += 1
            self._transport.close()
            self._gateway.loop.call_later(CLOSE_TIMEOUT_S, self._transport.abort)  # when it reads nothing any more
        self._forget()

    def _forget(self) -> None:
        self._transport = None
        self._gateway.connections.discard(self)
        self._gateway.paused.discard(self)

    # -- the limits

    def _hold(self, reason: str) -> None:
        """Do not read for a while."""
        gateway = self._gateway
        if self._transport is not None and self not in gateway.paused and not self._transport.is_closing():
            gateway.counts[reason] += 1
            gateway.paused.add(self)
            self._transport.pause_reading()

    def _refill(self, now_s: float) -> None:
        limits, passed_s = self._gateway.limits, now_s - self._refilled_at_s
        self._refilled_at_s = now_s
        self._bytes_left = min(limits.bytes_per_s, self._bytes_left + limits.bytes_per_s * passed_s)
        self._frames_left = min(limits.frames_per_s, self._frames_left + limits.frames_per_s * passed_s)

    def again(self, now_s: float) -> None:
        """Read again, when it may be read."""
        self._refill(now_s)
        if self._choking:
            if now_s - self.heard_at_s > self._gateway.limits.idle_timeout_s:
                self.cut("unread")
        elif self._bytes_left > 0 and self._frames_left > 0 and self._transport is not None:
            self._gateway.paused.discard(self)
            if not self._transport.is_closing():
                self._transport.resume_reading()


def _understood(speech: Speech, body: bytes) -> bool:
    try:
        speech.codec.decode(body)
    except SpecError:
        return False
    return True
