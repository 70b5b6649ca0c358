"""MQTT 3.1.1 and 5 without I/O: packets, their bytes, and the session of one client.

    reasons → fields → properties → packets → encode, decode → events → session

Rules: QoS 0, 1 and 2; 0 and 1 are the hot path. Topic aliases are announced as 0 and never used.
"""

from simulator.wire.mqtt.decode import Decoder
from simulator.wire.mqtt.encode import encode
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
from simulator.wire.mqtt.reasons import MqttError, describe
from simulator.wire.mqtt.session import Session

__all__ = [
    "Acknowledged",
    "Closed",
    "Decoder",
    "Event",
    "Lent",
    "MqttError",
    "Opened",
    "Received",
    "Session",
    "Settings",
    "Subscribed",
    "Unsubscribed",
    "describe",
    "encode",
]
