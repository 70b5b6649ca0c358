"""Faults of the protocol at the real gateways: what is wrong is garbage or refused, and the rest is stored."""

import asyncio
from pathlib import Path

import pytest

from simulator.faults import Fault
from tests.links.fault_bench import OVER_REST, OVER_TCP, Bench, fault, run
from tests.links.fault_far_sides import Platform, over_rest, over_tcp


@pytest.mark.parametrize("how", ["checksum", "length", "truncated", "split", "any"])
def test_broken_frames_are_garbage_and_come_again(tmp_path: Path, how: str) -> None:
    async def story() -> None:
        async with Platform(tmp_path).running() as platform:
            bench = Bench(over_tcp(platform, ack_timeout_s=5.0 if how == "split" else 0.2), OVER_TCP)
            what = fault("broken_frame", how=how, probability=0.3, split_ms=20)
            await bench.suffer(what, lambda: len(bench.notes("disturbed")) >= 10)
            assert platform.stored() == bench.stamps()
            assert platform.dead() == {}
            garbage = [name for name in platform.tcp.counts if name.startswith("garbage.")]
            assert bool(garbage) == (how != "split")
            assert bool(bench.reasons()) == (how != "split")
            assert set(bench.reasons()) <= {"no acknowledgement within 0.2 s"}
            assert {note["what"] for note in bench.notes("disturbed")} <= {"mangled", "delayed"}

    run(story)


def test_garbage_between_frames_is_skipped(tmp_path: Path) -> None:
    async def story() -> None:
        async with Platform(tmp_path).running() as platform:
            bench = Bench(over_tcp(platform), OVER_TCP)
            counts = platform.tcp.counts
            what = fault("raw_packet", packet="garbage", every_s=0.1)
            await bench.suffer(what, lambda: counts["garbage_bytes"] >= 5 * 64)
            assert platform.stored() == bench.stamps()
            assert bench.reasons() == []

    run(story)


def test_a_device_that_hangs_is_given_up_by_the_gateway(tmp_path: Path) -> None:
    async def story() -> None:
        async with Platform(tmp_path).running() as platform:
            bench = Bench(over_tcp(platform, ack_timeout_s=0.3), OVER_TCP)
            loop, gateway = asyncio.get_running_loop(), platform.tcp

            def given_up() -> bool:
                gateway.tick(loop.time())
                return gateway.counts["closed.silent"] > 0

            await bench.suffer(fault("keep_alive_violation"), given_up)
            assert bench.reasons()[0] == "no acknowledgement within 0.3 s"
            assert platform.stored() == bench.stamps()

    run(story)


@pytest.mark.parametrize(
    "what",
    [
        fault("malformed_json"),
        fault("wrong_schema"),
        fault("wrong_topic"),
        fault("invalid_utf8"),
        fault("oversize"),
        fault("oversize", bytes=2_000_000),
    ],
    ids=lambda what: str(what.params),
)
def test_what_is_wrong_is_refused_over_rest(tmp_path: Path, what: Fault) -> None:
    async def story() -> None:
        async with Platform(tmp_path).running() as platform:
            bench = Bench(over_rest(platform), OVER_REST)
            half = what.model_copy(update={"probability": 0.5})
            await bench.suffer(half, lambda: len(bench.notes("disturbed")) >= 10)
            told = {note["stamp"] for note in bench.notes("disturbed")}
            assert bench.ledger.refused["telemetry"] == len(told)
            assert platform.stored() == bench.stamps() - told

    run(story)
