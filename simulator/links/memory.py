"""A link without a network, for virtual time: what is sent is acknowledged and recorded, at once and in order.

The far side is a function given by the runtime; what it answers reaches the device as if it had come over a
wire. A severed link keeps what was sent meanwhile and delivers it after `open`, as a real one does.

Over a bad network it behaves as the real links do: `in_flight_max` messages are on their way, none overtakes
another, what comes back takes its way, too. A message of which nothing is heard within the time for it ends the
connection; what was not acknowledged goes first on the next one, which is tried for later and later. With a `spec`
messages travel as its frames, so bytes that got broken are garbage to the far side, and not a message.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from simulator.links import Network, Sink
from simulator.messages import Publish
from simulator.wire.frames import Frame, FrameDecoder, FrameEncoder
from simulator.wire.spec import ProductSpec

FarSide = Callable[[Publish], int | None]  # a reason code ≥ 0x80: it is refused
Do = Callable[[], None]
After = Callable[[int, Do], None]  # (so many milliseconds later, do this)
IN_FLIGHT_MAX = 10
ACK_TIMEOUT_MS = 10_000
BACKOFF_FIRST_MS, BACKOFF_MAX_MS = 250, 30_000
ACK = b"ack"  # stands for what the far side answers


class Lane:
    """One direction of one connection: what goes on it arrives in order."""

    __slots__ = ("_after", "_held")

    def __init__(self, after: After | None) -> None:
        self._after = after
        self._held: deque[list[Do | bool]] = deque()  # [has it arrived?, what happens then]

    def add(self, after_ms: int, arrive: Do) -> None:
        entry: list[Do | bool] = [False, arrive]
        self._held.append(entry)
        if after_ms and self._after:
            self._after(after_ms, partial(self._come, entry))
        else:
            self._come(entry)

    def _come(self, entry: list[Do | bool]) -> None:
        entry[0] = True
        while self._held and self._held[0][0]:
            arrive = self._held.popleft()[1]
            assert callable(arrive)
            arrive()

    def end(self) -> None:
        """Lose what is on the way."""
        self._held.clear()


class Flight:
    """A message on its way."""

    __slots__ = ("answered", "message", "reason_code")

    def __init__(self, message: Publish) -> None:
        self.message = message
        self.answered = False
        self.reason_code = 0


class Connection:
    """One connection over a bad network."""

    __slots__ = ("decoder", "down", "encoder", "flights", "going", "up")

    def __init__(self, after: After | None, spec: ProductSpec | None) -> None:
        self.up, self.down = Lane(after), Lane(after)
        self.flights: deque[Flight] = deque()
        self.encoder = FrameEncoder(spec) if spec else None
        self.decoder = FrameDecoder(spec) if spec else None
        self.going = False  # messages are being let go just now


class Memory:
    """One device's connection in memory."""

    __slots__ = (
        "_after", "_attempts", "_connection", "_far", "_network", "_queue", "_queue_max", "_sink", "_spec", "_tries",
        "up",
    )  # fmt: skip

    def __init__(
        self,
        sink: Sink,
        far: FarSide,
        queue_max: int = 1000,
        after: After | None = None,
        spec: ProductSpec | None = None,
    ) -> None:
        """`after` is a timer of virtual time; without it a network takes no time. `spec`: it speaks in frames."""
        self._sink, self._far, self._after = sink, far, after
        self._spec = spec
        self._network: Network | None = None
        self._connection: Connection | None = None  # over the network
        self._queue: deque[Publish] | None = None  # made when needed: an empty one is as big as a device
        self._queue_max = queue_max
        self._attempts = 0  # that the network did not let through
        self._tries = 0  # counts what ended every wait for another attempt
        self.up = False

    # --- the Link ---

    @property
    def waiting(self) -> int:
        return len(self._queue) if self._queue else 0

    def open(self) -> None:
        if not self.up:
            self._attempts = 0
            self._try()

    def send(self, message: Publish) -> bool:
        if self.up and not self._queue and self._network is None:
            self._sink.acknowledged(message, 0.0, self._far(message) or 0)
            return True
        if self._queue is None:
            self._queue = deque()
        if len(self._queue) >= self._queue_max:
            return False
        self._queue.append(message)
        self._go_on()
        return True

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """All that the far side says to this device reaches it, so there is nothing to do."""

    def close(self) -> None:
        self._down("closed")

    def sever(self) -> None:
        self._down("severed")

    def shape(self, network: Network) -> None:
        if self._network is None and self.up:
            self._connection = Connection(self._after, self._spec)
        self._network = network

    def raw(self, data: bytes) -> None:
        """A far side that reads frames skips what is none; one that reads packets hangs up."""
        if self.up and self._spec is None:
            self.lose("the server closed the connection")

    def tick(self, now_s: float) -> None:
        """What could time out has its own timer."""

    # --- in ---

    def receive(self, topic: str, payload: bytes) -> None:
        """The far side says something; it gets lost when the connection is down."""
        if not self.up:
            return
        if self._network is None or self._connection is None:
            self._sink.received(topic, payload)
        elif pieces := self._network.carry(payload, False):
            after_ms = max(piece.after_ms for piece in pieces)
            self._connection.down.add(after_ms, partial(self._sink.received, topic, payload))

    # --- out ---

    def _go_on(self) -> None:
        """Let go what waits, in order, as far as the connection lets it."""
        connection = self._connection
        if self._network is None or connection is None:
            while self._queue and self.up:
                self._deliver(self._queue.popleft())
        elif not connection.going:  # a message that is answered at once lets the next one go
            connection.going = True
            while self._queue and connection is self._connection and len(connection.flights) < IN_FLIGHT_MAX:
                self._launch(self._network, connection, self._queue.popleft())
            connection.going = False

    def _deliver(self, message: Publish) -> None:
        self._sink.acknowledged(message, 0.0, self._far(message) or 0)

    def _launch(self, network: Network, connection: Connection, message: Publish) -> None:
        flight = Flight(message)
        connection.flights.append(flight)
        data = connection.encoder.encode(message.payload) if connection.encoder else message.payload
        pieces = network.carry(data, True)
        after_ms = max((piece.after_ms for piece in pieces), default=ACK_TIMEOUT_MS)
        if pieces:
            data = b"".join(piece.data for piece in pieces)
            connection.up.add(after_ms, partial(self._land, network, connection, flight, data))
        if after_ms >= ACK_TIMEOUT_MS:
            self._wait(connection, flight)

    def _land(self, network: Network, connection: Connection, flight: Flight, data: bytes) -> None:
        """A message is at the far side, which answers what it understands."""
        message = flight.message
        if connection.decoder is None:
            flight.reason_code = self._far(message._replace(payload=data)) or 0
        else:
            bodies = [item.body for item in connection.decoder.feed(data) if isinstance(item, Frame)]
            for body in bodies:
                flight.reason_code = self._far(message._replace(payload=body)) or 0
            if message.payload not in bodies:
                self._wait(connection, flight)
                return
        pieces = network.carry(ACK, False)
        if pieces:
            after_ms = max(piece.after_ms for piece in pieces)
            connection.down.add(after_ms, partial(self._answered, connection, flight))
        else:
            self._wait(connection, flight)

    def _answered(self, connection: Connection, flight: Flight) -> None:
        flight.answered = True
        while connection.flights and connection.flights[0].answered:
            connection.flights.popleft()
        self._sink.acknowledged(flight.message, 0.0, flight.reason_code)
        if connection is self._connection:
            self._go_on()

    def _wait(self, connection: Connection, flight: Flight) -> None:
        """End the connection when the answer does not come in time."""
        if self._after:
            self._after(ACK_TIMEOUT_MS, partial(self._give_up, connection, flight))

    def _give_up(self, connection: Connection, flight: Flight) -> None:
        if connection is self._connection and not flight.answered:
            self.lose(f"no acknowledgement within {ACK_TIMEOUT_MS // 1000} s")

    # --- the connection ---

    def _try(self) -> None:
        self._tries += 1
        if self._network and (why := self._network.reach()):
            self._sink.disconnected(why)
            self._try_later()
            return
        self.up = True
        self._attempts = 0
        if self._network:
            self._connection = Connection(self._after, self._spec)
        self._sink.connected(False)
        self._go_on()

    def _try_later(self) -> None:
        delay_ms = min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS << min(self._attempts, 16))
        self._attempts += 1
        if self._after:
            self._after(delay_ms, partial(self._try_again, self._tries))

    def _try_again(self, tries: int) -> None:
        if tries == self._tries and not self.up:
            self._try()

    def lose(self, reason: str) -> None:
        """The connection is over by itself: make a new one after a while."""
        if not self.up:
            return
        self._down(reason)
        self._try_later()

    def _down(self, reason: str) -> None:
        self._tries += 1
        if not self.up:
            return
        self.up = False
        connection, self._connection = self._connection, None
        if connection:
            connection.up.end()
            connection.down.end()
            if self._queue is None:
                self._queue = deque()
            self._queue.extendleft(one.message for one in reversed(connection.flights) if not one.answered)
        self._sink.disconnected(reason)
