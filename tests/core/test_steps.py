"""Steps: what each plans, and whom an injection hits."""

import pytest

from simulator.checks.devices import Devices
from simulator.faults.hang import Hang
from simulator.steps import Connect as ConnectThings
from simulator.steps import Entry, Until, Wait
from simulator.steps import Inject as InjectFault
from simulator.steps.connect import Connect
from simulator.steps.expect import Expect
from simulator.steps.hold import Hold
from simulator.steps.inject import Inject

FAULT = Hang(part="fan")
ROSTER = [Entry(f"Pump-{n:03}", "pump" if n < 60 else "fan", False) for n in range(100)]


def hit(step: Inject, seed: int = 1, roster: list[Entry] = ROSTER) -> tuple[str, ...]:
    [command] = step.plan(roster, seed)
    assert isinstance(command, InjectFault)
    assert command.fault == FAULT
    return command.things


def test_what_the_simple_ones_plan() -> None:
    things = tuple(entry.thing for entry in ROSTER)
    assert Connect(over_s=9).plan(ROSTER, 1) == [ConnectThings(things, 9), Wait(9)]
    assert Hold(for_s=3).plan(ROSTER, 1) == [Wait(3)]
    check = Devices(equals=3)
    assert Expect(check=check, within_s=7).plan(ROSTER, 1) == [Until(check, 7)]


def test_an_injection_without_a_count_hits_all_that_match() -> None:
    assert set(hit(Inject(fault=FAULT))) == {entry.thing for entry in ROSTER}
    assert set(hit(Inject(fault=FAULT, profiles=["f*"]))) == {f"Pump-{n:03}" for n in range(60, 100)}
    assert set(hit(Inject(fault=FAULT, things=["Pump-00?", "*-099"], profiles=["pump"]))) == {
        f"Pump-00{n}" for n in range(10)
    }
    assert hit(Inject(fault=FAULT, things=["pump-*"])) == ()  # names are told apart by case


@pytest.mark.parametrize("count", [1, 7, 60])
def test_whom_it_hits_depends_on_the_seed_alone(count: int) -> None:
    step = Inject(fault=FAULT, count=count, profiles=["pump"])
    things = hit(step)
    assert len(set(things)) == count
    assert things == hit(step) == hit(step, roster=ROSTER[::-1])
    assert things != hit(step, seed=2)


def test_every_device_is_as_likely_as_another() -> None:
    step = Inject(fault=FAULT, count=10)
    hits = [thing for seed in range(500) for thing in hit(step, seed)]
    counts = [hits.count(entry.thing) for entry in ROSTER]
    assert min(counts) > 20
    assert max(counts) < 90


def test_more_devices_do_not_change_the_order_of_the_others() -> None:
    step = Inject(fault=FAULT)
    few = hit(step, roster=ROSTER[:40])
    assert tuple(thing for thing in hit(step) if thing in few) == few


def test_injections_do_not_meet_while_there_is_a_sound_device_left() -> None:
    roster, seen = ROSTER[:10], list[str]()
    for _ in range(5):
        things = hit(Inject(fault=FAULT, count=2), roster=roster)
        seen += things
        roster = [entry._replace(faulted=entry.faulted or entry.thing in things) for entry in roster]
    assert sorted(seen) == [entry.thing for entry in ROSTER[:10]]
    assert len(hit(Inject(fault=FAULT, count=2), roster=roster)) == 2
