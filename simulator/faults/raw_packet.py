"""The device writes packets that are none: bytes that a broker must answer by ending the connection, and live on.

Over TCP only `garbage` can be written: a gateway skips it up to the next frame.
"""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._fitting import no_connection
from simulator.messages import Raw
from simulator.wire.mqtt.encode import encode
from simulator.wire.mqtt.packets import V311, Connect

GARBAGE_BYTES = 64

Name = Literal[
    "reserved_type", "endless_length", "second_connect", "publish_qos_3", "publish_without_id", "publish_no_topic",
    "publish_wildcard", "publish_bad_utf8", "subscribe_flags", "subscribe_nothing", "subscribe_bad_filter", "connack",
    "truncated", "garbage",
]  # fmt: skip

# Each is wrong in MQTT 3.1.1 and in 5.
PACKETS: dict[str, bytes] = {
    "reserved_type": b"\x00\x00",
    "endless_length": b"\x30\xff\xff\xff\xff\x7f",
    "second_connect": encode(Connect("second", V311)),
    "publish_qos_3": b"\x36\x08\x00\x01t\x00\x07\x00hi",
    "publish_without_id": b"\x32\x08\x00\x01t\x00\x00\x00hi",
    "publish_no_topic": b"\x30\x04\x00\x00\x00x",
    "publish_wildcard": b"\x30\x07\x00\x03a/#\x00x",
    "publish_bad_utf8": b"\x30\x06\x00\x02\xff\xfe\x00x",
    "subscribe_flags": b"\x80\x07\x00\x07\x00\x00\x01t\x00",
    "subscribe_nothing": b"\x82\x02\x00\x07",
    "subscribe_bad_filter": b"\x82\x0b\x00\x07\x00\x00\x05a/#/b\x00",
    "connack": b"\x20\x02\x00\x00",
    "truncated": b"\x30\xc8\x01\x00\x04stop",  # and 194 bytes of what comes next are taken for its end
}


class RawPacket(Fault):
    """Writes `packet`, `every_s`."""

    family: ClassVar[Family] = "protocol"
    example: ClassVar[str] = "{kind: raw_packet, packet: second_connect, every_s: 30}"

    kind: Literal["raw_packet"] = "raw_packet"
    packet: Literal["any"] | Name = Field("any", description="Which; any: each time drawn anew.")
    every_s: float = Field(30.0, ge=0.1, le=86_400, description="Time between two; the first comes at once.")
    times: int | None = Field(None, ge=1, le=1_000_000, description="How many; absent: as long as it lasts.")

    def unfit(self, subject: Subject) -> str | None:
        if why := no_connection(subject):
            return why
        if subject.channel == "tcp" and self.packet != "garbage":
            return "sends frames over tcp, and no packets: there it can only be garbage"
        return None

    def expects(self, subject: Subject) -> Expected:
        if subject.channel == "tcp":
            return Expected("", "the gateway skips and counts what is no frame", "refusal")
        return Expected("", "the broker ends the connection for a packet that is none", "refusal")

    def start(self, body: Body, now_ms: int) -> Active:
        return Writing(self, now_ms)


class Writing(Active):
    __slots__ = ("left",)
    what: RawPacket

    def __init__(self, what: RawPacket, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.left = what.times
        self.wake_at_ms = now_ms

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms = now_ms + int(self.what.every_s * 1000)
        if not body.online or not self.chance(body):
            return []
        if self.left is not None:
            self.left -= 1
            self.over = self.left <= 0
        name: str = self.what.packet
        if name == "any":
            names = [*PACKETS, "garbage"]
            name = names[int(len(names) * self.draw(body, "which"))]
        return [Raw(PACKETS[name] if name in PACKETS else self._garbage(body))]

    def _garbage(self, body: Body) -> bytes:
        return bytes(int(256 * self.draw(body, "byte")) for _ in range(GARBAGE_BYTES))
