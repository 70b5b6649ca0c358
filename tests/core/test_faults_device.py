"""Faults of devices: what each does to what is said, when it begins and when it is over. By the second, on the wire."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from simulator.behaviours import NEVER_MS
from simulator.faults import Disguise, Fault
from simulator.faults.applies_late import AppliesLate
from simulator.faults.applies_wrongly import AppliesWrongly
from simulator.faults.bad_certificate import BadCertificate
from simulator.faults.battery_dying import BatteryDying
from simulator.faults.clock_drift import ClockDrift
from simulator.faults.clock_jump import ClockJump
from simulator.faults.clock_skew import ClockSkew
from simulator.faults.crash import Crash
from simulator.faults.duplicate_client_id import DuplicateClientId
from simulator.faults.forgets_shadow import ForgetsShadow
from simulator.faults.ignores_delta import IgnoresDelta
from simulator.faults.memory_full import MemoryFull
from simulator.faults.reboot_loop import RebootLoop
from simulator.faults.replays import Replays
from simulator.faults.slow import Slow
from simulator.faults.time_zone import TimeZone
from simulator.faults.wrong_firmware import WrongFirmware
from simulator.messages import Booted, Connected, Note, Publish, Relink
from tests.core.fake_cloud import Execution
from tests.core.fleets import PUMP, QUICK, START_MS, THING, Live, World, fleet, image, profile, run

TEXT = (
    PUMP.replace(
        "behaviours:",
        """\
  level: {kind: constant, value: 80, resolution: 0.1}
  valve: {kind: constant, value: 1, sensor: [0, 10]}
behaviours:""",
    )
    .replace("metrics: [temp_c, fan]", "metrics: [temp_c, level, valve]")
    .replace(
        "reports: {temp: temp_c}}",
        """reports: {temp: temp_c}, report_every_s: 20, settings: {
        opening: {holds: valve, min: 0, max: 10}, lamp: {start: false},
        log_level: {start: info, one_of: [debug, info]}}}""",
    )
)
BEGIN_S, END_S = 60, 260  # of the fault, since the start


class Said(NamedTuple):
    """A message as the far side has it: when it came, in seconds since the start, and what it says."""

    at_s: float
    time_s: float  # by the device's own clock
    metrics: dict[str, float]


def world() -> World:
    return World(profile(TEXT))


def broken(fault: Fault, for_s: float = 400) -> World:
    """A pump with the fault from BEGIN_S to END_S, at the end."""
    found = world()
    found.virtual.inject(0, fault, START_MS + 1000 * BEGIN_S)
    found.virtual.clear(0, fault.model_dump()["kind"], START_MS + 1000 * END_S)
    found.run(for_s)
    return found


def telemetry(found: World) -> list[Said]:
    said = []
    for at_ms, _, message in found.cloud.said:
        if message.kind == "telemetry":
            told = json.loads(message.payload)
            at_s, time_s = (at_ms - START_MS) / 1000, (told["device_timestamp"] - START_MS) / 1000
            said.append(Said(at_s, time_s, told["data"]["metrics"]))
    return said


def between(said: Sequence[Said], begin_s: float, end_s: float) -> list[Said]:
    return [one for one in said if begin_s <= one.at_s < end_s]


def times(found: World, kind: str) -> list[float]:
    """When something was noted, in seconds since the start."""
    return [(event.at_ms - START_MS) / 1000 for event in found.ledger.events if event.kind == kind]


def disturbed(found: World) -> list[tuple[str, int]]:
    return [(note["what"], note["stamp"]) for note in found.notes("disturbed")]


def cleared(found: World) -> list[float]:
    assert not found.device.faults
    return times(found, "fault_cleared")


# --- power ---


def test_a_crash_takes_the_device_away_once() -> None:
    found = broken(Crash(off_s=45))
    assert (times(found, "disconnected"), times(found, "connected")) == ([60], [0, 105])
    assert cleared(found) == [105], "it is over when the device is back"
    said = telemetry(found)
    assert not between(said, 60, 105)
    assert [len(between(said, start, start + 60)) for start in (0, 106, 166)] == [6, 6, 6]


def test_a_device_crashes_again_and_again_until_it_is_mended() -> None:
    found = broken(Crash(off_s=5, every_s=50))
    assert times(found, "disconnected") == [60, 110, 160, 210]
    assert times(found, "connected") == [0, 65, 115, 165, 215]
    assert cleared(found) == [END_S]


def test_half_of_the_crashes_do_not_come() -> None:
    found = broken(Crash(off_s=1, every_s=2, probability=0.5))
    assert 30 < len(times(found, "disconnected")) < 70
    assert broken(Crash(off_s=1, probability=0.001)).device.faults == [], "one that did not come is over"


def test_a_reboot_loop() -> None:
    found = broken(RebootLoop(up_s=10, off_s=30))
    assert times(found, "disconnected") == [60, 100, 140, 180, 220]
    assert times(found, "connected") == [0, 90, 130, 170, 210, 250]
    assert found.device.online
    assert cleared(found) == [END_S]


def test_a_loop_does_not_end_in_the_dark() -> None:
    found = broken(RebootLoop(up_s=10, off_s=185))
    assert times(found, "disconnected") == [60, 255]
    assert not found.device.faults
    found.run(100)
    assert found.device.online
    assert times(found, "disconnected") == [60, 255]


def test_a_battery_dies() -> None:
    found = broken(BatteryDying(signal="level", over_s=100))
    said = telemetry(found)
    assert {one.metrics["level"] for one in between(said, 0, 60)} == {80}
    assert not between(said, 160, 260)
    falling = between(said, 60, 160)
    assert [one.metrics["level"] for one in falling] == [round(80 * (160 - one.at_s) / 100, 1) for one in falling]
    assert {one.metrics["level"] for one in between(said, 260, 400)} == {80}, "a new battery"
    assert (times(found, "disconnected"), times(found, "connected")) == ([160], [0, 260])
    assert found.device.online
    assert cleared(found) == [260]


def test_an_empty_battery_stays_empty_however_often_it_is_switched_on() -> None:
    found = world()
    found.virtual.inject(0, BatteryDying(signal="level", over_s=10), START_MS)
    found.run(20)
    device = found.device
    assert not device.powered
    device.receive(Booted(), START_MS + 20_000)
    assert device.wake_at_ms <= START_MS + 20_000
    device.step(START_MS + 20_000)
    assert not device.powered


def test_a_battery_that_did_not_die_switches_nothing_on() -> None:
    found = world()
    found.virtual.inject(0, BatteryDying(signal="level", over_s=1000), START_MS + 10_000)
    found.virtual.inject(0, Crash(off_s=100), START_MS + 20_000)
    found.virtual.clear(0, "battery_dying", START_MS + 30_000)
    found.run(200)
    assert times(found, "connected") == [0, 120]


def test_a_battery_that_dies_in_the_dark_waits_for_the_light() -> None:
    found = world()
    found.virtual.inject(0, BatteryDying(signal="level", over_s=30), START_MS)
    found.virtual.inject(0, Crash(off_s=100), START_MS + 20_000)
    found.run(200)
    assert not found.device.powered
    found.virtual.clear(0, None, START_MS + 200_000)
    found.run(50)
    assert found.device.online
    assert len(between(telemetry(found), 201, 250)) == 5


def test_power_goes_and_comes_on_a_real_loop() -> None:
    async def story() -> None:
        text = QUICK.replace("behaviours:", "  level: {kind: constant, value: 80}\nbehaviours:")
        bench = Live(2, text.replace("metrics: [temp_c, fan]", "metrics: [temp_c, level]"))
        device = bench.fleet.devices[0]
        bench.engine.start(0)
        await bench.until(lambda: device.online)
        bench.engine.inject(0, BatteryDying(signal="level", over_s=0.1))
        await bench.until(lambda: not device.powered)
        said = len(bench.said)
        bench.engine.inject(1, Crash(off_s=0.01))  # it was never switched on, and this does not do it either
        await bench.until(lambda: not bench.fleet.devices[1].powered)
        bench.engine.start(1)
        await bench.until(lambda: bench.fleet.devices[1].online)
        assert {thing for thing, _ in bench.said[said:]} <= {"Pump-001"}
        assert bench.fleet.devices[1].faults == []
        bench.engine.clear(0, None)
        await bench.until(lambda: device.online and "Pump-000" in {thing for thing, _ in bench.said[said:]})
        bench.engine.inject(0, RebootLoop(up_s=0.1, off_s=0.1))
        await bench.until(lambda: bench.kinds().count("disconnected") >= 4)
        bench.engine.clear(0, None)
        await bench.until(lambda: device.online)
        assert bench.engine.failure is None
        await bench.engine.close()

    run(story)


# --- what it says, and when ---


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


# --- versions ---


def package(found: World) -> str:
    return str(found.cloud.shadow(THING, "$package").reported["Pump"]["version"])


def test_a_device_runs_another_firmware_than_it_says() -> None:
    found = world()
    found.virtual.inject(0, WrongFirmware(version="0.9.7"), START_MS + 10_000)
    found.virtual.power_cycle(0, START_MS + 30_000, 1000)
    found.run(60)
    assert (found.device.version, package(found)) == ("0.9.7", "1.0.0")
    found.virtual.clear(0, None, START_MS + 60_000)
    found.virtual.power_cycle(0, START_MS + 70_000, 1000)
    found.run(60)
    assert (found.device.version, package(found)) == ("1.0.0", "1.0.0")
    assert found.device.flash["version"] == "1.0.0"


def test_a_job_brings_the_truth() -> None:
    found, made = world(), image("1.1.0")
    found.cloud.objects["https://s3/pump"] = made.body
    found.virtual.inject(0, WrongFirmware(version="0.9.7"), START_MS + 10_000)
    found.run(20)
    document = {"operation": "ota", "package": "Pump", "version": "1.1.0", "url": "https://s3/pump",
                "size": len(made.body), "sha256": made.sha256, "signature": made.signature}  # fmt: skip
    job = found.cloud.create(THING, Execution("ota-1", document))
    found.run(60)
    assert (job.status, found.device.version, package(found)) == ("SUCCEEDED", "1.1.0", "1.1.0")
    assert not found.device.faults


def test_who_runs_that_version_already_has_no_fault() -> None:
    found = broken(WrongFirmware(version="1.0.0"))
    assert cleared(found) == [BEGIN_S]


# --- identity ---


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (DuplicateClientId(of="Pump-999"), Disguise(client_id="Pump-999")),
        (BadCertificate(certificate="unknown"), Disguise(certificate="unknown")),
        (BadCertificate(), Disguise(certificate="expired")),
    ],
)
def test_a_device_connects_as_somebody_else_and_as_itself_again(fault: Fault, seen: Disguise) -> None:
    device = fleet().devices[0]
    device.receive(Connected(False), START_MS)
    device.inject(fault, START_MS)
    assert device.disguise() == seen
    assert Relink() in device.step(START_MS)
    assert Relink() not in device.step(START_MS + 100_000)
    said = device.clear(None, START_MS + 100_000)
    assert Relink() in said
    assert device.disguise() is None
    found = broken(fault)
    assert (times(found, "disconnected"), times(found, "connected")) == ([60, 260], [0, 60, 260])


def test_the_one_that_is_copied_stays_itself() -> None:
    found = broken(DuplicateClientId(of=THING))
    assert times(found, "disconnected") == []
    assert cleared(found) == [END_S]


def test_a_broker_that_asks_for_no_certificate_is_noted_once() -> None:
    device = fleet().devices[0]
    device.inject(BadCertificate(), START_MS)
    device.step(START_MS)
    assert device.wake_at_ms == NEVER_MS
    for _ in range(3):
        device.not_disguised("no certificate wanted")
    assert device.step(device.wake_at_ms) == [
        Note("fault_idle", {"fault": "bad_certificate", "why": "no certificate wanted"})
    ]
    device.not_disguised("no certificate wanted")
    assert device.wake_at_ms == NEVER_MS


# --- shadows ---


def reported(found: World) -> dict[str, Any]:
    return {name: found.cloud.shadow(THING).reported.get(name) for name in ("opening", "log_level", "lamp")}


def set_at(found: World, at_s: float, **desired: Any) -> None:
    found.virtual.at(START_MS + int(1000 * at_s), lambda: found.cloud.desire(THING, desired))


def results(found: World) -> list[tuple[float, str, str]]:
    """When it answered what, and how it went."""
    said = []
    for at_ms, _, message in found.cloud.said:
        if message.kind == "control_result":
            control = json.loads(message.payload)["data"]["control"]
            said.append(((at_ms - START_MS) / 1000, control["name"], control["result"]))
    return said


def test_a_device_forgets_and_is_told_again() -> None:
    found = world()
    set_at(found, 10, opening=4, log_level="debug")
    found.virtual.inject(0, ForgetsShadow(every_s=100), START_MS + 1000 * BEGIN_S)
    found.virtual.clear(0, None, START_MS + 1000 * END_S)
    found.run(50)
    assert reported(found) == {"opening": 4, "log_level": "debug", "lamp": False}
    found.run(350)
    assert reported(found) == {"opening": 4, "log_level": "debug", "lamp": False}
    answered = [at for at, name, result in results(found) if name == "opening" and result == "done"]
    assert len(answered) == 3, "at first, and after each time that it forgot"
    assert [60 < at < 82 for at in answered[1:2]] == [True]
    opened = [(one.at_s, one.metrics["valve"]) for one in telemetry(found)]
    assert {value for at, value in opened if 60 < at < 82} == {1, 4}
    assert {value for at, value in opened if at > 290} == {4}


def test_a_device_forgets_when_its_power_goes() -> None:
    found = world()
    found.virtual.inject(0, ForgetsShadow(), START_MS)
    set_at(found, 10, log_level="debug")
    found.virtual.power_cycle(0, START_MS + 60_000, 1000)
    found.virtual.clear(0, None, START_MS + 100_000)
    found.virtual.power_cycle(0, START_MS + 120_000, 1000)
    found.run(200)
    assert [name for _, name, _ in results(found)] == ["log_level", "log_level"]
    assert found.device.flash["settings"] == {"log_level": "debug"}


def test_a_forgotten_action_cannot_be_told_by_half() -> None:
    """A delta has only what differs; the name of the action is what the device had reported."""
    found = world()
    set_at(found, 10, action={"name": "restart-fan", "id": "1"})
    found.virtual.inject(0, ForgetsShadow(), START_MS + 30_000)
    set_at(found, 40, action={"name": "restart-fan", "id": "2"})
    found.run(60)
    assert [(name, result) for _, name, result in results(found)] == [("restart-fan", "done"), ("", "failed")]


def test_a_device_ignores_its_delta_and_does_it_when_it_is_well() -> None:
    found = world()
    found.virtual.inject(0, IgnoresDelta(), START_MS + 1000 * BEGIN_S)
    set_at(found, 70, opening=4)
    set_at(found, 80, action={"name": "restart-fan", "id": "1"})
    found.virtual.sever(0, START_MS + 100_000, 1000)  # it asks for its shadow, and ignores that as well
    found.run(BEGIN_S + 100)
    assert results(found) == []
    assert reported(found)["opening"] == "auto"
    assert found.cloud.shadow(THING).delta()["opening"] == 4
    found.virtual.clear(0, None, found.virtual.clock.now_ms())
    found.run(60)
    assert sorted(name for _, name, _ in results(found)) == ["opening", "restart-fan"]
    assert reported(found)["opening"] == 4


def test_some_deltas_are_ignored() -> None:
    found = world()
    found.virtual.inject(0, IgnoresDelta(probability=0.5), START_MS)
    for n in range(40):
        set_at(found, 10 + 5 * n, action={"name": "restart-fan", "id": str(n)})
    found.run(300)
    assert 10 < len(results(found)) <= 40


def test_a_device_applies_late() -> None:
    found = world()
    found.virtual.inject(0, AppliesLate(by_s=45), START_MS + 1000 * BEGIN_S)
    found.virtual.clear(0, None, START_MS + 150_000)
    set_at(found, 10, opening=2)
    set_at(found, 70, opening=4)
    set_at(found, 160, opening=6)
    found.run(300)
    assert [(round(at), result) for at, _, result in results(found)] == [(11, "done"), (116, "done"), (161, "done")]
    assert {one.metrics["valve"] for one in between(telemetry(found), 75, 115)} == {2}


def test_a_device_applies_wrongly_and_takes_it_for_done() -> None:
    found = world()
    found.virtual.inject(0, AppliesWrongly(factor=2), START_MS + 1000 * BEGIN_S)
    set_at(found, 10, opening=2, log_level="debug")
    set_at(found, 70, opening=3, lamp=True, log_level="info")
    found.run(BEGIN_S + 140)
    assert reported(found) == {"opening": 6, "lamp": False, "log_level": "info"}, "a text is not guessed at"
    assert found.cloud.shadow(THING).delta() == {"opening": 3, "lamp": True}
    assert {one.metrics["valve"] for one in between(telemetry(found), 90, 200)} == {6}
    busy = [
        message for at, _, message in found.cloud.said if at > START_MS + 90_000 and message.kind == "shadow_update"
    ]
    assert len(busy) < 10, "it does not answer each report's delta with another report"
    found.virtual.clear(0, None, found.virtual.clock.now_ms())
    found.run(60)
    assert reported(found) == {"opening": 3, "lamp": True, "log_level": "info"}


def test_what_is_too_much_by_then_is_refused_as_it_says() -> None:
    found = world()
    found.virtual.inject(0, AppliesWrongly(factor=100), START_MS)
    set_at(found, 10, opening=3)
    found.run(60)
    assert [(name, result) for _, name, result in results(found)] == [("opening", "failed")]


# --- whom they fit ---


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (BatteryDying(signal="levl"), "has no signal 'levl'"),
        (WrongFirmware(version="2"), "has no job agent"),
        (ForgetsShadow(), "keeps no shadow"),
        (IgnoresDelta(), "keeps no shadow"),
        (AppliesLate(by_s=1), "keeps no shadow"),
        (AppliesWrongly(), "keeps no shadow"),
        (DuplicateClientId(of="x"), "speaks no MQTT"),
        (BadCertificate(), "speaks no MQTT"),
        (Crash(), None),
        (Slow(by_s=1), None),
    ],
)
def test_whom_it_does_not_fit(fault: Fault, why: str | None) -> None:
    plain = profile(TEXT).over("tcp", "pump-tcp").subject
    found = fault.unfit(plain)
    assert (found is None) == (why is None)
    assert (why or "") in (found or "")


@pytest.mark.parametrize(
    ("fault", "notice"),
    [
        (Crash(off_s=5), "nothing"),
        (Crash(off_s=120), "silence"),
        (RebootLoop(), "silence"),
        (BatteryDying(signal="level"), "silence"),
        (BatteryDying(signal="level", over_s=600, for_s=300), "nothing"),
        (BadCertificate(), "silence"),
        (WrongFirmware(version="2"), "version"),
        (ClockSkew(by_s=-86_400 * 365), "nothing"),
        (ClockSkew(by_s=86_401), "refusal"),
        (Replays(), "nothing"),
    ],
)
def test_what_should_be_noticed(fault: Fault, notice: str) -> None:
    assert fault.expects(profile(TEXT).subject).notice == notice


def test_a_dying_battery_is_missed_only_once_it_is_dead() -> None:
    expected = BatteryDying(signal="level", over_s=600).expects(profile(TEXT).subject)
    assert (expected.signal, expected.within_s) == ("level", 900)


def test_messages_of_a_device_that_was_never_connected_count_as_offline() -> None:
    device = fleet().devices[0]
    device.inject(MemoryFull(keep=0), START_MS)
    assert not [o for o in device.step(START_MS + 60_000) if isinstance(o, Publish)]
