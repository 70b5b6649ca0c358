"""The broker's side of one MQTT connection: what goes out, what is owed, what may come in, when it is given up.

Mixed into MiniStack's session class, whose connections write to the socket of each subscriber in turn and wait for
it, keep unlimited messages on their way, and know neither keep-alive nor the sizes of AWS. Rules: nobody waits for
a subscriber. What is said to a client in one turn of the loop is one write. A client that does not read loses
messages of QoS 0, keeps those of QoS 1 in its mailbox, and is cut off when even its acknowledgements pile up.
"""

import asyncio
import logging
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

from simulator.cloud.broker import limits
from simulator.cloud.broker.broker import Broker, requester
from simulator.cloud.broker.mailbox import Mailbox, Message
from simulator.cloud.broker.outbox import Outbox, Transmit
from simulator.cloud.broker.stored_sessions import Key, Sessions, Stored

_OUT_QOS0_MAX = 1024 * 1024  # bytes that wait for the client to read; more, and QoS 0 is dropped
_RESEND_S = 30.0
# Why MQTT 5 clients are told that they must go.
_PROTOCOL_ERROR, _KEEP_ALIVE_TIMEOUT, _QOS_NOT_SUPPORTED = 0x82, 0x8D, 0x9B
_QUOTA_EXCEEDED, _REFUSED_311 = 0x97, 0x80

_LOG = logging.getLogger("fleetsim.cloud")
_writer: ContextVar[asyncio.StreamWriter | None] = ContextVar("writer", default=None)


class Connection:
    """Mixed in before MiniStack's `_WSSession`; `_shared` is set by `install`."""

    _shared: Sessions

    # Of MiniStack's class.
    _client_id: str
    _sub_ids: list[str]
    _sub_filters: dict[str, str]
    _sub_granted_qos: dict[str, int]
    _buffer: bytearray
    _session_expiry_interval: int | None
    _forced_disconnect_reason: str | None
    _session_identifier: str
    _persist_session: bool
    _resume_session: bool
    _cleaned_up: bool
    protocol_version: int
    account_id: str
    region: str
    _policy_allows: Callable[[str, str], bool]
    _close_unauthorized: Callable[[], Awaitable[bool]]
    _publish_lifecycle: Callable[..., Awaitable[None]]

    def __init__(self, send: Transmit, *args: Any) -> None:
        super().__init__(send, *args)  # type: ignore[call-arg]
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(send, _writer.get(), self._does_not_read)
        self._send = self._outbox.transmit
        self._ending: asyncio.Task[None] | None = None
        self._mailbox = Mailbox(limits.IN_FLIGHT_MAX)
        self._connected = False
        self._heard_s = self._loop.time()
        self._silence_max_s = limits.silence_max_s(0)
        self._keep_alive_asked_s = 0
        self._dropped_qos0 = 0

    # -- out ---

    async def send_bytes(self, data: bytes) -> None:
        self._outbox.write(data)

    def _does_not_read(self) -> None:
        _LOG.warning("%r does not read; %d bytes wait for it: cut off", self._client_id, self._outbox.backlog)
        self._end("THROTTLED")

    def _end(self, reason: str, reason_code: int | None = None) -> None:
        """End the connection from this side."""
        if self._ending is not None:
            return
        self._forced_disconnect_reason = self._forced_disconnect_reason or reason
        if reason_code is not None and self.protocol_version == 5:
            self._outbox.write(self._shared.iot._make_disconnect(reason_code))
        self._outbox.cut()
        self._ending = self._loop.create_task(self._close_and_clean_up())

    async def _close_and_clean_up(self) -> None:
        await self._outbox.transmit({"type": "websocket.close", "code": 1000})
        await self.cleanup()

    async def deliver_to_client(self, topic: str, payload: bytes, qos: int) -> None:
        if not self._policy_allows("iot:Receive", f"topic/{topic}"):
            return
        iot = self._shared.iot
        properties, retain = iot._delivery_properties.get(), iot._delivery_retain.get()
        if qos == 0:
            if self._outbox.backlog > _OUT_QOS0_MAX:
                self._dropped_qos0 += 1
            elif not self._outbox.is_cut:
                self._outbox.write(
                    iot._make_publish(topic, payload, 0, retain=retain, properties=self._framed(properties))
                )
            return
        message = Message(topic, payload, properties, retain, time.time())
        mailbox = self._mailbox
        if mailbox.is_open and not self._outbox.is_cut:
            self._post(message)
        elif not mailbox.put(message) and mailbox.dropped == 1:
            _LOG.warning("%r does not acknowledge: its queue is full, messages to it are dropped", self._client_id)

    def _framed(self, properties: bytes) -> bytes | None:
        """The property block of a PUBLISH: 3.1.1 has none, MQTT 5 always one."""
        return (properties or b"\x00") if self.protocol_version == 5 else None

    def _post(self, message: Message, packet_id: int | None = None) -> None:
        packet_id = packet_id or self._mailbox.open(message, self._loop.time())
        self._outbox.write(
            self._shared.iot._make_publish(
                message.topic,
                message.payload,
                1,
                packet_id,
                retain=message.retain,
                properties=self._framed(message.properties),
            )
        )

    def _pump(self) -> None:
        """Send what waits, as far as the window allows."""
        aged = self._shared.iot._aged_properties
        for message in self._mailbox.due():
            properties = aged(message.properties, message.received_s) if message.properties else b""
            if properties is not None:  # else it expired while it waited
                self._post(message._replace(properties=properties))

    async def answered(self, topic: str, payload: bytes) -> None:
        """The answer to a request of this connection, whether it subscribed to it or not."""
        matches = self._shared.iot._subscription_matches
        granted = [
            self._sub_granted_qos.get(found, 0)
            for found, topic_filter in self._sub_filters.items()
            if matches(topic_filter, topic)
        ]
        await self.deliver_to_client(topic, payload, max(granted, default=1))

    # -- in ---

    def _take_packet(self) -> tuple[int, int, bytes] | None:
        """The next whole packet of the buffer: type, flags, body."""
        buffer = self._buffer
        length = shift = 0
        for at in range(1, min(len(buffer), 5)):
            byte = buffer[at]
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                end = at + 1 + length
                if len(buffer) < end:
                    return None
                head, body = buffer[0], bytes(buffer[at + 1 : end])
                del buffer[:end]
                return head >> 4, head & 0x0F, body
            shift += 7
        if len(buffer) >= 5:  # a length of more than four bytes
            buffer.clear()
            return 0, 0, b""  # of a type that is refused
        return None

    async def handle_packet(self, packet_type: int, flags: int, body: bytes) -> bool:
        self._heard_s = self._loop.time()
        if self._outbox.is_cut:
            return False
        goes_on: bool = await super().handle_packet(packet_type, flags, body)  # type: ignore[misc]
        if not goes_on:
            self._outbox.finish()
        return goes_on

    async def _dispatch_packet(self, packet_type: int, flags: int, body: bytes) -> bool:
        iot = self._shared.iot
        if packet_type == iot.PKT_PUBLISH and self._connected:
            return await self._publish(flags, body)
        if packet_type == iot.PKT_PUBACK and self._connected:
            if len(body) >= 2:
                self._mailbox.acknowledge(body[0] << 8 | body[1])
                if self._mailbox:
                    self._pump()
            return True
        if packet_type == iot.PKT_CONNECT and not self._connected:
            return await self._connect(body)
        if not self._connected or packet_type not in (
            iot.PKT_SUBSCRIBE, iot.PKT_UNSUBSCRIBE, iot.PKT_PINGREQ, iot.PKT_DISCONNECT,
        ):  # fmt: skip
            return self._refuse(f"a packet of type {packet_type} out of turn", _PROTOCOL_ERROR)
        if packet_type == iot.PKT_SUBSCRIBE:
            return await self._subscribe(body)
        if packet_type == iot.PKT_UNSUBSCRIBE and len(list(self._filters(body))) > limits.FILTERS_IN_A_PACKET_MAX:
            return self._refuse(f"more than {limits.FILTERS_IN_A_PACKET_MAX} filters in one UNSUBSCRIBE")
        if packet_type == iot.PKT_DISCONNECT and self.protocol_version == 5 and len(body) > 1:
            self._change_expiry(body)
        return bool(await super()._dispatch_packet(packet_type, flags, body))  # type: ignore[misc]

    def _refuse(self, why: str, reason_code: int | None = None) -> bool:
        """End the connection over something the client did; MQTT 5 is told the code."""
        _LOG.warning("%r is disconnected: %s", self._client_id, why)
        self._forced_disconnect_reason = "CLIENT_ERROR"
        if reason_code is not None and self._connected and self.protocol_version == 5:
            self._outbox.write(self._shared.iot._make_disconnect(reason_code))
        return False

    async def _publish(self, flags: int, body: bytes) -> bool:
        size = int.from_bytes(body[:2])
        topic = body[2 : 2 + size]
        if flags & 4:
            # 3.1.1 gets no answer: QoS 2 does not exist here.
            return self.protocol_version != 5 or self._refuse("QoS 2", _QOS_NOT_SUPPORTED)
        if len(body) > limits.PAYLOAD_BYTES_MAX and self._payload_size(flags, body) > limits.PAYLOAD_BYTES_MAX:
            return self._refuse(f"a payload of more than {limits.PAYLOAD_BYTES_MAX} bytes")
        if topic.count(b"/") > limits.SLASHES_MAX and (wrong := limits.topic_wrong(topic.decode())):
            return self._refuse(wrong, 0x90)
        asking = requester.set(self) if b"/jobs/" in topic else None
        try:
            return bool(await super()._dispatch_packet(self._shared.iot.PKT_PUBLISH, flags, body))  # type: ignore[misc]
        finally:
            if asking is not None:
                requester.reset(asking)

    def _payload_size(self, flags: int, body: bytes) -> int:
        offset = 2 + int.from_bytes(body[:2]) + (2 if flags & 6 else 0)
        if self.protocol_version == 5:
            _, offset = self._shared.iot._decode_properties(body, offset)
        return len(body) - offset

    # -- the session ---

    async def _connect(self, body: bytes) -> bool:
        iot = self._shared.iot
        receive_max = self._read_connect(body)
        goes_on = bool(await super()._dispatch_packet(iot.PKT_CONNECT, 0, body))  # type: ignore[misc]
        if not goes_on or not self._client_id:
            return goes_on
        self._connected = True
        self._shared.open.add(self)
        self._shared.start()
        self._silence_max_s = limits.silence_max_s(self._keep_alive_asked_s)
        if self._session_expiry_interval is not None:
            self._session_expiry_interval = limits.session_expiry_s(self._session_expiry_interval)
        stored = self._shared.take(self._key)
        if stored is not None and self._resume_session and stored.session_identifier == self._session_identifier:
            self._resume(stored)
        elif stored is not None:
            self._shared.drop(stored)
        self._mailbox.window = min(receive_max, limits.IN_FLIGHT_MAX)
        self._pump()
        return True

    def _read_connect(self, body: bytes) -> int:
        """Note the keep-alive that is asked for; the client's Receive Maximum."""
        iot = self._shared.iot
        _, offset = iot._read_string(body, 0)
        version, offset = body[offset], offset + 2
        (self._keep_alive_asked_s,) = struct.unpack_from("!H", body, offset)
        if version != 5:
            return limits.IN_FLIGHT_MAX
        properties, _ = iot._decode_properties(body, offset + 2)
        return int(iot._property_value(properties, iot.PROP_RECEIVE_MAXIMUM, limits.IN_FLIGHT_MAX))

    def _connack_properties(self, assigned_client_id: str | None) -> list[tuple[int, object]]:
        iot = self._shared.iot
        properties: list[tuple[int, object]] = super()._connack_properties(assigned_client_id)  # type: ignore[misc]
        properties.append((iot.PROP_RECEIVE_MAXIMUM, limits.IN_FLIGHT_MAX))
        properties.append((iot.PROP_SERVER_KEEP_ALIVE, limits.keep_alive_s(self._keep_alive_asked_s)))
        if self._session_expiry_interval:
            granted = limits.session_expiry_s(self._session_expiry_interval)
            properties.append((iot.PROP_SESSION_EXPIRY_INTERVAL, granted))
        return properties

    @property
    def _key(self) -> Key:
        return self.account_id, self.region, self._client_id

    def _resume(self, stored: Stored) -> None:
        """Go on with a stored session: its subscriptions are heard here from now on."""
        self._mailbox = stored.mailbox
        self._mailbox.keep_only(lambda topic: self._policy_allows("iot:Receive", f"topic/{topic}"))
        for subscription_id, topic_filter in stored.subscriptions.items():
            subscription = self._shared.broker.find(subscription_id)
            if subscription is None:
                continue
            subscription.deliver = self.deliver_to_client
            self._sub_ids.append(subscription_id)
            self._sub_filters[subscription_id] = topic_filter
            self._sub_granted_qos[subscription_id] = subscription.granted_qos
        now_s = self._loop.time()
        for packet_id, message in self._mailbox.unacknowledged(now_s, now_s):
            self._post(message, packet_id)

    def _preserve_session(self) -> None:
        """Keep the session: its subscriptions of QoS 1 fill the mailbox until somebody resumes it."""
        super()._preserve_session()  # type: ignore[misc]
        shared, iot = self._shared, self._shared.iot
        state = iot._persistent_sessions[self._key]
        state.subscriptions = []  # MiniStack would hold each publish against them
        mailbox = self._mailbox
        subscriptions: dict[str, str] = {}

        async def keep(topic: str, payload: bytes, qos: int) -> None:
            if qos and not mailbox.put(
                Message(topic, payload, iot._delivery_properties.get(), iot._delivery_retain.get(), time.time())
            ) and mailbox.dropped == 1:  # fmt: skip
                _LOG.warning("the queue of %r is full: messages to it are dropped", self._client_id)

        for subscription_id, topic_filter in self._sub_filters.items():
            subscription = shared.broker.find(subscription_id)
            if subscription is None:  # taken away when a packet was refused
                subscription = iot._Subscription(
                    f"{self.account_id}/{self.region}/{topic_filter}", self.account_id, self.region, keep,
                    self._sub_granted_qos.get(subscription_id, 1), client_id=self._client_id,
                )  # fmt: skip
                shared.broker.add(subscription)
            subscription.deliver = keep
            subscriptions[subscription.subscription_id] = topic_filter
        self._sub_ids.clear()  # what is left in it is taken from the broker
        expiry_s = limits.SESSION_EXPIRY_MAX_S
        if self._session_expiry_interval is not None:
            expiry_s = self._session_expiry_interval
        shared.store(self._key, Stored(mailbox, subscriptions, state.session_identifier), expiry_s)

    def _change_expiry(self, body: bytes) -> None:
        """A DISCONNECT may set another session expiry, but not keep a session that was to end."""
        iot = self._shared.iot
        properties, _ = iot._decode_properties(body, 1)
        asked_s = iot._property_value(properties, iot.PROP_SESSION_EXPIRY_INTERVAL, None)
        if asked_s is not None and self._persist_session:
            self._session_expiry_interval = limits.session_expiry_s(int(asked_s))
            self._persist_session = self._session_expiry_interval > 0

    async def cleanup(self) -> None:
        if not self._cleaned_up:
            self._shared.open.discard(self)
            if self._dropped_qos0:
                _LOG.warning("%r lost %d messages of QoS 0: it did not read", self._client_id, self._dropped_qos0)
        await super().cleanup()  # type: ignore[misc]

    def tick(self, now_s: float) -> None:
        """Once a second: silence, and acknowledgements that did not come."""
        if now_s - self._heard_s > self._silence_max_s:
            _LOG.info("%r was silent for %.0f s", self._client_id, now_s - self._heard_s)
            self._end("MQTT_KEEP_ALIVE_TIMEOUT", _KEEP_ALIVE_TIMEOUT)
            return
        if self._mailbox.in_flight:
            for packet_id, message in self._mailbox.unacknowledged(now_s - _RESEND_S, now_s):
                self._post(message, packet_id)

    # -- subscriptions ---

    def _filters(self, body: bytes) -> Iterator[str]:
        """Of an UNSUBSCRIBE."""
        iot = self._shared.iot
        offset = 2
        if self.protocol_version == 5:
            _, offset = iot._decode_properties(body, offset)
        while offset < len(body):
            topic_filter, offset = iot._read_string(body, offset)
            yield topic_filter

    async def _subscribe(self, body: bytes) -> bool:
        iot, is_v5 = self._shared.iot, self.protocol_version == 5
        wanted: list[tuple[str, int]] = []  # filter, options
        offset = 2
        if is_v5:
            _, offset = iot._decode_properties(body, offset)
        while offset < len(body):
            topic_filter, offset = iot._read_string(body, offset)
            wanted.append((topic_filter, body[offset]))  # IndexError: malformed
            offset += 1
        if not 0 < len(wanted) <= limits.FILTERS_IN_A_PACKET_MAX:
            return self._refuse(f"a SUBSCRIBE has 1 to {limits.FILTERS_IN_A_PACKET_MAX} filters, not {len(wanted)}")
        if any(options & iot.SUB_OPT_QOS_MASK > 1 for _, options in wanted):
            return not is_v5 or self._refuse("QoS 2", _QOS_NOT_SUPPORTED)  # 3.1.1 gets no answer
        codes: list[int] = []
        granted: list[str] = []
        for topic_filter, options in wanted:
            why = limits.filter_wrong(topic_filter)
            if why or not iot._reserved_filter_subscribe_allowed(topic_filter):
                if not is_v5:
                    return self._refuse(f"{topic_filter!r}: {why or 'a reserved filter'}")
                codes.append(iot.RC5_TOPIC_FILTER_INVALID)
            elif not self._policy_allows("iot:Subscribe", f"topicfilter/{topic_filter}"):
                _LOG.warning("%r may not subscribe to %r", self._client_id, topic_filter)
                if not is_v5:
                    return bool(await self._close_unauthorized())
                codes.append(iot.RC5_NOT_AUTHORIZED)
            elif len(self._sub_filters) >= limits.SUBSCRIPTIONS_MAX and topic_filter not in self._sub_filters.values():
                codes.append(_QUOTA_EXCEEDED if is_v5 else _REFUSED_311)
            else:
                codes.append(await self._listen(topic_filter, options))
                granted.append(topic_filter)
        self._outbox.write(iot._make_suback(int.from_bytes(body[:2]), codes, protocol_version=self.protocol_version))
        if granted:
            await self._publish_lifecycle("subscribed", topics=granted)
        return True

    async def _listen(self, topic_filter: str, options: int) -> int:
        """Subscribe, in the place of an earlier subscription to the same filter; the granted QoS."""
        iot = self._shared.iot
        earlier = [found for found, known in self._sub_filters.items() if known == topic_filter]
        qos: int = options & iot.SUB_OPT_QOS_MASK
        subscription_id = await iot.broker_subscribe(
            self.account_id,
            self.region,
            topic_filter,
            self.deliver_to_client,
            qos,
            client_id=self._client_id,
            retain_as_published=bool(options & iot.SUB_OPT_RETAIN_AS_PUBLISHED),
            retain_handling=options >> iot.SUB_OPT_RETAIN_HANDLING_SHIFT & iot.SUB_OPT_RETAIN_HANDLING_MASK,
        )
        self._sub_ids.append(subscription_id)
        self._sub_filters[subscription_id] = topic_filter
        self._sub_granted_qos[subscription_id] = qos
        for found in earlier:
            self._shared.broker.remove(found)
            self._sub_ids.remove(found)
            del self._sub_filters[found], self._sub_granted_qos[found]
        return qos


def install(iot: Any, broker: Broker) -> Sessions:
    """Let MiniStack's module `services.iot` make such connections."""
    shared = Sessions(iot, broker)
    iot._WSSession = type("Connection", (Connection, iot._WSSession), {"_shared": shared})
    serve = iot._mtls_handle_conn

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        token = _writer.set(writer)
        try:
            await serve(reader, writer)
        finally:
            _writer.reset(token)

    iot._mtls_handle_conn = handle
    return shared
