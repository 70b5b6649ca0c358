"""One direction of a bad network, by a clock that the test moves: what it holds up and in what order."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from simulator.links._network import Way


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
