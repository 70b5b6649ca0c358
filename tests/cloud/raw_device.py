"""A device that says what its test wants to the broker, right or wrong, and shows what it hears."""

import json
import socket
import ssl
from collections import deque
from types import TracebackType
from typing import Any

from simulator.wire.mqtt import Decoder, encode
from simulator.wire.mqtt import packets as p

WAIT_S = 15.0
GONE = "gone"


class RawDevice:
    """One TLS connection with the packets of our codec. Messages of QoS 1 are acknowledged unless `acks` is off."""

    def __init__(self, cloud: Any, identity: Any, version: p.Version = p.V5) -> None:
        context = ssl.create_default_context(cafile=cloud.ready["ca_file"])
        context.load_cert_chain(identity.cert_file, identity.key_file)
        sock = socket.create_connection(("127.0.0.1", cloud.ready["mqtt_port"]), timeout=WAIT_S)
        self.socket = context.wrap_socket(sock, server_hostname="localhost")
        self.version: p.Version = version
        self.name = str(identity.name)
        self.acks = True
        self._decoder = Decoder(version, 1024 * 1024)
        self._packets: deque[p.Packet] = deque()
        self._messages: deque[p.Publish] = deque()
        self._packet_id = 0

    def __enter__(self) -> "RawDevice":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, packet: p.Packet) -> None:
        self.socket.sendall(encode(packet, self.version))

    def next(self, wanted: type | tuple[type, ...] = object) -> Any:
        """The next packet of a kind; messages meanwhile are kept. GONE when the connection ended."""
        while True:
            while self._packets:
                packet = self._packets.popleft()
                if isinstance(packet, p.Publish):
                    if packet.qos and self.acks:
                        self.send(p.Puback(packet.packet_id))
                    if wanted is not p.Publish:
                        self._messages.append(packet)
                        continue
                if isinstance(packet, wanted):
                    return packet
            try:
                data = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                return GONE
            self._packets += self._decoder.feed(data)

    def connect(self, client_id: str = "", **options: Any) -> Any:
        self.send(p.Connect(client_id or self.name, self.version, **options))
        return self.next(p.Connack)

    def subscribe(self, *filters: str, qos: int = 1) -> Any:
        self._packet_id += 1
        self.send(p.Subscribe(self._packet_id, tuple(p.Subscription(one, qos) for one in filters)))
        answer = self.next((p.Suback, p.Disconnect))
        return answer.reason_codes if isinstance(answer, p.Suback) else answer

    def publish(self, topic: str, payload: Any = b"", qos: int = 1) -> Any:
        """The reason code of the PUBACK, or what came in its place; None at QoS 0."""
        self._packet_id += 1
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.send(p.Publish(topic, data, qos, packet_id=self._packet_id if qos else 0))
        if not qos:
            return None
        answer = self.next((p.Puback, p.Disconnect))
        return answer.reason_code if isinstance(answer, p.Puback) else answer

    def heard(self) -> p.Publish:
        """The next message as it came."""
        packet = self._messages.popleft() if self._messages else self.next(p.Publish)
        assert isinstance(packet, p.Publish), "the connection ended"
        return packet

    def message(self) -> tuple[str, Any]:
        """The next message: topic, decoded payload."""
        packet = self.heard()
        return packet.topic, json.loads(packet.payload or b"null")

    def messages(self, count: int) -> list[tuple[str, Any]]:
        return [self.message() for _ in range(count)]

    def nothing(self) -> None:
        """Nothing was said to it until now: what was said before the answer to a PING would be here."""
        self.send(p.Pingreq())
        assert self.next(p.Pingresp) != GONE
        assert not self._messages
