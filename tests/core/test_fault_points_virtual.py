"""Faults made for the test in virtual time: what arrives over a link that they bend, break and mend."""

import json
from typing import Any

import pytest

from simulator.clock import VirtualClock
from simulator.ledger import Ledger
from simulator.runtime.virtual import Virtual
from tests.core.fault_probes import QUICK, Probe
from tests.core.fleets import START_MS, World, fleet


def spoken(world: World) -> list[tuple[float, float]]:
    """(When it arrived, when it was said) of the telemetry."""
    return [
        ((at_ms - START_MS) / 1000, (json.loads(m.payload)["device_timestamp"] - START_MS) / 1000)
        for at_ms, _, m in world.cloud.said
        if m.kind == "telemetry"
    ]


def broken(probe: Probe, for_s: float = 40, clear_s: float | None = 20) -> World:
    world = World(QUICK)
    world.virtual.inject(0, probe, START_MS + 10_000)
    if clear_s is not None:
        world.virtual.clear(0, None, START_MS + int(clear_s * 1000))
    world.run(for_s)
    return world


def sound(for_s: float = 40) -> list[float]:
    world = World(QUICK)
    world.run(for_s)
    return [said for _, said in spoken(world)]


def test_delayed_bytes_arrive_later_and_all_of_them() -> None:
    world = broken(Probe(does="Splits", mark="late"))
    for arrived, said in spoken(world):
        assert arrived - said == pytest.approx(0.1 if 10 <= said < 20 else 0, abs=1e-6)
    assert [said for _, said in spoken(world)] == sound()
    assert world.ledger.attempted == world.ledger.sent == world.ledger.acknowledged


def test_lost_bytes_are_sent_again_until_they_arrive() -> None:
    world = broken(Probe(does="Splits", mark="lose"), for_s=60)
    assert [said for _, said in spoken(world)] == sound(60)
    during = [arrived for arrived, said in spoken(world) if 10 <= said < 20]
    assert min(during) >= 20
    assert world.ledger.attempted == world.ledger.sent == world.ledger.acknowledged


def test_a_cut_connection_comes_back_with_what_was_said_meanwhile() -> None:
    world = broken(Probe(does="Wakes", mark="sever"), clear_s=25)
    at_s = [arrived for arrived, _ in spoken(world)]
    assert not [t for t in at_s if 20 <= t < 25]
    assert [said for _, said in spoken(world)] == sound()
    assert len(world.notes("connected")) == 2


def test_a_new_link_is_made_at_once() -> None:
    world = broken(Probe(does="Wakes", mark="relink"), clear_s=25)
    assert [said for _, said in spoken(world)] == sound()
    assert (len(world.notes("connected")), len(world.notes("disconnected"))) == (2, 1)


def test_a_device_that_cannot_reach_the_backend_does_when_the_fault_is_over() -> None:
    world = World(QUICK)
    world.virtual.inject(0, Probe(does="Walls", mark="b"), START_MS + 10_000)
    world.virtual.sever(0, START_MS + 12_000, 1_000)
    world.virtual.clear(0, None, START_MS + 20_000)
    world.run(40)
    reasons = [note["reason"] for note in world.notes("disconnected")]
    assert reasons[0] == "severed"
    assert set(reasons[1:]) == {"no way b"}
    assert len(reasons) > 5
    late = [arrived for arrived, _ in [(at, m) for at, _, m in world.cloud.said if at >= START_MS + 12_000]]
    assert min(late) >= START_MS + 20_000


def test_a_fault_in_virtual_time_is_the_same_again_with_the_same_seed() -> None:
    def said(seed: int) -> list[Any]:
        found, out = fleet(QUICK, seed=seed), list[Any]()
        virtual = Virtual(found, VirtualClock(), Ledger(), lambda *what: out.append(what))
        virtual.start(0, START_MS)
        virtual.inject(0, Probe(does="Chances", probability=0.4), START_MS + 5_000)
        virtual.inject(0, Probe(does="Delays", mark="1.5"), START_MS + 6_000)
        virtual.run_until(START_MS + 100_000)
        return out

    assert said(1) == said(1)
    assert said(1) != said(2)
