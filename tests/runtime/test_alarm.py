"""The alarm on both loops, by the kernel's timers and by the loop's."""

import asyncio
from collections.abc import Callable
from time import monotonic

import pytest
import uvloop

from simulator.runtime.alarm import Alarm

PATIENCE_S = 8.0
BOTH = pytest.mark.parametrize("by_kernel", [True, False], ids=["kernel", "loop"])
LOOPS = pytest.mark.parametrize("make", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
Make = Callable[[], asyncio.AbstractEventLoop]


class Rings:
    """An alarm, and the moments at which it rang."""

    def __init__(self, by_kernel: bool) -> None:
        self.at_s: list[float] = []
        self.then: list[float] = []  # set when it rings, in this order
        self._rang = asyncio.Event()
        self.alarm = Alarm(asyncio.get_running_loop(), self._ring, by_kernel)

    def _ring(self) -> None:
        self.at_s.append(monotonic())
        if self.then:
            self.alarm.set(self.then.pop(0))
        self._rang.set()

    async def times(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.at_s) < count:
                self._rang.clear()
                await self._rang.wait()


def play(make: Make, by_kernel: bool, story: Callable[[Rings], asyncio.Future[None] | object]) -> None:
    async def main() -> None:
        rings = Rings(by_kernel)
        try:
            await story(rings)  # type: ignore[misc]
        finally:
            rings.alarm.close()

    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(main())


@LOOPS
@BOTH
def test_it_rings_once_for_each_time_and_never_early(make: Make, by_kernel: bool) -> None:
    async def story(rings: Rings) -> None:
        wanted = [monotonic() + n / 1000 for n in (3, 4, 9)]
        rings.then = wanted[1:]
        rings.alarm.set(wanted[0])
        await rings.times(3)
        assert all(
            rang_s >= want_s - 0.001 * (not by_kernel) for rang_s, want_s in zip(rings.at_s, wanted, strict=True)
        )
        for _ in range(100):  # turns of the loop in which a timer that was left on would ring again
            await asyncio.sleep(0)
        assert len(rings.at_s) == 3

    play(make, by_kernel, story)


@LOOPS
@BOTH
def test_a_later_word_takes_the_place_of_the_one_before(make: Make, by_kernel: bool) -> None:
    async def story(rings: Rings) -> None:
        rings.alarm.set(monotonic() + 3600)
        rings.alarm.set(monotonic() - 5)  # it is over: at once
        await rings.times(1)
        rings.alarm.set(monotonic())
        rings.alarm.cancel()
        rings.then = [monotonic() - 1]
        rings.alarm.set(monotonic() + 0.005)
        await rings.times(3)
        assert len(rings.at_s) == 3

    play(make, by_kernel, story)


@LOOPS
def test_a_ring_that_nobody_heard_yet_is_taken_back(make: Make) -> None:
    async def story(rings: Rings) -> None:
        rings.alarm.set(monotonic())
        rings.alarm.set(monotonic() + 3600)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not rings.at_s

    play(make, True, story)
