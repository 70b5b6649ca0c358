"""The bad network between a link and its transport, on real sockets: what it holds up, loses, cuts, in what order."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, cast

import pytest

from simulator.links import Endpoint, Sink, TlsFiles
from simulator.links import _network as network_module
from simulator.links._connecting import Connecting
from simulator.links._network import HELD_BYTES_MAX, HIGH_BYTES, LOW_BYTES, Shaped, Way
from simulator.links.mqtt import Mqtt
from simulator.messages import Piece, Publish
from tests.links import test_rest_link as rest
from tests.links.mqtt_peers import Certificates, FarSide, Recorder, ScriptedServer, make_link, run
from tests.links.test_mqtt_websocket import Server as WebSocketServer

Carry = Callable[[bytes, bool], list[Piece]]
LOOPS = pytest.mark.parametrize("on_uvloop", [True, False], ids=["uvloop", "asyncio"])
WAYS = pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])


def whole(data: bytes, up: bool) -> list[Piece]:
    return [Piece(data)]


def nothing(data: bytes, up: bool) -> list[Piece]:
    return []


def late(by_ms: int) -> Carry:
    return lambda data, up: [Piece(data, by_ms)]


def only(way: bool, carry: Carry) -> Carry:
    """So one way, and the other as it is: up when True."""
    return lambda data, up: carry(data, up) if up is way else [Piece(data)]


class Line:
    """A network that a test can change; it remembers what it was asked for."""

    def __init__(self, carry: Carry = whole, why: str | None = None) -> None:
        self.way, self.why = carry, why
        self.carried: list[tuple[bytes, bool]] = []
        self.reached = 0

    def carry(self, data: bytes, up: bool) -> list[Piece]:
        self.carried.append((data, up))
        return self.way(data, up)

    def reach(self) -> str | None:
        self.reached += 1
        return self.why


class Wire(Connecting):
    """The smallest link: bytes that come and go."""

    def __init__(self, at: Endpoint, sink: Sink, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(at, at.client_id, sink, loop)
        self.heard = bytearray()
        self.asked: list[str] = []
        self.recorder = cast(Recorder, sink)

    def _made(self) -> None:
        self._up(False)

    def _lost(self) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.recorder._note("bytes")

    def pause_writing(self) -> None:
        self.asked.append("pause")

    def resume_writing(self) -> None:
        self.asked.append("resume")
        self.recorder._note("resume")

    def say(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    @property
    def transport(self) -> Any:
        return self._transport

    # The rest of a Link, which nobody asks for here.
    waiting = 0

    def send(self, message: Publish) -> bool:
        raise NotImplementedError

    def subscribe(self, filters: tuple[str, ...]) -> None:
        raise NotImplementedError

    def tick(self, now_s: float) -> None:
        raise NotImplementedError


class Ear(asyncio.Protocol):
    """One connection of the far side."""

    def __init__(self, server: "Ears") -> None:
        self.server = server
        self.heard = bytearray()
        self.lost = False
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server.connections.append(self)
        self.server.changed.set()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.server.changed.set()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.server.changed.set()


class Ears(FarSide[Ear]):
    def __init__(self, certificates: Certificates | None = None) -> None:
        context = None
        self.files: TlsFiles | None = None
        if certificates is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.server_cert_file, certificates.server_key_file)
            self.files = TlsFiles(certificates.ca_file)
        super().__init__(context)

    def accept(self) -> Ear:
        return Ear(self)

    async def joined(self, line: Line | None = None, **fields: Any) -> tuple[Wire, Recorder, Ear]:
        """A link that is connected, with a network in it."""
        before = len(self.connections)
        at = Endpoint("localhost", self.port, "d1", self.files, backoff_first_s=0.01)._replace(**fields)
        link, heard = make_link(Wire, at)
        if line is not None:
            link.shape(line)
        link.open()
        await heard.line("connected")
        await self.until(lambda: len(self.connections) > before)
        return link, heard, self.connections[-1]


def numbered(count: int) -> bytes:
    return b"".join(b"%06d\n" % n for n in range(count))


async def a_while() -> None:
    """Long enough for what should not happen."""
    await asyncio.sleep(0.05)


# One direction, by a clock that a test moves


class Clock:
    """As much of a loop as a `Way` knows."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now_s

    def call_at(self, at_s: float, do: Callable[[], None]) -> "Timer":
        self.timers.append(Timer(at_s, do))
        return self.timers[-1]

    def move_to(self, after_ms: int) -> None:
        self.now_s = 1000.0 + after_ms / 1000
        while due := [timer for timer in self.timers if timer.at_s <= self.now_s and not timer.cancelled]:
            self.timers.remove(due[0])
            due[0].do()


class Timer:
    def __init__(self, at_s: float, do: Callable[[], None]) -> None:
        self.at_s, self.do, self.cancelled = at_s, do, False

    def cancel(self) -> None:
        self.cancelled = True


def way(deliver: Callable[[bytes], None]) -> tuple[Way, Clock]:
    clock = Clock()
    return Way(cast(asyncio.AbstractEventLoop, clock), deliver), clock


@pytest.mark.parametrize(
    ("given", "arrivals"),
    [
        ([(0, b"a", 0), (0, b"b", 0)], {0: b"ab"}),
        ([(0, b"a", 100), (0, b"b", 100)], {99: b"", 100: b"ab"}),
        ([(0, b"a", 100), (0, b"b", 0)], {99: b"", 100: b"ab"}),  # none overtakes
        ([(0, b"a", 100), (50, b"b", 20), (60, b"c", 90)], {99: b"", 100: b"ab", 149: b"ab", 150: b"abc"}),
        ([(0, b"a", 100), (100, b"b", 0)], {100: b"ab"}),
        ([(0, b"a", 10), (0, b"b", 20), (0, b"c", 30)], {10: b"a", 20: b"ab", 30: b"abc"}),
    ],
)
def test_bytes_come_after_their_time_and_in_order(
    given: list[tuple[int, bytes, int]], arrivals: dict[int, bytes]
) -> None:
    came = bytearray()
    line, clock = way(came.extend)
    moments = sorted({at_ms for at_ms, _, _ in given} | set(arrivals))
    for at_ms in moments:
        clock.move_to(at_ms)
        for when_ms, data, after_ms in given:
            if when_ms == at_ms:
                line.add(data, after_ms)
        assert bytes(came) == arrivals.get(at_ms, bytes(came))
    assert line.held_bytes == 0
    assert not clock.timers


def test_what_is_on_the_way_at_the_end_is_lost() -> None:
    came = bytearray()
    line, clock = way(came.extend)
    line.add(b"a", 10)
    line.add(b"bc", 20)
    assert line.held_bytes == 3
    clock.move_to(10)
    line.end()
    assert line.held_bytes == 0
    clock.move_to(100)
    assert came == b"a"


def test_who_ends_it_while_it_delivers_gets_no_more() -> None:
    came: list[bytes] = []

    def take(data: bytes) -> None:
        came.append(data)
        line.end()

    line, clock = way(take)
    line.add(b"a", 10)
    line.add(b"b", 10)
    clock.move_to(100)
    assert came == [b"a"]
    assert all(timer.cancelled for timer in clock.timers)


def test_who_fails_keeps_nothing_behind_it_from_coming() -> None:
    came: list[bytes] = []

    def take(data: bytes) -> None:
        came.append(data)
        if data == b"a":
            raise RuntimeError("a bug of the link's")

    line, clock = way(take)
    line.add(b"a", 10)
    line.add(b"b", 10)
    with pytest.raises(RuntimeError):
        clock.move_to(100)
    clock.move_to(100)
    assert came == [b"a", b"b"]
    assert line.held_bytes == 0


def test_who_answers_while_it_delivers_is_behind_what_waits() -> None:
    came: list[bytes] = []

    def take(data: bytes) -> None:
        came.append(data)
        if data == b"a":
            line.add(b"c", 0)

    line, clock = way(take)
    line.add(b"a", 10)
    line.add(b"b", 20)
    clock.move_to(10)
    assert came == [b"a"]
    clock.move_to(20)
    assert came == [b"a", b"b", b"c"]


# On sockets


@LOOPS
@WAYS
def test_delayed_and_in_pieces_all_comes_in_order(certificates: Certificates, on_uvloop: bool, tls: bool) -> None:
    def jitter(data: bytes, up: bool) -> list[Piece]:
        size = 1 + len(data) // 3
        parts = [data[at : at + size] for at in range(0, len(data), size)] or [data]
        return [Piece(part, (7 * n + len(data)) % 11) for n, part in enumerate(parts)]

    async def test() -> None:
        async with Ears(certificates if tls else None) as server:
            link, heard, far = await server.joined(Line(jitter))
            said = numbered(2000)
            for at in range(0, len(said), 100):
                link.say(said[at : at + 100])
                far.transport.write(said[at : at + 100])
                if at % 1000 == 0:
                    await asyncio.sleep(0)
            await server.until(lambda: len(far.heard) == len(said))
            await heard.until(lambda: len(link.heard) == len(said))
            assert far.heard == link.heard == said
            link.close()
            await heard.line("disconnected closed")
            await server.until(lambda: far.lost)

    run(test, on_uvloop)


@LOOPS
@WAYS
def test_a_network_may_come_in_mid_connection(certificates: Certificates, on_uvloop: bool, tls: bool) -> None:
    async def test() -> None:
        async with Ears(certificates if tls else None) as server:
            link, heard, far = await server.joined()
            said = numbered(3000)
            link.say(said[:7000])
            far.transport.write(said[:7000])
            line = Line(late(5))
            link.shape(line)
            link.shape(line)  # once is enough
            assert isinstance(link.transport, Shaped)
            for at in range(7000, len(said), 1000):
                link.say(said[at : at + 1000])
                far.transport.write(said[at : at + 1000])
            await server.until(lambda: len(far.heard) == len(said))
            await heard.until(lambda: len(link.heard) == len(said))
            assert far.heard == link.heard == said
            assert b"".join(data for data, up in line.carried if up) == said[7000:]
            line.way = whole
            link.sever()
            await heard.line("disconnected severed")
            link.open()
            await heard.line("connected", 2)
            assert isinstance(link.transport, Shaped)  # every later one, too

    run(test, on_uvloop)


@LOOPS
@WAYS
def test_lost_bytes_are_not_noticed(certificates: Certificates, on_uvloop: bool, tls: bool) -> None:
    async def test() -> None:
        async with Ears(certificates if tls else None) as server:
            line = Line()
            link, heard, far = await server.joined(line)
            for way_up, carry in ((True, only(True, nothing)), (False, only(False, nothing)), (None, nothing)):
                line.way = carry
                link.say(b"vanishes " if way_up is not False else b"up ")
                far.transport.write(b"vanishes " if way_up is not True else b"down ")
                await a_while()
            line.way = whole
            link.say(b"end")
            far.transport.write(b"end")
            await server.until(lambda: far.heard.endswith(b"end"))
            await heard.until(lambda: link.heard.endswith(b"end"))
            assert (bytes(far.heard), bytes(link.heard)) == (b"up end", b"down end")
            assert "disconnected" not in " ".join(heard.log)

    run(test, on_uvloop)


@LOOPS
@WAYS
def test_the_end_comes_behind_the_last_bytes(certificates: Certificates, on_uvloop: bool, tls: bool) -> None:
    async def test() -> None:
        async with Ears(certificates if tls else None) as server:
            # The far side hangs up.
            link, heard, far = await server.joined(Line(late(20)), backoff_first_s=1000.0)
            far.transport.write(b"a last word")
            far.transport.close()
            await heard.line("disconnected")
            assert link.heard == b"a last word"
            assert heard.log[-2:] == ["bytes", "disconnected the server closed the connection"]
            link.close()
            # The device does.
            link, heard, far = await server.joined(Line(late(20)))
            link.say(b"goodbye")
            link.close()
            assert not far.heard
            await heard.line("disconnected closed")
            await server.until(lambda: far.lost)
            assert far.heard == b"goodbye"

    run(test, on_uvloop)


@LOOPS
def test_severed_is_at_once_and_what_was_on_the_way_is_lost(on_uvloop: bool) -> None:
    async def test() -> None:
        async with Ears() as server:
            line = Line(lambda data, up: [Piece(data, 10_000 if data else 0)])
            link, heard, far = await server.joined(line)
            link.say(b"never comes")
            link.sever()
            await heard.line("disconnected severed")
            await server.until(lambda: far.lost)
            assert not far.heard
            link.open()
            await heard.line("connected", 2)

    run(test, on_uvloop)


# Half a connection


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


# Bounds


@LOOPS
@WAYS
def test_what_waits_on_the_way_up_makes_the_link_wait(certificates: Certificates, on_uvloop: bool, tls: bool) -> None:
    async def test() -> None:
        async with Ears(certificates if tls else None) as server:
            line = Line(only(True, late(50)))
            link, heard, far = await server.joined(line)
            said = 0
            while "pause" not in link.asked:
                link.say(bytes(8192))
                said += 8192
            assert HIGH_BYTES < said <= HIGH_BYTES + 8192
            await heard.line("resume")
            assert link.asked == ["pause", "resume"]
            await server.until(lambda: len(far.heard) == said)

    run(test, on_uvloop)


@LOOPS
@WAYS
def test_what_waits_on_the_way_down_makes_the_far_side_wait(
    certificates: Certificates, on_uvloop: bool, tls: bool
) -> None:
    async def test() -> None:
        async with Ears(certificates if tls else None) as server:
            link, _, far = await server.joined(Line(only(False, late(30))))
            much = numbered(1_000_000)
            far.transport.write(much)
            held: list[int] = []
            while len(link.heard) < len(much):
                held.append(link.transport._down.held_bytes)
                await asyncio.sleep(0.001)
            assert link.heard == much
            assert HIGH_BYTES < max(held) < HELD_BYTES_MAX / 2  # what is read at once comes on top

    run(test, on_uvloop)


def test_who_does_not_wait_is_cut() -> None:
    async def test() -> None:
        async with Ears() as server:
            link, heard, far = await server.joined(Line(lambda data, up: [Piece(data, 60_000 if data else 0)]))
            for _ in range(HELD_BYTES_MAX // 65_536 + 1):
                link.say(bytes(65_536))
            await heard.line("disconnected")
            await server.until(lambda: far.lost)
            await heard.line("connected", 2)

    run(test)


@LOOPS
def test_a_full_transport_makes_the_link_wait_too(on_uvloop: bool) -> None:
    async def test() -> None:
        async with Ears() as server:
            link, heard, far = await server.joined()
            far.transport.pause_reading()
            while "pause" not in link.asked:
                link.say(bytes(65_536))
                await asyncio.sleep(0)
            link.shape(Line(whole))  # it comes between when the link waits already
            far.transport.resume_reading()
            await heard.line("resume")
            assert link.asked == ["pause", "resume"]

    run(test, on_uvloop)


@pytest.mark.parametrize(
    ("first", "then"), [((True, False), ["pause"]), ((False, True), ["pause"]), ((False, False), ["pause", "resume"])]
)
def test_the_link_goes_on_when_neither_is_full(first: tuple[bool, bool], then: list[str]) -> None:
    """The way up and the transport, each full or not."""
    asked: list[str] = []

    class Asked(asyncio.Protocol):
        def pause_writing(self) -> None:
            asked.append("pause")

        def resume_writing(self) -> None:
            asked.append("resume")

    async def test() -> None:
        loop = asyncio.get_running_loop()
        shaped = Shaped(Line(), Asked(), cast(asyncio.Transport, None), loop)
        shaped._fill(0, True)
        shaped.pause_writing()
        if not first[0]:
            shaped._fill(0, False)
        if not first[1]:
            shaped.resume_writing()

    run(test)
    assert asked == then
    assert LOW_BYTES < HIGH_BYTES


# The link above


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


@pytest.mark.parametrize("early", [True, False], ids=["before", "mid-connection"])
def test_mqtt_goes_on_over_a_bad_network(early: bool) -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            link, heard = make_link(Mqtt, Endpoint("127.0.0.1", server.port, "d1"))
            line = Line(lambda data, up: [Piece(data[:5], 3), Piece(data[5:], 6)])
            if early:
                link.shape(line)
            link.open()
            await heard.line("connected")
            link.shape(line)
            for number in range(50):
                link.send(Publish("k", "t", b"%d" % number))
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
            line = Line(lambda data, up: [Piece(data[:5], 3), Piece(data[5:], 6)])
            if early:
                link.shape(line)
            link.open()
            await heard.line("connected")
            link.shape(line)
            for number in range(50):
                link.send(Publish("k", "t", b"%d" % number))
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
