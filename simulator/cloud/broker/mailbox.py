"""The QoS 1 messages of one MQTT session: those on their way, and those that wait. No I/O, no clock.

Rules: at most `window` messages are unacknowledged; the rest waits, in order. What waits is bounded in number and
bytes: when it is full, new messages are dropped and counted and stored ones are kept, as AWS does. The mailbox
outlives the connection where the session does: what was on its way goes out again with its packet id.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

WAITING_MAX = 200_000
WAITING_BYTES_MAX = 256 * 1024 * 1024
_OVERHEAD_BYTES = 200  # of a message beside its payload


class Message(NamedTuple):
    topic: str
    payload: bytes
    properties: bytes  # of MQTT 5, encoded
    retain: bool
    received_s: float  # when the broker got it


class Mailbox:
    """What a session is still owed."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.in_flight: dict[int, tuple[Message, float]] = {}  # packet id → message, when it was sent
        self.dropped = 0
        self._waiting: deque[Message] = deque()
        self._waiting_bytes = 0
        self._packet_id = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def put(self, message: Message) -> bool:
        """Keep it until it can be sent; False when it was dropped."""
        size = len(message.payload) + _OVERHEAD_BYTES
        if len(self._waiting) >= WAITING_MAX or self._waiting_bytes + size > WAITING_BYTES_MAX:
            self.dropped += 1
            return False
        self._waiting.append(message)
        self._waiting_bytes += size
        return True

    def open(self, message: Message, now_s: float) -> int:
        """The packet id under which a message is sent now."""
        packet_id = self._packet_id % 0xFFFF + 1
        while packet_id in self.in_flight:  # ends: there are fewer than there are ids
            packet_id = packet_id % 0xFFFF + 1
        self._packet_id = packet_id
        self.in_flight[packet_id] = (message, now_s)
        return packet_id

    def acknowledge(self, packet_id: int) -> None:
        self.in_flight.pop(packet_id, None)

    @property
    def is_open(self) -> bool:
        """Whether a message may be sent at once: none waits, and the window has room."""
        return not self._waiting and len(self.in_flight) < self.window

    def due(self) -> Iterator[Message]:
        """Take out what the window has room for. The taker opens each."""
        while self._waiting and len(self.in_flight) < self.window:
            message = self._waiting.popleft()
            self._waiting_bytes -= len(message.payload) + _OVERHEAD_BYTES
            yield message

    def unacknowledged(self, before_s: float, now_s: float) -> list[tuple[int, Message]]:
        """What was sent before a time, to be sent again now."""
        late = [(packet_id, message) for packet_id, (message, sent_s) in self.in_flight.items() if sent_s < before_s]
        for packet_id, message in late:
            self.in_flight[packet_id] = (message, now_s)
        return late

    def keep_only(self, allowed: Callable[[str], bool]) -> None:
        """Forget what is on its way on topics that may no longer be received."""
        for packet_id in [one for one, (message, _) in self.in_flight.items() if not allowed(message.topic)]:
            del self.in_flight[packet_id]
