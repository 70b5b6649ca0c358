"""The points of a message's way at which faults stand, with faults made for it: who is asked, and in which order."""

import json

import pytest

from simulator import device as device_module
from simulator.faults import Disguise
from simulator.messages import Booted, Connected, Disconnected, Note, Piece, Publish, Received, Subscribe
from tests.core.fault_probes import CALLS, QUICK, A, B, Probe, connected, run, stamps, telemetry
from tests.core.fleets import START_MS, THING, fleet


@pytest.fixture(autouse=True)
def _nobody_was_asked() -> None:
    CALLS.clear()


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


def test_a_subscription_is_an_output_like_any_other() -> None:
    device = fleet(QUICK).devices[0]
    device.inject(Probe(does="Delays", mark="3"), START_MS)
    said = device.receive(Connected(False), START_MS)
    assert [type(output) for output in said] == [Subscribe]
    assert [type(o) for at, o in run(device, 3) if at == 3.0 and isinstance(o, Publish)]


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
