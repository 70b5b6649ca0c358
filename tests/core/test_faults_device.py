"""Faults of devices: another firmware, another name, which devices a fault fits, and what should be noticed."""

import pytest

from simulator.behaviours import NEVER_MS
from simulator.faults import Disguise, Fault
from simulator.faults.applies_late import AppliesLate
from simulator.faults.applies_wrongly import AppliesWrongly
from simulator.faults.bad_certificate import BadCertificate
from simulator.faults.battery_dying import BatteryDying
from simulator.faults.clock_skew import ClockSkew
from simulator.faults.crash import Crash
from simulator.faults.duplicate_client_id import DuplicateClientId
from simulator.faults.forgets_shadow import ForgetsShadow
from simulator.faults.ignores_delta import IgnoresDelta
from simulator.faults.reboot_loop import RebootLoop
from simulator.faults.replays import Replays
from simulator.faults.slow import Slow
from simulator.faults.wrong_firmware import WrongFirmware
from simulator.messages import Connected, Note, Relink
from tests.core.fake_cloud import Execution
from tests.core.faulty_pump import BEGIN_S, END_S, TEXT, broken, cleared, times, world
from tests.core.fleets import START_MS, THING, World, fleet, image, profile

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
