"""Faults of the network in virtual time: when what was said comes, in what order, how often; and that they end."""

from collections import Counter
from itertools import pairwise
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from simulator.clock import VirtualClock
from simulator.faults import Fault
from simulator.faults.bandwidth import Bandwidth
from simulator.faults.disconnect import Disconnect
from simulator.faults.dns_failure import DnsFailure
from simulator.faults.duplicate import Duplicate
from simulator.faults.flapping import Flapping
from simulator.faults.half_open import HalfOpen
from simulator.faults.keep_alive_violation import KeepAliveViolation
from simulator.faults.latency import Latency
from simulator.faults.loss import Loss, waits_ms
from simulator.faults.partition import Partition
from simulator.faults.reconnect_storm import ReconnectStorm
from simulator.faults.reorder import Reorder
from simulator.faults.slow_sender import SlowSender
from simulator.faults.tls_failure import TlsFailure
from simulator.ledger import Ledger
from simulator.messages import Connected, Disconnected, Output, Piece, Publish, Received
from simulator.profiles import Profile
from simulator.runtime.virtual import Virtual
from simulator.schema import OneOf
from simulator.signals import Range
from tests.core.fleets import PUMP, START_MS, World, fleet, profile

FROM_S, FOR_S, UNTIL_S = 100, 60, 400
TALKER = PUMP.replace('every_s: 10, topic: "t/{env}/{thing}"', "every_s: 1")


def talker(channel: str = "mqtt") -> Profile:
    what = profile(TALKER)
    return what if channel == "mqtt" else what.over(channel, "pump")  # type: ignore[arg-type]


def world(fault: Fault | None, channel: str = "mqtt", clear: bool = False) -> World:
    """A pump that speaks every second; from 100 s to 160 s it has a fault."""
    made = World(talker(channel))
    if fault is not None:
        made.virtual.inject(0, fault if clear else fault.model_copy(update={"for_s": FOR_S}), START_MS + FROM_S * 1000)
    if clear:
        made.virtual.clear(0, None, START_MS + (FROM_S + FOR_S) * 1000)
    made.run(UNTIL_S)
    return made


class Arrival:
    """A telemetry message at the far side."""

    def __init__(self, at_ms: int, stamp: int) -> None:
        self.at_s = (at_ms - START_MS) / 1000
        self.stamp = stamp
        self.said_s = (stamp - START_MS) / 1000
        self.late_ms = at_ms - stamp


def arrivals(of: World) -> list[Arrival]:
    return [Arrival(at_ms, message.stamp) for at_ms, _, message in of.cloud.said if message.kind == "telemetry"]


def hit(of: World) -> list[Arrival]:
    """Those that were said while the fault lasted."""
    return [one for one in arrivals(of) if FROM_S <= one.said_s < FROM_S + FOR_S]


def stamps(of: World) -> list[float]:
    return [one.said_s for one in arrivals(of)]


BYTES = [
    Latency(delay_ms=300),
    Latency(delay_ms=300, jitter_ms=290),
    Loss(rate=0.3),
    Loss(rate=1),
    Bandwidth(bytes_per_s=300),
    SlowSender(bytes=1, every_ms=4),
    Disconnect(),
    HalfOpen(blocks="up"),
    HalfOpen(blocks="both"),
    Partition(),
    Flapping(down_s=Range(1, 4), up_s=Range(2, 8)),
    DnsFailure(),
    TlsFailure(),
    ReconnectStorm(times=5, every_s=7),
]


@pytest.mark.parametrize("channel", ["mqtt", "tcp", "rest"])
@pytest.mark.parametrize("clear", [False, True], ids=["for_s", "cleared"])
@pytest.mark.parametrize("fault", BYTES, ids=lambda fault: str(fault.params))
def test_nothing_is_lost_nor_said_twice_nor_out_of_order(fault: Fault, channel: str, clear: bool) -> None:
    untouched = stamps(world(None, channel))
    made = world(fault, channel, clear)
    assert stamps(made) == untouched[: len(stamps(made))]
    assert len(stamps(made)) >= len(untouched) - 1  # the very last may be on its way
    assert all(one.late_ms <= 1 for one in arrivals(made) if one.said_s < FROM_S or one.said_s > FROM_S + FOR_S + 40)
    assert made.device.faults == []
    assert len(made.notes("fault_cleared")) == 1


@pytest.mark.parametrize(
    ("fault", "low_ms", "high_ms"),
    [
        (Latency(delay_ms=300), 300, 300),
        (Latency(delay_ms=300, jitter_ms=100), 200, 400),
        (Latency(delay_ms=100, jitter_ms=500), 0, 600),
        (Bandwidth(bytes_per_s=300), 150, 400),  # a message has some 80 bytes
        (SlowSender(bytes=2, every_ms=10), 250, 600),
    ],
    ids=lambda value: str(value.params) if isinstance(value, Fault) else None,
)
def test_how_late_it_comes(fault: Fault, low_ms: int, high_ms: int) -> None:
    late = [one.late_ms for one in hit(world(fault))]
    assert len(late) == FOR_S
    assert low_ms <= min(late) <= max(late) <= high_ms
    assert (len(set(late)) > 20) == (getattr(fault, "jitter_ms", 0) > 0)


def test_latency_grows_with_the_ramp_and_hits_by_chance() -> None:
    late = [one.late_ms for one in hit(world(Latency(delay_ms=600, ramp_s=30)))]
    assert late[0] < 50
    assert late[:30] == sorted(late[:30])
    assert set(late[31:]) == {600}
    late = [one.late_ms for one in hit(world(Latency(delay_ms=300, probability=0.5)))]
    assert set(late) == {0, 300}
    assert 15 < late.count(300) < 45


def test_a_lost_packet_is_sent_again_after_twice_the_time() -> None:
    assert [waits_ms(resends) for resends in range(5)] == [0, 200, 600, 1400, 3000]
    assert waits_ms(12) - waits_ms(11) == 120_000
    late = [one.late_ms for one in hit(world(Loss(rate=0.3)))]
    assert 25 < late.count(0) < 50
    first = {one for one in late if one in (200, 600)}
    assert first == {200, 600}


def test_what_comes_after_a_lost_packet_waits_for_it() -> None:
    found = hit(world(Loss(rate=0.6)))
    waiting = [b for a, b in pairwise(found) if a.at_s == b.at_s and b.late_ms < a.late_ms]
    assert waiting


def test_at_a_high_rate_connections_end_and_are_hard_to_make() -> None:
    made = world(Loss(rate=0.9))
    reasons = Counter(note["reason"] for note in made.notes("disconnected"))
    assert reasons["no acknowledgement within 10 s"] >= 1
    assert reasons["no answer to a connection"] >= 1
    assert world(Loss(rate=0.05)).notes("disconnected") == []


def test_a_thin_line_holds_up_what_is_more_than_it_takes() -> None:
    made = world(Bandwidth(bytes_per_s=40))  # a message has some 80 bytes and comes every second
    late = [one.late_ms for one in hit(made)]
    assert late[5] > late[0]
    assert max(late) > 9000
    reasons = {note["reason"] for note in made.notes("disconnected")}
    assert reasons == {"no acknowledgement within 10 s"}  # it is too thin for what is said


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Disconnect(), "no network"),
        (DnsFailure(), "name or service not known"),
        (TlsFailure(why="expired"), "TLS: certificate verify failed: certificate has expired"),
    ],
)
def test_away_until_it_ends_and_back_at_once(fault: Fault, reason: str) -> None:
    made = world(fault)
    assert [one for one in arrivals(made) if FROM_S + 1 < one.at_s < FROM_S + FOR_S] == []
    late = [one for one in hit(made) if one.at_s == FROM_S + FOR_S]
    assert len(late) >= FOR_S - 1
    reasons = [note["reason"] for note in made.notes("disconnected")]
    assert reasons[0] == "severed"
    assert set(reasons[1:]) == {reason}
    assert 4 < len(reasons) < 15, "it tries again, later each time"


@pytest.mark.parametrize("fault", [DnsFailure(cut=False), TlsFailure(cut=False)])
def test_a_connection_that_is_up_may_stay(fault: Fault) -> None:
    made = world(fault)
    assert made.notes("disconnected") == []
    assert {one.late_ms for one in hit(made)} == {0}
    made = World(talker())
    made.virtual.inject(0, fault.model_copy(update={"for_s": FOR_S}), START_MS + FROM_S * 1000)
    made.virtual.sever(0, START_MS + 120_000, 1000)  # now it needs another one
    made.run(UNTIL_S)
    assert len(made.notes("disconnected")) > 3
    assert [one for one in arrivals(made) if 120 < one.at_s < 160] == []


def test_a_partition_is_noticed_by_time_outs_and_left_by_backoff() -> None:
    made = world(Partition())
    assert [one for one in arrivals(made) if FROM_S < one.at_s < FROM_S + FOR_S] == []
    reasons = [note["reason"] for note in made.notes("disconnected")]
    assert reasons[0] == "no acknowledgement within 10 s"
    assert set(reasons[1:]) == {"no answer to a connection"}
    back_s = hit(made)[-1].at_s
    assert FROM_S + FOR_S < back_s <= FROM_S + FOR_S + 30
    short = World(talker())
    short.virtual.inject(0, Partition(for_s=5), START_MS + FROM_S * 1000)
    short.run(UNTIL_S)
    assert max(one.late_ms for one in arrivals(short)) <= 5000
    assert len(short.notes("disconnected")) == 1


@pytest.mark.parametrize("blocks", ["up", "both"])
def test_half_a_connection_up_is_missed_and_made_anew(blocks: Any) -> None:
    made = world(HalfOpen(blocks=blocks))
    late = [one.late_ms for one in hit(made) if one.late_ms > 1]
    assert late
    assert max(late) <= 11_000
    [note] = made.notes("disconnected")
    assert note["reason"] == "no acknowledgement within 10 s"
    assert hit(made)[-1].late_ms == 0, "the new connection works, though the fault lasts"


def test_half_a_connection_down_makes_duplicates() -> None:
    made = world(HalfOpen(blocks="down"))
    counts = Counter(stamps(made))
    assert set(counts.values()) == {1, 2}
    twice = [said_s for said_s, count in counts.items() if count == 2]
    assert len(twice) == 10  # as many as may be in flight
    assert all(FROM_S <= said_s < FROM_S + 12 for said_s in twice)
    assert set(counts) == set(stamps(world(None)))
    assert made.ledger.acknowledged["telemetry"] == len(counts)


def test_flapping_comes_and_goes() -> None:
    made = world(Flapping(down_s=Range(1, 3), up_s=Range(2, 5)))
    ups = [event for event in made.ledger.events if event.kind == "connected"][1:]
    downs = [
        event for event in made.ledger.events if event.kind == "disconnected" and event.detail["reason"] == "severed"
    ]
    assert len(ups) == len(downs) > FOR_S / 8
    for down, up in zip(downs, ups, strict=True):
        assert 1000 <= up.at_ms - down.at_ms <= 3000
    for up, down in zip(ups, downs[1:], strict=False):
        assert 2000 <= down.at_ms - up.at_ms <= 5000
    spared = world(Flapping(down_s=Range(1, 3), up_s=Range(2, 5), probability=0.2)).notes("connected")
    assert 1 < len(spared) < len(ups)


def test_a_storm_is_one_moment_for_all() -> None:
    things = [f"Pump-{n:03}" for n in range(20)]
    ledger, of = Ledger(), fleet(talker(), things)
    virtual = Virtual(of, VirtualClock(), ledger)
    for index in range(len(things)):
        virtual.start(index, START_MS)
        virtual.inject(index, ReconnectStorm(times=3, every_s=10), START_MS + 50_001 + 37 * index)
    virtual.run_until(START_MS + 200_000)
    moments = Counter(event.at_ms - START_MS for event in ledger.events if event.kind == "disconnected")
    assert moments == {51_000: 20, 61_000: 20, 71_000: 20}
    ups = Counter(event.at_ms - START_MS for event in ledger.events if event.kind == "connected")
    assert ups == {0: 20, **moments}
    assert all(not device.faults for device in of.devices), "it is over by itself"


def test_who_does_not_get_through_the_storm_tries_again_with_all_others() -> None:
    made = World(talker())
    made.virtual.inject(0, Disconnect(for_s=12), START_MS + 50_000)
    made.virtual.inject(0, ReconnectStorm(again_s=5), START_MS + 50_000)
    made.run(100)
    tries = [e.at_ms - START_MS for e in made.ledger.events if e.detail.get("reason") == "no network"]
    assert {50_000, 55_000, 60_000} <= set(tries)
    assert made.device.online
    assert made.device.faults == []


@pytest.mark.parametrize("channel", ["mqtt", "tcp", "rest"])
@pytest.mark.parametrize(("copies", "after_s"), [(1, 0), (3, 0), (2, 1.5)])
def test_duplicates(channel: str, copies: int, after_s: float) -> None:
    made = world(Duplicate(copies=copies, after_s=after_s), channel)
    counts = Counter(one.said_s for one in hit(made))
    assert set(counts.values()) == {1 + copies}
    assert len(counts) == FOR_S
    assert max(one.late_ms for one in hit(made)) == copies * after_s * 1000
    payloads: dict[int, set[bytes]] = {}
    for _, _, message in made.cloud.said:
        if message.kind == "telemetry":
            payloads.setdefault(message.stamp, set()).add(message.payload)
    assert all(len(same) == 1 for same in payloads.values())
    notes = made.notes("disturbed")
    assert [note["stamp"] for note in notes] == sorted({one.stamp for one in hit(made)})
    assert notes[0] == {
        "fault": "duplicate", "what": "duplicated", "kind": "telemetry", "stamp": notes[0]["stamp"],
    }  # fmt: skip
    total = made.ledger.attempted["telemetry"]
    assert total == made.ledger.acknowledged["telemetry"] == len(arrivals(made))


def test_messages_that_overtake_each_other() -> None:
    made = world(Reorder(by_s=Range(2, 6), probability=0.4))
    said = [one.said_s for one in hit(made)]
    assert said != sorted(said)
    assert sorted(said) == [said_s for said_s in stamps(world(None)) if FROM_S <= said_s < FROM_S + FOR_S]
    held = [one for one in hit(made) if one.late_ms]
    assert all(2000 <= one.late_ms <= 6000 for one in held)
    notes = made.notes("disturbed")
    assert sorted(note["stamp"] for note in notes) == sorted(one.stamp for one in held)
    assert {note["what"] for note in notes} == {"reordered"}


def test_only_so_many_messages_have_a_note_of_their_own() -> None:
    device = fleet(talker()).devices[0]
    device.receive(Connected(False), START_MS)
    device.inject(Duplicate(), START_MS)
    [active] = device.faults
    for number in range(1500):
        message = Publish("telemetry", "t", b"{}", stamp=number)
        active.say(device, message, START_MS + number)
    said = device.clear(None, START_MS + 9999)
    [note, _] = said
    assert note.detail == {"fault": "duplicate", "what": "duplicated", "count": 500}  # type: ignore[union-attr]


def test_other_kinds_of_messages_are_hit_when_named() -> None:
    made = world(Duplicate(messages=["shadow_*"]))
    assert {note["kind"] for note in made.notes("disturbed")} == {"shadow_update"}
    assert set(Counter(stamps(made)).values()) == {1}


@pytest.mark.parametrize("fault", [Latency(delay_ms=70), Loss(rate=0.5), Bandwidth(bytes_per_s=9), SlowSender(bytes=3)])
@pytest.mark.parametrize("up", [True, False])
def test_bytes_stay_whole_and_their_end_stays_an_end(fault: Fault, up: bool) -> None:
    device = fleet(talker()).devices[0]
    device.inject(fault, START_MS)
    data = bytes(range(256)) * 300
    pieces = device.carry(data, up, START_MS)
    assert b"".join(piece.data for piece in pieces) == data
    assert [piece.after_ms for piece in pieces] == sorted(piece.after_ms for piece in pieces)
    assert len(pieces) <= 1000
    [end] = device.carry(b"", up, START_MS)
    assert end.data == b""
    later = device.carry(b"more", up, START_MS + 1)
    assert b"".join(piece.data for piece in later) == b"more"


def test_several_at_once_add_up() -> None:
    device = fleet(talker()).devices[0]
    device.inject(Latency(delay_ms=100), START_MS)
    device.inject(Latency(delay_ms=30), START_MS)
    assert device.carry(b"x", True, START_MS) == [Piece(b"x", 130)]
    device.inject(Partition(), START_MS)
    assert device.carry(b"x", True, START_MS) == []
    assert device.reach(START_MS) == "no answer to a connection"


@pytest.mark.parametrize("fault", [*BYTES, HalfOpen(blocks="down"), KeepAliveViolation()], ids=lambda f: str(f.params))
def test_what_a_device_says_does_not_hang_on_what_its_network_is_asked(fault: Fault) -> None:
    """So that a device can be replayed from what it heard alone."""

    def life(bytes_a_second: int) -> list[Output]:
        device = fleet(talker()).devices[0]
        said = device.receive(Connected(False), START_MS) + device.inject(fault, START_MS)
        for second in range(200):
            now_ms = START_MS + second * 1000
            said += device.step(now_ms)
            if second in (20, 60):
                said += device.receive(Disconnected("no answer"), now_ms)
            if second in (25, 70):
                said += device.receive(Connected(False), now_ms)
            for _ in range(bytes_a_second):
                device.carry(b"bytes", True, now_ms)
                device.carry(b"bytes", False, now_ms)
                device.reach(now_ms)
        return said + device.clear(None, START_MS + 200_000)

    assert life(0) == life(3)


def test_no_connection_is_made_while_the_power_is_off() -> None:
    made = World(talker())
    made.virtual.inject(0, Disconnect(for_s=30), START_MS + 50_000)
    made.virtual.power_cycle(0, START_MS + 60_000, 60_000)
    made.run(200)
    ups = [event.at_ms - START_MS for event in made.ledger.events if event.kind == "connected"]
    assert ups == [0, 120_000]
    tries = [e.at_ms - START_MS for e in made.ledger.events if e.detail.get("reason") == "no network"]
    assert max(tries) < 60_000


def test_what_a_device_is_told_takes_its_way_too() -> None:
    made = World(talker())
    made.virtual.inject(0, Latency(delay_ms=400, for_s=20), START_MS + 10_000)
    made.virtual.inject(0, HalfOpen(blocks="down", for_s=5), START_MS + 50_000)
    refused = Received(f"$aws/things/{made.device.thing}/shadow/update/rejected", b'{"code": 429}')
    for at_s in (5, 15, 40, 52, 80):
        made.virtual.tell(0, refused, START_MS + at_s * 1000)
    made.run(100)
    heard = [event.at_ms - START_MS for event in made.ledger.events if event.kind == "shadow_rejected"]
    assert heard == [5_000, 15_400, 40_000, 80_000]


def fault(**keys: Any) -> Fault:
    found: Fault = TypeAdapter(Annotated[Fault, OneOf("faults")]).validate_python(keys)
    return found


@pytest.mark.parametrize(
    ("keys", "notice"),
    [
        ({"kind": "latency", "delay_ms": 500}, "nothing"),
        ({"kind": "loss", "rate": 0.1}, "nothing"),
        ({"kind": "loss", "rate": 0.95}, "silence"),
        ({"kind": "duplicate"}, "nothing"),
        ({"kind": "reorder"}, "nothing"),
        ({"kind": "bandwidth", "bytes_per_s": 100}, "nothing"),
        ({"kind": "disconnect"}, "silence"),
        ({"kind": "disconnect", "for_s": 5}, "nothing"),
        ({"kind": "disconnect", "for_s": 600}, "silence"),
        ({"kind": "half_open"}, "nothing"),
        ({"kind": "flapping"}, "nothing"),
        ({"kind": "flapping", "down_s": [100, 200]}, "silence"),
        ({"kind": "partition", "for_s": 600}, "silence"),
        ({"kind": "dns_failure"}, "silence"),
        ({"kind": "dns_failure", "cut": False}, "nothing"),
        ({"kind": "tls_failure", "cut": False}, "nothing"),
        ({"kind": "reconnect_storm"}, "nothing"),
        ({"kind": "keep_alive_violation"}, "silence"),
        ({"kind": "slow_sender", "every_ms": 1000}, "silence"),
        ({"kind": "slow_sender", "every_ms": 1}, "nothing"),
    ],
)
def test_what_a_good_backend_should_notice(keys: dict[str, Any], notice: str) -> None:
    assert fault(**keys).expects(talker().subject).notice == notice


SHAPING = [
    "latency",
    "loss",
    "bandwidth",
    "half_open",
    "partition",
    "slow_sender",
    "keep_alive_violation",
    "raw_packet",
]


@pytest.mark.parametrize("kind", SHAPING)
def test_what_cannot_be_shaped_is_said_beforehand(kind: str) -> None:
    required: dict[str, dict[str, float]] = {
        "latency": {"delay_ms": 1},
        "loss": {"rate": 0.1},
        "bandwidth": {"bytes_per_s": 9},
    }
    made = fault(kind=kind, **required.get(kind, {}))
    subject = talker().subject
    assert made.unfit(subject) is None
    assert "cannot be shaped" in (made.unfit(subject._replace(link="sdk")) or "")
    for other in ("disconnect", "flapping", "dns_failure", "tls_failure", "reconnect_storm", "duplicate", "reorder"):
        assert fault(kind=other).unfit(subject._replace(link="sdk")) is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"kind": "flapping", "down_s": [5, 1]}, "must rise"),
        ({"kind": "flapping", "up_s": [0, 1]}, "between 0.1 and"),
        ({"kind": "reorder", "by_s": [3, 2]}, "must rise"),
        ({"kind": "loss", "rate": 1.5}, "less than or equal to 1"),
        ({"kind": "latency", "delay_ms": -1}, "greater than or equal to 0"),
        ({"kind": "half_open", "blocks": "sideways"}, "'up', 'down' or 'both'"),
    ],
)
def test_mistakes(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        fault(**keys)
