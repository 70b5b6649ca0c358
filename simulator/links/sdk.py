"""MQTT 5 by AWS's own device client (awscrt): proof that the `mqtt` link says the same.

Rules: awscrt is imported with the first link made, not with this module, because it is large. Its callbacks
come on threads of its own and only hand over to the loop; nothing here waits for a future. Its threads do
not live through a fork. What is in flight or waits is kept here, not in awscrt, so a lost connection gives
it back at once; it is then sent again as new. It knows QoS 0 and 1, and no WebSocket. Reconnecting is
awscrt's own, and so is its jitter: a run with this link cannot be repeated to the millisecond.
"""

import asyncio
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import cache, lru_cache, partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from simulator.errors import UsageError
from simulator.links import Endpoint, Network, Sink, TlsFiles
from simulator.messages import Publish
from simulator.seeds import fraction
from simulator.wire.mqtt import describe
from simulator.wire.mqtt.fields import topic_name
from simulator.wire.mqtt.reasons import FAILED
from simulator.wire.mqtt.session import FILTERS_IN_A_PACKET

if TYPE_CHECKING:
    from awscrt import io, mqtt5

CONTEXTS_CACHED = 4096
CLOSED, SEVERED = "closed", "severed"


class Sdk:
    """One device's MQTT connection over awscrt."""

    __slots__ = (
        "_attempts",
        "_client",
        "_down_reason",
        "_endpoint",
        "_in_flight",
        "_loop",
        "_network",
        "_queue",
        "_retry",
        "_sequence",
        "_sink",
        "_up",
        "_waiting",
        "_wanted",
    )

    def __init__(self, endpoint: Endpoint, sink: Sink, loop: asyncio.AbstractEventLoop) -> None:
        if endpoint.mqtt_version != "5":
            raise UsageError(f"the sdk link speaks MQTT 5, not {endpoint.mqtt_version}: use link mqtt")
        if endpoint.websocket is not None:
            raise UsageError("the sdk link speaks no WebSocket: use link mqtt")
        self._endpoint = endpoint
        self._sink = sink
        self._loop = loop
        self._network: Network | None = None
        self._attempts = 0  # that the network did not let through
        self._client: mqtt5.Client | None = None
        self._queue: deque[tuple[int, Publish, float]] = deque()  # when first written, 0 for never
        self._in_flight: dict[int, tuple[Publish, float]] = {}  # by sequence number
        self._sequence = 0
        self._waiting: deque[tuple[str, ...]] = deque()  # filters, for the connection
        self._retry: asyncio.TimerHandle | None = None
        self._down_reason = ""  # why we end the connection
        self._wanted = False
        self._up = False

    # --- the Link ---

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def open(self) -> None:
        if not self._wanted:
            self._wanted = True
            self._attempts = 0
            if not self._down_reason:  # awscrt would let a start undo a stop that is still under way
                self._start()

    def send(self, message: Publish) -> bool:
        topic_name(message.topic)  # awscrt would find out only after the connection was up
        if message.qos > 1:
            raise ValueError(f"QoS 0 and 1 are supported, not {message.qos}")
        if len(self._queue) >= self._endpoint.queue_max:
            return False
        self._sequence += 1
        self._queue.append((self._sequence, message, 0.0))
        self._pump()
        return True

    def subscribe(self, filters: tuple[str, ...]) -> None:
        for start in range(0, len(filters), FILTERS_IN_A_PACKET):
            self._waiting.append(filters[start : start + FILTERS_IN_A_PACKET])
        if self._up:
            self._subscribe()

    def close(self) -> None:
        from awscrt import mqtt5

        self._stop(CLOSED, mqtt5.DisconnectPacket())

    def sever(self) -> None:
        self._stop(SEVERED, None)

    def shape(self, network: Network) -> None:
        """awscrt has the socket to itself, so only `reach` is asked, before it is told to connect."""
        self._network = network

    def raw(self, data: bytes) -> None:
        """There is nothing to write on: awscrt has the socket to itself."""

    def tick(self, now_s: float) -> None:
        """Nothing: awscrt keeps the time itself."""

    # --- out ---

    def _pump(self) -> None:
        from awscrt import mqtt5

        client = self._client
        while client and self._up and self._queue and len(self._in_flight) < self._endpoint.in_flight_max:
            number, message, sent_at_s = self._queue.popleft()
            sent_at_s = sent_at_s or monotonic()
            self._in_flight[number] = (message, sent_at_s)
            packet = mqtt5.PublishPacket(
                payload=message.payload,
                qos=mqtt5.QoS(message.qos),
                retain=message.retain,
                topic=message.topic,
                message_expiry_interval_sec=message.expiry_s,
            )
            client.publish(packet).add_done_callback(partial(self._hand_over, self._published, number))

    def _published(self, number: int, future: "Future[Any]") -> None:
        entry = self._in_flight.pop(number, None)
        if entry is None:
            return  # given back when the connection was lost
        message, sent_at_s = entry
        error = future.exception(0)
        if error is None:
            puback = future.result(0).puback
            self._sink.acknowledged(message, sent_at_s, int(puback.reason_code or 0) if message.qos else 0)
            self._pump()
            return
        self._give_back([(number, message, sent_at_s)])
        self._end(f"no PUBACK: {error}")

    def _give_back(self, entries: list[tuple[int, Publish, float]]) -> None:
        """Unacknowledged messages wait again, in the order in which they were sent."""
        self._queue = deque(sorted([*entries, *self._queue]))

    def _subscribe(self) -> None:
        from awscrt import mqtt5

        qos = mqtt5.QoS(min(self._endpoint.subscribe_qos, 1))
        while self._waiting and self._client is not None:
            filters = self._waiting.popleft()
            subscriptions = [mqtt5.Subscription(topic_filter=name, qos=qos) for name in filters]
            future = self._client.subscribe(mqtt5.SubscribePacket(subscriptions=subscriptions))
            future.add_done_callback(partial(self._hand_over, self._subscribed, filters))

    def _subscribed(self, filters: tuple[str, ...], future: "Future[Any]") -> None:
        error = future.exception(0)
        if error is not None:
            self._end(f"no SUBACK: {error}")
            return
        for topic_filter, reason_code in zip(filters, future.result(0).reason_codes, strict=False):
            if int(reason_code) >= FAILED:
                self._end(f"SUBSCRIBE '{topic_filter}' refused: {describe(int(reason_code))}")

    # --- the connection ---

    def _start(self) -> None:
        self._retry = None
        if self._network is not None and (why := self._network.reach()):
            self._loop.call_soon(self._sink.disconnected, why)
            at = self._endpoint
            delay_s = min(at.backoff_max_s, at.backoff_first_s * 2.0 ** min(self._attempts, 32))
            delay_s *= 0.5 + 0.5 * fraction(at.jitter_key, "backoff", at.client_id, self._attempts)
            self._attempts += 1
            self._retry = self._loop.call_later(delay_s, self._start)
            return
        try:
            if self._client is None:
                self._client = self._make()
            self._client.start()
        except Exception as error:  # awscrt raises Exception itself for a file that it cannot use
            self._loop.call_soon(self._sink.disconnected, f"TLS: {error}")
            self._retry = self._loop.call_later(self._endpoint.backoff_max_s, self._start)

    def _stop(self, reason: str, goodbye: "mqtt5.DisconnectPacket | None") -> None:
        if not self._wanted:
            return
        self._wanted = False
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        elif self._client is not None:
            self._down_reason = reason
            self._client.stop(goodbye)

    def _end(self, reason: str) -> None:
        """Give this connection up, and try again."""
        if self._up and self._wanted and not self._down_reason and self._client is not None:
            self._down_reason = reason
            self._client.stop()

    def _make(self) -> "mqtt5.Client":
        from awscrt import io, mqtt5

        at = self._endpoint
        behaviour = mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS
        if at.clean_start:
            resumable = at.session_expiry_s > 0
            kinds = mqtt5.ClientSessionBehaviorType
            behaviour = kinds.REJOIN_POST_SUCCESS if resumable else kinds.CLEAN
        will = None
        if at.will is not None:
            will = mqtt5.PublishPacket(
                payload=at.will.payload,
                qos=mqtt5.QoS(at.will.qos),
                retain=at.will.retain,
                topic=at.will.topic,
                message_expiry_interval_sec=at.will.expiry_s,
            )
        sockets = io.SocketOptions()
        sockets.connect_timeout_ms = int(at.connect_timeout_s * 1000)
        ping_timeout_s = min(at.ack_timeout_s, at.keep_alive_s / 2) if at.keep_alive_s else at.ack_timeout_s
        return mqtt5.Client(
            mqtt5.ClientOptions(
                host_name=at.host,
                port=at.port,
                bootstrap=_bootstrap(),
                socket_options=sockets,
                tls_ctx=None if at.tls is None else _tls_context(at.tls),
                connect_options=mqtt5.ConnectPacket(
                    client_id=at.client_id,
                    keep_alive_interval_sec=at.keep_alive_s,
                    session_expiry_interval_sec=at.session_expiry_s or None,
                    username=at.username,
                    password=at.password,
                    will=will,
                ),
                session_behavior=behaviour,
                offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
                min_reconnect_delay_ms=int(at.backoff_first_s * 1000),
                max_reconnect_delay_ms=int(at.backoff_max_s * 1000),
                ping_timeout_ms=int(ping_timeout_s * 1000),
                connack_timeout_ms=int(at.connect_timeout_s * 1000),
                ack_timeout_sec=max(1, int(at.ack_timeout_s)),
                disable_metrics=True,  # they would go into the user name
                on_publish_callback_fn=partial(self._hand_over, self._received),
                on_lifecycle_event_connection_success_fn=partial(self._hand_over, self._connected),
                on_lifecycle_event_connection_failure_fn=partial(self._hand_over, self._failed),
                on_lifecycle_event_disconnection_fn=partial(self._hand_over, self._disconnected),
                on_lifecycle_event_stopped_fn=partial(self._hand_over, self._stopped),
            )
        )

    def _hand_over(self, callback: Any, *arguments: Any) -> None:
        """On a thread of awscrt: go on in the loop, unless the loop has ended before us."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _received(self, data: "mqtt5.PublishReceivedData") -> None:
        packet = data.publish_packet
        self._sink.received(packet.topic, bytes(packet.payload or b""))

    def _connected(self, data: "mqtt5.LifecycleConnectSuccessData") -> None:
        self._up = True
        self._sink.connected(bool(data.connack_packet.session_present))
        self._subscribe()
        self._pump()

    def _failed(self, data: "mqtt5.LifecycleConnectFailureData") -> None:
        self._down(data.connack_packet and f"CONNACK {describe(int(data.connack_packet.reason_code))}", data.exception)

    def _disconnected(self, data: "mqtt5.LifecycleDisconnectData") -> None:
        packet = data.disconnect_packet
        self._down(packet and f"DISCONNECT {describe(int(packet.reason_code))}", data.exception)

    def _down(self, said: str | None, error: BaseException) -> None:
        self._up = False
        self._give_back([(number, *entry) for number, entry in self._in_flight.items()])
        self._in_flight.clear()
        self._sink.disconnected(self._down_reason or said or _why(error, self._endpoint))

    def _stopped(self, data: object) -> None:
        """awscrt has stopped: by the owner's wish, or because we gave the connection up."""
        given_up = self._down_reason not in (CLOSED, SEVERED)
        self._down_reason = ""
        if self._wanted and self._retry is None:
            delay_s = self._endpoint.backoff_first_s if given_up else 0.0
            self._retry = self._loop.call_later(delay_s, self._start)


def _why(error: BaseException, at: Endpoint) -> str:
    """awscrt's error in the words of the other links."""
    name = getattr(error, "name", "")
    where = f"{at.host}:{at.port}"
    if name == "AWS_IO_SOCKET_CONNECTION_REFUSED" or isinstance(error, ConnectionRefusedError):
        return f"connect to {where} refused"
    if "TIMEOUT" in name:
        return f"connect to {where} timed out after {at.connect_timeout_s:g} s"
    if "TLS" in name:
        return f"TLS: {getattr(error, 'message', error)}"
    if name in ("AWS_ERROR_MQTT_UNEXPECTED_HANGUP", "AWS_IO_SOCKET_CLOSED"):
        return "the server closed the connection"
    return f"connection to {where}: {error}"


@cache
def _bootstrap() -> "io.ClientBootstrap":
    """One event loop group for all links of the process."""
    from awscrt import io

    group = io.EventLoopGroup(1)
    return io.ClientBootstrap(group, io.DefaultHostResolver(group))


@lru_cache(CONTEXTS_CACHED)
def _tls_context(files: TlsFiles) -> "io.ClientTlsContext":
    from awscrt import io

    for file in files:
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"{file}: no such file")
    if files.cert_file is None:
        options = io.TlsContextOptions()
    else:
        key_file = files.key_file or files.cert_file
        options = io.TlsContextOptions.create_client_with_mtls_from_path(str(files.cert_file), str(key_file))
    options.override_default_trust_store_from_path(None, str(files.ca_file))
    return io.ClientTlsContext(options)
