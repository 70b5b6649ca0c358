"""Whatever a device with every behaviour hears, in whatever order: it never fails and says only what is sound."""

import json
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from simulator.behaviours import NEVER_MS
from simulator.faults.hang import Hang
from simulator.fleet import Fleet
from simulator.messages import (
    Booted,
    Chunk,
    Connected,
    Disconnected,
    DownloadEnded,
    Dropped,
    Note,
    Output,
    PowerCycle,
    Publish,
    Received,
    Subscribe,
    Told,
    Upload,
    UploadEnded,
)
from simulator.profiles import Profile
from simulator.schema import parse
from tests.core.fleets import PUBLIC_KEY, PUMP, START_MS, profile

EVERYTHING = """\
  - {kind: alert, margin: 1}
  - {kind: heartbeat, every_s: 7}
  - {kind: provisioning}
  - {kind: upload, name: log, every_s: 100, size_kib: [1, 9], part_kib: 4, retries: 1}
  - kind: control
    actions: {restart-fan: {restarts: fan}, full: {sets: {fan: 1}}, log: {uploads: log}, reboot: {reboots_s: 3}}
"""
SETTINGS = (
    "interval: {applies_to: telemetry.every_s, min: 1, max: 60}, beat: {applies_to: heartbeat.every_s, min: 1, max: 9}",
    "look: {applies_to: alert.look_every_s, min: 1, max: 9}, often: {applies_to: upload.every_s, min: 1, max: 99}",
    "speed: {holds: fan, min: 0, max: 1}, name: {start: x}, locked: {start: true}",
)
PUMP_ALL = (
    PUMP.replace("metrics: [temp_c, fan]", "metrics: [temp_c, fan], on_change: {temp_c: 1}").replace(
        "actions: {restart-fan: {restarts: fan, takes_s: 2}}",
        "actions: {restart-fan: {restarts: fan, takes_s: 2}, log: {uploads: log}, reboot: {reboots_s: 3}}, "
        f"settings: {{{', '.join(SETTINGS)}}}",
    )
    + EVERYTHING
)
HUB = "{kind: hub, buffer_max: 20, children: {profile: pump, count: 3, joined: 2, join_per_h: 99, leave_per_h: 99}}"
GATE = PUMP_ALL.replace("profile: pump", "profile: gate") + f"  - {HUB}\n"

scalars = st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
any_json = st.recursive(
    st.none() | scalars | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def mostly(*good: Any) -> st.SearchStrategy[Any]:
    """One of these; seldom anything else."""
    return st.integers(0, 5).flatmap(lambda n: st.sampled_from(good) if n else any_json)


def some(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with these keys; seldom with only some of them, or no object."""
    whole, part = st.fixed_dictionaries(parts), st.fixed_dictionaries({}, optional=parts)
    return st.integers(0, 7).flatmap(lambda n: whole if n > 1 else part if n else any_json)


values = mostly(0, 1, 5, 0.5, 60, 61, "auto", "x", True)
actions = some(name=mostly("restart-fan", "full", "log", "reboot", "fly"), id=mostly(*"abcdefgh"))
keys = st.sampled_from(["interval", "beat", "look", "often", "speed", "name", "locked", "other"])
deltas = some(action=actions) | st.dictionaries(keys, values, max_size=4)
shadows = some(version=st.integers(0, 60), state=deltas | some(delta=deltas))
controls = some(data=some(control=actions))
urls = st.integers(0, 4).map(lambda n: ["https://s3/x"] * n)
answers = some(data=some(upload=some(id=mostly("u", "v"), urls=urls) | some(error=any_json) | some(name=any_json)))
shadow, iotlink = "$aws/things/{thing}/shadow", "iotlink/stg/{hub}/{thing}/event"
anything = any_json | shadows | controls | answers


def received(*leaves: str, of: st.SearchStrategy[Any]) -> st.SearchStrategy[Received]:
    """A document on one of these topics; seldom one that belongs elsewhere, or bytes that are none."""
    document = st.integers(0, 9).flatmap(lambda n: of if n > 1 else anything)
    payload = st.integers(0, 9).flatmap(
        lambda n: document.map(lambda found: json.dumps(found).encode()) if n else st.binary(max_size=20)
    )
    return st.builds(Received, st.sampled_from(leaves), payload)


statuses, etags, errors = st.sampled_from([0, 200, 403, 503]), st.sampled_from(["", "e"]), st.sampled_from(["", "x"])
heard = st.one_of(
    received(*(f"{shadow}/{leaf}" for leaf in ("update/delta", "get/accepted", "get/rejected")), of=shadows),
    received(f"{iotlink}/pub/control_request/json", of=controls),
    received(f"{iotlink}/sub/upload_urls/json", of=answers),
    received("", "/", "x", of=anything),
    st.just(Received("right answer", b"")),
    st.just(UploadEnded("mine", 1, 200, "e", "")),
    st.builds(Connected, st.booleans()),
    st.just(Disconnected("reset")),
    st.just(Booted()),
    st.builds(Chunk, st.just("x"), st.binary(max_size=3)),
    st.builds(DownloadEnded, st.just("x"), st.just(200), st.just("")),
    st.builds(UploadEnded, st.just("mine"), st.integers(0, 3), statuses, etags, errors),
    st.builds(Told, st.sampled_from(["upload.log", "nobody.knows"]), st.none()),
)
moments = st.sampled_from([0, 0, 1, 100, 1_000, 1_000, 10_000, 300_000])
whose = st.sampled_from(["", "", "-01", "-02", "-09"])
lives = st.lists(st.tuples(moments, heard, whose), min_size=10, max_size=60)


class Life:
    """One hub with its children; it is told things and does what is due."""

    def __init__(self, thing: str) -> None:
        profiles: dict[str, Profile] = {"gate": parse(GATE, "gate.yaml", Profile), "pump": profile(PUMP_ALL)}
        self.device = Fleet([(thing, "gate", None)], profiles, 1, START_MS, PUBLIC_KEY).devices[0]
        self.now_ms = START_MS
        self.stamps: dict[tuple[str, str], int] = {}
        self.token, self.parts = "", 1

    def hear(self, said: Any, child: str) -> None:
        if said == Received("right answer", b""):
            data = {"data": {"upload": {"id": "u", "urls": ["https://s3/x"] * self.parts}}}
            said = Received(f"{iotlink}/sub/upload_urls/json", json.dumps(data).encode())
            child = ""
        if isinstance(said, Received):
            name = self.device.thing + child
            said = said._replace(topic=said.topic.replace("{thing}", name).replace("{hub}", self.device.thing))
        if isinstance(said, UploadEnded) and said.token == "mine":
            said = said._replace(token=self.token)
        self.do(self.device.receive(said, self.now_ms))

    def run(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        for _ in range(100_000):
            if self.device.wake_at_ms > end_ms:
                break
            self.now_ms = max(self.now_ms, self.device.wake_at_ms)
            self.do(self.device.step(self.now_ms))
        else:
            raise AssertionError("it never sleeps")
        self.now_ms = end_ms

    def do(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Publish():
                    self.published(output)
                case Dropped(message):
                    assert self.device.thing + "-" in message.topic
                    event("dropped")
                case Note(kind, detail, thing):
                    assert thing == "" or thing.startswith(self.device.thing + "-")
                    json.dumps(dict(detail))
                    event(kind)
                case Upload():
                    assert 0 < output.size <= 4096
                    self.token = output.token
                case PowerCycle():
                    assert not self.device.powered
                case Subscribe(filters):
                    assert 0 < len(set(filters)) == len(filters)

    def published(self, message: Publish) -> None:
        assert not {"#", "+", "{"} & set(message.topic)
        assert len(message.payload) < 128 * 1024
        if not message.payload:
            return
        document = json.loads(message.payload)
        if message.kind == "telemetry":
            stamp, topic = document["device_timestamp"], message.topic.replace("/event/", "/periodic/")
            assert self.stamps.get((message.kind, topic), 0) < stamp, "two samples of one moment"
            self.stamps[message.kind, topic] = stamp
        if message.kind == "control_result":
            control = document["data"]["control"]
            assert control["result"] in ("done", "failed")
            assert (control["result"] == "done") == (control["reason"] == "")
        if message.kind == "upload_request":
            self.parts = document["data"]["upload"]["parts"]
        if message.kind == "upload_complete":
            assert document["data"]["upload"]["id"]


@given(life=lives, thing=st.sampled_from(["hub-01", "nohub"]))
@settings(max_examples=60, deadline=None)
def test_any_life(life: list[tuple[int, Any, str]], thing: str) -> None:
    lived = Life(thing)
    lived.do(lived.device.inject(Hang(part="fan", recurs_after_s=5), lived.now_ms))
    lived.hear(Connected(False), "")
    for for_ms, said, child in life:
        lived.hear(said, child)
        lived.run(for_ms)
    if not lived.device.powered:
        lived.hear(Booted(), "")
    lived.hear(Connected(False), "")
    lived.run(1000)
    assert lived.device.wake_at_ms < NEVER_MS
    assert lived.device.online or not lived.device.powered
