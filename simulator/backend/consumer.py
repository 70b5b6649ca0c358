"""The platform's ear: an MQTT client with a persistent session.

Rules: a message is acknowledged only after the transaction that holds it was committed, so a crash makes the
broker send it again and loses nothing. Everything that one read of the socket brought is one batch (at most
BATCH_MAX messages), committed when the loop comes round: a busy broker gets large batches, a quiet one gets
its answer at once. A lost connection comes back with backoff; an error of ours ends the process.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import cast

from simulator.backend.config import Mqtt
from simulator.backend.effects import Say
from simulator.backend.pipeline import Pipeline
from simulator.messages import Publish
from simulator.wire.mqtt import Closed, Opened, Received, Session, Settings, Subscribed

FILTERS = (
    "iotlink/+/+/+/+/+/+/+",
    "devices/+/+/telemetry",
    "fire-prediction/device/+/data",
    "$aws/events/jobExecution/+/+",
)
SESSION_EXPIRY_S = 3600
BATCH_MAX = 500
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 30.0
CONNECT_TIMEOUT_S = 10.0

log = logging.getLogger("backend.consumer")


class Consumer(asyncio.Protocol):
    """One connection at a time, reopened until `close`. `fatal` is called with what must end the process."""

    def __init__(
        self,
        config: Mqtt,
        pipeline: Pipeline,
        ready: Callable[[], None],
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._config = config
        self._pipeline = pipeline
        pipeline.core.deaf = True  # until it is subscribed
        self._ready = ready
        self._fatal = fatal
        self._tls = tls_context(config)
        self._session = Session(
            Settings(
                client_id=config.client_id,
                clean_start=False,
                session_expiry_s=SESSION_EXPIRY_S,
                receive_maximum=0xFFFF,  # each read is acknowledged before the next, so few are ever open
                auto_ack=False,
            )
        )
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._acks: list[int] = []
        self._flush_due = False
        self._unsubscribed: set[str] = set()
        self._backoff_s = BACKOFF_FIRST_S
        self._closing = False

    # -- the connection

    def open(self) -> None:
        """Connect, and keep connected."""
        self._connecting = self._loop.create_task(self._connect())
        self._connecting.add_done_callback(self._connect_ended)

    def _connect_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fatal(error)

    async def _connect(self) -> None:
        where = f"{self._config.host}:{self._config.port}"
        while not self._closing:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await self._loop.create_connection(
                        lambda: self,
                        self._config.host,
                        self._config.port,
                        ssl=self._tls,
                        server_hostname=self._config.host if self._tls else None,
                    )
            except (OSError, TimeoutError) as error:
                log.warning("MQTT %s cannot be reached: %s", where, str(error) or "timed out")
                await asyncio.sleep(self._backoff_s)
                self._backoff_s = min(2 * self._backoff_s, BACKOFF_MAX_S)
            else:
                return

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not derive from asyncio's
        self._session.connected(self._loop.time())
        self._write()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._pipeline.core.deaf = True
        self._acks.clear()  # the broker sends them again; what is stored already is then a duplicate
        self._session.lost()
        if not self._closing:
            log.warning("MQTT connection lost: %s", error or "closed by the broker")
            delay_s, self._backoff_s = self._backoff_s, min(2 * self._backoff_s, BACKOFF_MAX_S)
            self._loop.call_later(delay_s, self._reopen)

    def _reopen(self) -> None:
        if not self._closing and self._transport is None:
            self.open()

    def close(self) -> None:
        """Store and acknowledge what came, say goodbye, stay closed. The broker keeps the session."""
        self._closing = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._flush()
            self._session.disconnect()
            self._write()
            self._transport.close()

    def tick(self) -> None:
        """Once a second or so: keep-alive and time-outs."""
        self._session.tick(self._loop.time())
        self._events()

    def say(self, what: Say) -> bool:
        """Publish; False when too much waits already. Without a connection it waits for the next one."""
        taken = self._session.publish(Publish("answer", what.topic, what.payload), self._loop.time())
        self._write()
        return taken

    # -- messages

    def data_received(self, data: bytes) -> None:
        try:
            self._session.receive(data, self._loop.time())
            self._events()
        except Exception as error:  # a bug or a full disk: the process must not go on half alive
            self._fatal(error)

    def _events(self) -> None:
        for event in self._session.drain():
            if isinstance(event, Received):
                self._pipeline.ingest(event.topic, event.payload)
                if event.ack_token:
                    self._acks.append(event.ack_token)
                if len(self._acks) >= BATCH_MAX:
                    self._flush()
                elif not self._flush_due:
                    self._flush_due = True
                    self._loop.call_soon(self._flush_soon)
            elif isinstance(event, Opened):
                self._backoff_s = BACKOFF_FIRST_S
                self._unsubscribed = set(FILTERS)
                self._session.subscribe(FILTERS, self._loop.time())
            elif isinstance(event, Subscribed):
                self._subscribed(event)
            elif isinstance(event, Closed):
                log.warning("MQTT session ended: %s", event.reason)
                self._write()
                if self._transport is not None:
                    self._transport.close()
        self._write()

    def _subscribed(self, event: Subscribed) -> None:
        if event.reason_code >= 0x80:
            raise PermissionError(
                f"the broker refused the subscription to {event.topic_filter} ({event.reason_code:#x})"
            )
        self._unsubscribed.discard(event.topic_filter)
        if not self._unsubscribed:
            self._pipeline.core.listen_anew(self._pipeline.now_ms())
            self._ready()

    def _flush_soon(self) -> None:
        self._flush_due = False
        try:
            self._flush()
        except Exception as error:
            self._fatal(error)

    def _flush(self) -> None:
        """Commit the batch, then acknowledge it."""
        self._pipeline.commit()
        for token in self._acks:
            self._session.ack(token)
        self._acks.clear()
        self._write()

    def _write(self) -> None:
        data = self._session.take()
        if data and self._transport is not None:
            self._transport.write(data)


def tls_context(config: Mqtt) -> ssl.SSLContext | None:
    """TLS as the configuration says; None for plain TCP."""
    if config.ca_file is None and config.cert_file is None:
        return None
    context = ssl.create_default_context(cafile=config.ca_file)
    if config.cert_file is not None:
        context.load_cert_chain(config.cert_file, config.key_file)
    if config.port == 443:
        context.set_alpn_protocols(["x-amzn-mqtt-ca"])  # AWS tells MQTT from HTTPS by this
    return context
