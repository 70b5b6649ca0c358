"""What one MQTT client keeps about its connection: packet ids, the in-flight window, what waits, silence.

    session.connected(now_s)           a transport is there: say CONNECT
    session.receive(data, now_s)       bytes came
    session.publish(message, now_s)    → False when the queue is full
    session.tick(now_s)                once a second or so: keep-alive and time-outs
    session.lost()                     the transport is gone

After any of these `take()` gives the bytes to write and `drain()` the events. `Closed` asks the owner to
end the transport (after writing what `take()` still gives) and to call `lost()`.

Rules: messages of QoS 1 and 2 are sent in the order of `publish` and kept until they are acknowledged. After
a reconnect they go first: as duplicates with their packet ids when the server kept the session, as new ones
when it did not, because the device still wants them delivered. At QoS 2 a PUBREC makes the message the
server's: from then on only its PUBREL is repeated, and where the session was not kept it counts as delivered.
Subscriptions that were sent are not repeated. Only the far side's bytes can end a session; wrong arguments
raise ValueError.
"""

from collections import deque
from types import MappingProxyType
from typing import Any, Final, cast

from simulator.messages import Publish
from simulator.wire.mqtt import packets as p
from simulator.wire.mqtt.decode import Decoder
from simulator.wire.mqtt.encode import PINGREQ, encode, expiry_property, puback_bytes, publish_bytes
from simulator.wire.mqtt.events import (
    Acknowledged,
    Closed,
    Event,
    Lent,
    Opened,
    Received,
    Settings,
    Subscribed,
    Unsubscribed,
)
from simulator.wire.mqtt.fields import LENGTH_MAX, string, topic_name
from simulator.wire.mqtt.properties import Properties
from simulator.wire.mqtt.reasons import (
    FAILED,
    PACKET_ID_NOT_FOUND,
    PACKET_TOO_LARGE,
    PROTOCOL_ERROR,
    QOS_NOT_SUPPORTED,
    RECEIVE_MAXIMUM_EXCEEDED,
    RETAIN_NOT_SUPPORTED,
    TOPIC_ALIAS_INVALID,
    MqttError,
    describe,
    describe_connack,
)

FILTERS_IN_A_PACKET = 8  # AWS IoT cuts the connection for more
FILTERS_WAITING_MAX = 1024
HEAD_MAX = 13  # of a PUBLISH but for its topic: first byte, length, packet id, properties

# What a session has none of, as a rule, is one and the same for all: it is made when it is needed. Nobody can write to
# these by mistake: the mapping, the set and the list have no such methods, and the queue takes nothing.
_NOTHING: Final = cast(dict[int, Any], MappingProxyType({}))
_NOBODY: Final = cast(set[int], frozenset())
_NO_LIST: Final = cast(list[Any], ())
_NO_QUEUE: Final[deque[Any]] = deque(maxlen=0)
_DOWN, _CONNECTING, _UP, _ENDED = range(4)

_new = tuple.__new__  # makes a named tuple in half the time that its own constructor takes


class Session:
    """The client's side of MQTT. `client_id`, `events`, `is_up` and `unfinished` may be read."""

    __slots__ = (
        "_ack_out",
        "_connection",
        "_decoder",
        "_exact",
        "_heard_s",
        "_in_flight",
        "_keep_alive_s",
        "_last_field",
        "_last_topic",
        "_lone",
        "_lone_id",
        "_lone_s",
        "_no_properties",
        "_out",
        "_packet_id",
        "_ping_s",
        "_plain",
        "_qos_max",
        "_queue",
        "_requests",
        "_resend",
        "_resumable",
        "_retain_allowed",
        "_said_s",
        "_size_max",
        "_started_s",
        "_state",
        "_unacknowledged",
        "_unreleased",
        "_v5",
        "_waiting",
        "_window",
        "_writable",
        "client_id",
        "events",
        "settings",
    )

    def __init__(self, settings: Settings) -> None:
        if not 1 <= settings.in_flight_max <= 0x7FFF:
            raise ValueError(f"in_flight_max is 1 to 32767, not {settings.in_flight_max}")
        self.settings = settings
        self.client_id = settings.client_id
        self._v5 = settings.version == p.V5
        self._no_properties = b"\x00" if self._v5 else b""
        self._state = _DOWN
        self._plain = False  # up, and nothing waits, is exact or unfinished: as good as always
        self._decoder = Decoder(settings.version, settings.packet_size_max)
        self._out: list[bytes] = []
        self.events: list[Event] = []
        self._queue: deque[Publish] = _NO_QUEUE
        self._in_flight: dict[int, Acknowledged] = _NOTHING  # packet id → what is told once the server took it
        # Of QoS 1, and alone in flight: it is not in the dictionary, which would be one more thing to find in memory.
        self._lone: Publish | None = None
        self._lone_id = 0
        self._lone_s = 0.0
        self._exact: dict[int, float | None] = _NOTHING  # those of QoS 2: when PUBREL was written, None before PUBREC
        self._resend: list[tuple[int, Publish, float]] = _NO_LIST  # in flight when the connection was lost
        self._requests: dict[int, tuple[tuple[str, ...], bool, float]] = _NOTHING  # filters, subscribe?, when
        self._waiting: list[tuple[tuple[str, ...], bool]] = _NO_LIST  # for the connection
        self._unacknowledged: dict[int, int] = _NOTHING  # packet ids of the server → QoS, with auto_ack off
        self._unreleased: set[int] = _NOBODY  # packet ids of the server, given at QoS 2, until PUBREL: 65,535 at most
        self._last_topic: str | None = None
        self._last_field = b""  # of a PUBLISH: as a rule the next one is on the same
        self._packet_id = 0
        self._connection = 0
        self._resumable = False
        self._writable = True
        self._window = settings.in_flight_max
        self._keep_alive_s = settings.keep_alive_s
        self._size_max = LENGTH_MAX
        self._qos_max = 2
        self._retain_allowed = True
        self._started_s = self._heard_s = self._said_s = 0.0
        self._ping_s: float | None = None

    @property
    def is_up(self) -> bool:
        return self._state == _UP

    @property
    def waiting(self) -> int:
        """How many messages are to be sent, for the first time or again."""
        return len(self._queue) + len(self._resend)

    @property
    def unfinished(self) -> int:
        """How many messages wait or are not acknowledged yet."""
        return len(self._queue) + len(self._in_flight) + len(self._resend) + (1 if self._lone_id else 0)

    @property
    def has_news(self) -> bool:
        """Is there anything to write or to tell?"""
        return bool(self._out or self.events)

    def take(self) -> bytes:
        """The bytes to write now; empty when there are none."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def drain(self) -> list[Event]:
        """What happened since the last call."""
        events = self.events
        if events:
            self.events = []
        return events

    # --- the connection ---

    def connected(self, now_s: float) -> None:
        """A transport is there: CONNECT is the first thing said."""
        self.lost()
        want = self.settings
        properties: list[tuple[str, int]] = []
        will = None
        if want.will is not None:
            expiry_s = want.will.expiry_s if self._v5 else None
            said: Properties = () if expiry_s is None else (("message_expiry_interval", expiry_s),)
            will = p.Will(want.will.topic, want.will.payload, want.will.qos, want.will.retain, said)
        if self._v5:
            if want.session_expiry_s:
                properties.append(("session_expiry_interval", want.session_expiry_s))
            properties.append(("receive_maximum", want.receive_maximum))
            properties.append(("maximum_packet_size", want.packet_size_max))
        connect = p.Connect(
            self.client_id,
            want.version,
            want.clean_start and not self._resumable,
            want.keep_alive_s,
            tuple(properties),
            will,
            want.username,
            want.password,
        )
        self._out.append(encode(connect))
        self._state = _CONNECTING
        self._connection = self._connection + 1 & 0xFFFF_FFFF
        self._started_s = self._heard_s = self._said_s = now_s

    def lost(self) -> None:
        """The transport is gone. What was not acknowledged is kept for the next one."""
        self._state, self._plain = _DOWN, False
        self._decoder = Decoder(self.settings.version, self.settings.packet_size_max)
        self._out.clear()
        self._requests = self._unacknowledged = _NOTHING
        self._ping_s = None
        self._writable = True
        if self._together():
            kept = [(packet_id, told.message, told.sent_at_s) for packet_id, told in self._in_flight.items()]
            self._resend = [*kept, *self._resend]
        self._in_flight = _NOTHING

    def disconnect(self, reason_code: int = 0) -> None:
        """Say goodbye; the owner then closes the transport."""
        if self._state in (_CONNECTING, _UP):
            self._out.append(encode(p.Disconnect(reason_code if self._v5 else 0), self.settings.version))
        self._state, self._plain = _ENDED, False

    def _close(self, reason: str, reason_code: int | None = None) -> None:
        if self._state == _ENDED:
            return
        if reason_code is not None and self._v5 and self._state == _UP:
            self._out.append(encode(p.Disconnect(reason_code)))
        self._state, self._plain = _ENDED, False
        self.events.append(Closed(reason))

    # --- out ---

    def publish(self, message: Publish, now_s: float) -> bool:
        """Send a message or queue it; False when the queue is full, and the message was not taken."""
        if message.qos > 2:
            raise ValueError(f"QoS is 0, 1 or 2, not {message.qos}")
        if (
            (self._plain or (self._state == _UP and not self._queue and not self._resend))
            and self._writable
            and (not message.qos or len(self._in_flight) + (1 if self._lone_id else 0) < self._window)
        ):
            self._send(message, now_s)
            return True
        if len(self._queue) >= self.settings.queue_max:
            return False
        self._topic(message.topic)  # a wrong topic is the caller's mistake now, not the queue's later
        if self._queue is _NO_QUEUE:
            self._queue = deque()
        self._queue.append(message)
        self._plain = False
        return True

    def _topic(self, topic: str) -> bytes:
        if topic != self._last_topic:
            self._last_field = topic_name(topic)
        self._last_topic = topic
        return self._last_field

    def _send(self, message: Publish, now_s: float) -> None:
        """Write a message for the first time."""
        _, topic, payload, qos, retain, expiry_s, _, _ = message
        field = self._last_field if topic is self._last_topic else self._topic(topic)
        properties = self._no_properties if expiry_s is None else self._properties(expiry_s)
        length = len(field) + len(payload)
        if (
            qos > self._qos_max or (retain and not self._retain_allowed) or length + HEAD_MAX > self._size_max
        ) and self._refused(message, now_s):
            return
        self._said_s = now_s
        if qos:
            packet_id = self._packet_id % 0xFFFF + 1
            if (
                self._plain
                and not self._lone_id
                and self._in_flight is _NOTHING
                and self._requests is _NOTHING
                and qos == 1
            ):
                self._lone, self._lone_id, self._lone_s = message, packet_id, now_s
            else:
                in_flight = self._together()
                if packet_id in in_flight or packet_id in self._requests:
                    packet_id = self._free_packet_id(packet_id)
                in_flight[packet_id] = _new(Acknowledged, (message, now_s, 0))
            self._packet_id = packet_id
            head = 0x33 if retain else 0x32
            if qos == 2:
                self._exactly_once(packet_id, None)
                head += 2
            self._out.append(publish_bytes(head, field, packet_id, properties, payload))
        else:
            self._out.append(publish_bytes(0x31 if retain else 0x30, field, 0, properties, payload))
            self.events.append(Acknowledged(message, now_s, 0))

    def _properties(self, expiry_s: int | None) -> bytes:
        """Those of a PUBLISH; 3.1.1 has none, so there a message never expires."""
        return self._no_properties if expiry_s is None or not self._v5 else expiry_property(expiry_s)

    def _refused(self, message: Publish, sent_at_s: float) -> bool:
        """Whether the server said in CONNACK that it takes no such message, so that it is not sent."""
        _, topic, payload, qos, retain, expiry_s, _, _ = message
        if qos > self._qos_max:
            reason_code = QOS_NOT_SUPPORTED
        elif retain and not self._retain_allowed:
            reason_code = RETAIN_NOT_SUPPORTED
        elif len(publish_bytes(0, self._topic(topic), qos and 1, self._properties(expiry_s), payload)) > self._size_max:
            reason_code = PACKET_TOO_LARGE
        else:
            return False
        self.events.append(Acknowledged(message, sent_at_s, reason_code))
        return True

    def _exactly_once(self, packet_id: int, released_s: float | None) -> None:
        if self._exact is _NOTHING:
            self._exact = {}
        self._exact[packet_id] = released_s
        self._plain = False

    def _together(self) -> dict[int, Acknowledged]:
        """All that is in flight, to be changed."""
        if self._in_flight is _NOTHING:
            self._in_flight = {}
        if self._lone is not None:
            self._in_flight[self._lone_id] = Acknowledged(self._lone, self._lone_s, 0)
            self._lone, self._lone_id = None, 0
        return self._in_flight

    def _free_packet_id(self, packet_id: int) -> int:
        # All that hold an id are together fewer than there are ids, so this ends.
        held = {packet_id for packet_id, _, _ in self._resend}
        held.add(self._lone_id)
        while packet_id in self._in_flight or packet_id in self._requests or packet_id in held:
            packet_id = packet_id % 0xFFFF + 1
        return packet_id

    def _pump(self, now_s: float) -> None:
        """Send what waits, as far as the window and the transport allow."""
        window, in_flight = self._window, self._together()
        while self._resend and self._writable and len(in_flight) < window:
            packet_id, message, sent_at_s = self._resend.pop(0)
            told = Acknowledged(message, sent_at_s, 0)
            if self._exact.get(packet_id) is not None:
                self._release(packet_id, told, now_s)
                continue
            if self._refused(message, sent_at_s):
                self._not_exact(packet_id)
                continue
            head = 0x30 | message.qos << 1 | message.retain
            if packet_id:
                head |= 8
            else:
                packet_id = self._packet_id = self._free_packet_id(self._packet_id % 0xFFFF + 1)
                if message.qos == 2:
                    self._exactly_once(packet_id, None)
            in_flight[packet_id] = told
            properties = self._properties(message.expiry_s)
            field = self._topic(message.topic)
            self._out.append(publish_bytes(head, field, packet_id, properties, message.payload))
            self._said_s = now_s
        queue = self._queue
        while queue and self._writable and (len(in_flight) < window or not queue[0].qos):
            self._send(queue.popleft(), now_s)
        if not queue:
            self._queue = _NO_QUEUE

    def pause(self) -> None:
        """The transport is full: messages wait in the queue from now on."""
        self._writable = False

    def resume(self, now_s: float) -> None:
        """The transport has room again."""
        self._writable = True
        if self._state == _UP:
            self._pump(now_s)
            self._look()

    def subscribe(self, filters: tuple[str, ...], now_s: float) -> None:
        """Subscribe at the QoS of the settings, or the server's best; now or when the connection is up."""
        self._request(filters, True, now_s)

    def unsubscribe(self, filters: tuple[str, ...], now_s: float) -> None:
        """Unsubscribe, now or when the connection is up."""
        self._request(filters, False, now_s)

    def _request(self, filters: tuple[str, ...], subscribe: bool, now_s: float) -> None:
        for topic_filter in filters:
            if not topic_filter:
                raise ValueError("a topic filter is not empty")
            string(topic_filter)
        waiting = sum(len(few) for few, _ in self._waiting) + len(filters)
        if waiting > FILTERS_WAITING_MAX:
            raise ValueError(f"{waiting} topic filters wait for the connection, at most {FILTERS_WAITING_MAX}")
        for start in range(0, len(filters), FILTERS_IN_A_PACKET):
            self._waiting = self._waiting or []
            self._waiting.append((filters[start : start + FILTERS_IN_A_PACKET], subscribe))
        if self._state == _UP:
            self._send_requests(now_s)

    def _send_requests(self, now_s: float) -> None:
        while self._waiting:
            filters, subscribe = self._waiting.pop(0)
            packet_id = self._packet_id = self._free_packet_id(self._packet_id % 0xFFFF + 1)
            if self._requests is _NOTHING:
                self._requests = {}
            self._requests[packet_id] = (filters, subscribe, now_s)
            packet: p.Packet
            if subscribe:
                qos = min(self.settings.subscribe_qos, self._qos_max)
                packet = p.Subscribe(packet_id, tuple(p.Subscription(name, qos) for name in filters))
            else:
                packet = p.Unsubscribe(packet_id, filters)
            self._out.append(encode(packet, self.settings.version))
            self._said_s = now_s

    def ack(self, ack_token: int) -> bool:
        """PUBACK or PUBREC for a `Received`; False when its connection is gone, so that it will come again."""
        packet_id = ack_token & 0xFFFF
        if ack_token >> 16 != self._connection or packet_id not in self._unacknowledged:
            return False
        self._acknowledge(packet_id, self._unacknowledged.pop(packet_id))
        return True

    def _acknowledge(self, packet_id: int, qos: int) -> None:
        if qos == 1:
            self._out.append(puback_bytes(packet_id))
        else:
            if self._unreleased is _NOBODY:
                self._unreleased = set()
            self._unreleased.add(packet_id)
            self._out.append(encode(p.Pubrec(packet_id), self.settings.version))

    # --- in ---

    def receive(self, data: bytes, now_s: float) -> None:
        """Bytes came."""
        self._together()
        self._receive(data, now_s)
        self._look()

    def _look(self) -> None:
        """Is it as plain as always?"""
        if not self._in_flight:
            self._in_flight = _NOTHING
        self._plain = self._state == _UP and not (self._exact or self._queue or self._resend or self._decoder.kept)

    def _receive(self, data: bytes, now_s: float) -> None:
        self._heard_s = now_s
        decoder = self._decoder
        if self._state == _UP and not decoder.kept and not self._exact:
            data = self._receive_pubacks(data, now_s)
            if not data:
                return
        elif self._state in (_DOWN, _ENDED):
            return
        try:
            packets = decoder.feed(data)
        except MqttError as error:
            self._close(f"the server sent what is not MQTT: {error}", error.reason_code)
            return
        for packet in packets:
            if self._state == _ENDED:
                return
            self._handle(packet, now_s)
        if decoder.error is not None:
            self._close(f"the server sent what is not MQTT: {decoder.error}", decoder.error.reason_code)

    def lend(self, message: Publish) -> Lent | None:
        """Give away the care for a message, if it is all there is between both sides; None: it is not."""
        if self._lone is not message or not self._plain or not self._writable or self._in_flight or self._requests:
            return None
        identifier = self._lone_id.to_bytes(2, "big")
        behind = self._topic(message.topic) + identifier + self._properties(message.expiry_s)
        taken, nobody_subscribed = b"\x40\x02" + identifier, b"\x40\x03" + identifier + b"\x10"
        acks = (taken, nobody_subscribed) if self._v5 else (taken,)
        first = b"\x33" if message.retain else b"\x32"
        lent = Lent(self._lone_id, self._lone_s, first, behind, self._size_max, acks)
        self._lone, self._lone_id = None, 0
        return lent

    def take_back(self, message: Publish, packet_id: int, sent_at_s: float) -> None:
        """Care for it again, or for its successor under the same packet id, which was written at that moment."""
        self._lone, self._lone_id, self._lone_s = message, packet_id, sent_at_s
        self._said_s = self._heard_s = sent_at_s

    def puback(self, data: bytes, now_s: float) -> Acknowledged | None:
        """What most of the bytes are that come: one PUBACK without properties, and no more. None: it is not that.

        Its event, which `drain` then does not give; for everything else there is `receive`.
        """
        size = len(data)
        if (size != 4 and (size != 5 or not self._v5)) or data[0] != 0x40 or data[1] != size - 2 or not self._plain:
            return None
        packet_id, reason_code = data[2] << 8 | data[3], data[4] if size == 5 else 0  # such as: nobody has subscribed
        if packet_id == self._lone_id and packet_id:
            told: Acknowledged = _new(Acknowledged, (self._lone, self._lone_s, reason_code))
            self._lone, self._lone_id, self._heard_s = None, 0, now_s
            return told
        if packet_id not in self._in_flight:
            return None
        message, sent_at_s, _ = self._in_flight.pop(packet_id)
        if not self._in_flight:
            self._in_flight = _NOTHING
        self._heard_s = now_s
        return _new(Acknowledged, (message, sent_at_s, reason_code))

    def _receive_pubacks(self, data: bytes, now_s: float) -> bytes:
        """The hot path: PUBACKs without properties at the front of a chunk; gives what is left."""
        at = 0
        size = len(data)
        in_flight, events = self._in_flight, self.events
        while size - at >= 4 and data[at] == 0x40:
            length = data[at + 1]
            if length == 2:
                reason_code = 0
            elif length == 3 and self._v5 and size - at >= 5:
                reason_code = data[at + 4]
            else:
                break
            told = in_flight.pop(data[at + 2] << 8 | data[at + 3], None)
            if told is not None:
                events.append(_new(Acknowledged, (told[0], told[1], reason_code)) if reason_code else told)
            at += length + 2
        if at and (self._queue or self._resend):
            self._pump(now_s)
        return data[at:] if at else data

    def _handle(self, packet: p.Packet, now_s: float) -> None:
        if self._state == _CONNECTING:
            if isinstance(packet, p.Connack):
                self._connack(packet, now_s)
            else:
                self._close(f"the server sent {type(packet).__name__.upper()} before CONNACK")
            return
        match packet:
            case p.Publish():
                self._received(packet)
            case p.Puback(packet_id, reason_code):
                if packet_id in self._exact:
                    self._close("the server sent a PUBACK for a message of QoS 2", PROTOCOL_ERROR)
                else:
                    self._done(packet_id, reason_code, now_s)
            case p.Pubrec(packet_id, reason_code):
                self._pubrec(packet_id, reason_code, now_s)
            case p.Pubcomp(packet_id, reason_code):
                if packet_id in self._in_flight and self._exact.get(packet_id) is None:
                    self._close("the server sent a PUBCOMP for a message that it has not received", PROTOCOL_ERROR)
                else:  # one that it does not know any more is one that it has done
                    self._done(packet_id, 0 if reason_code == PACKET_ID_NOT_FOUND else reason_code, now_s)
            case p.Pubrel(packet_id):
                if known := packet_id in self._unreleased:
                    self._unreleased.discard(packet_id)
                unknown = PACKET_ID_NOT_FOUND if self._v5 and not known else 0
                self._out.append(encode(p.Pubcomp(packet_id, unknown), self.settings.version))
            case p.Suback(packet_id, reason_codes):
                self._answered(packet_id, reason_codes, True)
            case p.Unsuback(packet_id, reason_codes):
                self._answered(packet_id, reason_codes, False)
            case p.Pingresp():
                self._ping_s = None
            case p.Disconnect(reason_code, properties):
                self._close(f"DISCONNECT {describe(reason_code)}{_explained(properties)}")
            case _:
                name = type(packet).__name__.upper()
                self._close(f"the server sent {name}, which no client of ours expects", PROTOCOL_ERROR)

    def _done(self, packet_id: int, reason_code: int, now_s: float) -> None:
        """The server has answered a message for the last time."""
        self._not_exact(packet_id)
        told = self._in_flight.pop(packet_id, None)
        if told is not None:
            self.events.append(told._replace(reason_code=reason_code))
            self._pump(now_s)

    def _not_exact(self, packet_id: int) -> None:
        if packet_id in self._exact:
            del self._exact[packet_id]

    def _pubrec(self, packet_id: int, reason_code: int, now_s: float) -> None:
        told = self._in_flight.get(packet_id)
        if told is None:  # of an earlier life: it wants its answer just the same
            unknown = PACKET_ID_NOT_FOUND if self._v5 else 0
            if reason_code < FAILED:
                self._out.append(encode(p.Pubrel(packet_id, unknown), self.settings.version))
        elif packet_id not in self._exact:
            self._close("the server sent a PUBREC for a message of QoS 1", PROTOCOL_ERROR)
        elif reason_code >= FAILED:
            self._done(packet_id, reason_code, now_s)
        else:
            del self._in_flight[packet_id]  # to its end: PUBRELs are repeated in the order of their PUBRECs
            self._release(packet_id, told, now_s)

    def _release(self, packet_id: int, told: Acknowledged, now_s: float) -> None:
        """The server has the message: say that its packet id may be used again."""
        self._in_flight[packet_id] = told
        self._exactly_once(packet_id, now_s)
        self._said_s = now_s
        self._out.append(encode(p.Pubrel(packet_id), self.settings.version))

    def _connack(self, packet: p.Connack, now_s: float) -> None:
        want = self.settings
        if packet.reason_code:
            why = describe_connack(packet.reason_code, want.version)
            self._close(f"CONNACK {why}{_explained(packet.properties)}")
            return
        said = dict(packet.properties)

        def number(name: str, default: int) -> int:
            return int(str(said.get(name, default)))

        self._window = min(want.in_flight_max, number("receive_maximum", 0xFFFF))
        self._keep_alive_s = number("server_keep_alive", want.keep_alive_s)
        self._size_max = number("maximum_packet_size", LENGTH_MAX)
        self._qos_max = number("maximum_qos", 2)
        self._retain_allowed = number("retain_available", 1) == 1
        self.client_id = str(said.get("assigned_client_identifier", self.client_id))
        self._resumable = number("session_expiry_interval", want.session_expiry_s) > 0
        self._state = _UP
        self._started_s = now_s
        self.events.append(Opened(packet.session_present, self.client_id, packet.properties))
        if not packet.session_present:
            self._start_anew()
        self._send_requests(now_s)
        self._pump(now_s)

    def _start_anew(self) -> None:
        """The server knows nothing of the packet ids of the connection before."""
        again: list[tuple[int, Publish, float]] = []
        for packet_id, message, sent_at_s in self._resend:
            if self._exact.get(packet_id) is None:
                again.append((0, message, sent_at_s))
            else:
                self.events.append(Acknowledged(message, sent_at_s, 0))
        self._resend = again
        self._exact, self._unreleased = _NOTHING, _NOBODY

    def _received(self, packet: p.Publish) -> None:
        topic, payload, qos, retain, dup, packet_id, properties = packet
        if qos > 1:
            if self.settings.subscribe_qos < 2:
                self._close("the server sent a PUBLISH at QoS 2, which was not subscribed to", QOS_NOT_SUPPORTED)
                return
            if packet_id in self._unacknowledged:
                return
            if packet_id in self._unreleased:  # it was given already, and only the PUBREC was lost
                self._acknowledge(packet_id, qos)
                return
        if not topic or (properties and any(name == "topic_alias" for name, _ in properties)):
            self._close("the server used a topic alias, though none is allowed", TOPIC_ALIAS_INVALID)
            return
        ack_token = 0
        if qos:
            if self.settings.auto_ack:
                self._acknowledge(packet_id, qos)
            else:
                ack_token = self._connection << 16 | packet_id
                if self._unacknowledged is _NOTHING:
                    self._unacknowledged = {}
                self._unacknowledged[packet_id] = qos
                if self._v5 and len(self._unacknowledged) > self.settings.receive_maximum:
                    self._close(
                        f"the server sent more than {self.settings.receive_maximum} messages unacknowledged",
                        RECEIVE_MAXIMUM_EXCEEDED,
                    )
                    return
        self.events.append(Received(topic, payload, qos, retain, dup, ack_token, properties))

    def _answered(self, packet_id: int, reason_codes: tuple[int, ...], subscribe: bool) -> None:
        filters, asked_subscribe, _ = self._requests.get(packet_id, ((), subscribe, 0.0))
        if packet_id in self._requests:
            del self._requests[packet_id]
            self._requests = self._requests or _NOTHING
        if not subscribe and not reason_codes:
            reason_codes = (0,) * len(filters)  # 3.1.1 says nothing about each
        if asked_subscribe != subscribe or len(filters) != len(reason_codes):
            name = "SUBACK" if subscribe else "UNSUBACK"
            self._close(f"the server sent a {name} that answers nothing we asked", PROTOCOL_ERROR)
            return
        made = Subscribed if subscribe else Unsubscribed
        self.events.extend(made(*pair) for pair in zip(filters, reason_codes, strict=True))

    # --- time ---

    def tick(self, now_s: float) -> None:
        """Keep-alive and time-outs."""
        limit_s = self.settings.answer_timeout_s
        if self._state == _CONNECTING:
            if now_s - self._started_s >= limit_s:
                self._close(f"no CONNACK within {limit_s:g} s")
            return
        if self._state != _UP:
            return
        if self._lone_id or self._in_flight:
            self._together()
            # The oldest is the first; what was sent again counts from the reconnect on.
            packet_id, told = next(iter(self._in_flight.items()))
            released_s = self._exact.get(packet_id)
            since_s = told.sent_at_s if released_s is None else released_s
            if now_s - max(since_s, self._started_s) >= limit_s:
                awaited = "PUBACK" if packet_id not in self._exact else "PUBREC" if released_s is None else "PUBCOMP"
                self._close(f"no {awaited} within {limit_s:g} s")
                return
        if self._requests:
            _, subscribe, asked_s = next(iter(self._requests.values()))
            if now_s - asked_s >= limit_s:
                self._close(f"no {'SUBACK' if subscribe else 'UNSUBACK'} within {limit_s:g} s")
                return
        self._keep_alive(now_s, limit_s)

    def _keep_alive(self, now_s: float, limit_s: float) -> None:
        if self._ping_s is not None:
            if now_s - self._ping_s >= limit_s:
                self._close(f"no PINGRESP within {limit_s:g} s")
        elif self._keep_alive_s and now_s - min(self._said_s, self._heard_s) >= self._keep_alive_s * 0.75:
            # Early, because `tick` comes late; and for silence of either side, so that a device that only
            # speaks at QoS 0 still finds out that nobody listens.
            self._ping_s = self._said_s = now_s
            self._out.append(PINGREQ)


def _explained(properties: Properties) -> str:
    """The server's own words about it, if it has any; bounded, since they go into a log."""
    words = [str(value)[:200] for name, value in properties if name == "reason_string"]
    return f": {words[0]}" if words else ""
