"""The `mqtt` link through a real mosquitto, with paho at the other end, over TCP and mutual TLS."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Literal

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from simulator.links import Endpoint, TlsFiles
from simulator.links.mqtt import Mqtt
from simulator.messages import Publish
from simulator.wire.mqtt import Decoder, encode
from simulator.wire.mqtt import packets as p
from tests.links.mqtt_peers import (
    MOSQUITTO,
    PATIENCE_S,
    Broker,
    Certificates,
    Recorder,
    make_link,
    run,
)

needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
BOTH = pytest.mark.parametrize("version", ["5", "3.1.1"])
Spoken = Literal["3.1.1", "5"]


def make(endpoint: Endpoint) -> tuple[Mqtt, Recorder]:
    return make_link(Mqtt, endpoint._replace(backoff_first_s=0.02))


@pytest.mark.peer
@needs_mosquitto
@BOTH
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "mtls"])
def test_there_and_back(broker: Broker, certificates: Certificates, version: Spoken, tls: bool) -> None:
    async def test() -> None:
        port, files = (broker.tls_port, certificates.client) if tls else (broker.port, None)
        endpoint = Endpoint("localhost", port, f"there-{version}-{tls}", files, version)
        link, heard = make(endpoint)
        topic = f"there/{version}/{tls}"
        link.open()
        link.subscribe((topic,))
        await heard.line("connected")
        payloads = [b"x" * size for size in (0, 1, 200, 20_000)]
        for payload in payloads:
            assert link.send(Publish("telemetry", topic, payload))
        await heard.until(lambda: len(heard.messages) == 4 and len(heard.acknowledgements) == 4)
        assert heard.messages == [(topic, payload) for payload in payloads]
        assert {code for _, _, code in heard.acknowledgements} <= {0, 0x10}
        link.close()
        await heard.line("disconnected closed")

    run(test)


@pytest.mark.peer
@needs_mosquitto
def test_without_a_certificate_mutual_tls_is_refused(broker: Broker, certificates: Certificates) -> None:
    async def test() -> None:
        files = TlsFiles(certificates.ca_file)
        link, heard = make(Endpoint("localhost", broker.tls_port, "anonymous", files))
        link.open()
        await heard.line("disconnected", 2)
        # TLS 1.3 tells it after the handshake, so the alert can be lost in the reset that follows it.
        assert heard.log[0].startswith(("disconnected TLS: ", "disconnected connection to", "disconnected the"))
        link.close()

    run(test)


@pytest.mark.peer
@needs_mosquitto
@BOTH
def test_a_session_is_resumed_and_gives_what_was_missed(broker: Broker, version: Spoken) -> None:
    async def test() -> None:
        device, heard = make(
            Endpoint(
                "127.0.0.1",
                broker.port,
                f"resumed-{version}",
                mqtt_version=version,
                clean_start=version == "5",
                session_expiry_s=60,
            )
        )
        other, other_heard = make(Endpoint("127.0.0.1", broker.port, f"other-{version}"))
        device.open()
        device.subscribe((f"missed/{version}",))
        other.open()
        await heard.line("connected False")
        # The answer to our own message says that the subscription before it was taken.
        device.send(Publish("k", "any", b""))
        await heard.line("acknowledged")
        device.sever()
        await heard.line("disconnected severed")
        other.send(Publish("k", f"missed/{version}", b"while you were out"))
        await other_heard.line("acknowledged")
        device.open()
        await heard.line("connected True")
        await heard.line("received")
        assert heard.messages == [(f"missed/{version}", b"while you were out")]
        device.close()
        other.close()
        await heard.line("disconnected closed")
        await other_heard.line("disconnected closed")

    run(test)


@pytest.mark.peer
@needs_mosquitto
def test_the_will_of_a_severed_device_is_published(broker: Broker) -> None:
    async def test() -> None:
        will = Publish("will", "wills/w1", b"gone")
        device, heard = make(Endpoint("127.0.0.1", broker.port, "w1", will=will))
        watcher, watched = make(Endpoint("127.0.0.1", broker.port, "w2"))
        watcher.open()
        watcher.subscribe(("wills/+",))
        watcher.send(Publish("k", "any", b""))
        await watched.line("acknowledged")
        device.open()
        await heard.line("connected")
        device.sever()
        await watched.line("received wills/w1")
        watcher.close()
        await watched.line("disconnected")

    run(test)


@pytest.mark.peer
@needs_mosquitto
def test_the_second_of_a_name_takes_over_from_the_first(broker: Broker) -> None:
    async def test() -> None:
        first, first_heard = make(Endpoint("127.0.0.1", broker.port, "twin"))
        second, second_heard = make(Endpoint("127.0.0.1", broker.port, "twin"))
        first.open()
        await first_heard.line("connected")
        second.open()
        # Newer versions say DISCONNECT 0x8E first; 2.0.11 just hangs up.
        await first_heard.line("disconnected")
        first.close()
        await second_heard.until(lambda: second_heard.log[-1:] == ["connected False"])
        second.close()
        await second_heard.line("disconnected")

    run(test)


@pytest.mark.peer
@needs_mosquitto
def test_keep_alive_holds_a_silent_connection(broker: Broker) -> None:
    """Keep-alive is a second, and the ticks come as quickly as the test likes."""

    async def test() -> None:
        link, heard = make(Endpoint("127.0.0.1", broker.port, "silent", keep_alive_s=1))
        link.open()
        await heard.line("connected")
        ends_s = monotonic() + 2.5  # longer than the one and a half keep-alives after which a broker hangs up
        while monotonic() < ends_s:
            link.tick(monotonic())
            await asyncio.sleep(0.05)
        assert heard.log == ["connected False"]
        link.close()
        await heard.line("disconnected closed")

    run(test)


# --- paho ---


@contextmanager
def paho_client(port: int, version: Spoken, client_id: str) -> Iterator[paho.Client]:
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        protocol=MQTTProtocolVersion.MQTTv5 if version == "5" else MQTTProtocolVersion.MQTTv311,
    )
    client.connect("127.0.0.1", port)
    try:
        yield client
    finally:
        client.disconnect()
        client.loop(0.1)


def turn(client: paho.Client, until: Callable[[], bool]) -> None:
    """Let paho work until something came true."""
    deadline_s = monotonic() + PATIENCE_S
    while not until():
        assert monotonic() < deadline_s, "paho waited in vain"
        client.loop(0.05)


@pytest.mark.peer
@needs_mosquitto
@BOTH
def test_paho_hears_what_we_publish(broker: Broker, version: Spoken) -> None:
    got: list[tuple[str, bytes, int, bool]] = []
    granted: list[Any] = []
    with paho_client(broker.port, version, f"paho-{version}") as client:
        client.on_message = lambda c, u, m: got.append((m.topic, bytes(m.payload), m.qos, m.retain))
        client.on_subscribe = lambda *arguments: granted.append(arguments)
        turn(client, client.is_connected)
        client.subscribe(f"paho/{version}/#", 1)
        turn(client, lambda: bool(granted))

        async def test() -> None:
            link, heard = make(Endpoint("127.0.0.1", broker.port, f"ours-{version}", mqtt_version=version))
            link.open()
            for index in range(30):
                link.send(Publish("k", f"paho/{version}/é", str(index).encode(), 1))
            link.send(Publish("k", f"paho/{version}/zero", b"0", 0))
            await heard.line("acknowledged", 31)
            link.close()
            await heard.line("disconnected")

        run(test)
        turn(client, lambda: len(got) == 31)
    expected = [(f"paho/{version}/é", str(index).encode(), 1, False) for index in range(30)]
    zero = (f"paho/{version}/zero", b"0", 0, False)
    got.remove(zero)  # which overtakes in the broker, whose own window is 20
    assert got == expected


@pytest.mark.peer
@needs_mosquitto
@BOTH
def test_we_hear_what_paho_publishes(broker: Broker, version: Spoken) -> None:
    async def test() -> None:
        link, heard = make(Endpoint("127.0.0.1", broker.port, f"hears-{version}", mqtt_version=version))
        link.open()
        link.subscribe((f"from-paho/{version}",))
        link.send(Publish("k", "any", b""))
        await heard.line("acknowledged")

        def publish() -> None:
            with paho_client(broker.port, version, f"says-{version}") as client:
                turn(client, client.is_connected)
                info = client.publish(f"from-paho/{version}", b"hello", 1)
                turn(client, info.is_published)

        await asyncio.get_running_loop().run_in_executor(None, publish)
        await heard.line("received")
        assert heard.messages == [(f"from-paho/{version}", b"hello")]
        link.close()
        await heard.line("disconnected")

    run(test)


@BOTH
def test_our_codec_serves_paho(version: Spoken) -> None:
    """The server's direction: paho speaks to a socket at which nothing but our codec answers."""
    level: p.Version = 5 if version == "5" else 4
    heard: list[p.Packet] = []
    got: list[bytes] = []
    decoder = Decoder()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            "p1",
            protocol=MQTTProtocolVersion.MQTTv5 if version == "5" else MQTTProtocolVersion.MQTTv311,
        )
        client.username_pw_set("u", "pw")
        connect_with = None
        if version == "5":
            connect_with = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            connect_with.SessionExpiryInterval = 3600
            connect_with.UserProperty = ("k", "v")
        client.will_set("w", b"off", 1, True)
        client.on_message = lambda c, u, m: got.append(bytes(m.payload))
        client.connect("127.0.0.1", listener.getsockname()[1], 30, properties=connect_with)
        server, _ = listener.accept()
        with server:
            server.settimeout(0.02)

            def serve(*answers: p.Packet) -> Callable[[], bool]:
                """Answers once the next packet came."""

                def step() -> bool:
                    try:
                        found = decoder.feed(server.recv(65536))
                    except TimeoutError:
                        return False
                    heard.extend(found)
                    if found and answers:
                        server.sendall(b"".join(encode(answer, level) for answer in answers))
                    return bool(found)

                return step

            turn(client, serve(p.Connack()))
            turn(client, client.is_connected)
            client.subscribe([("a/+", 1), ("b", 0)])
            turn(client, serve(p.Suback(1, (1, 0)), p.Publish("a/1", b"for paho", 1, packet_id=9)))
            turn(client, lambda: got == [b"for paho"])
            turn(client, serve())
            info = client.publish("c", b"from paho", 1)
            turn(client, serve(p.Puback(2)))
            turn(client, info.is_published)
            client.unsubscribe("b")
            turn(client, serve(p.Unsuback(3, (0,) if version == "5" else ())))
            client.disconnect()
            turn(client, serve())
    said: tuple[tuple[str, Any], ...] = ()
    if version == "5":
        said = (("session_expiry_interval", 3600), ("user_property", ("k", "v")))
    will = p.Will("w", b"off", 1, True)
    assert heard == [
        p.Connect("p1", level, True, 30, said, will, "u", b"pw"),
        p.Subscribe(1, (p.Subscription("a/+", 1), p.Subscription("b", 0))),
        p.Puback(9),
        p.Publish("c", b"from paho", 1, packet_id=2),
        p.Unsubscribe(3, ("b",)),
        p.Disconnect(),
    ]
