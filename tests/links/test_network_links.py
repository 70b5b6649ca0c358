"""Links over a bad network: MQTT, MQTT in a WebSocket, and REST, where the connections are shared."""

import pytest

from simulator.links import Endpoint
from simulator.links.mqtt import Mqtt
from simulator.messages import Piece, Publish
from tests.links import rest_peers as rest
from tests.links.bad_network import LOOPS, Ears, Line, Wire, a_while, late, nothing, only, whole
from tests.links.mqtt_peers import Recorder, ScriptedServer, make_link, run
from tests.links.test_mqtt_websocket import Server as WebSocketServer


def test_what_cannot_be_reached_is_not_tried() -> None:
    async def test() -> None:
        async with Ears() as server:
            line = Line(why="no network")
            at = Endpoint("localhost", server.port, "d1", backoff_first_s=0.01)
            link, heard = make_link(Wire, at)
            link.shape(line)
            link.open()
            await heard.line("disconnected no network", 3)
            assert line.reached >= 3
            assert not server.connections
            line.why = None
            await heard.line("connected")
            await server.until(lambda: len(server.connections) == 1)

    run(test)


def test_raw_bytes_take_the_way_as_well_and_need_a_connection() -> None:
    async def test() -> None:
        async with Ears() as server:
            line = Line(late(5))
            link, heard, far = await server.joined(line)
            link.raw(b"\x00\xff")
            await server.until(lambda: far.heard == b"\x00\xff")
            assert line.carried == [(b"\x00\xff", True)]
            line.way = whole
            link.sever()
            link.raw(b"too late")
            await heard.line("disconnected")
            link.raw(b"too late")
            await a_while()
            assert far.heard == b"\x00\xff"

    run(test)


async def _say_fifty(link: Mqtt, heard: Recorder, early: bool) -> Line:
    """Connects, and says so many things over a network that tears them, which is bad from the beginning or later."""
    line = Line(lambda data, up: [Piece(data[:5], 3), Piece(data[5:], 6)])
    if early:
        link.shape(line)
    link.open()
    await heard.line("connected")
    link.shape(line)
    for number in range(50):
        link.send(Publish("k", "t", b"%d" % number))
    return line


@pytest.mark.parametrize("early", [True, False], ids=["before", "mid-connection"])
def test_mqtt_goes_on_over_a_bad_network(early: bool) -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            link, heard = make_link(Mqtt, Endpoint("127.0.0.1", server.port, "d1"))
            await _say_fifty(link, heard, early)
            await heard.line("acknowledged", 50)
            assert [m.payload for m, _, _ in heard.acknowledgements] == [b"%d" % number for number in range(50)]
            link.close()
            await heard.line("disconnected closed")
            await server.until(lambda: server.connections[0].lost)
            assert type(server.connections[0].heard[-1]).__name__ == "Disconnect"  # the goodbye came, too

    run(test)


@LOOPS
@pytest.mark.parametrize("early", [True, False], ids=["before", "mid-connection"])
def test_mqtt_in_a_websocket_does_so_too(on_uvloop: bool, early: bool) -> None:
    async def test() -> None:
        async with WebSocketServer() as server:
            link, heard = make_link(Mqtt, server.endpoint())
            line = await _say_fifty(link, heard, early)
            link.send(Publish("k", "t", bytes(200_000)))
            await heard.line("acknowledged", 51)
            assert len(server.connections) == 1
            line.way = only(True, nothing)
            link.sever()
            await heard.line("disconnected severed")
            line.way = whole
            link.open()
            await heard.line("connected", 2)
            link.close()
            await heard.line("disconnected closed")

    run(test, on_uvloop)


# REST, where the connections are shared


def asked(line: Line) -> list[bytes]:
    return [data for data, up in line.carried if up]


@pytest.mark.parametrize("on_uvloop", [False, True])
def test_a_post_takes_the_way_up_and_its_answer_the_way_down(on_uvloop: bool) -> None:
    async def test() -> None:
        async with rest.Scripted() as server:
            link, sink = rest.connect(server.url)
            line = Line(late(5))
            link.shape(line)
            messages = [rest.sample(number) for number in range(3)]
            for message in messages:
                link.send(message)
            await rest.until(lambda: rest.codes(sink) == [0, 0, 0])
            assert server.bodies == [message.payload for message in messages]
            assert line.carried == [
                asked_for for message in messages for asked_for in ((message.payload, True), (b"202", False))
            ]
            assert line.reached == 2  # as it opens, and for the first: then there is a connection

    rest.run(test, on_uvloop)


def test_a_body_comes_as_its_pieces_do() -> None:
    def pieces(data: bytes, up: bool) -> list[Piece]:
        return [Piece(data[n : n + 1], 2 * n) for n in range(len(data))]

    async def test() -> None:
        async with rest.Scripted() as server:
            link, sink = rest.connect(server.url)
            link.shape(Line(only(True, pieces)))
            link.send(rest.sample(1))
            await rest.until(lambda: rest.codes(sink) == [0])
            [request] = server.requests
            assert request.headers["Content-Length"] == str(len(server.bodies[0]))
            assert "Transfer-Encoding" not in request.headers

    rest.run(test)


@pytest.mark.parametrize("way_up", [True, False])
def test_a_post_of_which_nothing_is_heard_is_tried_again_under_the_same_key(way_up: bool) -> None:
    async def test() -> None:
        async with rest.Scripted() as server:
            link, sink = rest.connect(server.url, ack_timeout_s=0.05)
            link.send(rest.sample(1))
            await rest.until(lambda: rest.codes(sink) == [0])
            line = Line(only(way_up, nothing))
            link.shape(line)
            link.send(rest.sample(2))
            await rest.until(lambda: len(asked(line)) >= 2)
            line.way = whole
            await rest.until(lambda: rest.codes(sink) == [0, 0])
            assert len(set(server.keys)) == 2
            assert (len(server.keys) == 2) == way_up  # else the server had it before
            assert sink.log[2] == f"disconnected no answer from {server.url} within 0.05 s"
            assert sink.log[3] == "connected False"
            assert line.reached == len(asked(line)) - 1  # for each but the first: there was a connection

    rest.run(test)


def test_where_nothing_can_be_reached_it_looks_again_and_is_connected_then() -> None:
    async def test() -> None:
        async with rest.Scripted() as server:
            line = Line(why="no network")
            link, sink = rest.connect(server.url)
            link.shape(line)
            await rest.until(lambda: line.reached >= 4)
            assert sink.log == ["disconnected no network"]
            line.why = None
            await rest.until(lambda: sink.log[-1] == "connected False")
            line.why = "no network"
            link.sever()
            link.open()
            await rest.until(lambda: sink.log[-1] == "disconnected no network")
            link.close()
            before = line.reached
            await a_while()
            assert line.reached == before
            assert sink.log == [
                "disconnected no network", "connected False", "disconnected severed", "disconnected no network",
            ]  # fmt: skip
            assert not server.requests

    rest.run(test)


def test_severed_while_a_post_is_held_up() -> None:
    async def test() -> None:
        async with rest.Scripted() as server:
            link, sink = rest.connect(server.url)
            line = Line(late(60_000))
            link.shape(line)
            link.send(rest.sample(1))
            await rest.until(lambda: len(asked(line)) == 1)
            link.sever()
            line.way = whole
            link.open()
            await rest.until(lambda: rest.codes(sink) == [0])
            assert len(server.requests) == 1

    rest.run(test)


def test_who_is_held_up_keeps_nobody_waiting() -> None:
    async def test() -> None:
        async with rest.Scripted() as server:
            held = [rest.connect(server.url, f"held-{n}", connections_max=1)[0] for n in range(5)]
            for link in held:
                link.shape(Line(late(60_000)))
                link.send(rest.sample(1))
            quick, sink = rest.connect(server.url, "quick", connections_max=1)
            for number in range(5):
                quick.send(rest.sample(number))
            await rest.until(lambda: rest.codes(sink) == [0] * 5)
            assert len(server.requests) == 5

    rest.run(test)


def test_a_large_body_is_no_matter() -> None:
    async def test() -> None:
        async with rest.Scripted() as server:
            link, sink = rest.connect(server.url)
            large = Publish("telemetry", rest.TELEMETRY, bytes(3_000_000))
            link.send(large)
            link.shape(Line(late(1)))
            link.send(large)
            await rest.until(lambda: rest.codes(sink) == [0, 0])
            assert server.bodies == [large.payload] * 2

    rest.run(test)
