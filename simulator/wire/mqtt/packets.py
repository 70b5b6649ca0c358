"""MQTT's control packets as tuples, for 3.1.1 and 5 alike, for the client's side and the server's.

Rules: values only. `version` is the protocol level: 4 for 3.1.1, 5 for 5. What only version 5 has (reason
codes but for CONNACK's and SUBACK's, properties, subscription options) keeps its default in 3.1.1.
"""

from typing import Final, Literal, NamedTuple

from simulator.wire.mqtt.properties import Properties

V311: Final = 4
V5: Final = 5
Version = Literal[4, 5]


class Will(NamedTuple):
    """What the server publishes when the connection ends without a DISCONNECT."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = ()


class Connect(NamedTuple):
    client_id: str
    version: Version = V5
    clean_start: bool = True
    keep_alive_s: int = 60
    properties: Properties = ()
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None


class Connack(NamedTuple):
    session_present: bool = False
    reason_code: int = 0
    properties: Properties = ()


class Publish(NamedTuple):
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0  # 0 at QoS 0
    properties: Properties = ()


class Puback(NamedTuple):
    packet_id: int
    reason_code: int = 0
    properties: Properties = ()


class Pubrec(NamedTuple):
    packet_id: int
    reason_code: int = 0
    properties: Properties = ()


class Pubrel(NamedTuple):
    packet_id: int
    reason_code: int = 0
    properties: Properties = ()


class Pubcomp(NamedTuple):
    packet_id: int
    reason_code: int = 0
    properties: Properties = ()


class Subscription(NamedTuple):
    """A topic filter of a SUBSCRIBE and its options."""

    topic_filter: str
    qos: int = 1
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


class Subscribe(NamedTuple):
    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: Properties = ()


class Suback(NamedTuple):
    packet_id: int
    reason_codes: tuple[int, ...]
    properties: Properties = ()


class Unsubscribe(NamedTuple):
    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = ()


class Unsuback(NamedTuple):
    packet_id: int
    reason_codes: tuple[int, ...] = ()  # 3.1.1 has none
    properties: Properties = ()


class Pingreq(NamedTuple):
    pass


class Pingresp(NamedTuple):
    pass


class Disconnect(NamedTuple):
    reason_code: int = 0
    properties: Properties = ()


class Auth(NamedTuple):
    reason_code: int = 0
    properties: Properties = ()


Packet = (
    Connect
    | Connack
    | Publish
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
    | Auth
)
