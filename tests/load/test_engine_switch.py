"""Switching devices of an engine off and on again, as a load tool's users come and go."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from simulator.device import Device
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.links import Link, Sink
from simulator.links.memory import Memory
from simulator.messages import Publish
from simulator.profiles import Profile
from simulator.runtime.downloads import Downloads
from simulator.runtime.engine import LEAVE_S, Engine
from simulator.runtime.meter import Meter
from simulator.schema import parse

PUMP = """
profile: pump
thing_type: Pump
signals:
  temp_c: {kind: constant, value: 20}
behaviours:
  - {kind: telemetry, every_s: 0.001, topic: "t/{thing}", metrics: [temp_c]}
"""
PATIENCE_S = 10.0


class Bench:
    """An engine with one pump, and the links that were made for it."""

    def __init__(self) -> None:
        profile = parse(PUMP, "pump.yaml", Profile)
        self.links: list[Memory] = []
        self.heard: list[Publish] = []
        self.meter = Meter()
        fleet = Fleet([("Pump-001", "pump", None)], {"pump": profile}, 1, int(time.time() * 1000), bytes(32))
        self.engine = Engine(fleet, self._link, Downloads(), Ledger(), self.meter)
        self.device = fleet.devices[0]

    def _link(self, device: Device, sink: Sink) -> Link:
        self.links.append(Memory(sink, self.heard.append))
        return self.links[-1]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.engine.ledger.events]

    async def until(self, seen: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not seen():
                await asyncio.sleep(0.001)


def played(play: Callable[[Bench], Coroutine[Any, Any, None]]) -> Bench:
    async def run() -> Bench:
        bench = Bench()
        try:
            await play(bench)
        finally:
            await bench.engine.close()
        return bench

    return asyncio.run(run())


def test_a_device_that_is_switched_off_is_silent_at_once_and_hangs_up_soon() -> None:
    async def play(bench: Bench) -> None:
        bench.engine.start(0)
        await bench.until(lambda: len(bench.heard) > 2)
        bench.engine.stop(0)
        said = bench.engine.ledger.attempted.total()
        assert bench.links[0].up, "what it said may still be answered"
        await bench.until(lambda: not bench.links[0].up)
        assert bench.engine.ledger.attempted.total() == said

    bench = played(play)
    assert bench.kinds() == ["connected", "disconnected"]
    assert bench.engine.settled()
    assert [row.name for row in bench.meter.take()] == ["connect", "telemetry"], "nothing was lost"


def test_switched_on_again_it_boots_and_has_a_link_of_its_own() -> None:
    async def play(bench: Bench) -> None:
        for times in (1, 2):
            bench.engine.start(0)
            await bench.until(lambda: bench.device.online)
            heard = len(bench.heard)
            await bench.until(lambda: len(bench.heard) > heard)  # noqa: B023
            assert [link.up for link in bench.links] == [False] * (times - 1) + [True], "never two at a time"
            bench.engine.stop(0)

    assert played(play).kinds() == ["connected", "disconnected"] * 2


def test_the_last_word_counts_however_quickly_it_comes() -> None:
    async def play(bench: Bench) -> None:
        for _ in range(3):
            bench.engine.start(0)
            bench.engine.stop(0)
        await asyncio.sleep(2 * LEAVE_S)
        assert not bench.links
        for _ in range(3):
            bench.engine.stop(0)
            bench.engine.start(0)
        await bench.until(lambda: bench.device.online)
        assert bench.kinds() == ["connected"]

    played(play)


def test_stopped_during_a_reboot_it_stays_off() -> None:
    async def play(bench: Bench) -> None:
        bench.engine.start(0)
        await bench.until(lambda: bench.device.online)
        bench.engine._power_cycle(0, 50)
        bench.engine.stop(0)
        await asyncio.sleep(0.2)
        assert not bench.device.online
        assert not bench.links[0].up

    played(play)
