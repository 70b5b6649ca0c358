"""The fire prediction in the backend: alarms, publications, the store's tables, restart, rules, retention."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from simulator.backend import fire_tables
from simulator.backend.core import Backend
from simulator.backend.effects import Call, CreateJob, LookUp, Say, SetDesired
from simulator.backend.fire.analysis import REMEMBER_MS
from simulator.backend.pipeline import Answer, Pipeline
from simulator.backend.queries import Queries
from simulator.backend.rules import FIRE_RULE, load_rules
from simulator.backend.store import Store
from simulator.errors import UsageError
from tests.backend.fire_records import BLAZE, NORMAL, START_MS, Kept, metrics

PRODUCT = "FireSensor"
# From the store's names back to the sensor's.
SAID = {
    "current": "ct", "leakage_current": "zct", "resistive_leakage": "rzct", "power": "pwr", "power_factor": "pFct",
    "arc_count": "aArc",
}  # fmt: skip


class World:
    """A backend with its store, a clock, and a registry that answers at once."""

    def __init__(self, folder: Path, *rules: dict[str, Any], fire: bool = True, registered: bool = True) -> None:
        self.folder, self.rules, self.fire, self.registered = folder, rules, fire, registered
        self.now_ms = START_MS
        self.calls: list[Call] = []
        self.idx = 0
        self.start()

    def start(self) -> None:
        self.store = Store(self.folder)
        self.core = Backend(load_rules(self.rules), fire=self.fire)
        self.pipeline = Pipeline(self.core, self.store, lambda: self.now_ms)
        self.queries = Queries(self.store.path)
        self.pipeline.start(self)

    def close(self) -> None:
        self.queries.close()
        self.store.close()

    def restart(self) -> None:
        """As after a kill: nothing but the store is left."""
        self.close()
        self.start()

    def submit(self, call: Call) -> bool:
        self.calls.append(call)
        return True

    def answer(self) -> None:
        """AWS does what was asked."""
        for call in self.calls:
            if isinstance(call, LookUp) and self.registered:
                self.pipeline.answered(Answer(call, self.now_ms, product=PRODUCT, result={"site": "s-1"}))
            elif isinstance(call, SetDesired | CreateJob):
                self.pipeline.answered(Answer(call, self.now_ms))
        self.calls = [call for call in self.calls if isinstance(call, Say)]

    def say(self, *records: dict[str, Any], thing: str = "device-1", every_s: float = 5) -> None:
        for changes in records:
            self.now_ms += int(1000 * every_s)
            self.idx += 1
            self.raw({"deviceId": thing, "idx": self.idx, **_said(changes)}, thing)
            self.answer()

    def raw(self, record: dict[str, Any], thing: str = "device-1") -> None:
        self.pipeline.ingest(f"fire-prediction/device/{thing}/data", orjson.dumps(record))
        self.pipeline.commit()

    def tick(self) -> None:
        self.pipeline.tick()

    def rows(self, table: str) -> list[dict[str, Any]]:
        return list(fire_tables.rows_of(self.store._db, table))

    def events(self) -> list[str]:
        return [event["kind"] for event in self.queries.events(0)["events"]]


def _said(changes: dict[str, Any]) -> dict[str, Any]:
    return {SAID.get(name, name): value for name, value in metrics(**changes).items()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.close()


def test_an_alert_is_an_alarm(world: World) -> None:
    world.say({}, {}, BLAZE)
    [alarm] = world.queries.alarms()["alarms"]
    assert alarm["rule_id"] == "fire-risk"
    assert alarm["rule_type"] == "fire"
    assert alarm["severity"] == "high"
    assert alarm["metric"] == "risk"
    assert alarm["value"] == 0.692
    assert alarm["product"] == PRODUCT
    assert alarm["state"] == "open"
    assert alarm["about"]["type"] == "TEMPERATURE_CRITICAL"
    assert alarm["about"]["actions"] == ["cool and ventilate", "consider cutting the power"]
    assert alarm["about"]["message"] == "HIGH fire risk: 95.0 °C on the board"
    assert world.events() == ["alarm_raised"]


def test_it_rises_and_closes_with_the_alert(world: World) -> None:
    world.say(BLAZE, *[BLAZE | {"sensorTemp": 80.0 + i} for i in range(8)])
    assert world.queries.alarms()["alarms"][0]["severity"] == "critical"
    world.say(*[{}] * 20)
    [alarm] = world.queries.alarms()["alarms"]
    assert alarm["state"] == "closed"
    [alert] = world.rows("fire_alerts")
    assert alarm["closed_at_ms"] == alert["resolved_ms"]
    assert world.events() == ["alarm_raised", "alarm_risen", "in_range", "alarm_closed"]


def test_an_alert_is_published_when_it_is_raised_and_when_it_rises(world: World) -> None:
    world.say(BLAZE, *[BLAZE | {"sensorTemp": 80.0 + i} for i in range(8)], *[{}] * 20)
    said = [call for call in world.calls if isinstance(call, Say)]
    assert [call.topic for call in said] == [
        "fire-prediction/alerts/high/device-1", "fire-prediction/alerts/critical/device-1",
    ]  # fmt: skip
    body = orjson.loads(said[0].payload)
    assert (body["deviceId"], body["level"], body["score"]) == ("device-1", "HIGH", 0.692)
    assert body["values"] == metrics(**BLAZE)


def test_late_product_late_alarm(tmp_path: Path) -> None:
    world = World(tmp_path, registered=False)
    world.say(BLAZE, BLAZE)
    assert not world.queries.alarms()["alarms"]
    assert len(world.rows("fire_alerts")) == 1
    world.registered = True
    world.now_ms += 60_000
    world.say(BLAZE, BLAZE)
    assert [alarm["product"] for alarm in world.queries.alarms()["alarms"]] == [PRODUCT]
    world.close()


def test_what_is_kept(world: World) -> None:
    world.say(*[{}] * 101, BLAZE)
    world.now_ms += 400_000
    world.tick()
    [device] = world.rows("fire_devices")
    assert (device["device_id"], device["level"], device["alert"], device["site"]) == (
        "device-1",
        "HIGH",
        "HIGH",
        "s-1",
    )
    assert orjson.loads(device["document"])["risk"] == device["risk"] == 0.692
    risks = world.rows("fire_risks")
    assert [row["risk"] for row in risks[-2:]] == [0.0, 0.692]
    assert 9 <= len(risks) <= 11
    windows = world.rows("fire_windows")
    assert sum(row["records"] for row in windows) == 102
    assert windows[-1]["risk_max"] == 0.692
    [alert] = world.rows("fire_alerts")
    assert (alert["level"], alert["type"], alert["resolved_ms"]) == ("HIGH", "TEMPERATURE_CRITICAL", None)
    kinds = {row["kind"] for row in world.rows("fire_findings")}
    assert kinds == {"RISK_SPIKE", "RAPID_RISK_CHANGE", "TEMPERATURE_SPIKE", "ARC_PATTERN"}
    assert len(world.queries.telemetry("device-1", 1000)["telemetry"]) == 102


def test_a_redelivered_record_changes_nothing(world: World) -> None:
    world.say(BLAZE)
    record = {"deviceId": "device-1", "idx": world.idx, **_said(BLAZE)}
    tables = ("fire_devices", "fire_risks", "fire_windows", "fire_alerts", "fire_findings")
    before = [world.rows(table) for table in tables]
    for _ in range(3):
        world.now_ms += 1000
        world.raw(record)
    assert [world.rows(table) for table in tables] == before
    assert world.core.fire is not None
    assert world.core.fire.fates == {"next": 1, "repeated": 3}


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    """Two worlds hear the same; one is killed again and again."""
    rising = [BLAZE | {"sensorTemp": 80.0 + i} for i in range(8)]
    stories: list[list[dict[str, Any]]] = [[{}] * 30, [BLAZE] * 3, rising, [{}] * 3, [BLAZE], [{}] * 9, [{}] * 30]
    worlds = [World(tmp_path / name) for name in ("steady", "killed")]
    for story in stories:
        for world in worlds:
            world.say(*story)
        worlds[1].restart()
    assert worlds[1].calls[:2] == worlds[0].calls[:2], "published once"
    assert len(worlds[1].calls) == len(worlds[0].calls)
    for table in ("fire_devices", "fire_risks", "fire_alerts", "fire_findings", "fire_windows"):
        kept = [[{name: value for name, value in row.items() if name != "id"} for row in world.rows(table)]
                for world in worlds]  # fmt: skip
        assert kept[0] == kept[1], table
    assert worlds[0].queries.alarms()["alarms"] == worlds[1].queries.alarms()["alarms"]
    assert worlds[0].events() == worlds[1].events()
    for world in worlds:
        world.close()


def test_an_alert_that_is_older_than_the_hour_outlives_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(*[BLAZE] * 100, every_s=60)
    raised = world.rows("fire_alerts")[0]["raised_ms"]
    assert world.now_ms - raised > REMEMBER_MS
    world.restart()
    world.say(BLAZE, *[{}] * 20)
    assert [row["raised_ms"] for row in world.rows("fire_alerts")] == [raised]
    assert [alarm["state"] for alarm in world.queries.alarms()["alarms"]] == ["closed"]
    world.close()


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    world = World(tmp_path, fire=False)
    world.say(*[BLAZE] * 20)
    world.restart()
    world.say(*[BLAZE] * 2)
    assert not world.queries.alarms()["alarms"]
    assert not world.rows("fire_devices")
    assert not [call for call in world.calls if isinstance(call, Say)]
    world.close()


def test_switched_off_it_leaves_no_alarm_behind(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say({}, BLAZE)
    world.fire = False
    world.restart()
    assert [alarm["state"] for alarm in world.queries.alarms()["alarms"]] == ["closed"]
    world.close()


def test_rules_for_the_product_are_kept_besides(tmp_path: Path) -> None:
    world = World(tmp_path, {"ruleId": "hot", "productId": PRODUCT, "condition": "metrics.sensorTemp > 90"})
    world.say({}, BLAZE)
    assert sorted(alarm["rule_id"] for alarm in world.queries.alarms()["alarms"]) == ["fire-risk", "hot"]
    world.close()


def test_a_rule_of_ones_own_says_what_is_done(tmp_path: Path) -> None:
    own = {"ruleId": "fire", "productId": PRODUCT, "type": "fire", "autoAction": "cut-power", "thenDispatch": True,
           "clearFor_s": 20}  # fmt: skip
    world = World(tmp_path, own)
    world.say({}, BLAZE, BLAZE)
    [alarm] = world.queries.alarms()["alarms"]
    assert (alarm["rule_id"], alarm["state"], alarm["action_id"]) == ("fire", "acting", f"{alarm['alarm_id']}-1")
    world.now_ms += 30_000
    world.tick()
    assert world.queries.dispatches()["dispatches"][0]["severity"] == "high"
    world.say(*[{}] * 6)
    assert world.queries.alarms()["alarms"][0]["state"] == "closed"
    assert world.rows("fire_alerts")[0]["resolved_ms"] == world.queries.alarms()["alarms"][0]["closed_at_ms"]
    world.close()


def test_which_rule_it_is() -> None:
    entries = [{"ruleId": "b", "productId": "P", "type": "fire"}, {"ruleId": "a", "productId": "*", "type": "fire"}]
    assert load_rules([]).fire_of("P") is FIRE_RULE
    assert load_rules(entries).fire_of("P").ruleId == "b"
    assert load_rules(entries).fire_of("Q").ruleId == "a"
    assert load_rules(entries[:1]).fire_of("Q") is FIRE_RULE
    assert not load_rules(entries).for_product("P")
    for wrong, why in (
        ({"ruleId": "fire-risk", "condition": "metrics.co > 1"}, "ruleId: 'fire-risk' is the rule of the fire"),
        ({"ruleId": "x", "type": "fire", "condition": "metrics.co > 1"}, "condition: a rule of type fire has none"),
    ):
        with pytest.raises(UsageError, match=why):
            load_rules([wrong | {"productId": "P"}])


def test_a_new_rule_closes_the_alarm_of_the_one_that_nobody_wrote(world: World) -> None:
    world.say({}, BLAZE)
    world.pipeline.replace_rules(load_rules([{"ruleId": "own", "productId": PRODUCT, "type": "fire"}]))
    world.say(BLAZE)
    assert [(alarm["rule_id"], alarm["state"]) for alarm in world.queries.alarms()["alarms"]] == [
        ("fire-risk", "closed"), ("own", "open"),
    ]  # fmt: skip


def test_an_index_that_the_store_cannot_hold_is_refused(world: World) -> None:
    world.raw({"deviceId": "device-1", "idx": 1 << 63, **_said({})})
    world.raw({"deviceId": "device-1", "idx": (1 << 63) - 1, **_said({})})
    assert world.queries.counts()["dead"] == {"idx.range": 1}
    assert world.queries.counts()["stored"] == {"telemetry": 1}


def test_neighbours_are_known_by_the_registry(world: World) -> None:
    for i in range(9):
        hot = BLAZE | {"sensorTemp": 80.0 + i}
        world.say(hot, thing="device-1")
        world.say(hot, thing="device-2")
    clusters = [row for row in world.rows("fire_findings") if row["site"]]
    assert [(row["site"], row["kind"]) for row in clusters] == [("s-1", "HIGH_RISK_CLUSTER")]
    assert orjson.loads(clusters[0]["detail"]) == {"things": ["device-1", "device-2"]}


def test_normal_sensors_raise_nothing(world: World) -> None:
    for _ in range(60):
        for thing in ("device-1", "device-2"):
            world.say({}, thing=thing)
    assert not world.queries.alarms()["alarms"]
    assert not world.rows("fire_alerts")
    assert not world.rows("fire_findings")


def test_the_tables_have_bounds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.say(*[{}, BLAZE] * 10, every_s=100)
    monkeypatch.setattr(fire_tables, "BOUNDS", {table: (time, kept_ms, 3) for table, (time, kept_ms, _)
                                                in fire_tables.BOUNDS.items()})  # fmt: skip
    fire_tables.prune(world.store._db, world.now_ms)
    for table in ("fire_risks", "fire_windows", "fire_findings"):
        assert len(world.rows(table)) == 3, table
    fire_tables.prune(world.store._db, world.now_ms + 365 * fire_tables.DAY_MS)
    assert not world.rows("fire_risks")
    assert len(world.rows("fire_alerts")) == 1, "it is open"


def test_the_tables_hold_what_the_analysis_says(world: World) -> None:
    """What is forgotten and said again ends up in SQL as in a dict."""
    kept = Kept()
    assert world.core.fire is not None
    order = [0, 1, 2, 5, 6, 9, 7, 8, 3, 4, 10, 11]
    kinds = [NORMAL, metrics(**BLAZE), NORMAL, NORMAL, metrics(arc_count=3)]
    for i in order:
        taken = world.core.fire.take("d", START_MS + 45_000 * i, i, i, kinds[i % len(kinds)])
        assert taken is not None
        kept.write(taken.writes)
        world.pipeline.save(taken.writes)
        world.pipeline.commit()
    names = [(row["device_id"], row["at_ms"], row["idx"]) for row in world.rows("fire_risks")]
    assert sorted(names) == sorted(kept.risks)
    found = {(r["device_id"], r["site"], r["kind"], r["begin_ms"]): (r["level"], r["ended_ms"])
             for r in world.rows("fire_findings")}  # fmt: skip
    assert found == {key: (one.level, one.ended_ms) for key, one in kept.findings.items()}
    alerts = {(r["device_id"], r["raised_ms"]): r["resolved_ms"] for r in world.rows("fire_alerts")}
    assert alerts == {key: one.resolved_ms for key, one in kept.alerts.items()}
    windows = {(r["device_id"], r["start_ms"]): r["records"] for r in world.rows("fire_windows")}
    assert windows == {key: one.records for key, one in kept.windows.items()}
