"""MQTT reason codes: their names, and the one error a decoder raises.

Rules: a code is an int on the wire and stays one; names are for people. The return codes of a 3.1.1
CONNACK (1 to 5) have a table of their own because the same numbers mean other things in version 5.
"""

from simulator.wire import ProtocolError

SUCCESS = 0x00
FAILED = 0x80  # from here on a code means that something was refused

MALFORMED_PACKET = 0x81
PROTOCOL_ERROR = 0x82
PACKET_ID_NOT_FOUND = 0x92
RECEIVE_MAXIMUM_EXCEEDED = 0x93
TOPIC_ALIAS_INVALID = 0x94
PACKET_TOO_LARGE = 0x95
RETAIN_NOT_SUPPORTED = 0x9A
QOS_NOT_SUPPORTED = 0x9B

NAMES = {
    0x00: "success",
    0x01: "granted QoS 1",
    0x02: "granted QoS 2",
    0x04: "disconnect with will message",
    0x10: "no matching subscribers",
    0x11: "no subscription existed",
    0x18: "continue authentication",
    0x19: "re-authenticate",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: "unsupported protocol version",
    0x85: "client identifier not valid",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    0x8E: "session taken over",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x92: "packet identifier not found",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}

CONNACK_NAMES_311 = {
    1: "unacceptable protocol version",
    2: "identifier rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorized",
}


class MqttError(ProtocolError):
    """Bytes that are not MQTT; `reason_code` is what a DISCONNECT would say about them."""

    def __init__(self, reason_code: int, text: str) -> None:
        super().__init__(f"{text} (0x{reason_code:02X} {NAMES[reason_code]})")
        self.reason_code = reason_code


def describe(reason_code: int) -> str:
    """`0x87 not authorized`."""
    return f"0x{reason_code:02X} {NAMES.get(reason_code, 'unknown reason code')}"


def describe_connack(reason_code: int, version: int) -> str:
    """Why a connection was refused, in the words of the version that was spoken."""
    if version < 5:
        return f"0x{reason_code:02X} {CONNACK_NAMES_311.get(reason_code, 'unknown return code')}"
    return describe(reason_code)
