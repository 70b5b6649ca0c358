"""The points of a message's way at which faults stand, with faults made for it: who is asked, when, and in which order.

A test's fault is a `Probe` with a name; its `Active` is what the test says.
"""

import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from simulator import device as device_module
from simulator.behaviours import NEVER_MS, Body, Outputs
from simulator.clock import VirtualClock
from simulator.device import Device
from simulator.faults import Active, Disguise, Expected, Fault, Subject
from simulator.ledger import Ledger
from simulator.messages import (
    Booted,
    Connected,
    Disconnected,
    Input,
    Later,
    Note,
    Output,
    Piece,
    PowerCycle,
    Publish,
    Raw,
    Received,
    Relink,
    Sever,
    Subscribe,
)
from simulator.runtime.virtual import Virtual
from tests.core.fleets import PUMP, START_MS, THING, World, fleet, profile

QUICK = profile(PUMP.replace("every_s: 10", "every_s: 1").replace("step_s: 5", "step_s: 1"))
CALLS: list[tuple[str, Any]] = []


class Probe(Fault):
    """A fault of a test."""

    kind: Literal["probe", "other"] = "probe"
    does: str = "Marks"
    mark: str = "a"

    def expects(self, subject: Subject) -> Expected:
        return Expected("", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        found = globals()[self.does]
        assert issubclass(found, Active)
        made: Active = found(self, now_ms)
        return made


class Marks(Active):
    """Writes its mark behind every payload that it sees, and writes down what it is asked."""

    what: Probe

    def reading(self, body: Body, values: dict[str, float], now_ms: int) -> None:
        values["temp_c"] = values["temp_c"] * 2 + 1 if self.what.mark == "a" else values["temp_c"] + 10

    def clock_ms(self, body: Body, at_ms: int) -> int:
        return at_ms * 2 if self.what.mark == "a" else at_ms + 1

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        if isinstance(said, Publish):
            return [said._replace(payload=said.payload + self.what.mark.encode())]
        CALLS.append((self.what.mark, type(said).__name__))
        return [said]

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        if isinstance(said, Received):
            CALLS.append((self.what.mark, said.topic))
            return [said._replace(topic=said.topic + self.what.mark)]
        CALLS.append((self.what.mark, type(said).__name__))
        return [said]

    def reach(self, body: Body, now_ms: int) -> str | None:
        return f"no way {self.what.mark}"

    def disguise(self) -> Disguise | None:
        return Disguise(self.what.mark) if self.what.mark == "b" else None

    def obstacle(self, body: Body, point: str, now_ms: int) -> str | None:
        return f"{self.what.mark} at {point}" if self.what.mark == "b" else None

    def restarted(self, body: Body, part: str, now_ms: int) -> None:
        CALLS.append((self.what.mark, part))

    def booted(self, body: Body, now_ms: int) -> None:
        CALLS.append((self.what.mark, body.version))

    def end(self, body: Body, now_ms: int) -> Outputs:
        CALLS.append((self.what.mark, "end"))
        return [Raw(self.what.mark.encode())]


class Drops(Active):
    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        return [] if isinstance(said, Publish) else [said]

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        return []


class Doubles(Active):
    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        return [said, said] if isinstance(said, Publish) and said.kind == "telemetry" else [said]


class Delays(Active):
    """By the seconds in its mark."""

    what: Probe

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        return [Later(int(float(self.what.mark) * 1000), said)] if isinstance(said, Publish) else [said]

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        return [Later(int(float(self.what.mark) * 1000), said)] if isinstance(said, Received) else [said]


class Chances(Active):
    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        return [] if isinstance(said, Publish) and said.kind == "telemetry" and self.chance(body) else [said]


class Wakes(Active):
    """Does what its mark says every ten seconds."""

    what: Probe

    def __init__(self, what: Fault, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.wake_at_ms = now_ms + 10_000

    def step(self, body: Body, now_ms: int) -> Outputs:
        CALLS.append(("step", now_ms - START_MS))
        self.wake_at_ms = now_ms + 10_000
        if self.what.mark == "over":
            self.over = True
        found: dict[str, Outputs] = {
            "power": [PowerCycle(25_000)], "sever": [Sever(5_000)], "relink": [Relink()],
            "say": [Publish("odd", "odd", b"said")],
        }  # fmt: skip
        return found.get(self.what.mark, [])


class Splits(Active):
    network = True
    what: Probe

    def carry(self, body: Body, piece: Piece, up: bool, now_ms: int) -> list[Piece]:
        if self.what.mark == "late":
            return [piece._replace(after_ms=piece.after_ms + 100)]
        if self.what.mark == "lose":
            return [] if up else [piece]
        half = len(piece.data) // 2
        return [Piece(piece.data[:half], piece.after_ms), Piece(piece.data[half:], piece.after_ms)]


class Walls(Marks):
    network = True


class Wires(Chances):
    """Draws for bytes and connections too."""

    network = True

    def carry(self, body: Body, piece: Piece, up: bool, now_ms: int) -> list[Piece]:
        return [piece] if self.chance(body) else []

    def reach(self, body: Body, now_ms: int) -> str | None:
        return "no way" if self.chance(body) else None


class Starts(Active):
    def __init__(self, what: Fault, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.over = True


@pytest.fixture(autouse=True)
def _nobody_was_asked() -> Iterator[None]:
    CALLS.clear()
    yield
    CALLS.clear()


def connected(*probes: Probe) -> Device:
    """A pump that is online, and then gets these faults."""
    device = fleet(QUICK).devices[0]
    device.receive(Connected(False), START_MS)
    for probe in probes:
        device.inject(probe, START_MS)
    return device


def run(device: Device, for_s: float, from_s: float = 0) -> list[tuple[float, Output]]:
    """All that it says by itself, with the second in which it does."""
    said: list[tuple[float, Output]] = []
    while device.wake_at_ms <= START_MS + (from_s + for_s) * 1000:
        now_ms = max(device.wake_at_ms, int(START_MS + from_s * 1000))
        said += [((now_ms - START_MS) / 1000, output) for output in device.step(now_ms)]
    return said


def telemetry(said: list[tuple[float, Output]]) -> list[tuple[float, bytes]]:
    return [(at_s, o.payload) for at_s, o in said if isinstance(o, Publish) and o.kind == "telemetry"]


def stamps(said: list[tuple[float, Output]]) -> list[float]:
    return [(json.loads(payload)["device_timestamp"] - START_MS) / 1000 for _, payload in telemetry(said)]


A, B = Probe(mark="a"), Probe(mark="b", kind="other")

# In which order


def test_what_is_said_passes_the_faults_in_the_order_of_their_injection() -> None:
    sound = telemetry(run(connected(), 5))
    assert [p for _, p in telemetry(run(connected(A, B), 5))] != [p for _, p in sound]
    assert all(payload.endswith(b"}ab") for _, payload in telemetry(run(connected(A, B), 5)))
    assert all(payload.endswith(b"}ba") for _, payload in telemetry(run(connected(B, A), 5)))


def test_what_is_heard_meets_the_last_one_first() -> None:
    connected(A, B).receive(Received("t", b""), START_MS)
    assert CALLS == [("b", "t"), ("a", "tb")]


def test_readings_and_clock_are_changed_in_order() -> None:
    true = connected().reading(START_MS)["temp_c"]
    assert connected(A, B).reading(START_MS)["temp_c"] == true * 2 + 1 + 10
    assert connected(B, A).reading(START_MS)["temp_c"] == (true + 10) * 2 + 1
    assert connected(A, B).clock_ms(50) == 101
    assert connected(B, A).clock_ms(50) == 102


def test_the_first_that_has_something_to_say_of_a_connection_decides() -> None:
    assert connected().reach(START_MS) is None
    assert connected().disguise() is None
    assert connected().obstacle("jobs.install", START_MS) is None
    walls = Probe(does="Walls", mark="b")
    assert connected(A, walls, Probe(does="Walls", mark="c")).reach(START_MS) == "no way b", "A is not of the network"
    assert connected(A, B).disguise() == Disguise("b")
    assert connected(A, B).obstacle("jobs.install", START_MS) == "b at jobs.install"


def test_every_output_and_every_input_is_asked_about() -> None:
    device = fleet(QUICK).devices[0]
    device.inject(A, START_MS)
    device.receive(Connected(False), START_MS)
    device.receive(Disconnected("gone"), START_MS)
    device.receive(Booted(), START_MS)
    assert CALLS == [("a", "Connected"), ("a", "Subscribe"), ("a", "Disconnected"), ("a", "1.0.0"), ("a", "Booted")]


def test_a_restarted_part_is_told_to_all() -> None:
    connected(A, B).restart_part("fan", START_MS)
    assert CALLS == [("a", "fan"), ("b", "fan")]


# What they may answer


def test_what_is_dropped_is_neither_said_nor_heard() -> None:
    device = fleet(QUICK).devices[0]
    device.inject(Probe(does="Drops"), START_MS)
    assert device.receive(Connected(False), START_MS) == []
    assert not device.online
    assert telemetry(run(connected(Probe(does="Drops")), 10)) == []


def test_what_is_doubled_is_said_twice_and_passes_those_after() -> None:
    said = telemetry(run(connected(Probe(does="Doubles"), A), 10))
    assert len(said) == 20
    assert all(one == other for one, other in zip(said[::2], said[1::2], strict=True))
    assert all(payload.endswith(b"a") for _, payload in said)


def test_what_is_said_later_is_said_then_and_in_order() -> None:
    said = run(connected(Probe(does="Delays", mark="3.5")), 30)
    at_s = [at for at, _ in telemetry(said)]
    assert [round(at - stamp, 3) for at, stamp in zip(at_s, stamps(said), strict=True)] == [3.5] * len(at_s)
    assert at_s == sorted(at_s)
    assert len(at_s) >= 26


def test_faults_after_one_that_puts_off_are_not_asked_and_those_before_were() -> None:
    late = Probe(does="Delays", mark="2")
    assert all(payload.endswith(b"a") for _, payload in telemetry(run(connected(A, late), 10)))
    assert all(payload.endswith(b"}") for _, payload in telemetry(run(connected(late, A), 10)))


def test_what_is_put_off_at_the_same_moment_keeps_its_order() -> None:
    device = connected(Probe(does="Doubles"), Probe(does="Delays", mark="5"))
    said = [payload for _, payload in telemetry(run(device, 20))]
    assert said[::2] == said[1::2]
    assert len(said) >= 28


def test_what_is_heard_later_is_heard_then_and_answered() -> None:
    desired = {"state": {"action": {"name": "restart-fan", "id": "1"}}, "version": 5}
    delta = Received(f"$aws/things/{THING}/shadow/update/delta", json.dumps(desired).encode())
    device = connected(Probe(does="Delays", mark="7"), A)
    assert device.receive(delta, START_MS) == []
    said = run(device, 20)
    # A is next to the world, so it is asked first: with its mark on the topic nobody knows the message later.
    assert not [output for _, output in said if isinstance(output, Note) and output.kind == "delta_received"]
    device = connected(Probe(does="Delays", mark="7"))
    assert device.receive(delta, START_MS) == []
    said = run(device, 30)
    assert [at for at, o in said if isinstance(o, Note) and o.kind == "delta_received"] == [7.0]
    acted = [at for at, o in said if isinstance(o, Publish) and o.kind == "control_result"]
    assert acted == [16.0], "seven seconds to it, two to act, seven back"


def test_what_was_put_off_comes_though_the_fault_is_over() -> None:
    device = connected(Probe(does="Delays", mark="30", for_s=10))
    said = run(device, 60)
    at_s = [at for at, _ in telemetry(said)]
    assert sorted(stamps(said)) == stamps(run(connected(), 60))
    assert at_s == sorted(at_s)
    assert [at for at, o in said if isinstance(o, Note) and o.kind == "fault_cleared"] == [10.0]


def test_nothing_gets_lost_when_no_more_can_be_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "LATER_MAX", 5)
    said = run(connected(Probe(does="Delays", mark="1000")), 20)
    assert len(telemetry(said)) >= 14
    received = connected(Probe(does="Delays", mark="1000"))
    for _ in range(9):
        received.receive(Received("t", b""), START_MS)
    assert len(received._later or []) == 5


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


# Bytes


def test_only_what_stands_in_the_network_is_asked_about_bytes_and_each_sees_the_pieces_of_the_one_before() -> None:
    data = bytes(range(8))
    assert connected(A).carry(data, True, START_MS) == [Piece(data)]
    split, late, lose = (Probe(does="Splits", mark=mark) for mark in ("split", "late", "lose"))
    assert connected(split).carry(data, True, START_MS) == [Piece(data[:4]), Piece(data[4:])]
    assert connected(A, split, split, late, late).carry(data, True, START_MS) == [
        Piece(data[i : i + 2], 200) for i in range(0, 8, 2)
    ]
    assert connected(late, split).carry(data, False, START_MS) == [Piece(data[:4], 100), Piece(data[4:], 100)]
    assert connected(split, lose, late).carry(data, True, START_MS) == []
    assert connected(lose, split).carry(data, False, START_MS) == [Piece(data[:4]), Piece(data[4:])]


# Through a runtime


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


def test_a_subscription_is_an_output_like_any_other() -> None:
    device = fleet(QUICK).devices[0]
    device.inject(Probe(does="Delays", mark="3"), START_MS)
    said = device.receive(Connected(False), START_MS)
    assert [type(output) for output in said] == [Subscribe]
    assert [type(o) for at, o in run(device, 3) if at == 3.0 and isinstance(o, Publish)]
