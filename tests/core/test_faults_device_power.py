"""Faults of a device's power: crashes, reboot loops and dying batteries, by the second."""

from simulator.faults.battery_dying import BatteryDying
from simulator.faults.crash import Crash
from simulator.faults.reboot_loop import RebootLoop
from simulator.messages import Booted
from tests.core.faulty_pump import END_S, between, broken, cleared, telemetry, times, world
from tests.core.fleets import QUICK, START_MS, Live, run


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
