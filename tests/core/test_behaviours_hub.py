"""Hubs: children speak through them, come and go, and lose nothing that fits while the hub is away."""

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from simulator import scenarios
from simulator.clock import VirtualClock
from simulator.errors import UsageError
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.messages import Publish, Received
from simulator.profiles import Profile
from simulator.profiles import profile as load_profile
from simulator.runtime.virtual import Virtual
from simulator.scenarios import Scenario
from simulator.schema import parse
from tests.core.fleets import PUBLIC_KEY, PUMP, START_MS, fleet, profile

Json = dict[str, Any]

HUB_ID = "hub-01"
HUB = """\
profile: gate
thing_type: Gate
signals: {volt: {kind: constant, value: 12, noise: 0.1}}
behaviours:
  - kind: telemetry
    every_s: 30
    topic: "iotlink/{env}/{hub}/{thing}/periodic/pub/telemetry/json"
    metrics: [volt]
  - {kind: provisioning}
  - kind: hub
    children: {profile: pump, count: 20}
"""
CHILD = (
    PUMP.replace("t/{env}/{thing}", "iotlink/{env}/nohub/{thing}/periodic/pub/telemetry/json").replace(
        "value: 20}", "value: 20, spread: 5}"
    )
    + """\
  - {kind: provisioning}
  - {kind: alert}
  - {kind: control, actions: {restart-fan: {restarts: fan, takes_s: 2}, reboot: {reboots_s: 5}, full: {sets: {fan: 1}}}}
"""
)


class Site:
    """A hub, switched on, and all that was heard of it."""

    def __init__(self, hub: str = HUB, child: str = CHILD, things: tuple[str, ...] = (HUB_ID,), seed: int = 1) -> None:
        self.profiles = {"gate": parse(hub, "gate.yaml", Profile), "pump": profile(child)}
        members = [(thing, "pump" if thing.startswith("Pump") else "gate", None) for thing in things]
        self.fleet = Fleet(members, self.profiles, seed, START_MS, PUBLIC_KEY)
        self.ledger = Ledger()
        self.heard: list[tuple[int, Publish]] = []
        self.virtual = Virtual(self.fleet, VirtualClock(), self.ledger, self._hear)
        for index in range(len(things)):
            self.virtual.start(index, START_MS)

    def _hear(self, now_ms: int, thing: str, message: Publish) -> None:
        self.heard.append((now_ms, message))

    def run(self, for_s: float) -> None:
        self.virtual.run_until(self.virtual.clock.now_ms() + int(for_s * 1000))

    def of(self, thing: str, kind: str = "telemetry") -> list[tuple[int, Json]]:
        """(when it came, document) of what a device or child said."""
        mine = [(at_ms, m) for at_ms, m in self.heard if m.kind == kind and m.topic.split("/")[3:4] == [thing]]
        return [(at_ms, json.loads(message.payload)) for at_ms, message in mine]

    def notes(self, kind: str) -> list[tuple[str, Json]]:
        return [(event.thing, dict(event.detail)) for event in self.ledger.events if event.kind == kind]


def child(n: int) -> str:
    return f"{HUB_ID}-{n:02}"


def test_children_speak_through_their_hub() -> None:
    site = Site()
    site.run(100)
    for n in range(1, 21):
        said = site.of(child(n))
        assert len(said) in (9, 10, 11)
        for at_ms, document in said:
            assert document["device_timestamp"] == document["hub_timestamp"] == at_ms
            assert set(document) == {"hub_timestamp", "device_timestamp", "data"}
            assert set(document["data"]["metrics"]) == {"temp_c", "fan"}
    topics = {message.topic for _, message in site.heard if child(7) in message.topic}
    assert topics == {
        f"iotlink/stg/{HUB_ID}/{child(7)}/periodic/pub/telemetry/json",
        f"iotlink/stg/{HUB_ID}/{child(7)}/event/pub/provisioning_complete/json",
    }
    assert Counter(m.kind for _, m in site.heard)["provisioning_complete"] == 21
    assert not [m for _, m in site.heard if m.topic.startswith("$aws")], "children have no shadow and no jobs"
    temperatures = {site.of(child(n))[-1][1]["data"]["metrics"]["temp_c"] for n in range(1, 21)}
    assert len(temperatures) > 3, "each has its own physics"


def test_the_hub_itself_lists_its_nodes() -> None:
    site = Site()
    site.run(100)
    topics = {m.topic for _, m in site.heard if m.topic.split("/")[3] == HUB_ID}
    assert topics == {
        f"iotlink/stg/{HUB_ID}/{HUB_ID}/periodic/pub/telemetry/json",
        f"iotlink/stg/{HUB_ID}/{HUB_ID}/event/pub/provisioning_complete/json",
    }
    nodes = [{"device_id": child(n), "role": "EndDevice", "parent": HUB_ID} for n in range(1, 21)]
    said = site.of(HUB_ID)
    assert len(said) in (3, 4)
    assert all(document["nodes"] == nodes for _, document in said)
    assert all(document["hub_timestamp"] == document["device_timestamp"] for _, document in said)


def test_the_simple_form_of_topics() -> None:
    site = Site(HUB.replace("count: 20", 'count: 20, topic: "devices/{hub}/{thing}/telemetry"'))
    site.run(30)
    topics = {m.topic for _, m in site.heard if m.kind == "telemetry" and not m.topic.startswith("iotlink")}
    assert topics == {f"devices/{HUB_ID}/{child(n)}/telemetry" for n in range(1, 21)}
    assert f"iotlink/stg/{HUB_ID}/{child(1)}/event/pub/provisioning_complete/json" in {m.topic for _, m in site.heard}


def test_a_child_says_what_it_says_alone() -> None:
    """Physics and periods belong to the name; who carries the message changes only the topic and hub_timestamp."""
    site, alone = Site(), fleet(profile(CHILD), [child(3)])
    site.run(600)
    said: list[Json] = []
    virtual = Virtual(
        alone,
        VirtualClock(),
        Ledger(),
        lambda now_ms, thing, m: said.append(json.loads(m.payload)) if m.kind == "telemetry" else None,
    )
    virtual.start(0, START_MS)
    virtual.run_until(START_MS + 600_000)
    assert said == [{k: v for k, v in d.items() if k != "hub_timestamp"} for _, d in site.of(child(3))]


# Away


@pytest.mark.parametrize("power_too", [False, True])
def test_ten_minutes_away_and_nothing_is_lost(power_too: bool) -> None:
    site, steady = Site(), Site()
    gone = site.virtual.power_cycle if power_too else site.virtual.sever
    gone(0, START_MS + 100_000, 600_000)
    for one in (site, steady):
        one.run(1000)
    assert not site.ledger.dropped
    assert site.ledger.attempted == site.ledger.sent == site.ledger.acknowledged
    if power_too:
        return  # without power the hub took nothing, and there is nothing to send later
    late: list[tuple[int, int]] = []
    for n in range(1, 21):
        mine = site.of(child(n))
        stamps = [document["device_timestamp"] for _, document in mine]
        assert stamps == [document["device_timestamp"] for _, document in steady.of(child(n))]
        assert all(document["hub_timestamp"] == document["device_timestamp"] for _, document in mine)
        late += [
            (at_ms, document["device_timestamp"]) for at_ms, document in mine if at_ms != document["device_timestamp"]
        ]
    assert len(late) >= 1200
    backlog = [
        json.loads(m.payload) for at_ms, m in site.heard if m.kind == "telemetry" and at_ms >= START_MS + 700_000
    ]
    from_children = [d["device_timestamp"] for d in backlog if "nodes" not in d]
    assert from_children == sorted(from_children), "in order, and nothing overtakes it"
    [(_, begun)], [(_, sent)] = site.notes("backlog_begun"), site.notes("backlog_sent")
    assert begun["waiting"] <= sent["sent"] == len(late)
    per_batch = Counter(at_ms for at_ms, _ in late)
    assert max(per_batch.values()) == 20
    assert (max(per_batch) - min(per_batch)) // 100 == len(per_batch) - 1


def test_above_the_bound_the_oldest_are_dropped_and_counted() -> None:
    site = Site(HUB + "    buffer_max: 500\n")
    site.virtual.sever(0, START_MS + 100_000, 600_000)
    site.run(1000)
    ledger = site.ledger
    lost = ledger.dropped["telemetry"]
    assert lost == sum(ledger.dropped.values()) > 600
    assert ledger.attempted["telemetry"] == ledger.sent["telemetry"] + lost
    assert ledger.sent == ledger.acknowledged
    late = [
        document["device_timestamp"]
        for n in range(1, 21)
        for at_ms, document in site.of(child(n))
        if document["device_timestamp"] < START_MS + 700_000 <= at_ms
    ]
    assert len(late) == 500
    assert min(late) > START_MS + 440_000, "what is left is the latest"


def test_a_connection_that_goes_while_the_backlog_is_sent() -> None:
    site = Site()
    site.virtual.sever(0, START_MS + 100_000, 600_000)
    site.virtual.sever(0, START_MS + 702_000, 60_000)
    site.virtual.power_cycle(0, START_MS + 764_000, 10_000)
    site.run(1000)
    assert not site.ledger.dropped
    assert site.ledger.attempted == site.ledger.acknowledged
    assert len(site.notes("backlog_begun")) == 3
    assert len(site.notes("backlog_sent")) == 1
    for n in range(1, 21):
        stamps = [document["device_timestamp"] for _, document in site.of(child(n))]
        assert stamps == sorted(set(stamps))
        gaps = [b - a for a, b in pairwise(stamps) if b - a > 10_000]
        assert len(gaps) <= 1, "only what was measured without power is missing"


# Coming and going


COMING = HUB.replace("count: 20", "count: 20, joined: 10, join_per_h: 30, leave_per_h: 30")


def test_children_come_and_go_and_the_nodes_with_them() -> None:
    site = Site(COMING)
    site.run(4 * 3600)
    moves = [
        (event.at_ms, 1 if event.kind == "child_joined" else -1, event.detail["child"])
        for event in site.ledger.events
        if event.kind in ("child_joined", "child_left")
    ]
    assert 150 < len(moves) < 300
    assert {event.thing for event in site.ledger.events if event.kind == "child_left"} == {HUB_ID}
    there = {child(n) for n in range(1, 11)}
    moves.reverse()
    seen = set()
    for at_ms, document in site.of(HUB_ID):
        while moves and moves[-1][0] <= at_ms:
            _, by, who = moves.pop()
            assert (who in there) == (by < 0)
            there = there | {who} if by > 0 else there - {who}
        assert {node["device_id"] for node in document["nodes"]} == there
        seen.add(len(there))
    assert len(seen) > 3


def test_who_is_away_says_nothing() -> None:
    site = Site(HUB.replace("count: 20", "count: 20, joined: 0, join_per_h: 60"))
    site.run(2 * 3600)
    joined = {
        detail["child"]: at for at, detail in ((e.at_ms, e.detail) for e in site.ledger.events) if "child" in detail
    }
    assert len(joined) == 20
    for name, at_ms in joined.items():
        assert site.of(name)[0][1]["device_timestamp"] >= at_ms
        assert len(site.of(name, "provisioning_complete")) == 1


def test_the_seed_says_who_comes_and_goes() -> None:
    def life(seed: int) -> list[Any]:
        site = Site(COMING, seed=seed)
        site.run(3600)
        return [(event.at_ms, event.kind, event.detail) for event in site.ledger.events if "child" in event.kind]

    assert life(1) == life(1) != life(2)


# What children hear and do


def control(site: Site, name: str, who: str, request: str = "r-1") -> None:
    payload = json.dumps({"data": {"control": {"name": name, "id": request}}}).encode()
    topic = f"iotlink/stg/{HUB_ID}/{who}/event/pub/control_request/json"
    site.virtual.tell(0, Received(topic, payload), site.virtual.clock.now_ms())


def test_a_child_is_controlled_through_its_hub() -> None:
    site = Site()
    site.run(10)
    assert f"iotlink/stg/{HUB_ID}/+/event/pub/control_request/json" in site.fleet.devices[0].filters()
    for name, who in (("restart-fan", child(3)), ("full", child(4)), ("restart-fan", "nobody")):
        control(site, name, who)
    site.run(20)
    results = [(m.topic.split("/")[3], json.loads(m.payload)) for _, m in site.heard if m.kind == "control_result"]
    assert sorted(who for who, _ in results) == [child(3), child(4)]
    assert all(document["data"]["control"]["result"] == "done" for _, document in results)
    assert all("hub_timestamp" in document for _, document in results)
    assert {thing for thing, _ in site.notes("acted")} == {child(3), child(4)}
    assert site.of(child(4))[-1][1]["data"]["metrics"]["fan"] == 1


def test_a_child_reboots_alone() -> None:
    site = Site()
    site.run(10)
    control(site, "reboot", child(3))
    site.run(4)
    assert not site.fleet.devices[0].children[2].online
    assert site.fleet.devices[0].online
    site.run(30)
    assert site.fleet.devices[0].children[2].online
    stamps = [document["device_timestamp"] for _, document in site.of(child(3))]
    assert max(stamps) > START_MS + 30_000
    assert [event for event in site.ledger.events if event.kind == "disconnected"] == []


def test_an_alert_of_a_child_is_its_own() -> None:
    site = Site()
    site.run(10)
    site.fleet.devices[0].children[6].hold("temp_c", 70, site.virtual.clock.now_ms())
    site.run(20)
    [(_, document)] = site.of(child(7), "alert_report")
    assert document["data"]["alert"]["value"] == 70
    assert [thing for thing, _ in site.notes("out_of_range")] == [child(7)]


# Fleets and scenarios


def test_hubs_and_stand_alone_devices_in_one_fleet() -> None:
    site = Site(things=("hub-01", "Pump-001", "hub-02"))
    site.run(60)
    assert len(site.fleet.devices) == 3
    hubs = {m.topic.split("/")[2] for _, m in site.heard if m.topic.startswith("iotlink/stg/")}
    assert hubs == {"hub-01", "hub-02", "nohub"}
    alone = fleet(profile(CHILD), ["Pump-001"]).devices[0]
    now_ms = START_MS + 60_000
    assert site.fleet.devices[1].reading(now_ms) == alone.reading(now_ms)


SCENARIO = """\
scenario: hubs
fleet:
  - {profile: gate, count: 2, name: "hub-{n}"}
timeline: [{kind: connect}]
checks: [{kind: devices, equals: 2}]
"""


def test_a_scenario_knows_the_children(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("profiles", "scenarios"):
        (tmp_path / folder).mkdir()
    (tmp_path / "profiles" / "gate.yaml").write_text(HUB)
    (tmp_path / "profiles" / "pump.yaml").write_text(CHILD)
    path = tmp_path / "scenarios" / "hubs.yaml"
    monkeypatch.setenv("FLEETSIM_HOME", str(tmp_path))
    load_profile.cache_clear()

    def read(text: str) -> tuple[Scenario, dict[str, Profile]]:
        path.write_text(text)
        return scenarios.read(path)

    scenario, used = read(SCENARIO)
    assert set(used) == {"gate", "pump"}
    assert len(scenario.children(used)) == 40
    assert scenario.children(used)[0] == ("hub-001-01", "pump", None)
    built = scenario.build(used, 1, START_MS, PUBLIC_KEY)
    assert [len(device.children) for device in built.devices] == [20, 20]

    with pytest.raises(UsageError, match="two devices would be named 'hub-001-01'"):
        read(SCENARIO.replace("timeline", '  - {profile: pump, count: 1, name: "hub-001-01"}\ntimeline'))
    load_profile.cache_clear()
    (tmp_path / "profiles" / "gate.yaml").write_text(HUB.replace("profile: pump", "profile: pmup"))
    with pytest.raises(UsageError, match="no profile 'pmup'"):
        read(SCENARIO)
    load_profile.cache_clear()
    (tmp_path / "profiles" / "gate.yaml").write_text(HUB.replace("profile: pump", "profile: gate"))
    with pytest.raises(UsageError, match="which is a hub itself"):
        read(SCENARIO)
    load_profile.cache_clear()
