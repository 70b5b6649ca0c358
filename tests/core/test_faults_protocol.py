"""Faults of the protocol in virtual time: what the far side is told, and what the backend's core makes of it."""

from collections import Counter
from typing import Annotated, Any

import orjson
import pytest
from pydantic import TypeAdapter

from simulator.backend.core import Backend
from simulator.backend.effects import DeadLetter, StoreTelemetry
from simulator.backend.rest_body import BodyRefused, fire_from_json, telemetry_from_json
from simulator.backend.rules import load_rules
from simulator.behaviours import Outputs
from simulator.clock import VirtualClock
from simulator.faults import Fault
from simulator.faults.broken_frame import BrokenFrame
from simulator.faults.invalid_utf8 import InvalidUtf8
from simulator.faults.keep_alive_violation import KeepAliveViolation
from simulator.faults.malformed_json import MalformedJson, broken
from simulator.faults.oversize import Oversize, filled
from simulator.faults.raw_packet import PACKETS, RawPacket
from simulator.faults.wrong_qos import WrongQos
from simulator.faults.wrong_schema import WrongSchema
from simulator.faults.wrong_topic import WrongTopic, misspelt
from simulator.ledger import Ledger
from simulator.messages import Connected, Note, Piece, Publish, Raw
from simulator.profiles import profile as shipped
from simulator.runtime.virtual import Virtual
from simulator.schema import OneOf
from simulator.wire.frames import Frame, FrameDecoder, FrameEncoder, Garbage
from simulator.wire.mqtt import Decoder
from simulator.wire.mqtt.reasons import MqttError
from tests.core.fleets import START_MS, World, fleet
from tests.core.test_faults_network import FOR_S, FROM_S, UNTIL_S, hit, stamps, talker, world


def fault(**keys: Any) -> Fault:
    found: Fault = TypeAdapter(Annotated[Fault, OneOf("faults")]).validate_python(keys)
    return found


def said(of: World, kind: str = "telemetry") -> list[tuple[int, Publish]]:
    """What the far side heard, and when."""
    return [(at_ms, message) for at_ms, _, message in of.cloud.said if message.kind == kind]


def over_mqtt(messages: list[tuple[int, Publish]]) -> tuple[set[int], Counter[str]]:
    """What the platform's core stores (timestamps), and why it refuses the others."""
    core, stored, refused = Backend(load_rules([])), set[int](), Counter[str]()
    for at_ms, message in messages:
        for effect in core.ingest(message.topic, message.payload, at_ms):
            if isinstance(effect, StoreTelemetry):
                stored.add(message.stamp)
            elif isinstance(effect, DeadLetter):
                refused[effect.reason] += 1
    return stored, refused


def over_rest(messages: list[tuple[int, Publish]]) -> tuple[set[int], Counter[str]]:
    stored, refused = set[int](), Counter[str]()
    for at_ms, message in messages:
        read = {"/ingest/telemetry": telemetry_from_json, "/ingest/fire": fire_from_json}.get(message.topic)
        if read is None:
            refused["404"] += 1
            continue
        try:
            if read(message.payload, at_ms, lambda device: None):
                stored.add(message.stamp)
        except BodyRefused as wrong:
            refused[str(wrong.status)] += 1
    return stored, refused


MESSAGES = [
    MalformedJson(),
    *(MalformedJson(how=how) for how in ("truncated", "comma", "quote", "brace", "nan")),
    WrongSchema(),
    *(WrongSchema(how=how) for how in ("missing", "renamed", "type")),
    WrongTopic(),
    InvalidUtf8(),
]


@pytest.mark.parametrize(
    ("what", "channel"),
    [*((what, channel) for what in MESSAGES for channel in ("mqtt", "rest")), (Oversize(), "rest")],
    ids=lambda value: str(value.params) if isinstance(value, Fault) else None,
)
def test_what_was_hit_is_refused_and_all_else_is_stored(what: Fault, channel: str) -> None:
    made = world(what.model_copy(update={"probability": 0.5}), channel)
    stored, refused = (over_mqtt if channel == "mqtt" else over_rest)(said(made))
    notes = made.notes("disturbed")
    told = {note["stamp"] for note in notes}
    assert {note["what"] for note in notes} == {"mangled"}
    assert {note["fault"] for note in notes} == {what.params["kind"]}
    assert FOR_S * 0.25 < len(notes) < FOR_S * 0.75
    assert sum(refused.values()) == len(notes)
    assert all(START_MS + FROM_S * 1000 <= stamp < START_MS + (FROM_S + FOR_S) * 1000 for stamp in told)
    everything = {message.stamp for _, message in said(world(None, channel))}
    assert stored == everything - told
    assert made.device.faults == []


@pytest.mark.parametrize("channel", ["mqtt", "rest"])
@pytest.mark.parametrize("name", ["fire-sensor", "machine-a", "vehicle-sedan"])
@pytest.mark.parametrize("what", MESSAGES, ids=lambda what: str(what.params))
def test_so_it_is_with_every_shipped_device(what: Fault, name: str, channel: str) -> None:
    profile = shipped(name) if channel == "mqtt" else shipped(name).over("rest", name)
    assert what.unfit(profile.subject) is None
    found: list[tuple[int, Publish]] = []

    def record(now_ms: int, thing: str, message: Publish) -> None:
        if message.kind == "telemetry":
            found.append((now_ms, message))

    ledger = Ledger()
    virtual = Virtual(fleet(profile), VirtualClock(), ledger, record)
    virtual.start(0, START_MS)
    virtual.inject(0, what, START_MS + 1)
    virtual.run_until(START_MS + 60_000)
    if channel == "mqtt":  # a topic that nobody listens to is as good as refused
        heard = [(at_ms, m) for at_ms, m in found if m.topic.count("/") == 7 or m.topic.startswith("fire-prediction/")]
        assert len(heard) == len(found)
    stored, refused = (over_mqtt if channel == "mqtt" else over_rest)(found)
    assert not stored
    assert sum(refused.values()) == len(found) > 10


@pytest.mark.parametrize("how", ["truncated", "comma", "quote", "brace", "nan"])
@pytest.mark.parametrize("document", [b'{"a":1}', b'{"a":"b"}', b'{"a":{}}', b'{"a":[1,{"b":-1.5e3}],"c":null}'])
@pytest.mark.parametrize("where", [0.0, 0.5, 0.999])
def test_json_is_always_broken(how: str, document: bytes, where: float) -> None:
    orjson.loads(document)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(broken(document, how, where))


@pytest.mark.parametrize(
    ("topic", "wrong"),
    [
        ("iotlink/dev/nohub/X-1/periodic/pub/telemetry/json", "iotlink/dev/nohub/X-1/periodic/pub/teleemtry/json"),
        ("fire-prediction/device/fs-1/data", "fire-prediction/devcie/fs-1/data"),
        ("/ingest/telemetry", "/ingest/teleemtry"),
        ("/ingest/fire", "/ingset/fire"),
        ("devices/hub-1/c-1/telemetry", "devices/hub-1/c-1/teleemtry"),
        ("t/aaaa", "t/aaaax"),
        ("t/X", "tx/X"),
        ("1/2", "1/2x"),
        ("json", "jsonx"),
    ],
)
def test_a_topic_is_misspelt_where_it_is_a_word(topic: str, wrong: str) -> None:
    assert misspelt(topic, "X") == wrong


def test_a_topic_may_be_given() -> None:
    made = world(WrongTopic(topic="iotlink/{env}/nohub/{thing}/periodic/pub/nothing/json"))
    stored, refused = over_mqtt(said(made))
    assert refused == {"topic.role": FOR_S}
    assert len(stored) == UNTIL_S - FOR_S


@pytest.mark.parametrize("size", [1024, 140_000])
@pytest.mark.parametrize("payload", [b'{"a":1}', b"\x01\x02", b"{}"])
def test_oversize_is_as_large_as_it_says(size: int, payload: bytes) -> None:
    found = filled(payload, size)
    assert len(found) == size
    if payload == b'{"a":1}':
        assert orjson.loads(found)["a"] == 1


def test_oversize_over_mqtt_is_written_once_past_the_client() -> None:
    found = outputs(Oversize(bytes=200_000))
    raws = [output.data for output in found if isinstance(output, Raw)]
    assert len(raws) > 10
    for data in raws:
        [packet] = Decoder(5, 1_000_000).feed(data)
        assert type(packet).__name__ == "Publish"
        assert (packet.qos, len(packet.payload)) == (0, 200_000)  # type: ignore[union-attr]
        assert "metrics" in orjson.loads(packet.payload)["data"]  # type: ignore[union-attr]
    made = world(Oversize(probability=0.2))
    hits = len(made.notes("disturbed"))
    assert 0 < len(made.notes("disconnected")) <= hits  # here the broker ends the connection
    assert len(stamps(made)) == UNTIL_S - hits


@pytest.mark.parametrize("qos", [0, 2])
def test_another_qos(qos: Any) -> None:
    made = world(WrongQos(qos=qos))
    counts = Counter(message.qos for _, message in said(made))
    assert counts == {qos: FOR_S, 1: UNTIL_S - FOR_S}
    assert len(made.notes("disturbed")) == FOR_S
    assert world(WrongQos(qos=1)).notes("disturbed") == []


def outputs(what: Fault, steps: int = 50) -> Outputs:
    """What a device says that has a fault, second by second."""
    device = fleet(talker()).devices[0]
    device.receive(Connected(False), START_MS)
    found = device.inject(what, START_MS)
    for second in range(steps):
        found += device.step(START_MS + 1000 * second)
    return found


@pytest.mark.parametrize("what", [WrongQos(qos=3), InvalidUtf8(where="topic")], ids=["qos 3", "topic"])
def test_packets_that_carry_a_message_and_are_none(what: Fault) -> None:
    found = outputs(what)
    raws = [output.data for output in found if isinstance(output, Raw)]
    notes = [output for output in found if isinstance(output, Note) and output.kind == "disturbed"]
    assert len(raws) == len(notes) > 10
    assert not [output for output in found if isinstance(output, Publish) and output.kind == "telemetry"]
    for data in raws:
        for version in (4, 5):
            assert malformed(data, version)


def malformed(data: bytes, version: Any) -> bool:
    """Does a strict reader refuse it?"""
    decoder = Decoder(version)
    try:
        packets = decoder.feed(data)
    except MqttError:
        return True
    return decoder.error is not None or not packets or type(packets[0]).__name__ in ("Connect", "Connack")


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("name", PACKETS)
def test_every_raw_packet_is_one_that_no_broker_may_take(name: str, version: int) -> None:
    [data] = {output.data for output in outputs(RawPacket(packet=name)) if isinstance(output, Raw)}
    assert data == PACKETS[name]
    assert malformed(data, version) or name == "subscribe_bad_filter"  # packets know nothing of filters


def test_raw_packets_come_so_often_and_so_many_times() -> None:
    found = outputs(RawPacket(packet="garbage", every_s=5, times=3))
    raws = [output.data for output in found if isinstance(output, Raw)]
    assert len(raws) == len(set(raws)) == 3
    assert [o.detail["fault"] for o in found if isinstance(o, Note) and o.kind == "fault_cleared"] == ["raw_packet"]
    assert len({o.data for o in outputs(RawPacket(every_s=1), 200) if isinstance(o, Raw)}) > 10


def test_a_broker_hangs_up_on_a_raw_packet_and_nothing_is_lost() -> None:
    made = world(RawPacket(packet="second_connect", every_s=10))
    reasons = Counter(note["reason"] for note in made.notes("disconnected"))
    assert reasons == {"the server closed the connection": 6}
    assert stamps(made) == stamps(world(None))
    garbage = world(RawPacket(packet="garbage", every_s=10), "tcp")
    assert garbage.notes("disconnected") == []


# Frames


@pytest.mark.parametrize("how", ["checksum", "length", "truncated", "any"])
def test_a_broken_frame_is_garbage_and_its_message_comes_again(how: Any) -> None:
    made = world(BrokenFrame(how=how, probability=0.1), "tcp")
    untouched = stamps(world(None, "tcp"))
    assert sorted(set(stamps(made))) == untouched
    notes = [note for note in made.notes("disturbed") if note["what"] == "mangled"]
    broken_s = {(note["stamp"] - START_MS) / 1000 for note in notes}
    assert broken_s
    late = {one.said_s for one in hit(made) if one.late_ms > 1}
    assert broken_s <= late
    assert max(one.late_ms for one in hit(made) if one.said_s in broken_s) >= 10_000
    reasons = {note["reason"] for note in made.notes("disconnected")}
    assert reasons == {"no acknowledgement within 10 s"}
    assert made.ledger.acknowledged["telemetry"] == len(untouched)


def test_a_frame_in_two_pieces_is_whole_in_the_end() -> None:
    made = world(BrokenFrame(how="split", split_ms=300), "tcp")
    assert {one.late_ms for one in hit(made)} == {300}
    assert stamps(made) == stamps(world(None, "tcp"))
    assert made.notes("disconnected") == []
    assert {note["what"] for note in made.notes("disturbed")} == {"delayed"}


@pytest.mark.parametrize("how", ["checksum", "length", "truncated", "split"])
def test_only_the_frame_that_was_hit_is_broken(how: Any) -> None:
    """Three frames in one write, the middle one hit; a hundred times, so that every byte has its turn."""
    device = fleet(talker("tcp")).devices[0]
    assert device.spec is not None
    encoder, reasons = FrameEncoder(device.spec), Counter[str]()
    device.receive(Connected(False), START_MS)
    device.inject(BrokenFrame(how=how), START_MS)
    [active] = device.faults
    for number in range(100):
        values = {"device_id": "m", "device_timestamp": START_MS, "temp_c": 1.0, "fan": 2.0}
        bodies = [device.spec.encode("telemetry", {**values, "seq": 3 * number + n}) for n in range(3)]
        active.say(device, Publish("telemetry", "frame", bodies[1], stamp=7), START_MS)
        data = b"".join(map(encoder.encode, bodies))
        pieces = device.carry(data, True, START_MS)
        again = device.carry(encoder.encode(bodies[1]), True, START_MS)
        assert [piece.data for piece in again] == [encoder.encode(bodies[1])], "sent again it is whole"
        decoder = FrameDecoder(device.spec)
        items = [item for piece in pieces for item in decoder.feed(piece.data)]
        items += decoder.feed(b"".join(encoder.encode(bodies[0]) for _ in range(300)))  # so that it waits for no more
        found = [item.body for item in items if isinstance(item, Frame)]
        reasons.update(item.reason for item in items if isinstance(item, Garbage))
        if how == "split":
            assert [piece.after_ms for piece in pieces] == [0, 200]
            assert b"".join(piece.data for piece in pieces) == data
            assert found[:3] == bodies
        else:
            assert bodies[1] not in found
            assert bodies[0] in found
            assert bodies[2] in found
    assert bool(reasons) == (how != "split")
    assert device.carry(b"other bytes", True, START_MS) == [Piece(b"other bytes")]


def test_frames_of_others_and_what_comes_down_stay_whole() -> None:
    device = fleet(talker("tcp")).devices[0]
    device.inject(BrokenFrame(), START_MS)
    [active] = device.faults
    active.say(device, Publish("telemetry", "frame", b"body"), START_MS)
    assert device.carry(b"body", True, START_MS) == [Piece(b"body")]  # not in a frame
    assert device.carry(b"body", False, START_MS) == [Piece(b"body")]
    assert device.carry(b"", True, START_MS) == [Piece(b"")]


# Silence


@pytest.mark.parametrize("channel", ["mqtt", "tcp"])
def test_a_device_that_hangs_says_all_of_it_later(channel: str) -> None:
    made = world(KeepAliveViolation(), channel)
    assert [one for one in hit(made) if one.at_s < FROM_S + FOR_S] == []
    assert stamps(made) == stamps(world(None, channel))
    reasons = [note["reason"] for note in made.notes("disconnected")]
    assert reasons[0] == "no acknowledgement within 10 s"
    assert set(reasons[1:]) == {"the device hangs"}


def test_its_goodbye_is_not_heard_either_and_it_hears_that_the_far_side_gives_up() -> None:
    device = fleet(talker()).devices[0]
    device.inject(KeepAliveViolation(), START_MS)
    assert device.carry(b"\xc0\x00", True, START_MS) == []
    assert device.carry(b"", True, START_MS) == []
    assert device.carry(b"\xd0\x00", False, START_MS) == [Piece(b"\xd0\x00")]
    assert device.carry(b"", False, START_MS) == [Piece(b"")]


# Whom they fit, and what should be noticed


@pytest.mark.parametrize(
    ("keys", "channel", "why"),
    [
        ({"kind": "malformed_json"}, "tcp", "not in JSON"),
        ({"kind": "wrong_schema"}, "tcp", "not in JSON"),
        ({"kind": "invalid_utf8"}, "tcp", "not in JSON"),
        ({"kind": "invalid_utf8", "where": "topic"}, "tcp", "no MQTT"),
        ({"kind": "invalid_utf8", "where": "topic"}, "rest", "no MQTT"),
        ({"kind": "wrong_topic"}, "tcp", "no topics"),
        ({"kind": "oversize"}, "tcp", "sends frames"),
        ({"kind": "wrong_qos"}, "tcp", "no MQTT"),
        ({"kind": "wrong_qos"}, "rest", "no MQTT"),
        ({"kind": "broken_frame"}, "mqtt", "no frames"),
        ({"kind": "broken_frame"}, "rest", "no frames"),
        ({"kind": "broken_frame"}, "tcp", None),
        ({"kind": "slow_sender"}, "rest", None),
        ({"kind": "slow_sender"}, "tcp", None),
        ({"kind": "keep_alive_violation"}, "rest", "no connection"),
        ({"kind": "keep_alive_violation"}, "tcp", None),
        ({"kind": "raw_packet"}, "tcp", "only be garbage"),
        ({"kind": "raw_packet", "packet": "garbage"}, "tcp", None),
        ({"kind": "raw_packet"}, "rest", "no connection"),
    ],
)
def test_whom_they_fit(keys: dict[str, Any], channel: str, why: str | None) -> None:
    found = fault(**keys).unfit(talker(channel).subject)
    assert (found is None) if why is None else (why in (found or ""))


@pytest.mark.parametrize("qos", [2, 3])
def test_awscrt_writes_only_what_it_knows(qos: int) -> None:
    subject = talker().subject._replace(link="sdk")
    assert "cannot be shaped" in (fault(kind="wrong_qos", qos=qos).unfit(subject) or "")
    assert "cannot be shaped" in (fault(kind="invalid_utf8", where="topic").unfit(subject) or "")
    assert "cannot be shaped" in (fault(kind="oversize").unfit(subject) or "")
    for kind in ("malformed_json", "wrong_schema", "wrong_topic", "invalid_utf8"):
        assert fault(kind=kind).unfit(subject) is None


def test_json_faults_need_a_json_codec() -> None:
    assert "not in JSON" in (MalformedJson().unfit(talker().subject._replace(codec="frame")) or "")


@pytest.mark.parametrize(
    ("keys", "notice"),
    [
        ({"kind": "malformed_json"}, "refusal"),
        ({"kind": "wrong_schema"}, "refusal"),
        ({"kind": "wrong_topic"}, "refusal"),
        ({"kind": "oversize"}, "refusal"),
        ({"kind": "invalid_utf8"}, "refusal"),
        ({"kind": "invalid_utf8", "where": "topic"}, "refusal"),
        ({"kind": "wrong_qos", "qos": 0}, "nothing"),
        ({"kind": "wrong_qos", "qos": 2}, "refusal"),
        ({"kind": "wrong_qos", "qos": 3}, "refusal"),
        ({"kind": "broken_frame"}, "refusal"),
        ({"kind": "broken_frame", "how": "split"}, "nothing"),
        ({"kind": "raw_packet"}, "refusal"),
    ],
)
def test_what_a_good_backend_should_notice(keys: dict[str, Any], notice: str) -> None:
    assert fault(**keys).expects(talker().subject).notice == notice


@pytest.mark.parametrize("payload", [b"", b"{}", b"[1]", b"\x00\x01", b'{"other": 1}'])
def test_what_cannot_be_broken_is_left_alone(payload: bytes) -> None:
    device = fleet(talker()).devices[0]
    for what in (WrongSchema(), MalformedJson() if payload != b'{"other": 1}' else WrongSchema()):
        active = what.start(device, START_MS)
        message = Publish("telemetry", "t", payload)
        assert active.say(device, message, START_MS) == [message]
