"""Alerts, event telemetry, heartbeats and provisioning: said when it is so, once, with their own times."""

import json
from itertools import pairwise
from typing import Any

import pytest

from simulator.messages import Publish
from simulator.schema import YamlProblems
from tests.core.fleets import PUMP, START_MS, THING, World, profile


def with_behaviour(*lines: str, text: str = PUMP) -> World:
    """A pump that does this, too."""
    return World(profile(text + "".join(f"  - {line}\n" for line in lines)))


def said(world: World, kind: str) -> list[tuple[int, Publish]]:
    """(seconds after the start, message) of all of a kind."""
    return [((at_ms - START_MS), m) for at_ms, _, m in world.cloud.said if m.kind == kind]


def documents(world: World, kind: str) -> list[Any]:
    return [json.loads(message.payload) for _, message in said(world, kind)]


def hold(world: World, value: float | None, for_s: float = 20) -> None:
    """The temperature is this for a while."""
    world.device.hold("temp_c", value, world.virtual.clock.now_ms())
    world.run(for_s)


# Alerts

ALERT = "{kind: alert}"
EXCURSIONS = [
    ("never", ALERT, [40, 60, 0, 59.9], []),
    ("up and back", ALERT, [40, 70, 80, 61, 60, 40], [("raised", 70, 60), ("cleared", 60, 60)]),
    ("down and back", ALERT, [40, -5, -1, 0], [("raised", -5, 0), ("cleared", 0, 0)]),
    ("from one end to the other", ALERT, [70, -5, 40], [("raised", 70, 60), ("cleared", 40, 60)]),
    ("twice", ALERT, [70, 50, 70, 50], [("raised", 70, 60), ("cleared", 50, 60)] * 2),
    ("stays", ALERT, [70, 71, 72], [("raised", 70, 60)]),
    ("noise at the limit", "{kind: alert, margin: 5}", [61, 59, 61, 58, 55], [("raised", 61, 60), ("cleared", 55, 60)]),
    ("the margin is the side's", "{kind: alert, margin: 5}", [61, 1], [("raised", 61, 60), ("cleared", 1, 60)]),
    ("its own limit", "{kind: alert, limits: {temp_c: [0, 45]}}", [50, 44], [("raised", 50, 45), ("cleared", 44, 45)]),
    ("a limit to what has none", "{kind: alert, metrics: [load], limits: {load: [0, 9]}}", [70], [("raised", 10, 9)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "line", "values", "reports"), EXCURSIONS, ids=[case[0] for case in EXCURSIONS])
def test_one_report_for_each_end_of_an_excursion(
    name: str, line: str, values: list[float], reports: list[tuple[str, float, float]]
) -> None:
    world = with_behaviour(line)
    for value in values:
        hold(world, value)
    alerts = [document["data"]["alert"] for document in documents(world, "alert_report")]
    assert [(alert["state"], alert["value"], alert["limit"]) for alert in alerts] == reports
    assert len(world.notes("alert_raised", "alert_cleared")) == len(reports)


def test_what_a_report_says_and_where() -> None:
    world = with_behaviour(ALERT)
    hold(world, 70)
    [(at_ms, message)] = said(world, "alert_report")
    assert message.topic == f"iotlink/stg/nohub/{THING}/event/pub/alert_report/json"
    assert message.qos == 1
    alert = {"metric": "temp_c", "value": 70.0, "limit": 60.0, "state": "raised"}
    assert json.loads(message.payload) == {"device_timestamp": START_MS + at_ms, "data": {"alert": alert}}
    [seen] = [event.at_ms for event in world.ledger.events if event.kind == "out_of_range"]
    assert seen == START_MS + at_ms, "the ledger sees it when the device does"


def test_a_reboot_does_not_tell_the_same_excursion_again() -> None:
    world = with_behaviour(ALERT)
    hold(world, 70)
    world.virtual.power_cycle(0, world.virtual.clock.now_ms(), 5000)
    world.run(30)
    hold(world, 50)
    states = [document["data"]["alert"]["state"] for document in documents(world, "alert_report")]
    assert states == ["raised", "cleared"]


def test_an_alert_while_the_network_is_away_keeps_its_time() -> None:
    world = with_behaviour(ALERT)
    world.virtual.sever(0, START_MS + 5_000, 100_000)
    world.run(10)
    hold(world, 70, 200)
    [(at_ms, message)] = said(world, "alert_report")
    assert at_ms == 105_000
    assert json.loads(message.payload)["device_timestamp"] < START_MS + 20_000


# Event telemetry

EVENT = PUMP.replace(
    '{kind: telemetry, every_s: 10, topic: "t/{env}/{thing}", metrics: [temp_c, fan]}',
    '{kind: telemetry, every_s: 60, topic: "t/{hub}/periodic/{thing}", metrics: [temp_c, fan], on_change: {temp_c: 5}}',
)


def test_a_change_is_told_at_once_and_only_once() -> None:
    world = with_behaviour(text=EVENT)
    world.run(70)
    for value in (40.0, 44.9, 40.1, 50.0, 50.0, 54.0, 55.1):
        hold(world, value, 10)
    events = [json.loads(m.payload)["data"]["metrics"] for _, m in said(world, "telemetry") if "/event/" in m.topic]
    told = [metrics["temp_c"] for metrics in events]
    assert 50.0 in told
    assert 44.9 not in told
    assert all(set(metrics) == {"temp_c", "fan"} for metrics in events)
    all_told = [json.loads(m.payload)["data"]["metrics"]["temp_c"] for _, m in said(world, "telemetry")]
    for (before, after), (_, message) in zip(pairwise(all_told), said(world, "telemetry")[1:], strict=True):
        assert (abs(after - before) >= 5) or "/periodic/" in message.topic


def test_the_periodic_one_goes_on_as_if_there_were_no_events() -> None:
    plain, eager = (
        with_behaviour(text=EVENT.replace("on_change: {temp_c: 5}", new))
        for new in ("qos: 1", "on_change: {temp_c: 1}")
    )
    for world in (plain, eager):
        world.run(3600)
    periodic = [message for message in said(eager, "telemetry") if "/periodic/" in message[1].topic]
    assert periodic == said(plain, "telemetry")
    assert len(said(eager, "telemetry")) > len(periodic)
    stamps = [document["device_timestamp"] for document in documents(eager, "telemetry")]
    assert len(set(stamps)) == len(stamps)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("on_change: {load: 1}", "'load' is not one of the metrics"),
        ("on_change: {temp_c: 0}", "a change is more than 0, is 0"),
    ],
)
def test_thresholds_that_mean_nothing(more: str, line: str) -> None:
    with pytest.raises(YamlProblems, match=line):
        profile(EVENT.replace("on_change: {temp_c: 5}", more))


# Heartbeat


@pytest.mark.parametrize(("telemetry_s", "heartbeats"), [(10, 0), (60, 0), (100, 36), (200, 54)])
def test_a_heartbeat_only_into_silence(telemetry_s: int, heartbeats: int) -> None:
    text = PUMP.replace("every_s: 10,", f"every_s: {telemetry_s},")
    world = with_behaviour(
        "{kind: heartbeat, every_s: 60}", text=text.replace("reports: {temp: temp_c}", "report_every_s: 1000000")
    )
    world.run(3600)
    assert len(said(world, "heartbeat")) == pytest.approx(heartbeats, abs=2)


def test_no_silence_is_longer_than_the_heartbeat_allows() -> None:
    world = with_behaviour("{kind: heartbeat, every_s: 7}")
    world.run(600)
    at_ms = [at_ms for at_ms, _, _ in world.cloud.said]
    assert max(b - a for a, b in pairwise(at_ms)) <= 7000
    [first, *_] = [m for _, m in said(world, "heartbeat")]
    assert (first.qos, first.topic) == (0, f"iotlink/stg/nohub/{THING}/event/pub/heartbeat/json")
    assert documents(world, "heartbeat")[0]["data"] == {"heartbeat": {"count": 1}}


def test_heartbeats_are_not_kept_for_later() -> None:
    world = with_behaviour("{kind: heartbeat, every_s: 3}")
    world.virtual.sever(0, START_MS + 60_000, 600_000)
    world.run(1000)
    stamps = [document["device_timestamp"] - START_MS for document in documents(world, "heartbeat")]
    assert not [at_ms for at_ms in stamps if 60_000 < at_ms < 660_000]
    assert [at_ms for at_ms in stamps if at_ms > 660_000]


# Provisioning


def test_says_once_in_its_life_who_it_is() -> None:
    world = with_behaviour("{kind: provisioning}")
    world.virtual.sever(0, START_MS + 10_000, 5_000)
    world.virtual.power_cycle(0, START_MS + 30_000, 5_000)
    world.run(60)
    [(at_ms, message)] = said(world, "provisioning_complete")
    assert message.topic == f"iotlink/stg/nohub/{THING}/event/pub/provisioning_complete/json"
    facts = {"thing": THING, "product": "Pump", "package": "Pump", "version": "1.0.0"}
    assert json.loads(message.payload) == {"device_timestamp": START_MS + at_ms, "data": {"provisioning": facts}}
    assert world.kinds().count("provisioned") == 1


# What is wrong in YAML


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{kind: alert, metrics: [load]}", "'load' has no limit"),
        ("{kind: alert, metrics: [lod]}", "unknown signal 'lod'"),
        ("{kind: alert, margin: 30, limits: {temp_c: [0, 50]}}", "by more than two margins"),
        ("{kind: control, actions: {log: {uploads: log}}}", "no upload behaviour is named 'log'"),
        ("{kind: control, actions: {nothing: {takes_s: 1}}}", "does nothing"),
        ("{kind: control, actions: {x: {sets: {fann: 1}}}}", "unknown signal 'fann'"),
        ("{kind: upload, name: log, size_kib: 99, part_kib: 1}", "more than 50 parts"),
        ("{kind: upload, name: log, size_kib: [9, 3]}", "rise from low to high"),
        ("{kind: hub, children: {profile: pump, count: 2, name: x}}", "needs {n}"),
        ("{kind: hub, children: {profile: pump, count: 2, joined: 3}}", "3 of 2"),
    ],
)
def test_mistakes_are_found_before_anything_starts(line: str, problem: str) -> None:
    with pytest.raises(YamlProblems) as error:
        profile(PUMP + f"  - {line}\n")
    assert problem in str(error.value)
