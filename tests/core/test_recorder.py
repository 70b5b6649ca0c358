"""The recorder and the replay: what a device said once it says again, byte for byte, from what it was given alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import replay, tape
from simulator.behaviours.telemetry import TelemetryDuty
from simulator.clock import VirtualClock
from simulator.device import Device
from simulator.errors import UsageError
from simulator.faults import Fault
from simulator.faults.flapping import Flapping
from simulator.faults.hang import Hang
from simulator.faults.latency import Latency
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.messages import (
    Booted,
    Chunk,
    Connected,
    Disconnected,
    Download,
    DownloadEnded,
    Dropped,
    Note,
    Publish,
    Raw,
    Received,
    Subscribe,
)
from simulator.recorder import BYTES_MAX, Recorded, Recorder
from simulator.replay import Played
from simulator.runtime.virtual import Virtual
from simulator.signals import Range
from simulator.tape import Call
from tests.core.fake_cloud import Execution
from tests.core.fleets import QUICK, START_MS, THING, Live, World, fleet, image, profile, run
from tests.core.test_rooms import fault_example, kinds_of, subjects

URL = "https://s3/pump-1.1.0"


def calls(recorder: Recorder, things: list[str]) -> dict[str, list[Call]]:
    """What was recorded, as it would come from a file."""

    def bodies(piece: tape.Piece) -> bytes:
        return bytes(recorder.bodies[piece.body][piece.offset : piece.offset + piece.size])

    return {thing: [tape.read(line, bodies) for line in lines] for thing, lines in recorder.lines(things)}


def again(recorder: Recorder, new: Fleet) -> list[Played]:
    return list(replay.play(new, calls(recorder, list(new.by_thing))))


def recorded_world(bytes_max: int = BYTES_MAX) -> tuple[World, Recorder]:
    world = World()
    return world, Recorder(world.fleet, bytes_max)


def eventful(world: World) -> None:
    """A fault, an update by a job with a download and a reboot, a severed network."""
    made = image(size_kib=100)
    world.virtual.inject(0, Hang(part="fan"), START_MS + 20_000)
    world.cloud.objects[URL] = made.body
    document = {
        "operation": "ota", "package": "Pump", "version": made.version, "url": URL,
        "size": len(made.body), "sha256": made.sha256, "signature": made.signature,
    }  # fmt: skip

    def create() -> None:
        world.cloud.create(THING, Execution("ota-1", document))

    world.virtual.at(START_MS + 30_000, create)
    world.virtual.sever(0, START_MS + 200_000, 30_000)
    world.virtual.clear(0, None, START_MS + 300_000)
    world.run(600)
    assert world.device.version == "1.1.0"


def test_a_whole_life_is_said_again_byte_for_byte() -> None:
    world, recorder = recorded_world()
    eventful(world)
    played = again(recorder, fleet())
    assert len(played) == recorder.calls > 100
    assert all(one.same for one in played)
    said = [output for one in played for output in one.said]
    heard = [message for _, _, message in world.cloud.said]
    assert [tape.message(one) for one in said if "Publish" in one] == heard


def test_without_a_recorder_a_device_is_what_it_was() -> None:
    plain = fleet()
    assert type(plain.devices[0]) is Device
    Recorder(plain)
    assert type(plain.devices[0]) is Recorded


def test_recording_changes_nothing() -> None:
    world, other = World(), recorded_world()[0]
    for one in (world, other):
        eventful(one)
    assert world.cloud.said == other.cloud.said
    assert world.ledger.events == other.ledger.events


def test_a_fleet_keeps_the_order_of_its_calls_and_any_of_it_can_be_replayed() -> None:
    things = [f"Pump-{n:03}" for n in range(8)]
    many = fleet(things=things)
    recorder = Recorder(many)
    virtual = Virtual(many, VirtualClock(), Ledger())
    for index in range(8):
        virtual.start(index, START_MS + 1000 * index)
    virtual.inject(3, Hang(part="fan"), START_MS + 60_000)
    virtual.run_until(START_MS + 600_000)
    played = again(recorder, fleet(things=things))
    assert [one.call.n for one in played] == list(range(recorder.calls))
    assert all(one.same for one in played)
    assert {one.thing for one in played} == set(things)
    alone = again(recorder, fleet(things=[things[3]]))
    assert alone == [one for one in played if one.thing == things[3]]


def test_a_live_fleet_is_replayed_too() -> None:
    """Real timers and links: switched off and on, cut, and with a network that comes and goes."""
    bench_start_ms: list[int] = []
    recorders: list[Recorder] = []

    async def story() -> None:
        bench = Live(6)
        recorders.append(Recorder(bench.fleet))
        bench_start_ms.append(bench.fleet.devices[0].plant.start_ms)
        for index in range(6):
            bench.engine.start(index)
        await bench.until(lambda: len(set(bench.telemetry())) == 6)
        bench.engine.inject(0, Flapping(down_s=Range(0.1, 0.2), up_s=Range(0.1, 0.2)))
        bench.engine.inject(1, Latency(delay_ms=20, jitter_ms=10))
        bench.engine.inject(2, Hang(part="fan"))
        bench.engine.stop(3)
        await bench.until(lambda: bench.kinds().count("disconnected") > 3)
        bench.engine.start(3)
        bench.engine.clear(0, None)
        said = len(bench.said)
        await bench.until(lambda: len(bench.said) > said + 40 and all(d.online for d in bench.fleet.devices))
        await bench.engine.close()

    run(story)
    [recorder], [start_ms] = recorders, bench_start_ms
    new = fleet(profile(QUICK), [f"Pump-{n:03}" for n in range(6)], start_ms=start_ms)
    played = again(recorder, new)
    assert len(played) == recorder.calls
    assert {one.call.call for one in played} == {"step", "receive", "inject", "clear", "switched_off"}
    assert all(one.same for one in played)
    times = [one.call.at_ms for one in played]
    assert times == sorted(times), "no device is told of an earlier moment than another one before it"


def test_what_changed_is_found_where_it_first_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    world, recorder = recorded_world()
    eventful(world)
    before, step, late_ms = again(recorder, fleet()), TelemetryDuty.step, START_MS + 100_000

    def other(duty: TelemetryDuty, body: Any, now_ms: int) -> Any:
        outputs = step(duty, body, now_ms)
        return [
            output._replace(payload=output.payload.replace(b"temp_c", b"temp_k"))
            if isinstance(output, Publish) and now_ms >= late_ms
            else output
            for output in outputs
        ]

    monkeypatch.setattr(TelemetryDuty, "step", other)
    first = next(one for one in again(recorder, fleet()) if not one.same)
    wanted = next(one for one in before if one.call.at_ms >= late_ms and "temp_c" in str(one.said))
    assert first.call == wanted.call
    assert first.call.said == wanted.said
    assert str(first.said) == str(wanted.said).replace("temp_c", "temp_k")


def test_a_device_that_fails_fails_again(monkeypatch: pytest.MonkeyPatch) -> None:
    step = TelemetryDuty.step

    def fails(duty: TelemetryDuty, body: Any, now_ms: int) -> Any:
        if now_ms > START_MS + 20_000:
            raise KeyError("x")
        return step(duty, body, now_ms)

    world, recorder = recorded_world()
    with monkeypatch.context() as patch:
        patch.setattr(TelemetryDuty, "step", fails)
        with pytest.raises(KeyError):
            world.run(60)
        *rest, last = again(recorder, fleet())
        assert last.call.said == last.said == [{"raised": "KeyError: 'x'"}]
        assert all(one.same for one in rest)
        assert last.same
    assert not again(recorder, fleet())[-1].same


# Bounds


def test_a_small_memory_keeps_digests_of_what_was_said_first_and_the_proof_stands() -> None:
    world, recorder = recorded_world(bytes_max=160_000)
    eventful(world)
    assert 0 < recorder.digested < recorder.calls
    assert not recorder.missed
    assert recorder.size_bytes <= 160_000
    played = again(recorder, fleet())
    assert len(played) == recorder.calls
    assert [one.call.said is None for one in played] == [n < recorder.digested for n in range(recorder.calls)]
    assert all(one.same for one in played)
    strange = [one._replace(said=[*one.said, {"Relink": {}}]) for one in played]
    assert not any(one.same for one in strange)


def test_a_memory_that_is_full_ends_the_recording_and_counts_the_rest() -> None:
    world, recorder = recorded_world(bytes_max=6000)
    world.run(3600)
    assert recorder.is_full
    assert recorder.missed
    assert recorder.size_bytes <= 6000
    played = again(recorder, fleet())
    assert len(played) == recorder.calls - recorder.missed
    assert all(one.same for one in played), "what was recorded is a whole beginning"


def test_a_fleet_that_gets_the_same_file_has_it_once() -> None:
    things = [f"Pump-{n:03}" for n in range(20)]
    many = fleet(things=things)
    recorder = Recorder(many)
    body = image(size_kib=500).body
    for n, device in enumerate(many.devices):
        device.receive(Connected(False), START_MS)
        recorder.add((recorder.tapes[device.thing], START_MS, 0, None, [Download("t", f"https://s3/x?signature={n}")]))
        size = 1000 + 7777 * n
        for at in range(0, len(body), size):
            device.receive(Chunk("t", body[at : at + size]), START_MS + 1)
    assert recorder.bodies == [body]
    assert recorder.size_bytes < 3 * len(body)
    for thing, of in calls(recorder, things).items():
        got = [tape.message(call.given) for call in of if call.call == "receive"]
        assert b"".join(said.data for said in got if isinstance(said, Chunk)) == body, thing


def test_a_file_that_is_another_one_now_is_kept_as_it_came() -> None:
    many = fleet(things=["Pump-000", "Pump-001"])
    recorder = Recorder(many)
    bodies = [b"a" * 1000, b"a" * 400 + b"b" * 600]
    for device, body in zip(many.devices, bodies, strict=True):
        recorder.add((recorder.tapes[device.thing], START_MS, 0, None, [Download("t", "https://s3/x", offset=100)]))
        for at in range(100, 1000, 100):
            device.receive(Chunk("t", body[at : at + 100]), START_MS)
        device.receive(DownloadEnded("t", 200, ""), START_MS)
    for device, body in zip(many.devices, bodies, strict=True):
        of = calls(recorder, [device.thing])[device.thing]
        got = [tape.message(call.given) for call in of if call.call == "receive"]
        assert b"".join(said.data for said in got if isinstance(said, Chunk)) == body[100:]


# The network is not recorded


SUBJECTS = list(subjects())


def lively(device: Device, fault: Fault) -> None:
    """Some minutes of a device with a fault, whose network asks at odd times."""
    device.receive(Connected(False), START_MS)
    now_ms, asked = START_MS + 1, 0
    device.inject(fault, now_ms)
    for turn in range(200):
        now_ms = max(now_ms + 1, min(device.wake_at_ms, now_ms + 5000))
        for _ in range(turn * 3 % 5):
            asked += 1
            device.carry(b"some bytes" * (asked % 3), asked % 2 == 0, now_ms)
            if asked % 7 == 0:
                device.reach(now_ms)
        device.step(now_ms)
        if turn % 60 == 30:
            device.receive(Disconnected("lost"), now_ms)
        if turn % 60 == 40 and device.powered:
            device.receive(Connected(False), now_ms)
        if not device.powered:
            device.receive(Booted(), now_ms)
            device.receive(Connected(False), now_ms)
    device.clear(None, now_ms)


@kinds_of("faults")
def test_with_any_fault_the_same_is_said_again_whatever_the_network_did(kind: str) -> None:
    fault = fault_example(kind)
    what = next(of for of in SUBJECTS if fault.unfit(of.subject) is None)
    first = fleet(what)
    recorder = Recorder(first)
    lively(first.devices[0], fault)
    played = again(recorder, fleet(what))
    assert len(played) == recorder.calls
    different = [one for one in played if not one.same]
    assert not different, different[0]


# Lines

texts = st.text() | st.sampled_from(["base64:", "base64:AAAA", "\ud800", "\x00"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
payloads = st.binary(max_size=50) | texts.map(lambda text: text.encode(errors="replace"))
publishes = st.builds(
    Publish, st.text(max_size=9), st.text(max_size=20), payloads, qos=st.integers(0, 2), stamp=st.integers(0, 1 << 50),
    expiry_s=st.none() | st.integers(0, 99), due_ms=st.floats(0, 1 << 50),
)  # fmt: skip
any_message = st.one_of(
    publishes,
    publishes.map(Dropped),
    st.builds(Subscribe, st.lists(st.text(max_size=9), max_size=3).map(tuple)),
    st.builds(Raw, payloads),
    st.builds(Received, st.text(max_size=9), payloads),
    st.builds(Chunk, st.text(max_size=9), payloads),
    st.builds(Connected, st.booleans()),
    st.just(Booted()),
)


@given(any_message)
def test_any_message_survives_its_line(said: Any) -> None:
    line = tape.line(Call(1, 2, "receive", tape.plain(said), [tape.plain(said)]))
    assert line.count(b"\n") == 1
    read = tape.read(line, lambda piece: b"")
    assert tape.message(read.given) == said
    assert tape.message(read.said[0]) == said if read.said else False
    assert tape.dumps(read.said) == tape.dumps([tape.plain(said)])


@given(st.dictionaries(st.text(max_size=5), anything, max_size=3))
def test_any_note_is_compared_as_it_was_written(detail: dict[str, Any]) -> None:
    said = tape.said([Note("seen", detail)])
    read = tape.read(tape.line(Call(1, 2, "step", None, said)), lambda piece: b"")
    assert Played(THING, read, said).same
    assert Played(THING, read._replace(said=None, digest=tape.digest(said).hex()), said).same


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"n":1,"at_ms":2,"call":"fly"}', b'{"n":1,"at_ms":2}', b"\xff"])
def test_a_line_that_is_none_is_said_to_be_none(line: bytes) -> None:
    with pytest.raises(UsageError):
        tape.read(line, lambda piece: b"")


@pytest.mark.parametrize("said", [None, {}, {"Publish": {}}, {"System": {}}, {"Publish": None}, {"a": {}, "b": {}}])
def test_a_message_that_is_none_is_said_to_be_none(said: Any) -> None:
    with pytest.raises(UsageError, match="not a message"):
        tape.message(said)


@pytest.mark.parametrize(
    "given", [None, {}, {"kind": "hnag"}, {"kind": "hang"}, {"kind": "hang", "part": "x", "odd": 1}]
)
def test_a_fault_that_there_is_not_any_more(given: Any) -> None:
    with pytest.raises(UsageError, match="a fault that this fleetsim cannot make"):
        tape.perform(fleet().devices[0], Call(1, START_MS, "inject", given, []))
