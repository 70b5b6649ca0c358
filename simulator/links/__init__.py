"""Links: one device's way to the backend.

A link owns a connection and what its protocol keeps about it (packet ids, the in-flight window, resending,
keep-alive, reconnecting with backoff). It knows no behaviour, no profile and no fault: it carries
`Publish` values one way and calls its `Sink` the other way, always from the event loop, never from inside
`open`, `send` or `subscribe`.

To add one, copy the smallest file here, name the file as the kind and the class as the file.

Rules: no task and no future for each message; one shared `tick` a second instead of a timer for each
device; every queue has a bound, and what does not fit is refused by `send`, so the caller counts it: of an outage
that is too long the device keeps the beginning. (A hub keeps the end of what its children say: behaviours/hub.py.)
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from simulator.messages import Piece, Publish, Turn


class TlsFiles(NamedTuple):
    """PEM files of a mutual TLS client; without `cert_file` the client is anonymous."""

    ca_file: Path
    cert_file: Path | None = None
    key_file: Path | None = None


class Endpoint(NamedTuple):
    """Where one device connects, and as whom."""

    host: str
    port: int
    client_id: str
    tls: TlsFiles | None = None
    mqtt_version: Literal["3.1.1", "5"] = "5"
    keep_alive_s: int = 60
    clean_start: bool = True
    session_expiry_s: int = 0
    connect_timeout_s: float = 10.0
    ack_timeout_s: float = 10.0
    in_flight_max: int = 10
    queue_max: int = 1000
    backoff_first_s: float = 0.25
    backoff_max_s: float = 30.0
    jitter_key: int = 0  # seeds the jitter of the backoff, so that a run can be repeated
    will: Publish | None = None
    username: str | None = None
    password: bytes | None = None
    subscribe_qos: int = 1
    # MQTT over WebSocket: called for every attempt, since a signature in it expires. The connection goes to
    # `host` and `port`, with or without TLS as `tls` says; host, path and query of the URL are what is asked for.
    websocket: Callable[[], str] | None = None
    source: str | None = None  # the local address to connect from; None: any


class Sink(Protocol):
    """Who hears what a link has to say: the runtime, on behalf of one device."""

    def connected(self, session_present: bool) -> None:
        """CONNACK came and was good."""

    def disconnected(self, reason: str) -> None:
        """The connection is gone, or could not be made; the link tries again by itself unless it was closed."""

    def received(self, topic: str, payload: bytes) -> None:
        """A message for the device."""

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        """The far side took the message (or, with a reason code ≥ 0x80, refused it).

        `sent_at_s` is the loop's monotonic time at which it was first written. At QoS 0 this is called
        as soon as the bytes were handed to the transport.
        """


class Network(Protocol):
    """What is between a device and the backend, where there is something wrong with it."""

    def carry(self, data: bytes, up: bool) -> list[Piece]:
        """What becomes of bytes on the connection; nothing: they get lost, and the connection does not notice.

        No bytes at all stand for its end (FIN or RST), which may be held up or get lost, too.
        """

    def reach(self) -> str | None:
        """Why a connection cannot be made now; None when it can."""


class Turns(NamedTuple):
    """What all that take turns share."""

    answered: Callable[[tuple[int, int, float]], object]  # subject, stamp, and when
    said: Callable[[tuple[int, int, float]], object]
    timed: Callable[[tuple[int, float, float]], object]  # of an answered message: bytes, when sent, when answered
    zero_ms: float  # since the Unix epoch, at second 0 of the monotonic clock


class Taker(Protocol):
    """Whose turns they are."""

    subject: int  # of what it says, as the audit knows it

    def renewed(self, now_ms: int) -> Turn | None:
        """What is said from now on, when `until_ms` has come; None: it has to be asked each time."""

    def turned(self, said_ms: int) -> None:
        """That is over: the last message was said then."""


class Link(Protocol):
    """One device's connection."""

    @property
    def waiting(self) -> int:
        """How many messages were taken and are not on their way yet."""

    def open(self) -> None:
        """Start to connect, and keep the connection up until `close`."""

    def send(self, message: Publish) -> bool:
        """Queue a message; False when the queue is full and the message was not taken."""

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Subscribe, now or as soon as the link is up; not remembered over a reconnect."""

    def close(self) -> None:
        """Say goodbye (DISCONNECT) and stay closed."""

    def sever(self) -> None:
        """Cut the connection without a goodbye, until `open`. What was queued or unacknowledged is kept."""

    def shape(self, network: Network) -> None:
        """From now on let everything go through this network: this connection, and every later one."""

    def raw(self, data: bytes) -> None:
        """Write these bytes as they are, if there is a connection to write them on."""

    def tick(self, now_s: float) -> None:
        """Once a second or so: keep-alive, acknowledgement time-outs."""
