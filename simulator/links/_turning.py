"""A device that takes turns, on its MQTT connection: the shortest way from an answer to the next message.

While it says the same again and again but for the time, nobody has to be asked: what the far side says comes here, past
link, session, engine and device, and of each message some numbers are written down. Rules: only the PUBACK of the one
message that is in flight is understood here. When its moment is over the device is asked what it says from then on.
Everything else ends the turns first: the session gets its message back, the device is told how far it came, and then
the link does what it always does.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from simulator.links import Taker, Turns
from simulator.messages import Publish, Turn
from simulator.wire.mqtt import Lent
from simulator.wire.mqtt.fields import varint

if TYPE_CHECKING:
    from simulator.links.mqtt import Mqtt


class Turning(asyncio.Protocol):
    """One device's turns: the connection's protocol in place of its link."""

    __slots__ = (
        "_acks", "_answered", "_apart_ms", "_before", "_behind", "_first", "_head", "_lent", "_link", "_said", "_size",
        "_subject", "_timed", "_until_s", "_write", "_zero_ms", "said_ms", "sent_s", "taker",
    )  # fmt: skip

    def __init__(
        self, turns: Turns, taker: Taker, turn: Turn, first: Publish, lent: Lent, link: "Mqtt",
        write: Callable[[bytes], object],
    ) -> None:  # fmt: skip
        """`first` is in flight, and its payload is as `turn` says."""
        self._link, self._write, self.taker = link, write, taker
        self._answered, self._said, self._timed, self._zero_ms = turns
        self._subject = taker.subject
        self._first, self._lent, self.said_ms, self.sent_s = first, lent, first.stamp, lent.sent_at_s
        self._acks = lent.acks
        self._adopt(turn)

    def _adopt(self, turn: Turn) -> bool:
        """Say this from now on; False when the far side takes no message as long as that."""
        lent, size = self._lent, len(b"%b%d%b" % (turn.head, self.said_ms, turn.tail))
        length = len(lent.behind) + size
        start = lent.first + varint(length)
        if len(start) + length > lent.size_max:
            return False
        _, self._head, self._behind, self._apart_ms, until_ms = turn
        self._until_s, self._size = (until_ms - self._zero_ms) / 1000, size
        self._before = start + lent.behind + turn.head
        return True

    def data_received(self, data: bytes) -> None:
        now_s = monotonic()
        now_ms, said_ms, size = int(self._zero_ms + 1000 * now_s), self.said_ms, self._size
        if (
            data in self._acks
            and now_ms - said_ms >= self._apart_ms
            and (now_s < self._until_s or ((turn := self.taker.renewed(now_ms)) and self._adopt(turn)))
        ):
            subject = self._subject
            self._answered((subject, said_ms, now_s))
            self._said((subject, now_ms, now_s))
            self._timed((size, self.sent_s, now_s))
            self.said_ms, self.sent_s = now_ms, now_s
            try:  # noqa: SIM105 - for every message, and a context would cost as much as the rest
                self._write(b"%b%d%b" % (self._before, now_ms, self._behind))
            except RuntimeError:  # uvloop's word for a transport that has failed in this turn
                pass
        else:
            link = self._link
            link.end_turns()
            link.data_received(data)

    @property
    def in_flight(self) -> tuple[Publish, int, float]:
        """The message that is not answered, its packet id, and when it was sent."""
        kind, topic, _, qos, retain, expiry_s, _, due_ms = self._first
        payload = b"%b%d%b" % (self._head, self.said_ms, self._behind)
        message = Publish(kind, topic, payload, qos, retain, expiry_s, self.said_ms, due_ms)
        return message, self._lent.packet_id, self.sent_s

    # All else is for the link

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.end_turns()
        self._link.connection_lost(exc)

    def pause_writing(self) -> None:
        self._link.end_turns()
        self._link.pause_writing()

    def resume_writing(self) -> None:
        self._link.end_turns()
        self._link.resume_writing()
