"""A device that takes its turns by itself on its MQTT connection: what it says, and everything that ends it."""

import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from time import monotonic

import pytest

from simulator.links import Endpoint, Turns
from simulator.links.mqtt import Mqtt
from simulator.messages import Piece, Publish, Turn
from simulator.wire.mqtt import packets as p
from tests.links.mqtt_peers import Scripted, ScriptedServer, agreeable, make_link, run, unanswered

ZERO_MS = 1000 * (time.time() - monotonic())
HEAD, TAIL = b'{"t":', b',"x":1}'
FAR_MS = int(ZERO_MS + 1000 * (monotonic() + 1000))


class Turner:
    """A link that takes turns, and what it told of them."""

    subject = 7

    def __init__(self, server: ScriptedServer, **fields: object) -> None:
        self.server = server
        self.answered: list[float] = []
        self.said_again: list[float] = []
        self.timed: list[float] = []
        self.ended: list[int] = []
        self.next: list[Turn] = []  # what it says when a moment is over
        endpoint = Endpoint("127.0.0.1", server.port, "d1", backoff_first_s=0.01)._replace(**fields)  # type: ignore[arg-type]
        self.link, self.heard = make_link(Mqtt, endpoint)

    def renewed(self, now_ms: int) -> Turn | None:
        return self.next.pop(0) if self.next else None

    def turned(self, said_ms: int) -> None:
        self.ended.append(said_ms)

    async def begin(self, apart_ms: float = 0, until_ms: int = FAR_MS) -> None:
        self.link.open()
        await self.heard.line("connected")
        now_ms = int(ZERO_MS + 1000 * monotonic())
        first = Publish("telemetry", "a/b", b"%b%d%b" % (HEAD, now_ms, TAIL), 1, stamp=now_ms)
        assert self.link.send(first)
        turn = Turn("a/b", HEAD, TAIL, apart_ms, until_ms)
        assert self.link.take_turns(self.turns, self, turn, first)

    @property
    def turns(self) -> Turns:
        return Turns(self.answered.extend, self.said_again.extend, self.timed.extend, ZERO_MS)

    @property
    def rows(self) -> list[tuple[float, ...]]:
        """Each answer with what was said then: bytes, subject twice; stamp, sent and answered; stamp and when."""
        logs = (self.answered, self.said_again, self.timed)
        answered, said, timed = (zip(*[iter(log)] * 3, strict=True) for log in logs)
        return [
            (size, one, other, stamp, sent_s, at_s, next_stamp, next_s)
            for (one, stamp, at_s), (other, next_stamp, next_s), (size, sent_s, _) in zip(
                answered, said, timed, strict=True
            )
        ]

    @property
    def connection(self) -> Scripted:
        return self.server.connections[-1]

    @property
    def said(self) -> list[p.Publish]:
        """What arrived, on all connections."""
        packets = [packet for connection in self.server.connections for packet in connection.heard]
        return [packet for packet in packets if isinstance(packet, p.Publish)]

    async def after(self, times: int) -> None:
        await self.server.until(lambda: len(self.said) >= times)


def turning(test: Callable[[Turner], Awaitable[None]], on_uvloop: bool = True, **fields: object) -> None:
    """Run a test with a link that is connected to a server that takes everything."""

    async def story() -> None:
        async with ScriptedServer() as server:
            turner = Turner(server, **fields)
            await test(turner)
            turner.link.close()
            await turner.heard.line("disconnected")

    run(story, on_uvloop)


def stamp(said: p.Publish) -> int:
    assert said.payload.startswith(HEAD)
    assert said.payload.endswith(TAIL)
    return int(said.payload[len(HEAD) : -len(TAIL)])


@pytest.mark.parametrize("on_uvloop", [True, False], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_every_answer_is_followed_by_the_next_message(on_uvloop: bool, version: str) -> None:
    async def test(turner: Turner) -> None:
        await turner.begin()
        await turner.after(30)
        turner.link.end_turns()
        await turner.heard.line("acknowledged")
        said, rows = turner.said, turner.rows
        assert [row[3] for row in rows] == [stamp(one) for one in said[:-1]], "answered"
        assert [row[6] for row in rows] == [stamp(one) for one in said[1:]], "and said next"
        assert {row[:3] for row in rows} == {(len(said[0].payload), 7, 7)}
        for before, after in pairwise(rows):
            assert before[7] == after[4], "sent when the one before was answered"
            assert before[4] <= before[5] == before[7]
        assert {(one.topic, one.qos, one.retain, one.dup, one.packet_id) for one in said} == {
            ("a/b", 1, False, False, 1)
        }
        [(last, sent_at_s, reason_code)] = turner.heard.acknowledgements
        assert (last.stamp, last.payload, reason_code) == (stamp(said[-1]), said[-1].payload, 0)
        assert sent_at_s == rows[-1][7]
        assert turner.ended == [last.stamp]

    turning(test, on_uvloop, mqtt_version=version)


def test_nobody_having_subscribed_is_an_answer_like_any_other() -> None:
    async def test(turner: Turner) -> None:
        turner.server.answer = nobody
        await turner.begin()
        await turner.after(10)
        assert not turner.ended

    def nobody(packet: p.Packet) -> list[p.Packet]:
        return [p.Puback(packet.packet_id, 0x10)] if isinstance(packet, p.Publish) else agreeable(packet)

    turning(test)


async def _hears(turner: Turner) -> None:
    turner.connection.say(p.Publish("c", b"for you"))


async def _is_refused(turner: Turner) -> None:
    turner.server.answer = lambda packet: [p.Puback(packet.packet_id, 0x87)] if isinstance(packet, p.Publish) else []


async def _is_answered_in_company(turner: Turner) -> None:
    turner.server.answer = unanswered
    turner.connection.transport.write(b"\x40\x02\x00\x01\xd0\x00")


async def _says_something_else(turner: Turner) -> None:
    assert turner.link.send(Publish("event", "a/c", b"else", 1))


async def _subscribes(turner: Turner) -> None:
    turner.link.subscribe(("c",))


async def _says_raw_bytes(turner: Turner) -> None:
    turner.link.raw(b"\xc0\x00")


async def _gets_a_network(turner: Turner) -> None:
    class Clear:
        def carry(self, data: bytes, up: bool) -> list[Piece]:
            return [Piece(data)]

        def reach(self) -> str | None:
            return None

    turner.link.shape(Clear())


@pytest.mark.parametrize(
    "befall",
    [_hears, _is_refused, _is_answered_in_company, _says_something_else, _subscribes, _says_raw_bytes, _gets_a_network],
)
def test_whatever_else_befalls_it_ends_the_turns_and_loses_nothing(befall: Callable[[Turner], Awaitable[None]]) -> None:
    async def test(turner: Turner) -> None:
        await turner.begin()
        await turner.after(10)
        await befall(turner)
        await turner.heard.until(lambda: bool(turner.ended))
        await turner.heard.line("acknowledged")
        told = [said for said, _, _ in turner.heard.acknowledgements if said.kind == "telemetry"]
        assert [one.stamp for one in told] == turner.ended
        assert [*(row[3] for row in turner.rows), turner.ended[0]] == [
            stamp(one) for one in turner.said if one.topic == "a/b"
        ]
        if befall is _hears:
            await turner.heard.line("received c")
        if befall is _is_refused:
            assert turner.heard.log[-1] == "acknowledged 0x87"
        assert turner.link.send(Publish("event", "a/c", b"goes on", 1))

    turning(test)


def test_what_was_in_flight_when_the_connection_broke_is_sent_again() -> None:
    async def test(turner: Turner) -> None:
        await turner.begin()
        await turner.after(10)
        turner.server.answer = unanswered
        turner.connection.transport.abort()
        await turner.heard.until(lambda: bool(turner.ended))
        turner.server.answer = agreeable
        await turner.heard.line("acknowledged")
        [(last, _, _)] = turner.heard.acknowledgements
        assert last.stamp == turner.ended[0] == stamp(turner.said[-1])
        assert turner.rows[-1][6] == last.stamp

    turning(test)


def test_severed_it_keeps_what_was_not_answered() -> None:
    async def test(turner: Turner) -> None:
        await turner.begin()
        await turner.after(10)
        turner.link.sever()
        assert len(turner.ended) == 1
        await turner.heard.line("disconnected")
        turner.link.open()
        await turner.heard.line("acknowledged")
        assert [said.stamp for said, _, _ in turner.heard.acknowledgements] == turner.ended

    turning(test)


def test_when_its_moment_is_over_it_says_what_it_is_to_say_from_then_on() -> None:
    async def test(turner: Turner) -> None:
        now_ms = int(ZERO_MS + 1000 * monotonic())
        turner.next = [
            Turn("a/b", HEAD, b',"x":22222}', 0, now_ms + 40),
            Turn("a/b", HEAD, b"," + 300 * b" " + b"}", 0, FAR_MS),
        ]
        await turner.begin(until_ms=now_ms + 20)
        await turner.server.until(lambda: len(turner.said[-1].payload) > 300 if turner.said else False)
        await turner.after(len(turner.said) + 5)
        assert not turner.ended
        turner.link.end_turns()
        await turner.heard.line("acknowledged")
        payloads = [said.payload for said in turner.said]
        assert [size for size, *_ in turner.rows] == [len(payload) for payload in payloads[:-1]], "of what was answered"
        assert turner.heard.acknowledgements[0][0].payload == payloads[-1]
        tails = list(dict.fromkeys(payload[len(HEAD) + 13 :] for payload in payloads))
        assert tails[0] == TAIL
        assert tails[-1].startswith(b",   ")

    turning(test)


def test_a_message_that_has_become_too_long_for_the_server_is_left_to_the_session() -> None:
    def strict(packet: p.Packet) -> list[p.Packet]:
        if isinstance(packet, p.Connect):
            return [p.Connack(properties=(("maximum_packet_size", 100),))]
        return agreeable(packet)

    async def test(turner: Turner) -> None:
        turner.server.answer = strict
        now_ms = int(ZERO_MS + 1000 * monotonic())
        turner.next = [Turn("a/b", HEAD, b"," + 300 * b" " + b"}", 0, FAR_MS)]
        await turner.begin(until_ms=now_ms + 20)
        await turner.heard.line("acknowledged")
        assert len(turner.ended) == 1
        assert turner.heard.acknowledgements[0][0].payload == turner.said[-1].payload

    turning(test)


def test_a_moment_may_end_them_and_so_may_an_answer_that_comes_too_soon() -> None:
    async def over(turner: Turner) -> None:
        await turner.begin(until_ms=int(ZERO_MS + 1000 * monotonic()) + 20)
        await turner.heard.line("acknowledged")
        assert turner.heard.acknowledgements[0][0].stamp == turner.ended[0]

    async def soon(turner: Turner) -> None:
        await turner.begin(apart_ms=60_000)
        await turner.heard.line("acknowledged")
        assert (len(turner.said), turner.rows, len(turner.ended)) == (1, [], 1)

    turning(over)
    turning(soon)


def test_an_answer_that_never_comes_ends_the_connection_in_its_time() -> None:
    async def test(turner: Turner) -> None:
        await turner.begin()
        await turner.after(3)
        turner.link.tick(monotonic())
        assert not turner.ended
        turner.server.answer = unanswered
        turner.link.tick(monotonic() + 11)
        await turner.heard.line("disconnected no PUBACK within 10 s")
        turner.server.answer = agreeable
        await turner.heard.line("acknowledged")

    turning(test)


def test_a_server_that_is_silent_is_pinged_in_time() -> None:
    async def test(turner: Turner) -> None:
        await turner.begin()
        await turner.after(3)
        turner.server.answer = unanswered
        turner.link.tick(monotonic() + 2)
        await turner.server.until(lambda: any(isinstance(packet, p.Pingreq) for packet in turner.connection.heard))
        assert turner.ended

    turning(test, keep_alive_s=2)


def test_a_puback_of_mqtt_5_is_none_in_3_1_1() -> None:
    async def test(turner: Turner) -> None:
        await turner.begin()
        await turner.after(3)
        turner.server.answer = unanswered
        turner.connection.transport.write(b"\x40\x03\x00\x01\x10")
        await turner.heard.line("disconnected the server sent what is not MQTT")
        turner.server.answer = agreeable
        await turner.heard.line("acknowledged")

    turning(test, mqtt_version="3.1.1")


def test_turns_begin_only_where_nothing_else_is_under_way() -> None:
    async def test(turner: Turner) -> None:
        turn, turns = Turn("a/b", HEAD, TAIL, 0, FAR_MS), turner.turns
        first = Publish("telemetry", "a/b", HEAD + b"1" + TAIL, 1, stamp=1)
        assert not turner.link.take_turns(turns, turner, turn, first), "not connected"
        turner.link.open()
        await turner.heard.line("connected")
        assert not turner.link.take_turns(turns, turner, turn, first), "not sent"
        turner.link.send(first)
        turner.link.send(first._replace(topic="a/c"))
        assert not turner.link.take_turns(turns, turner, turn, first), "not alone"
        await turner.heard.line("acknowledged", 2)

    turning(test)


def test_its_sink_hears_nothing_of_turns_but_what_comes_after_them() -> None:
    async def test(turner: Turner) -> None:
        await turner.begin()
        await turner.after(5)
        assert turner.heard.log == ["connected False"]

    turning(test)
