"""The course of a fault: when it hits, wakes and ends, and that it lives on in the dark."""

import pytest

from simulator.behaviours import NEVER_MS
from simulator.messages import Booted, Connected, Note, PowerCycle, Publish, Raw, Received
from tests.core.fault_probes import CALLS, QUICK, A, B, Probe, connected, run, stamps, telemetry
from tests.core.fleets import START_MS, fleet


@pytest.fixture(autouse=True)
def _nobody_was_asked() -> None:
    CALLS.clear()


# How long


@pytest.mark.parametrize("how", ["for_s", "clear", "clear its kind"])
def test_a_fault_ends_once_and_leaves_nothing(how: str) -> None:
    device = connected(Probe(mark="a", for_s=20 if how == "for_s" else None))
    before = run(device, 19.999)
    if how != "for_s":
        ended = device.clear(None if how == "clear" else "probe", START_MS + 20_000)
        assert ended == [Raw(b"a"), Note("fault_cleared", {"fault": "probe"})]
    after = run(device, 20, from_s=20)
    assert all(payload.endswith(b"a") for _, payload in telemetry(before))
    assert len(telemetry(after)) >= 20
    assert all(payload.endswith(b"}") for _, payload in telemetry(after)), "nor at the very moment of its end"
    ends = [(at, o) for at, o in after if isinstance(o, Raw) or (isinstance(o, Note) and o.kind == "fault_cleared")]
    assert [at for at, _ in ends] == ([20.0, 20.0] if how == "for_s" else [])
    assert [call for call in CALLS if call[1] == "end"] == [("a", "end")]
    assert device.clear(None, START_MS + 50_000) == []


def test_one_kind_is_cleared_and_the_other_stays() -> None:
    device = connected(A, B, A)
    assert [o.detail["fault"] for o in device.clear("probe", START_MS) if isinstance(o, Note)] == ["probe", "probe"]
    assert [fault.kind for fault in device.faults] == ["other"]
    assert device.clear("else", START_MS) == []
    assert device.faults


def test_two_faults_end_each_at_its_time() -> None:
    device = connected(Probe(mark="a", for_s=5), Probe(mark="b", for_s=10))
    said = run(device, 20)
    ends = [at for at, o in said if isinstance(o, Note) and o.kind == "fault_cleared"]
    assert ends == [5.0, 10.0]
    assert {at < 5: payload[-2:] for at, payload in telemetry(said) if at < 5} == {True: b"ab"}
    assert all(payload[-2:] == b"}b" for at, payload in telemetry(said) if 5 <= at < 10)


def test_a_fault_that_is_over_at_once_is_noted_and_gone() -> None:
    device = connected()
    said = device.inject(Probe(does="Starts"), START_MS)
    assert [o.kind for o in said if isinstance(o, Note)] == ["fault_injected", "fault_cleared"]
    assert not device.faults


def test_a_fault_may_end_by_itself() -> None:
    said = run(connected(Probe(does="Wakes", mark="over")), 60)
    assert [at for at, o in said if isinstance(o, Note) and o.kind == "fault_cleared"] == [10.0]
    assert CALLS == [("step", 10_000)]


@pytest.mark.parametrize(
    ("ramp_s", "at_s", "strength"),
    [(0, 0, 1), (0, 5, 1), (10, 0, 0), (10, 2.5, 0.25), (10, 10, 1), (10, 999, 1), (10, -1, 0)],
)
def test_the_strength_of_a_fault_grows_over_its_ramp(ramp_s: float, at_s: float, strength: float) -> None:
    active = Probe(ramp_s=ramp_s).start(connected(), START_MS)
    assert active.strength(START_MS + int(at_s * 1000)) == strength


# Chance


def test_chance_hits_as_often_as_said_and_the_seed_says_which() -> None:
    def lost(seed: int, probability: float) -> list[float]:
        device = fleet(QUICK, seed=seed).devices[0]
        device.receive(Connected(False), START_MS)
        device.inject(Probe(does="Chances", probability=probability), START_MS)
        spoken = {int(stamp) for stamp in stamps(run(device, 2000))}
        return [at_s for at_s in range(1, 2000) if at_s not in spoken]

    assert len(lost(1, 0.2)) / 2000 == pytest.approx(0.2, abs=0.03)
    assert lost(1, 0.2) == lost(1, 0.2)
    assert lost(1, 0.2) != lost(2, 0.2)
    assert len(lost(1, 1)) == 1999


def test_what_the_network_draws_changes_nothing_of_what_is_said() -> None:
    drawn = []
    for asked in (0, 7):
        device = connected(Probe(does="Wires", probability=0.5), Probe(does="Chances", probability=0.5))
        said = []
        for second in range(50):
            for _ in range(asked):
                device.carry(b"bytes", True, START_MS)
                device.reach(START_MS)
            said += run(device, 1, from_s=second)
        drawn.append(stamps(said))
    assert drawn[0] == drawn[1]
    assert 10 < len(drawn[0]) < 40


def test_two_devices_do_not_share_their_luck() -> None:
    both = fleet(QUICK, ["Pump-001", "Pump-002"]).devices
    drawn = []
    for device in both:
        active = Probe(probability=0.5).start(device, START_MS)
        drawn.append([active.chance(device) for _ in range(64)])
    assert drawn[0] != drawn[1]
    assert all(20 < sum(one) < 44 for one in drawn)


# By itself, and in the dark


def test_a_fault_wakes_when_it_wants_and_what_it_says_passes_no_fault() -> None:
    said = run(connected(A, Probe(does="Wakes", mark="say"), Probe(does="Drops")), 35)
    assert [at for at, what in CALLS if at == "step" and isinstance(what, int)] == ["step"] * 3
    assert [(at, o.payload) for at, o in said if isinstance(o, Publish)] == [(t, b"said") for t in (10.0, 20.0, 30.0)]


def test_a_device_that_goes_dark_says_nothing_more_and_comes_back_when_it_was_told_to() -> None:
    device = connected(Probe(does="Wakes", mark="power"), A)
    said = run(device, 34.999)
    dark = [at for at, o in said if isinstance(o, PowerCycle)]
    assert dark == [10.0], "dark already, it cannot be switched off again"
    assert max(at for at, _ in telemetry(said)) < 10, "not even at the moment itself"
    assert not device.powered
    assert not device.online
    assert [what for who, what in CALLS if who == "step"] == [10_000, 20_000, 30_000], "faults live on in the dark"
    assert device.receive(Received("t", b""), START_MS + 34_000) == []
    assert device.receive(Connected(False), START_MS + 34_000) == []
    CALLS.clear()
    device.flash["version"] = "1.1.0"
    device.receive(Booted(), START_MS + 35_000)
    assert CALLS == [("a", "1.1.0"), ("a", "Booted")]
    assert device.powered
    assert telemetry(run(device, 4, from_s=35))


def test_faults_come_and_go_in_the_dark() -> None:
    device = connected(A, Probe(mark="b", kind="other", for_s=30))
    device.powered = False
    assert device.clear("probe", START_MS + 10_000)[-1] == Note("fault_cleared", {"fault": "probe"})
    assert device.wake_at_ms == START_MS + 30_000
    assert [type(o) for o in device.step(START_MS + 30_000)] == [Raw, Note]
    assert device.wake_at_ms == NEVER_MS
    device.inject(Probe(mark="c"), START_MS + 40_000)
    device.receive(Booted(), START_MS + 50_000)
    device.receive(Connected(False), START_MS + 50_000)
    assert all(payload.endswith(b"}c") for _, payload in telemetry(run(device, 5, from_s=50)))


@pytest.mark.parametrize("how", ["by a fault", "from outside"])
def test_what_was_put_off_goes_with_the_power(how: str) -> None:
    device = connected(Probe(does="Delays", mark="20"))
    before = run(device, 9.999)
    assert telemetry(before) == []
    if how == "by a fault":
        device.inject(Probe(does="Wakes", mark="power"), START_MS)
        assert [at for at, o in run(device, 10) if isinstance(o, PowerCycle)] == [10.0]
    device.powered = device.online = False
    assert telemetry(run(device, 10, from_s=30)) == []
    device.receive(Booted(), START_MS + 41_000)
    device.receive(Connected(False), START_MS + 41_000)
    device.clear(None, START_MS + 41_000)
    assert min(stamps(run(device, 10, from_s=41))) >= 41
