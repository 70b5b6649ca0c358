"""Faults of the network on real sockets, at the real gateways: all is stored once, and nobody else has to wait."""

from pathlib import Path

import pytest

from simulator.faults import Fault
from tests.links.fault_bench import NETWORK, OVER_REST, OVER_TCP, Bench, fault, has_struck, patience_s, run, was_seen
from tests.links.fault_far_sides import Platform, over_rest, over_tcp


@pytest.mark.parametrize("channel", ["tcp", "rest"])
@pytest.mark.parametrize("what", NETWORK, ids=lambda what: str(what.params))
def test_over_a_bad_network_all_is_stored_once(tmp_path: Path, what: Fault, channel: str) -> None:
    async def story() -> None:
        async with Platform(tmp_path).running() as platform:
            make, of = (over_tcp, OVER_TCP) if channel == "tcp" else (over_rest, OVER_REST)
            bench = Bench(make(platform, ack_timeout_s=patience_s(what)), of)
            await bench.suffer(what, has_struck(bench, what))
            assert platform.stored() == bench.stamps()
            assert platform.dead() == {}
            assert not [name for name in platform.tcp.counts if name.startswith("garbage")]
            was_seen(bench, what)

    run(story)


def test_a_body_that_trickles_is_seen_to_trickle(tmp_path: Path) -> None:
    """The gateway gets the head of a request at once and its body byte by byte; others do not wait for it."""

    async def story() -> None:
        async with Platform(tmp_path).running() as platform:
            slow = Bench(over_rest(platform, connections_max=1), OVER_REST)
            slow.engine.start(0)
            await slow.acknowledged(3)
            slow.engine.inject(0, fault("slow_sender", bytes=1, every_ms=10))
            await slow.until(lambda: platform.rest._at_work == 1)
            quick = Bench(over_rest(platform, connections_max=1, client_id="quick"), OVER_REST)
            quick.engine.start(0)
            before = slow.ledger.acknowledged["telemetry"]
            await quick.acknowledged(10)
            assert slow.ledger.acknowledged["telemetry"] <= before + 1
            slow.engine.clear(0, None)
            await slow.acknowledged(5)
            for bench in (slow, quick):
                bench.engine.silence()
                await bench.until(bench.engine.settled)
            assert platform.stored() == slow.stamps() | quick.stamps()

    run(story)


def test_many_that_get_no_answer_keep_nobody_waiting(tmp_path: Path) -> None:
    async def story() -> None:
        async with Platform(tmp_path).running() as platform:
            make = over_rest(platform, ack_timeout_s=30.0, connections_max=2)
            dark = [Bench(make, OVER_REST) for _ in range(6)]
            for bench in dark:
                bench.engine.start(0)
                await bench.acknowledged(1)
                bench.engine.inject(0, fault("partition"))
            light = Bench(make, OVER_REST)
            light.engine.start(0)
            await light.acknowledged(10)

    run(story)
