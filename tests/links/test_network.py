"""The bad network between a link and its transport, on real sockets: what it holds up, loses, cuts, in what order."""

import asyncio
from typing import cast

import pytest

from simulator.links._network import HELD_BYTES_MAX, HIGH_BYTES, LOW_BYTES, Shaped
from simulator.messages import Piece
from tests.links.bad_network import (
    LOOPS,
    WAYS,
    Ears,
    Line,
    a_while,
    late,
    nothing,
    numbered,
    only,
    whole,
)
from tests.links.mqtt_peers import Certificates, run


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
