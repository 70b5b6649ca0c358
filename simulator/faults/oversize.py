"""Messages are far too large, as when a device sends its log instead of its state.

Over MQTT it is written past the client, which would not say what the broker told it not to, and once (QoS 0): who says
it until it is acknowledged never gets past it, for AWS IoT ends the connection for more than 128 KiB.
"""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Subject
from simulator.faults._fitting import unshaped
from simulator.faults._saying import Hitting, Saying
from simulator.messages import Later, Output, Publish, Raw
from simulator.wire.mqtt.encode import publish_bytes
from simulator.wire.mqtt.fields import topic_name


class Oversize(Saying):
    """Fills messages up to `bytes`."""

    family: ClassVar[Family] = "protocol"
    example: ClassVar[str] = "{kind: oversize, bytes: 140000, probability: 0.1}"

    kind: Literal["oversize"] = "oversize"
    bytes: int = Field(140_000, ge=1024, le=16 * 1024 * 1024, description="Size of the payload.")

    def unfit(self, subject: Subject) -> str | None:
        if subject.channel == "tcp":
            return "sends frames, which have a size of their own over tcp"
        return unshaped(subject)

    def expects(self, subject: Subject) -> Expected:
        return Expected(
            "", "what it says is too large: it is refused, or ends the connection, or is a dead letter", "refusal"
        )

    def start(self, body: Body, now_ms: int) -> Active:
        return Bloated(self, now_ms)


class Bloated(Hitting):
    __slots__ = ()
    what: Oversize

    def hit(self, body: Body, message: Publish, now_ms: int) -> list[Output | Later]:
        payload = filled(message.payload, self.what.bytes)
        if message.topic.startswith("/"):  # a path: it goes over REST
            return [message._replace(payload=payload)]
        return [Raw(publish_bytes(0x30, topic_name(message.topic), 0, b"\x00", payload))]


def filled(payload: bytes, size: int) -> bytes:
    """The payload with so many bytes, still JSON if it was an object."""
    if payload.startswith(b"{") and len(payload) > 2:
        return b'{"padding":"' + b"x" * max(0, size - len(payload) - 13) + b'",' + payload[1:]
    return payload + bytes(max(0, size - len(payload)))
