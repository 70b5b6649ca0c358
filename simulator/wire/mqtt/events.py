"""What a session is told at its start, and what it tells later: values only."""

from typing import NamedTuple

from simulator.messages import Publish
from simulator.wire.mqtt import packets as p
from simulator.wire.mqtt.decode import PACKET_SIZE_MAX
from simulator.wire.mqtt.properties import Properties


class Settings(NamedTuple):
    """Who connects, and what it asks for."""

    client_id: str
    version: p.Version = p.V5
    keep_alive_s: int = 60
    # Only the first CONNECT of a session with an expiry is clean: later ones want to resume it.
    clean_start: bool = True
    session_expiry_s: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Publish | None = None
    answer_timeout_s: float = 10.0  # for CONNACK, PUBACK, SUBACK, UNSUBACK and PINGRESP
    in_flight_max: int = 10
    queue_max: int = 1000
    receive_maximum: int = 100
    packet_size_max: int = PACKET_SIZE_MAX
    auto_ack: bool = True  # False: a PUBACK or PUBREC goes out only when `ack` is called
    subscribe_qos: int = 1  # of all subscriptions


class Opened(NamedTuple):
    """CONNACK came and was good."""

    session_present: bool
    client_id: str  # the server's choice when ours was empty
    properties: Properties


class Closed(NamedTuple):
    """The connection must end, and why."""

    reason: str


class Received(NamedTuple):
    """A message came. `ack_token` is for `ack`, and 0 when there is nothing to acknowledge."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    ack_token: int
    properties: Properties


class Acknowledged(NamedTuple):
    """A message left at QoS 0, was taken at QoS 1 or 2, or was refused (a reason code of 0x80 or more)."""

    message: Publish
    sent_at_s: float
    reason_code: int


class Lent(NamedTuple):
    """A message at QoS 1 that is in flight, and that somebody else cares for from now on."""

    packet_id: int
    sent_at_s: float
    # The packet is its first byte, the length of what follows, this, and the payload.
    first: bytes
    behind: bytes
    size_max: int  # of a packet, as the server wants it
    acks: tuple[bytes, ...]  # the packets that say that it was taken


class Subscribed(NamedTuple):
    """What the server said about one topic filter; 0x80 or more is a refusal."""

    topic_filter: str
    reason_code: int


class Unsubscribed(NamedTuple):
    """What the server said about one topic filter."""

    topic_filter: str
    reason_code: int


Event = Opened | Closed | Received | Acknowledged | Subscribed | Unsubscribed
