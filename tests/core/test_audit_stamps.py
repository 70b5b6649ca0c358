"""What a device says carries the stamp that the backend will know it by: every shipped profile, on every channel."""

import orjson
import pytest

from simulator import profiles
from simulator.audit import Audit, Way
from simulator.backend.decode import Binary, ControlResult, Decoder, Report, Telemetry, frame_topic
from simulator.behaviours import Channel
from simulator.checks import STORED_KINDS
from simulator.clock import VIRTUAL_START_MS, VirtualClock
from simulator.errors import UsageError
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.messages import Publish, Received
from simulator.profiles import Profile
from simulator.runtime.setup import products
from simulator.runtime.virtual import Virtual
from simulator.schema import parse
from simulator.wire.spec import ProductSpec
from tests.core.fleets import PUBLIC_KEY

CHANNELS: tuple[Channel, ...] = ("mqtt", "tcp", "rest")


def variants() -> list[Profile]:
    found: list[Profile] = []
    for name in profiles.names():
        for channel in CHANNELS:
            try:
                found.append(profiles.profile(name).over(channel, f"{name}-over-{channel}"))
            except UsageError:
                continue
    return found


def heard(what: Profile) -> tuple[Fleet, list[tuple[str, Publish]]]:
    """What one device of it says in ten minutes, a control request and an excursion in between."""
    said: list[tuple[str, Publish]] = []
    fleet = Fleet([("Thing-1", what.profile, None)], profiles.family(what), 1, VIRTUAL_START_MS, PUBLIC_KEY)
    virtual = Virtual(fleet, VirtualClock(), Ledger(), lambda now_ms, thing, message: said.append((thing, message)))
    virtual.start(0, VIRTUAL_START_MS)
    device = fleet.devices[0]
    request = orjson.dumps({"data": {"control": {"name": "no such thing", "id": "x-1"}}})
    for topic in device.filters():
        virtual.tell(0, Received(topic, request), VIRTUAL_START_MS + 60_000)
    virtual.run_until(VIRTUAL_START_MS + 600_000)
    return fleet, said


@pytest.mark.parametrize("what", variants(), ids=lambda what: what.profile)
def test_a_message_is_known_by_what_is_in_it(what: Profile) -> None:
    """The backend's own decoder reads each of them, and finds the same thing, kind and stamp."""
    fleet, said = heard(what)
    decode = Decoder()
    specs = {one["productId"]: ProductSpec.model_validate(one["spec"]) for one in products({what.profile: what})}
    decode.specs = specs
    kinds = set()
    for _, message in said:
        if message.kind not in STORED_KINDS:
            continue
        thing = fleet.speaker(0, message.topic)
        kinds.add(message.kind)
        if what.channel == "rest":
            body = orjson.loads(message.payload)
            found = (body.get("device_id", body.get("deviceId")), body.get("idx", body.get("device_timestamp")))
            assert found == (thing, message.stamp)
            continue
        topic = frame_topic(what.thing_type) if what.channel == "tcp" else message.topic
        read = decode(topic, message.payload, VIRTUAL_START_MS)
        match read:
            case Telemetry(device_id=of, device_timestamp=at_ms, idx=idx):
                assert (message.kind, of, message.stamp) == ("telemetry", thing, at_ms if idx is None else idx)
            case ControlResult(thing=of, device_timestamp=at_ms):
                assert (message.kind, of, message.stamp) == ("control_result", thing, at_ms)
            case (
                Report(kind=kind, thing=of, device_timestamp=at_ms)
                | Binary(kind=kind, thing=of, device_timestamp=at_ms)
            ):
                assert (message.kind, thing, message.stamp) == (kind, of, at_ms)
            case other:
                raise AssertionError(f"{message.topic}: {other}")
    assert "telemetry" in kinds
    if fleet.devices[0].children:
        assert len({fleet.speaker(0, message.topic) for _, message in said}) > 1
        assert set(fleet.carriers().values()) == {"Thing-1"}


FRAMED = """\
profile: meter
thing_type: Meter
channel: tcp
signals:
  t: {kind: constant, value: 20}
payload:
  frame: {start: "014E", checksum: {kind: crc16-modbus}, max_bytes: 128}
  header: [{name: device_id, type: text, bytes: 16}TIME]
  messages: {telemetry: {fields: [{name: t, type: f64}]}}
behaviours:
  - {kind: telemetry, every_s: 10, codec: frame, metrics: [t]}
"""


@pytest.mark.parametrize(
    ("time", "step_ms"),
    [
        ("", 0),
        (", {name: device_timestamp, type: u64}", 1),
        (", {name: device_timestamp, type: u32, scale: 1000}", 1000),
    ],
)
def test_a_frame_is_known_by_the_time_in_it_if_any(time: str, step_ms: int) -> None:
    fleet, said = heard(parse(FRAMED.replace("TIME", time), "meter.yaml", Profile))
    spec = fleet.devices[0].spec
    assert spec
    for _, message in said:
        header = spec.decode(message.payload).header
        assert message.stamp == header.get("device_timestamp", 0)
        assert message.stamp % max(1, step_ms) == 0
        assert (message.stamp > 0) == (step_ms > 0)
    audit, way = Audit(STORED_KINDS, fleet.speaker), Way(0)
    for _, message in said:
        audit.said(way, message, 1.0)
    assert audit.book().unaudited.total() == (0 if step_ms else len(said)), "what cannot be told apart is counted"
