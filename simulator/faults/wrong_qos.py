"""The device says it at another quality of service than agreed: one that loses it, or one that there is not.

0: what the broker does not get nobody says again. 2: MQTT has it, AWS IoT has not: there the device's own client
refuses it, as the broker told it to. 3: MQTT has it not either, so the packet is malformed and the connection ends;
the message is lost.
"""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Subject
from simulator.faults._fitting import no_mqtt, unshaped
from simulator.faults._saying import Hitting, Saying
from simulator.messages import Later, Output, Publish, Raw
from simulator.wire.mqtt.encode import publish_bytes
from simulator.wire.mqtt.fields import topic_name

PACKET_ID = 0xFFFF  # far from those in use


class WrongQos(Saying):
    """Publishes at `qos`."""

    family: ClassVar[Family] = "protocol"
    example: ClassVar[str] = "{kind: wrong_qos, qos: 3, probability: 0.05}"

    kind: Literal["wrong_qos"] = "wrong_qos"
    qos: Literal[0, 1, 2, 3] = Field(2, description="At which it is said.")

    def unfit(self, subject: Subject) -> str | None:
        if why := no_mqtt(subject):
            return why
        return unshaped(subject) if self.qos >= 2 else None

    def expects(self, subject: Subject) -> Expected:
        match self.qos:
            case 0:
                return Expected("", "what it says is not acknowledged, and mostly comes", "nothing")
            case 2:
                return Expected("", "a broker without QoS 2 refuses what it says", "refusal")
            case 3:
                return Expected("", "the broker ends the connection for a packet that is none", "refusal")
        return Expected("", "what it says is acknowledged", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Unfitting(self, now_ms)


class Unfitting(Hitting):
    __slots__ = ()
    what: WrongQos

    def hit(self, body: Body, message: Publish, now_ms: int) -> list[Output | Later] | None:
        if self.what.qos == message.qos:
            return None
        if self.what.qos == 3:
            return [Raw(publish_bytes(0x36, topic_name(message.topic), PACKET_ID, b"\x00", message.payload))]
        return [message._replace(qos=self.what.qos)]
