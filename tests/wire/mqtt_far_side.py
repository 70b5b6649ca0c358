"""The far side of an MQTT session: a scripted server in virtual time."""

import pytest

from simulator.messages import Publish
from simulator.wire.mqtt import Closed, Decoder, Opened, Session, Settings, encode
from simulator.wire.mqtt import packets as p


def message(text: str = "hi", qos: int = 1, retain: bool = False) -> Publish:
    return Publish("telemetry", "a/b", text.encode(), qos, retain)


class Far:
    """The server's end of a session: keeps the clock, reads what the session says, answers when told."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.session = Session(settings or Settings("d1"))
        self.version = self.session.settings.version
        self.now_s = 100.0
        self.decoder = Decoder(self.version)

    def connect(self, connack: p.Connack | None = None) -> p.Connect:
        """A new transport, and the server's answer on it."""
        self.decoder = Decoder(self.version)
        self.session.connected(self.now_s)
        (connect,) = self.heard()
        assert isinstance(connect, p.Connect)
        self.say(connack or p.Connack())
        return connect

    def say(self, *said: p.Packet) -> None:
        self.say_bytes(b"".join(encode(packet, self.version) for packet in said))

    def say_bytes(self, data: bytes) -> None:
        self.session.receive(data, self.now_s)

    def heard(self) -> list[p.Packet]:
        return self.decoder.feed(self.session.take())

    def payloads(self) -> list[str]:
        """What was heard, as `payload`, or `payload!` for a duplicate."""
        return [packet.payload.decode() + "!" * packet.dup for packet in self.heard() if isinstance(packet, p.Publish)]

    def publish(self, *texts: str) -> None:
        for text in texts:
            assert self.session.publish(message(text), self.now_s)

    def pass_s(self, seconds: float) -> None:
        """Time passes, with a tick each second."""
        for _ in range(int(seconds)):
            self.now_s += 1
            self.session.tick(self.now_s)

    def closed(self) -> str:
        """Why the session asked for the end, or nothing."""
        reasons = [event.reason for event in self.session.drain() if isinstance(event, Closed)]
        assert len(reasons) < 2
        return reasons[0] if reasons else ""


def up(settings: Settings | None = None, connack: p.Connack | None = None) -> Far:
    far = Far(settings)
    far.connect(connack)
    assert isinstance(far.session.drain()[0], Opened)
    return far


V311 = Settings("d1", version=4)
BOTH = pytest.mark.parametrize("settings", [Settings("d1"), V311], ids=["5", "3.1.1"])
