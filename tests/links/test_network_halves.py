"""Half a connection: ends that are not heard, ghosts, and cuts that take their time."""

import pytest

from simulator.links import _network as network_module
from simulator.messages import Piece
from tests.links.bad_network import LOOPS, WAYS, Ears, Line, a_while, late, nothing, only, whole
from tests.links.mqtt_peers import Certificates, run


@LOOPS
@WAYS
def test_an_end_that_is_not_heard_leaves_the_device_with_a_connection(
    certificates: Certificates, on_uvloop: bool, tls: bool
) -> None:
    async def test() -> None:
        async with Ears(certificates if tls else None) as server:
            link, heard, far = await server.joined(Line(only(False, nothing)))
            far.transport.close()
            await server.until(lambda: far.lost)
            await a_while()
            assert heard.log == ["connected False"]
            assert not link.transport.is_closing()
            link.say(b"into the void")
            link._end("no answer")  # it misses an answer
            await heard.line("disconnected no answer")
            await heard.line("connected", 2)

    run(test, on_uvloop)


@LOOPS
@WAYS
@pytest.mark.parametrize("how", ["hangs up", "severed"])
def test_an_end_that_gets_lost_leaves_a_ghost(certificates: Certificates, on_uvloop: bool, tls: bool, how: str) -> None:
    async def test() -> None:
        async with Ears(certificates if tls else None) as server:
            line = Line()
            link, heard, far = await server.joined(line)
            line.way = only(True, nothing)
            if how == "severed":
                link.sever()
                await heard.line("disconnected severed")
                line.way = whole
                link.open()
            else:
                link._end("no answer")
                await heard.line("disconnected no answer")
                line.way = whole
            await heard.line("connected", 2)
            await server.until(lambda: len(server.connections) == 2)
            far.transport.write(b"are you there?")
            await a_while()
            assert not far.lost  # here the device is twice
            assert not link.heard
            server.connections[1].transport.write(b"hello")
            await heard.until(lambda: link.heard == b"hello")
            link.close()
            await server.until(lambda: far.lost and server.connections[1].lost)

    run(test, on_uvloop)


def test_there_is_one_ghost_at_most() -> None:
    async def test() -> None:
        async with Ears() as server:
            line = Line()
            link, heard, _ = await server.joined(line)
            for number in range(1, 4):
                line.way = only(True, nothing)
                link._end("no answer")
                await heard.line("disconnected", number)
                line.way = whole
                await heard.line("connected", number + 1)
                await server.until(lambda number=number: len(server.connections) == number + 1)  # type: ignore[misc]
                await server.until(lambda: sum(not one.lost for one in server.connections) == 2)
            assert [one.lost for one in server.connections] == [True, True, False, False]
            link.close()
            await server.until(lambda: all(one.lost for one in server.connections))

    run(test)


def test_a_ghost_that_its_far_side_ends_is_gone() -> None:
    async def test() -> None:
        async with Ears() as server:
            line = Line(only(True, lambda data, up: [Piece(data)] if data else []))
            link, heard, far = await server.joined(line)
            link._end("no answer")
            await heard.line("connected", 2)
            assert link._ghost is not None
            far.transport.abort()
            await server.until(lambda: far.lost)
            await a_while()
            assert not link._ghost.is_ghost
            assert heard.log == ["connected False", "disconnected no answer", "connected False"]
            line.way = whole
            link.close()
            await heard.line("disconnected closed")

    run(test)


def test_a_ghost_does_not_live_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_module, "GHOST_MAX_S", 0.02)

    async def test() -> None:
        async with Ears() as server:
            line = Line(only(True, nothing))
            link, heard, far = await server.joined(line)
            link._end("no answer")
            await heard.line("disconnected")
            line.way = whole
            await server.until(lambda: far.lost)
            link.close()

    run(test)


def test_a_closed_link_leaves_no_ghost() -> None:
    async def test() -> None:
        async with Ears() as server:
            link, heard, far = await server.joined(Line(nothing))
            link.close()
            await heard.line("disconnected closed")
            await server.until(lambda: far.lost)

    run(test)


def test_a_cut_that_takes_its_time_is_heard_by_the_far_side_later() -> None:
    async def test() -> None:
        async with Ears() as server:
            link, heard, far = await server.joined(Line(late(30)))
            link.say(b"never comes")
            link.sever()
            await heard.line("disconnected severed")
            assert not far.lost
            await server.until(lambda: far.lost)
            assert not far.heard

    run(test)
