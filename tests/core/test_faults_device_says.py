"""Faults of what a device says and when, by the second, on the wire: late, lost or again, and with a wrong clock."""

import json

import pytest

from simulator.faults import Fault
from simulator.faults.clock_drift import ClockDrift
from simulator.faults.clock_jump import ClockJump
from simulator.faults.clock_skew import ClockSkew
from simulator.faults.crash import Crash
from simulator.faults.memory_full import MemoryFull
from simulator.faults.replays import Replays
from simulator.faults.slow import Slow
from simulator.faults.time_zone import TimeZone
from simulator.messages import Publish
from tests.core.faulty_pump import BEGIN_S, END_S, TEXT, broken, cleared, disturbed, telemetry, world
from tests.core.fleets import START_MS, World, fleet, profile


def test_a_slow_device_says_everything_late() -> None:
    found = broken(Slow(by_s=8.5))
    late = {(one.time_s, round(one.at_s - one.time_s, 3)) for one in telemetry(found)}
    assert {by for at, by in late if at < 60 or at >= 260} == {0}
    hit = [at for at, by in sorted(late) if by == 8.5]
    assert len(hit) == 20
    assert 60 <= hit[0] < hit[-1] < 260
    notes = [note for note in found.notes("disturbed") if note["kind"] == "telemetry"]
    assert [note["stamp"] for note in notes] == [int(1000 * at) + START_MS for at in hit]
    assert {note["what"] for note in notes} == {"delayed"}


def test_a_device_gets_slow_by_and_by() -> None:
    found = broken(Slow(by_s=40, ramp_s=200))
    late = [one.at_s - one.time_s for one in telemetry(found) if 60 <= one.time_s < 260]
    assert late == sorted(late)
    assert late[0] < 2 < 38 < late[-1]


def test_what_a_slow_device_has_not_said_goes_with_the_power() -> None:
    found = world()
    found.virtual.inject(0, Slow(by_s=30), START_MS)
    found.virtual.power_cycle(0, START_MS + 60_000, 1000)
    found.run(200)
    times_s = [one.time_s for one in telemetry(found)]
    assert not [at for at in times_s if 31 <= at < 60], "said while it was to go"
    assert len([at for at in times_s if 0 <= at < 30]) == 3
    assert [at for at in times_s if at > 60]


def test_beyond_a_thousand_the_disturbed_are_counted() -> None:
    found = World(profile(TEXT.replace("every_s: 10", "every_s: 0.1")))
    found.virtual.inject(0, Slow(by_s=1), START_MS + 1000)
    found.virtual.clear(0, None, START_MS + 201_000)
    found.run(210)
    notes = found.notes("disturbed")
    assert len(notes) == 1001
    assert notes[-1]["what"] == "delayed"
    assert 1000 + notes[-1]["count"] >= 2000


def test_memory_that_is_full_keeps_the_first_messages_of_an_outage() -> None:
    found = world()
    found.virtual.inject(0, MemoryFull(keep=3), START_MS)
    found.virtual.clear(0, None, START_MS + 300_000)
    for at_s in (60, 200, 350):
        found.virtual.sever(0, START_MS + 1000 * at_s, 100_000)
    found.run(500)
    said = telemetry(found)
    of_outages = [[one.time_s for one in said if at <= one.time_s < at + 100] for at in (60, 200, 350)]
    assert [len(of) for of in of_outages] == [2, 2, 10], "and a report of the shadow each"
    assert of_outages[0][-1] < 80, "the first ones"
    dropped = [note["stamp"] for note in found.notes("disturbed") if note["kind"] == "telemetry"]
    assert found.ledger.dropped["telemetry"] == len(dropped) == 16
    assert {note["what"] for note in found.notes("disturbed")} == {"dropped"}
    assert found.ledger.attempted["telemetry"] == found.ledger.dropped["telemetry"] + len(said)
    assert not set(dropped) & {int(1000 * one.time_s) + START_MS for one in said}


def test_a_device_says_old_messages_again_word_for_word() -> None:
    found = broken(Replays(every_s=60, last=3))
    said = [(at_ms, m._replace(due_ms=0)) for at_ms, _, m in found.cloud.said if m.kind == "telemetry"]
    twice = [(at_ms, message) for i, (at_ms, message) in enumerate(said) if message in [m for _, m in said[:i]]]
    assert [(at_ms - START_MS) / 1000 for at_ms, _ in twice] == [120] * 3 + [180] * 3 + [240] * 3
    assert disturbed(found) == [("duplicated", message.stamp) for _, message in twice]
    assert all(START_MS + 60_000 <= message.stamp < START_MS + 260_000 for _, message in twice)
    assert cleared(found) == [END_S]


def test_other_kinds_may_be_said_again() -> None:
    found = broken(Replays(every_s=100, last=1, kinds=["shadow_update"]))
    said = [(at_ms - START_MS) / 1000 for at_ms, _, m in found.cloud.said if m.kind == "shadow_update"]
    assert {160, 260} & set(said)
    assert not [message for message in found.notes("disturbed") if message["kind"] != "shadow_update"]


def test_who_is_offline_replays_nothing() -> None:
    found = world()
    found.virtual.inject(0, Replays(every_s=10, last=3), START_MS + 30_000)
    found.virtual.sever(0, START_MS + 60_000, 100_000)
    found.run(150)
    assert all(stamp < START_MS + 60_000 for _, stamp in disturbed(found))


def test_messages_of_a_device_that_was_never_connected_count_as_offline() -> None:
    device = fleet().devices[0]
    device.inject(MemoryFull(keep=0), START_MS)
    assert not [o for o in device.step(START_MS + 60_000) if isinstance(o, Publish)]


# --- clocks ---


HOUR_S = 3600


@pytest.mark.parametrize(
    ("fault", "ahead_s"),  # by when, since the fault came, and how much
    [
        (ClockSkew(by_s=-90), {5: -90, 195: -90}),
        (ClockSkew(by_s=86_400 * 365), {5: 86_400 * 365}),
        (ClockSkew(by_s=100, ramp_s=100), {50: 50, 100: 100, 190: 100}),
        (ClockDrift(s_per_h=360), {0: 0, 100: 10, 190: 19}),
        (ClockDrift(s_per_h=-1800), {0: 0, 100: -50}),
        (ClockJump(by_s=-45), {5: -45, 195: -45}),
        (ClockJump(by_s=-45, lasts_s=60), {5: -45, 59: -45, 60: 0, 195: 0}),
        (ClockJump(by_s=7, every_s=50, lasts_s=10), {5: 7, 11: 0, 49: 0, 55: 7, 65: 0, 155: 7}),
        (ClockJump(by_s=7, every_s=50), {5: 7, 55: 14, 105: 21, 199: 28}),
        (TimeZone(hours=-5), {5: -5 * HOUR_S, 195: -5 * HOUR_S}),
        (TimeZone(hours=14), {5: 14 * HOUR_S}),
    ],
)
def test_a_wrong_clock_is_told_and_does_nothing_else(fault: Fault, ahead_s: dict[int, float]) -> None:
    found, right = broken(fault), broken(Crash(probability=1e-9))
    assert [one.at_s for one in telemetry(found)] == [one.at_s for one in telemetry(right)]
    assert [one.metrics for one in telemetry(found)] == [one.metrics for one in telemetry(right)]
    for one in telemetry(found):
        if not BEGIN_S <= one.at_s < END_S:
            assert one.time_s == one.at_s
    stamps = [(message.stamp, json.loads(message.payload)["device_timestamp"])
              for _, _, message in found.cloud.said if message.kind == "telemetry"]  # fmt: skip
    assert all(stamp == told for stamp, told in stamps)
    device = world().device
    device.inject(fault, START_MS)
    for after_s, ahead in ahead_s.items():
        assert device.clock_ms(START_MS + 1000 * after_s) - START_MS - 1000 * after_s == pytest.approx(1000 * ahead)


def test_wrong_clocks_add_up() -> None:
    device = world().device
    for fault in (ClockSkew(by_s=10), TimeZone(hours=1)):
        device.inject(fault, START_MS)
    assert device.clock_ms(START_MS) == START_MS + 3_610_000
    device.clear("clock_skew", START_MS)
    assert device.clock_ms(START_MS) == START_MS + 3_600_000
