"""The `mqtt` link in a WebSocket: against a scripted server, and through a real mosquitto with user names."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Literal, cast

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
)

from simulator.links import Endpoint, TlsFiles
from simulator.links.mqtt import Mqtt
from simulator.messages import Publish
from simulator.wire.mqtt import Decoder, encode
from simulator.wire.mqtt import packets as p
from tests.links.mqtt_peers import (
    MOSQUITTO,
    Certificates,
    FarSide,
    Recorder,
    Ways,
    agreeable,
    free_port,
    make_link,
    mosquitto_with_users,
    run,
    unanswered,
)

Spoken = Literal["3.1.1", "5"]


def make(endpoint: Endpoint) -> tuple[Mqtt, Recorder]:
    return make_link(Mqtt, endpoint._replace(backoff_first_s=0.02))


# --- a scripted server ---

Grant = Callable[[Request], list[Event]]


class Scripted(asyncio.Protocol):
    """One connection: grants the upgrade as told, and answers MQTT as told."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.codec = WSConnection(ConnectionType.SERVER)
        self.decoder = Decoder()
        self.heard: list[p.Packet] = []
        self.events: list[Event] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self.codec.receive_data(data)
        for event in self.codec.events():
            self.events.append(event)
            if isinstance(event, Request):
                self.say(*self.server.grant(event))
            elif isinstance(event, BytesMessage):
                for packet in self.decoder.feed(bytes(event.data)):
                    self.heard.append(packet)
                    for answer in self.server.answer(packet):
                        self.say(BytesMessage(encode(answer, self.decoder.version)))
        self.server.changed.set()

    def say(self, *events: Event) -> None:
        self.transport.write(b"".join(self.codec.send(event) for event in events))


class Server(FarSide[Scripted]):
    def __init__(self) -> None:
        super().__init__()
        self.grant: Grant = lambda request: [AcceptConnection(subprotocol="mqtt")]
        self.answer: Callable[[p.Packet], list[p.Packet]] = agreeable
        self.asked: list[str] = []

    def accept(self) -> Scripted:
        return Scripted(self)

    def url(self) -> str:
        self.asked.append(f"ws://127.0.0.1:{self.port}/mqtt?n={len(self.asked)}")
        return self.asked[-1]

    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port, "d1", websocket=self.url)


@pytest.mark.parametrize("on_uvloop", [True, False], ids=["uvloop", "asyncio"])
def test_a_day_in_the_life(on_uvloop: bool) -> None:
    async def test() -> None:
        async with Server() as server:
            link, heard = make(server.endpoint())
            link.subscribe(("c",))
            link.send(Publish("k", "t", b"early"))
            link.open()
            await heard.line("acknowledged")
            link.send(Publish("k", "t", b"late"))
            link.send(Publish("k", "t", b"zero", 0))
            await heard.line("acknowledged", 3)
            (far,) = server.connections
            request = far.events[0]
            assert isinstance(request, Request)
            assert (request.host, request.target) == (f"127.0.0.1:{server.port}", "/mqtt?n=0")
            # A packet in several messages, and several packets in one, with a ping between them.
            said = encode(p.Publish("c", b"for you")) + encode(p.Publish("c", b"and you"))
            far.say(BytesMessage(said[:3], message_finished=False), Ping(b"hi"), BytesMessage(said[3:5]))
            far.say(BytesMessage(said[5:]))
            await heard.line("received c", 2)
            assert heard.messages == [("c", b"for you"), ("c", b"and you")]
            await server.until(lambda: Pong(bytearray(b"hi")) in far.events)  # type: ignore[arg-type]
            link.close()
            await heard.line("disconnected closed")
            await server.until(lambda: isinstance(far.events[-1], CloseConnection))
            assert [type(packet).__name__ for packet in far.heard] == [
                "Connect",
                "Subscribe",
                *["Publish"] * 3,
                "Disconnect",
            ]

    run(test, on_uvloop)


def refuse(request: Request) -> list[Event]:
    body = b'{"message":"Forbidden"}'
    length = [(b"content-length", b"%d" % len(body))]
    return [RejectConnection(status_code=403, headers=length, has_body=True), RejectData(body)]


@pytest.mark.parametrize(
    ("grant", "reason"),
    [
        (refuse, 'WebSocket refused: HTTP 403 Forbidden: {"message":"Forbidden"}'),
        (lambda request: [RejectConnection(status_code=404)], "WebSocket refused: HTTP 404 Not Found"),
        (lambda request: [AcceptConnection()], "the server does not speak 'mqtt'"),
        (lambda request: [], "connect to 127.0.0.1:PORT timed out after 0.1 s"),
    ],
    ids=["403", "404", "other", "silence"],
)
def test_refused_it_says_why_and_asks_again(grant: Grant, reason: str) -> None:
    async def test() -> None:
        async with Server() as server:
            server.grant = grant
            told = reason.replace("PORT", str(server.port))
            link, heard = make(server.endpoint()._replace(connect_timeout_s=0.1 if "timed out" in reason else 10.0))
            link.open()
            await heard.line(f"disconnected {told}", 2)
            assert server.asked[1].endswith("n=1")  # a signature may have expired meanwhile
            server.grant = Server().grant
            await heard.line("connected")
            link.close()
            await heard.line("disconnected closed")

    run(test)


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ([CloseConnection(1001, "restart")], "the server closed the WebSocket: 1001 going away: restart"),
        ([BytesMessage(encode(p.Disconnect(0x8E))), CloseConnection(1000)], "DISCONNECT 0x8E session taken over"),
        ([], "the server closed the connection"),
    ],
    ids=["close", "disconnect", "cut"],
)
def test_the_end_is_told_and_nothing_is_lost(last: list[Event], reason: str) -> None:
    async def test() -> None:
        async with Server() as server:
            server.answer = unanswered
            link, heard = make(server.endpoint())
            link.open()
            link.send(Publish("k", "t", b"1"))
            await server.until(lambda: bool(server.connections) and len(server.connections[0].heard) == 2)
            server.connections[0].say(*last)
            if not last:
                server.connections[0].transport.abort()
            server.answer = agreeable
            await heard.line("acknowledged")
            assert next(line for line in heard.log if line.startswith("disc")).startswith(f"disconnected {reason}")
            link.close()
            await heard.line("disconnected closed")

    run(test)


def test_given_up_before_the_answer() -> None:
    async def test() -> None:
        async with Server() as server:
            server.grant = lambda request: []
            link, heard = make(server.endpoint())
            for _ in range(2):
                count = len(server.connections)
                link.open()
                await server.until(lambda: len(server.connections) > count and bool(server.connections[-1].events))  # noqa: B023
                link.sever()
                await heard.line("disconnected severed")
            assert [line for line in heard.log if line != "disconnected severed"] == []

    run(test)


def test_a_url_that_cannot_be_had_is_told() -> None:
    def url() -> str:
        raise ValueError("no credentials")

    async def test() -> None:
        port = free_port()
        link, heard = make(Endpoint("127.0.0.1", port, "d1", websocket=url))
        link.open()
        await heard.line(f"disconnected connect to 127.0.0.1:{port}: no credentials", 2)
        link.close()
        plain, told = make(Endpoint("127.0.0.1", port, "d1", websocket=lambda: "wss://x/"))
        plain.open()
        await told.line(f"disconnected connect to 127.0.0.1:{port}: a URL of wss: needs TLS")
        plain.close()

    run(test)


# --- mosquitto ---


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Ways]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    with mosquitto_with_users(tmp_path_factory.mktemp("mosquitto"), certificates) as running:
        yield running


def at(ways: Ways, way: str, certificates: Certificates, name: str) -> Endpoint:
    """An endpoint of mosquitto; the server's certificate is verified, and we have none."""
    port = getattr(ways, way)
    tls = TlsFiles(certificates.ca_file) if way in ("tls", "wss") else None
    url = (lambda: f"{way}://localhost:{port}/mqtt") if way.startswith("ws") else None
    return Endpoint("localhost", port, name, tls, username="device", password=b"opensesame", websocket=url)


@pytest.mark.peer
@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("way", Ways._fields)
def test_there_and_back(ways: Ways, certificates: Certificates, way: str, version: Spoken) -> None:
    async def test() -> None:
        endpoint = at(ways, way, certificates, f"{way}-{version}")
        link, heard = make(endpoint._replace(mqtt_version=version, subscribe_qos=2))
        topic = f"there/{way}/{version}"
        link.open()
        link.subscribe((topic,))
        await heard.line("connected")
        said = [(0, 2), (1, 1), (200, 0), (70_000, 1), (70_000, 2)]
        for size, qos in said:
            assert link.send(Publish("k", topic, b"x" * size, qos))
        await heard.until(lambda: len(heard.messages) == len(said) == len(heard.acknowledgements))
        assert sorted(len(payload) for _, payload in heard.messages) == sorted(size for size, _ in said)
        link.close()
        await heard.line("disconnected closed")

    run(test)


@pytest.mark.peer
@pytest.mark.parametrize("way", Ways._fields)
def test_a_wrong_password_is_refused(ways: Ways, certificates: Certificates, way: str) -> None:
    async def test() -> None:
        for wrong in ({"password": b"x"}, {"username": None, "password": None}):
            link, heard = make(at(ways, way, certificates, "intruder")._replace(**wrong))
            link.open()
            await heard.line("disconnected CONNACK 0x87 not authorized", 2)
            link.close()

    run(test)


@pytest.mark.peer
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_qos_2_over_a_lost_connection(ways: Ways, certificates: Certificates, version: Spoken) -> None:
    """Cut again and again, each message comes once."""

    async def test() -> None:
        def side(name: str) -> Endpoint:
            return at(ways, "tcp", certificates, f"{name}-{version}")._replace(
                mqtt_version=version, clean_start=False, session_expiry_s=60, subscribe_qos=2, in_flight_max=5
            )

        device, said = make(side("says"))
        hub, heard = make(side("hears"))
        hub.subscribe((f"exactly/{version}",))
        hub.open()
        hub.send(Publish("k", "any", b""))
        await heard.line("acknowledged")  # and so the subscription before it is made
        device.open()
        for index in range(200):
            assert device.send(Publish("k", f"exactly/{version}", str(index).encode(), 2))
        for count in range(20, 180, 20):
            await said.line("acknowledged", count)
            for link in (device, hub) if count % 40 else (device,):
                link.sever()
                link.open()
        await said.line("acknowledged", 200)
        await heard.until(lambda: len(heard.messages) >= 200)
        assert [int(payload) for _, payload in heard.messages] == list(range(200))
        for link, log in ((device, said), (hub, heard)):
            link.close()
            await log.line("disconnected closed")

    run(test)


@pytest.mark.peer
def test_retained_expiring_and_last_words(ways: Ways, certificates: Certificates) -> None:
    async def test() -> None:
        will = Publish("will", "w/status", b"gone", 2, True)
        device, said = make(at(ways, "tcp", certificates, "w1")._replace(will=will))
        device.open()
        device.send(Publish("k", "w/kept", b"kept", 2, True))
        device.send(Publish("k", "w/brief", b"brief", 1, True, expiry_s=1))
        device.send(Publish("k", "w/long", b"long", 1, True, expiry_s=3600))
        await said.line("acknowledged", 3)
        device.sever()
        await said.line("disconnected severed")
        await asyncio.sleep(2.1)  # mosquitto counts in whole seconds
        hub, heard = make(at(ways, "tcp", certificates, "w2"))
        hub.subscribe(("w/#",))
        hub.open()
        await heard.line("received", 3)
        assert sorted(heard.messages) == [("w/kept", b"kept"), ("w/long", b"long"), ("w/status", b"gone")]
        hub.close()
        await heard.line("disconnected closed")

    run(test)
