"""Binary frames over TCP or TLS, by a product's spec: one connection that is kept.

Rules: what is sent in one turn of the loop leaves in one write; a message makes no task, no future and no
timer. `Publish.payload` is the body of a frame. A message waits for the acknowledgement with its `seq`, at most
`in_flight_max` of them at a time and never two of one `seq`; of a product without a `seq` they are acknowledged
in order, and of one without an `ack` as soon as they are written. When an acknowledgement is late the connection
is made anew, and what was not acknowledged is sent again, in order. After `heartbeat_s` without a word a
heartbeat is sent, which the far side returns.

A status other than 0 is a reason code ≥ 0x80. What else the far side says is received as `tcp/<message>`.
"""

import asyncio
from collections import deque
from time import monotonic
from typing import NamedTuple

from simulator.links import Sink, TlsFiles
from simulator.links._connecting import Connecting
from simulator.messages import Publish
from simulator.wire.frames import Frame, FrameDecoder, FrameEncoder
from simulator.wire.spec import ProductSpec, SpecError

REFUSED = 0x80
CANNOT_BE_ACKNOWLEDGED = 0x99  # MQTT's "payload format invalid": the body is too short to have a seq
TOO_LARGE = 0x95


class TcpEndpoint(NamedTuple):
    """Where one device connects, as whom, and how its product speaks."""

    host: str
    port: int
    device_id: str
    spec: ProductSpec
    tls: TlsFiles | None = None
    heartbeat_s: float = 30.0
    connect_timeout_s: float = 10.0
    ack_timeout_s: float = 10.0
    in_flight_max: int = 10
    queue_max: int = 1000
    backoff_first_s: float = 0.25
    backoff_max_s: float = 30.0
    jitter_key: int = 0  # seeds the jitter of the backoff, so that a run can be repeated
    source: str | None = None  # the local address to connect from; None: any


class Waiting:
    """A message on its way."""

    __slots__ = ("first_sent_s", "message", "sent_s", "seq")

    def __init__(self, message: Publish, seq: int | None) -> None:
        self.message = message
        self.seq = seq
        self.first_sent_s = 0.0
        self.sent_s = 0.0


class Tcp(Connecting):
    """One device's connection to a gateway for binary frames."""

    __slots__ = (
        "_asked_s",
        "_codec",
        "_decoder",
        "_due",
        "_encoder",
        "_endpoint",
        "_has_acks",
        "_has_seq",
        "_heartbeat",
        "_in_flight",
        "_order",
        "_paused",
        "_queue",
        "_written_s",
    )

    def __init__(self, endpoint: TcpEndpoint, sink: Sink, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(endpoint, endpoint.device_id, sink, loop)
        spec = endpoint.spec
        self._endpoint = endpoint
        self._codec = spec.codec
        self._encoder = FrameEncoder(spec)
        self._decoder = FrameDecoder(spec)
        self._has_acks = self._codec.has("ack")
        self._has_seq = self._codec.has_seq
        self._heartbeat = b""
        if self._codec.has("heartbeat"):
            self._heartbeat = self._encoder.encode(self._codec.encode("heartbeat", {"device_id": endpoint.device_id}))
        self._queue: deque[Waiting] = deque()
        self._in_flight: dict[int, Waiting] = {}  # by seq, in the order of writing
        self._order = 0  # stands for the seq of a product that has none
        self._due = False  # a flush comes at the end of this turn
        self._paused = False  # the transport has more than it can write
        self._written_s = 0.0
        self._asked_s: float | None = None  # when a heartbeat was sent that has not come back

    # --- the Link ---

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def send(self, message: Publish) -> bool:
        if len(self._queue) >= self._endpoint.queue_max:
            return False
        self._queue.append(Waiting(message, self._codec.seq(message.payload)))
        self._flush_soon()
        return True

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """All that the far side says on the connection is for this device, so there is nothing to do."""

    def tick(self, now_s: float) -> None:
        if self._transport is None:
            return
        timeout_s = self._endpoint.ack_timeout_s
        oldest = next(iter(self._in_flight.values()), None)
        if oldest is not None and now_s - oldest.sent_s > timeout_s:
            self._end(f"no acknowledgement within {timeout_s:g} s")
        elif self._asked_s is not None and now_s - self._asked_s > timeout_s:
            self._end(f"no answer to a heartbeat within {timeout_s:g} s")
        elif self._heartbeat and now_s - self._written_s >= self._endpoint.heartbeat_s and not self._paused:
            self._written_s = now_s
            self._asked_s = now_s if self._asked_s is None else self._asked_s
            self._put(self._heartbeat)

    # --- out ---

    def _flush_soon(self) -> None:
        if not self._due and self._transport is not None:
            self._due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what may be written, and tell of what needs no acknowledgement."""
        self._due = False
        if self._transport is None or self._transport.is_closing():
            return
        now_s = monotonic()
        frames: list[bytes] = []
        told: list[tuple[Waiting, int]] = []
        while self._queue and not self._paused and len(self._in_flight) < self._endpoint.in_flight_max:
            waiting = self._queue[0]
            if self._has_seq and waiting.seq in self._in_flight:
                break  # one of two could not be told from the other
            self._queue.popleft()
            waiting.sent_s = now_s
            waiting.first_sent_s = waiting.first_sent_s or now_s
            try:
                frames.append(self._encoder.encode(waiting.message.payload))
            except SpecError:
                told.append((waiting, TOO_LARGE))
                continue
            if not self._has_acks:
                told.append((waiting, 0))
            elif not self._has_seq:
                self._order += 1
                self._in_flight[self._order] = waiting
            elif waiting.seq is not None:
                self._in_flight[waiting.seq] = waiting
            else:
                told.append((waiting, CANNOT_BE_ACKNOWLEDGED))
        if frames:
            self._written_s = now_s
            self._put(b"".join(frames))
        for waiting, code in told:
            self._sink.acknowledged(waiting.message, waiting.first_sent_s, code)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush_soon()

    # --- in ---

    def data_received(self, data: bytes) -> None:
        for item in self._decoder.feed(data):
            if isinstance(item, Frame):
                self._asked_s = None
                self._hear(item.body)
        if self._queue:
            self._flush_soon()

    def _hear(self, body: bytes) -> None:
        try:
            message = self._codec.message(body)
            if message == "ack":
                self._acknowledged(body, self._codec.decode(body).values.get("status", 0))
                return
        except SpecError:
            return  # damaged: what it answered is sent again when its time is over
        if message != "heartbeat":
            self._sink.received(f"tcp/{message}", body)

    def _acknowledged(self, body: bytes, status: int) -> None:
        seq = self._codec.seq(body) if self._has_seq else next(iter(self._in_flight), None)
        waiting = None if seq is None else self._in_flight.pop(seq, None)
        if waiting is not None:
            code = min(0xFF, max(REFUSED, status)) if status else 0
            self._sink.acknowledged(waiting.message, waiting.first_sent_s, code)

    # --- the connection ---

    def _made(self) -> None:
        self._decoder = FrameDecoder(self._endpoint.spec)
        self._paused = False
        self._asked_s = None
        self._written_s = monotonic()
        self._up(False)
        self._flush_soon()

    def _lost(self) -> None:
        """What was not acknowledged goes first, as it did before."""
        self._queue.extendleft(reversed(self._in_flight.values()))
        self._in_flight.clear()
