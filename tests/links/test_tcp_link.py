"""The `tcp` link against a scripted gateway on loopback: acknowledging, losing, severing, waiting."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, cast

import pytest

from simulator.links import TlsFiles
from simulator.links.tcp import Tcp, TcpEndpoint
from simulator.messages import Publish
from simulator.schema import parse
from simulator.wire.frames import Frame, FrameDecoder, FrameEncoder
from simulator.wire.spec import Decoded, ProductSpec
from tests.links.mqtt_peers import Certificates, FarSide, Recorder, free_port, make_link, run

SPEC = """
frame: {start: "014E", checksum: {kind: crc16-ccitt}, max_bytes: 128}
header:
  - {name: message, type: u8}
  - {name: device_id, type: text, bytes: 8}
  - {name: seq, type: u16}
messages:
  telemetry: {id: 2, fields: [{name: t, type: u8}]}
  control_request: {id: 9, fields: [{name: action, type: text, bytes: 8}]}
  heartbeat: {id: 3}
  ack: {id: 4, fields: [{name: status, type: u8}]}
"""
PRODUCT = parse(SPEC, "spec.yaml", ProductSpec)
NO_SEQ = parse(SPEC.replace("  - {name: seq, type: u16}\n", ""), "spec.yaml", ProductSpec)
NO_ACK = parse(SPEC.replace("  ack: {id: 4, fields: [{name: status, type: u8}]}\n", ""), "spec.yaml", ProductSpec)


def message(seq: int, spec: ProductSpec = PRODUCT) -> Publish:
    body = spec.encode("telemetry", {"device_id": "d1", "seq": seq, "t": seq & 0xFF})
    return Publish("telemetry", "tcp", body)


class Peer(asyncio.Protocol):
    """One connection of a gateway that answers as told."""

    def __init__(self, gateway: "ScriptedGateway") -> None:
        self.gateway = gateway
        self.decoder = FrameDecoder(gateway.spec)
        self.heard: list[Decoded] = []
        self.chunks = 0
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.gateway.connections.append(self)
        self.gateway.changed.set()

    def data_received(self, data: bytes) -> None:
        self.chunks += 1
        for item in self.decoder.feed(data):
            assert isinstance(item, Frame)
            self.heard.append(self.gateway.spec.decode(item.body))
            if self.gateway.agreeable:
                self.answer(item.body)
        self.gateway.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.gateway.changed.set()

    def answer(self, body: bytes, status: int = 0) -> None:
        codec = self.gateway.spec.codec
        if codec.message(body) == "heartbeat":
            self.say(body)
        elif codec.has("ack"):
            self.say(codec.answer(body, "ack", {"status": status}))

    def say(self, body: bytes) -> None:
        self.transport.write(FrameEncoder(self.gateway.spec).encode(body))

    def seqs(self) -> list[int]:
        return [said.header["seq"] for said in self.heard if said.message == "telemetry"]


class ScriptedGateway(FarSide[Peer]):
    """Acknowledges all while `agreeable`."""

    def __init__(
        self, spec: ProductSpec = PRODUCT, context: ssl.SSLContext | None = None, agreeable: bool = True
    ) -> None:
        super().__init__(context)
        self.spec = spec
        self.agreeable = agreeable

    def accept(self) -> Peer:
        return Peer(self)

    async def first(self, heard: int) -> Peer:
        """The first connection, once it has heard so many."""
        await self.until(lambda: bool(self.connections) and len(self.connections[0].heard) == heard)
        return self.connections[0]


def make(port: int, spec: ProductSpec = PRODUCT, **fields: Any) -> tuple[Tcp, Recorder]:
    return make_link(Tcp, TcpEndpoint("127.0.0.1", port, "d1", spec, backoff_first_s=0.01)._replace(**fields))


def opened(gateway: ScriptedGateway, *seqs: int, **fields: Any) -> tuple[Tcp, Recorder]:
    """A link that was opened, and then given these messages."""
    link, heard = make(gateway.port, gateway.spec, **fields)
    link.open()
    for seq in seqs:
        link.send(message(seq, gateway.spec))
    return link, heard


@pytest.mark.parametrize("on_uvloop", [True, False], ids=["uvloop", "asyncio"])
def test_a_day_in_the_life(on_uvloop: bool) -> None:
    async def test() -> None:
        async with ScriptedGateway() as gateway:
            link, heard = make(gateway.port)
            link.subscribe(("anything",))
            assert link.send(message(1))
            link.open()
            link.open()  # twice is once
            await heard.line("acknowledged")
            assert heard.log == ["connected False", "acknowledged 0x00"]
            before_s = monotonic()
            for seq in (2, 3, 4):
                assert link.send(message(seq))
            assert heard.log == ["connected False", "acknowledged 0x00"]  # nothing is told from inside `send`
            await heard.line("acknowledged", 4)
            assert [said for said, _, _ in heard.acknowledgements] == [message(seq) for seq in (1, 2, 3, 4)]
            assert before_s <= heard.acknowledgements[-1][1] <= monotonic()
            peer = gateway.connections[0]
            assert (peer.chunks, peer.seqs()) == (2, [1, 2, 3, 4])  # one turn, one write
            body = PRODUCT.encode("control_request", {"device_id": "d1", "action": "fan"})
            peer.say(body)
            await heard.line("received tcp/control_request")
            assert heard.messages == [("tcp/control_request", body)]
            link.close()
            await heard.line("disconnected closed")
            await gateway.until(lambda: peer.lost)

    run(test, on_uvloop)


def test_what_was_not_acknowledged_is_sent_again_first_and_in_order() -> None:
    async def test() -> None:
        async with ScriptedGateway(agreeable=False) as gateway:
            _, heard = opened(gateway, *range(1, 6), in_flight_max=3)
            peer = await gateway.first(3)
            first_sent_s = monotonic()
            peer.answer(message(2).payload)  # out of order
            await gateway.first(4)
            gateway.agreeable = True
            peer.transport.close()
            await heard.line("disconnected the server closed the connection")
            await heard.line("acknowledged", 5)
            assert peer.seqs() == [1, 2, 3, 4]
            assert gateway.connections[1].seqs() == [1, 3, 4, 5]
            by_seq = {PRODUCT.codec.seq(said.payload): sent_at_s for said, sent_at_s, _ in heard.acknowledgements}
            assert by_seq[1] <= first_sent_s  # when it was first written

    run(test)


def test_a_late_acknowledgement_makes_the_connection_anew() -> None:
    async def test() -> None:
        async with ScriptedGateway(agreeable=False) as gateway:
            link, heard = opened(gateway, 1, ack_timeout_s=5.0)
            await gateway.first(1)
            link.tick(monotonic() + 4)
            assert heard.log == ["connected False"]
            gateway.agreeable = True
            link.tick(monotonic() + 6)
            await heard.line("disconnected no acknowledgement within 5 s")
            await heard.line("acknowledged 0x00")
            assert [peer.seqs() for peer in gateway.connections] == [[1], [1]]

    run(test)


def test_a_refusal_is_a_reason_code() -> None:
    async def test() -> None:
        async with ScriptedGateway(agreeable=False) as gateway:
            link, heard = opened(gateway)
            for seq, status in ((1, 1), (2, 0x90)):
                link.send(message(seq))
                peer = await gateway.first(seq)
                peer.answer(message(seq).payload, status)
            await heard.line("acknowledged 0x80")
            await heard.line("acknowledged 0x90")

    run(test)


def test_two_of_one_seq_are_not_under_way_together() -> None:
    async def test() -> None:
        async with ScriptedGateway(agreeable=False) as gateway:
            _, heard = opened(gateway, 1, 1, 2)
            peer = await gateway.first(1)
            gateway.agreeable = True
            peer.answer(message(1).payload)
            await heard.line("acknowledged", 3)
            assert peer.seqs() == [1, 1, 2]

    run(test)


def test_without_a_seq_acknowledgements_are_in_order() -> None:
    async def test() -> None:
        async with ScriptedGateway(NO_SEQ) as gateway:
            _, heard = opened(gateway, *range(30))
            await heard.line("acknowledged", 30)
            assert [said for said, _, _ in heard.acknowledgements] == [message(seq, NO_SEQ) for seq in range(30)]

    run(test)


def test_without_acknowledgements_writing_is_all() -> None:
    async def test() -> None:
        async with ScriptedGateway(NO_ACK) as gateway:
            link, heard = make(gateway.port, NO_ACK)
            left = [20]

            def again() -> None:
                if left[0]:
                    left[0] -= 1
                    link.send(message(left[0], NO_ACK))

            heard.on_acknowledged = again
            link.open()
            link.send(message(99, NO_ACK))
            await heard.line("acknowledged", 21)
            await gateway.first(21)

    run(test)


def test_what_can_never_be_acknowledged_is_told_at_once() -> None:
    async def test() -> None:
        async with ScriptedGateway() as gateway:
            link, heard = opened(gateway)
            link.send(Publish("telemetry", "tcp", bytes(200)))
            await heard.line("acknowledged 0x95")
            link.send(message(1))
            await heard.line("acknowledged 0x00")

    run(test)


def test_a_quiet_connection_has_heartbeats_and_one_that_is_not_answered_ends_it() -> None:
    async def test() -> None:
        async with ScriptedGateway() as gateway:
            link, heard = opened(gateway, heartbeat_s=20.0, ack_timeout_s=5.0)
            await heard.line("connected")
            peer, now_s = await gateway.first(0), monotonic()
            link.tick(now_s + 19)
            link.tick(now_s + 21)
            await gateway.first(1)
            assert peer.heard[0].message == "heartbeat"
            assert peer.heard[0].header["device_id"] == "d1"
            link.send(message(1))
            await heard.line("acknowledged")  # so the heartbeat's answer has come, too
            link.tick(now_s + 40)
            assert len(peer.heard) == 2
            gateway.agreeable = False
            link.tick(now_s + 42)
            await gateway.first(3)
            link.tick(now_s + 46)
            assert not any(line.startswith("disconnected") for line in heard.log)
            link.tick(now_s + 48)
            await heard.line("disconnected no answer to a heartbeat within 5 s")
            await heard.line("connected", 2)

    run(test)


def test_a_full_queue_refuses_and_keeps_what_it_has() -> None:
    async def test() -> None:
        port = free_port()
        link, heard = make(port, queue_max=5, in_flight_max=2)
        assert [link.send(message(seq)) for seq in range(1, 8)] == [True] * 5 + [False] * 2
        link.open()
        await heard.line(f"disconnected connect to 127.0.0.1:{port} refused", 2)
        link.sever()
        assert not link.send(message(9))

    run(test)


def test_a_severed_link_stays_down_and_keeps_what_it_has() -> None:
    async def test() -> None:
        async with ScriptedGateway(agreeable=False) as gateway:
            link, heard = opened(gateway, 1)
            peer = await gateway.first(1)
            link.sever()
            link.send(message(2))
            await heard.line("disconnected severed")
            await gateway.until(lambda: peer.lost)
            assert len(gateway.connections) == 1
            gateway.agreeable = True
            link.open()
            await heard.line("acknowledged", 2)
            assert gateway.connections[1].seqs() == [1, 2]

    run(test)


def test_garbage_from_the_far_side_is_skipped() -> None:
    async def test() -> None:
        async with ScriptedGateway(agreeable=False) as gateway:
            _, heard = opened(gateway, 1)
            peer = await gateway.first(1)
            peer.transport.write(b"\x01\x4e\x00\x04junk!!")
            for body in (b"", b"\x63", b"\x04short", PRODUCT.encode("ack", {"seq": 77, "status": 0})):
                peer.say(body)
            peer.answer(message(1).payload)
            peer.answer(message(1).payload)  # twice is once
            await heard.line("acknowledged 0x00")
            assert len(heard.acknowledgements) == 1

    run(test)


def test_tls(certificates: Certificates) -> None:
    async def test() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.server_cert_file, certificates.server_key_file)
        async with ScriptedGateway(context=context) as gateway:
            link, heard = opened(gateway, 1, host="localhost", tls=TlsFiles(certificates.ca_file))
            await heard.line("acknowledged 0x00")
            link.close()
            await heard.line("disconnected closed")
            _, told = opened(gateway, tls=TlsFiles(Path("/no/such.pem")))
            await told.line("disconnected TLS: /no/such.pem: no such file")

    run(test)


def test_the_backoff_is_a_function_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def delays(device_id: str) -> list[float]:
        found: list[float] = []

        async def test() -> None:
            loop = asyncio.get_running_loop()
            link, heard = make(free_port(), device_id=device_id, backoff_first_s=0.01, backoff_max_s=0.04)
            real = loop.call_later

            def call_later(delay_s: float, do: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
                if do == link._connect:
                    found.append(delay_s)
                return real(delay_s, do, *args)

            monkeypatch.setattr(loop, "call_later", call_later)
            link.open()
            await heard.line("disconnected", 5)

        run(test, on_uvloop=False)
        return found[:4]

    first = delays("d1")
    assert first == delays("d1") != delays("d2")
    assert all(low <= delay <= 2 * low for delay, low in zip(first, (0.005, 0.01, 0.02, 0.02), strict=True))
