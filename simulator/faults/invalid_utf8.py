"""Text that is no UTF-8: in the payload, which then is no JSON, or in the topic, which MQTT does not allow.

With a topic that is none the packet is malformed and the connection ends; the message is lost.
"""

from typing import ClassVar, Literal

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Subject
from simulator.faults._fitting import no_json, no_mqtt, unshaped
from simulator.faults._saying import Hitting, Saying
from simulator.messages import Later, Output, Publish, Raw
from simulator.wire.mqtt.encode import publish_bytes
from simulator.wire.mqtt.fields import topic_name

PACKET_ID = 0xFFFF  # far from those in use
# A byte that is never in UTF-8, a continuation without a start, a start without an end, half a surrogate pair.
WRONG = (b"\xff", b"\x80", b"\xc3\x28", b"\xed\xa0\x80")


class InvalidUtf8(Saying):
    """Puts bytes that are no text into the payload or the topic, `where`."""

    family: ClassVar[Family] = "protocol"
    example: ClassVar[str] = "{kind: invalid_utf8, where: payload, probability: 0.2}"

    kind: Literal["invalid_utf8"] = "invalid_utf8"
    where: Literal["payload", "topic"] = "payload"

    def unfit(self, subject: Subject) -> str | None:
        if self.where == "payload":
            return no_json(subject)
        return no_mqtt(subject) or unshaped(subject)

    def expects(self, subject: Subject) -> Expected:
        if self.where == "topic":
            return Expected("", "the broker ends the connection for a topic that is no text", "refusal")
        return Expected("", "what it says is no text, and is refused or kept as a dead letter", "refusal")

    def start(self, body: Body, now_ms: int) -> Active:
        return Garbled(self, now_ms)


class Garbled(Hitting):
    __slots__ = ()
    what: InvalidUtf8

    def hit(self, body: Body, message: Publish, now_ms: int) -> list[Output | Later] | None:
        wrong = WRONG[int(len(WRONG) * self.draw(body, "which"))]
        if self.what.where == "payload":
            text, quote, rest = message.payload.partition(b'"')
            return [message._replace(payload=text + quote + wrong + rest)] if quote else None
        field = topic_name(message.topic)[2:] + wrong
        field = len(field).to_bytes(2, "big") + field
        return [Raw(publish_bytes(0x32, field, PACKET_ID, b"\x00", message.payload))]
