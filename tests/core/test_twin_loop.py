"""The loop of virtual time: it waits by letting the fleet live on, to the millisecond, and wakes who is woken."""

import asyncio

import pytest

from simulator.clock import VIRTUAL_START_MS as START_MS
from simulator.clock import VirtualClock
from simulator.ledger import Ledger
from simulator.runtime.virtual import Virtual
from simulator.twin.loop import VirtualLoop
from tests.core.fleets import fleet


def virtual() -> Virtual:
    return Virtual(fleet(), VirtualClock(), Ledger())


def test_a_sleep_is_as_long_as_it_says_and_what_is_due_before_it_happens_before_it() -> None:
    of = virtual()
    happened: list[tuple[int, str]] = []

    def at(ms: int, what: str) -> None:
        of.at(START_MS + ms, lambda: happened.append((of.clock.now_ms() - START_MS, what)))

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for ms in (0, 999, 1000, 1001):
            at(ms, "event")
        await asyncio.sleep(1)
        happened.append((of.clock.now_ms() - START_MS, "slept"))
        assert loop.time() == 1.0
        await asyncio.sleep(0.0001)  # a clock of milliseconds is no finer
        happened.append((of.clock.now_ms() - START_MS, "slept"))
        for _ in range(10):
            await asyncio.sleep(0.1)
        happened.append((of.clock.now_ms() - START_MS, "slept"))

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(of)) as runner:
        runner.run(run())
    assert happened == [
        (0, "event"), (999, "event"), (1000, "event"), (1000, "slept"), (1001, "event"), (1001, "slept"),
        (2001, "slept"),
    ]  # fmt: skip


def test_who_is_woken_goes_on_at_that_moment() -> None:
    of = virtual()

    async def run() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        of.at(START_MS + 86_400_000, lambda: woken.set_result("here"))
        of.at(START_MS + 86_400_000, lambda: None)
        return await asyncio.wait_for(woken, 200_000), loop.time()

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(of)) as runner:
        assert runner.run(run()) == ("here", 86_400.0)


def test_to_wait_for_what_never_comes_is_a_mistake_and_not_a_standstill() -> None:
    async def run() -> None:
        await asyncio.get_running_loop().create_future()

    with (
        pytest.raises(RuntimeError, match="what has no time"),
        asyncio.Runner(loop_factory=lambda: VirtualLoop(virtual())) as runner,
    ):
        runner.run(run())
