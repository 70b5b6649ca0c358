"""The `sdk` link says what the `mqtt` link says: to a subscriber, and to its sink."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import UsageError
from simulator.links import Endpoint, Link
from simulator.links.mqtt import Mqtt
from simulator.links.sdk import Sdk
from simulator.messages import Publish
from simulator.wire.mqtt import packets as p
from tests.links.mqtt_peers import (
    MOSQUITTO,
    Broker,
    Certificates,
    Recorder,
    ScriptedServer,
    agreeable,
    free_port,
    make_link,
    run,
    unanswered,
)

needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
EITHER = pytest.mark.parametrize("kind", [Mqtt, Sdk])


def make(kind: Callable[..., Link], endpoint: Endpoint) -> tuple[Link, Recorder]:
    return make_link(kind, endpoint._replace(backoff_first_s=0.05))


@pytest.mark.peer
@needs_mosquitto
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "mtls"])
def test_both_say_the_same_to_a_subscriber(broker: Broker, certificates: Certificates, tls: bool) -> None:
    async def test() -> None:
        watcher, watched = make(Mqtt, Endpoint("127.0.0.1", broker.port, f"watcher-{tls}"))
        watcher.open()
        watcher.subscribe((f"said/{tls}/#",))
        watcher.send(Publish("k", "any", b""))
        await watched.line("acknowledged")
        logs = []
        for kind in (Mqtt, Sdk):
            watched.messages.clear()
            port, files = (broker.tls_port, certificates.client) if tls else (broker.port, None)
            link, heard = make(kind, Endpoint("localhost", port, f"says-{tls}", files, in_flight_max=1))
            link.subscribe((f"to/{tls}",))
            link.open()
            await heard.line("connected")
            for index in range(5):
                assert link.send(Publish("k", f"said/{tls}/é", b"x" * index))
            await heard.line("acknowledged", 5)
            assert link.send(Publish("k", f"said/{tls}/zero", b"0", 0))
            await heard.line("acknowledged", 6)
            await watched.until(lambda: len(watched.messages) == 6)
            watcher.send(Publish("k", f"to/{tls}", b"for you"))
            await heard.line("received")
            link.close()
            await heard.line("disconnected closed")
            logs.append((list(watched.messages), heard.messages, heard.log, heard.acknowledgements))
        ours, theirs = logs
        assert ours[:3] == theirs[:3]
        assert [said[0] for said in ours[3]] == [said[0] for said in theirs[3]]
        watcher.close()
        await watched.line("disconnected")

    run(test)


def packets_of(server: ScriptedServer) -> list[p.Packet]:
    return [packet for connection in server.connections for packet in connection.heard]


@EITHER
def test_on_the_wire(kind: Any) -> None:
    """The same packets, but for what each client asks for itself in CONNECT and for packet ids."""

    async def test() -> None:
        async with ScriptedServer() as server:
            will = Publish("k", "w", b"off", 1)
            endpoint = Endpoint("127.0.0.1", server.port, "d1", will=will, username="u", password=b"pw")
            link, heard = make(kind, endpoint)
            link.open()
            await heard.line("connected False")
            link.subscribe(tuple("abcdefghij"))
            link.send(Publish("k", "t", b"1", 1, True))
            await heard.line("acknowledged 0x00")
            link.close()
            await heard.line("disconnected closed")
            await server.until(lambda: server.connections[0].lost)
            connect, *rest = packets_of(server)
            assert isinstance(connect, p.Connect)
            assert connect._replace(properties=()) == p.Connect(
                "d1", will=p.Will("w", b"off", 1), username="u", password=b"pw"
            )
            filters = [
                [one.topic_filter for one in packet.subscriptions] for packet in rest if isinstance(packet, p.Subscribe)
            ]
            assert filters == [list("abcdefgh"), list("ij")]
            publish = next(packet for packet in rest if isinstance(packet, p.Publish))
            assert publish._replace(packet_id=0) == p.Publish("t", b"1", 1, True)
            assert rest[-1] == p.Disconnect()

    run(test)


@EITHER
def test_severed_says_no_goodbye_and_sends_the_rest_when_opened(kind: Any) -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            server.answer = unanswered
            link, heard = make(kind, Endpoint("127.0.0.1", server.port, "d1"))
            link.open()
            link.send(Publish("k", "t", b"1"))
            link.send(Publish("k", "t", b"2"))
            await server.until(lambda: sum(isinstance(said, p.Publish) for said in packets_of(server)) == 2)
            link.sever()
            link.send(Publish("k", "t", b"3"))
            await heard.line("disconnected severed")
            await server.until(lambda: server.connections[0].lost)
            assert not any(isinstance(said, p.Disconnect) for said in packets_of(server))
            server.answer = agreeable
            link.open()
            await heard.line("acknowledged", 3)
            assert [said.payload for said, _, _ in heard.acknowledgements] == [b"1", b"2", b"3"]
            link.close()
            await heard.line("disconnected closed")

    run(test)


@EITHER
@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({p.Connect: p.Connack(False, 0x87)}, "CONNACK 0x87 not authorized"),
        ({p.Subscribe: p.Suback(1, (0x87,))}, "SUBSCRIBE 'a' refused: 0x87 not authorized"),
        ({p.Publish: p.Disconnect(0x8E)}, "DISCONNECT 0x8E session taken over"),
    ],
)
def test_refusals_are_told_alike(kind: Any, answers: dict[type, p.Packet], reason: str) -> None:
    async def test() -> None:
        async with ScriptedServer() as server:

            def answer(packet: p.Packet) -> list[p.Packet]:
                found = answers.get(type(packet))
                if isinstance(found, p.Suback) and isinstance(packet, p.Subscribe):
                    found = found._replace(packet_id=packet.packet_id)
                return [found] if found else agreeable(packet)

            server.answer = answer
            link, heard = make(kind, Endpoint("127.0.0.1", server.port, "d1"))
            link.open()
            link.subscribe(("a",))
            link.send(Publish("k", "t", b"1"))
            await heard.line(f"disconnected {reason}")
            await server.until(lambda: len(server.connections) >= 2)  # and it tries again
            link.close()

    run(test)


@EITHER
def test_nothing_listens(kind: Any) -> None:
    async def test() -> None:
        port = free_port()
        link, heard = make(kind, Endpoint("127.0.0.1", port, "d1"))
        link.open()
        await heard.line(f"disconnected connect to 127.0.0.1:{port} refused", 2)
        link.close()

    run(test)


@EITHER
def test_no_certificate_file(kind: Any, certificates: Certificates, tmp_path: Path) -> None:
    async def test() -> None:
        tls = certificates.client._replace(cert_file=tmp_path / "missing.pem")
        link, heard = make(kind, Endpoint("127.0.0.1", free_port(), "d1", tls))
        link.open()
        assert heard.log == []
        await heard.line(f"disconnected TLS: {tmp_path / 'missing.pem'}: no such file")
        link.close()

    run(test)


@EITHER
@pytest.mark.parametrize("ending", ["close", "sever"])
def test_opened_again_at_once(kind: Any, ending: str) -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            link, heard = make(kind, Endpoint("127.0.0.1", server.port, "d1"))
            link.open()
            await heard.line("connected")
            getattr(link, ending)()
            link.open()
            await heard.line("connected", 2)
            server.connections[-1].say(p.Disconnect(0x8E))
            await heard.line("disconnected DISCONNECT 0x8E session taken over")
            link.close()

    run(test)


@EITHER
def test_a_wrong_message_is_the_callers_mistake(kind: Any) -> None:
    async def test() -> None:
        link, _ = make(kind, Endpoint("127.0.0.1", free_port(), "d1"))
        for wrong in (Publish("k", "a/#", b""), Publish("k", "", b""), Publish("k", "a", b"", 3)):
            with pytest.raises(ValueError, match=r"topic|QoS"):
                link.send(wrong)

    run(test)


@EITHER
def test_a_full_queue_says_so(kind: Any) -> None:
    async def test() -> None:
        link, _ = make(kind, Endpoint("127.0.0.1", free_port(), "d1", queue_max=2))
        assert [link.send(Publish("k", "t", b"")) for _ in range(3)] == [True, True, False]

    run(test)


def test_the_sdk_speaks_mqtt_5_only() -> None:
    async def test() -> None:
        with pytest.raises(UsageError, match=r"MQTT 5, not 3\.1\.1"):
            make(Sdk, Endpoint("127.0.0.1", 1, "d1", mqtt_version="3.1.1"))

    run(test)
