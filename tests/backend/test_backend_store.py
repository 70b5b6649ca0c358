"""The store: once is once, a batch is whole or absent, a restart finds everything."""

import sqlite3
from pathlib import Path

import orjson
import pytest

from simulator.backend import store as store_module
from simulator.backend.core import Backend
from simulator.backend.effects import Call, LookUp, Record
from simulator.backend.pipeline import Answer, Pipeline
from simulator.backend.queries import Queries
from simulator.backend.rules import load_rules
from simulator.backend.store import Store

RULES = load_rules([{"ruleId": "hot", "productId": "*", "condition": "metrics.t > 110", "autoAction": "restart-fan"}])
NOW_MS = 1_767_225_600_000
TOPIC = "iotlink/dev/nohub/V/periodic/pub/telemetry/json"
RESULT = "iotlink/dev/nohub/V/event/pub/control_result/json"
NOTHING: dict[str, object] = {
    "received": {}, "stored": {}, "dead": {}, "replayed": {}, "duplicates": 0, "dead_dropped": 0,
}  # fmt: skip
FIRE = "fire-prediction/device/device-001/data"


class Aws:
    """Answers look-ups at once and keeps the other calls."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.pipeline = Pipeline(Backend(RULES), self.store, lambda: NOW_MS)
        self.kept: list[Call] = []
        self.room = True
        self.pipeline.start(self)

    def submit(self, call: Call) -> bool:
        if isinstance(call, LookUp):
            self.pipeline.answered(Answer(call, NOW_MS, product="SedanVehicle"))
        elif self.room:
            self.kept.append(call)
        return self.room

    def say(self, at_ms: int, t: float, topic: str = TOPIC) -> None:
        body = {"device_timestamp": at_ms, "data": {"metrics": {"t": t}}}
        self.pipeline.ingest(topic, orjson.dumps(body))

    def result(self, action_id: str) -> None:
        control = {"name": "restart-fan", "id": action_id, "result": "done", "reason": ""}
        self.pipeline.ingest(RESULT, orjson.dumps({"device_timestamp": NOW_MS, "data": {"control": control}}))

    def fire(self, idx: int, co: float) -> None:
        record = {
            "deviceId": "device-001", "idx": idx, "status": 0, "volt": 220, "ct": 5, "pcbTemp": 35,
            "sensorTemp": 35, "co": co,
        }  # fmt: skip
        self.pipeline.ingest(FIRE, orjson.dumps(record))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def counts(folder: Path) -> dict[str, object]:
    queries = Queries(folder / store_module.FILE)
    try:
        return queries.counts()
    finally:
        queries.close()


def events(folder: Path) -> list[str]:
    queries = Queries(folder / store_module.FILE)
    try:
        return [event["kind"] for event in queries.events(0)["events"]]
    finally:
        queries.close()


def test_what_comes_twice_is_stored_once(folder: Path) -> None:
    aws = Aws(folder)
    for _ in range(2):
        aws.say(NOW_MS, 90)
        aws.say(NOW_MS + 1, 91)
        aws.fire(1, 5.0)
        aws.result("x-1")
        aws.pipeline.commit()
    aws.fire(1, 6.0)  # the same index with another content: the sensor restarted
    aws.pipeline.commit()
    aws.store.close()
    assert counts(folder) == {
        "received": {"telemetry": 7, "control_result": 2},
        "stored": {"telemetry": 4, "control_result": 1},
        "dead": {},
        "replayed": {},
        "duplicates": 4,
        "dead_dropped": 0,
    }


def test_nothing_is_visible_before_the_commit_and_a_crash_leaves_nothing(folder: Path) -> None:
    aws = Aws(folder)
    aws.say(NOW_MS, 120)
    aws.pipeline.ingest("nonsense", b"x")
    before = counts(folder)
    aws.store.close()  # without a commit: as if the process had been killed
    assert before == counts(folder) == NOTHING


def test_a_restart_resumes_the_open_alarm_and_counts_on(folder: Path) -> None:
    first = Aws(folder)
    first.say(NOW_MS, 120)
    first.pipeline.ingest("nonsense", b"x")
    first.pipeline.commit()
    asked = first.kept
    assert len(asked) == 1
    first.store.close()

    second = Aws(folder)
    assert second.kept == asked  # never confirmed, so it is asked for again
    second.pipeline.answered(Answer(asked[0], NOW_MS))
    second.say(NOW_MS, 120)  # sent again by the broker
    for s in range(5, 30, 5):
        second.say(NOW_MS + 1000 * s, 90)
    second.pipeline.commit()
    second.store.close()
    assert events(folder) == ["alarm_raised", "command_sent", "in_range", "alarm_closed"]
    found = counts(folder)
    assert found["received"] == {"telemetry": 7, "unknown": 1}
    assert found["stored"] == {"telemetry": 6}
    assert found["dead"] == {"topic.unknown": 1}
    assert found["duplicates"] == 1


def test_a_call_without_room_is_a_failed_one(folder: Path) -> None:
    aws = Aws(folder)
    aws.say(NOW_MS, 90)
    aws.pipeline.commit()
    aws.room = False
    aws.say(NOW_MS + 1, 120)
    aws.pipeline.commit()
    aws.store.close()
    assert events(folder) == ["alarm_raised", "command_failed"]


def test_a_commit_that_fails_leaves_nothing_and_raises(folder: Path) -> None:
    store = Store(folder)
    store.add(Record(NOW_MS, "fine", "V", "", {}))
    store.add(Record(None, "broken", "V", "", {}))  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        store.commit({}, {})
    store.close()
    assert events(folder) == []


def test_every_table_keeps_its_bound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "DEAD_LETTERS_MAX", 3)
    monkeypatch.setattr(store_module, "EVENTS_MAX", 0)
    aws = Aws(folder)
    for i in range(5):
        aws.pipeline.ingest("nonsense", str(i).encode())
        aws.say(NOW_MS + i, 120)
    aws.pipeline.commit()
    aws.store.prune(NOW_MS)
    queries = Queries(folder / store_module.FILE)
    assert [letter["payload"] for letter in queries.dead_letters(0, 10)["dead_letters"]] == ["2", "3", "4"]
    assert queries.counts()["dead_dropped"] == 2
    assert queries.events(0)["events"] == []
    assert len(queries.telemetry("V", 10)["telemetry"]) == 5
    later_ms = NOW_MS + store_module.TELEMETRY_KEPT_MS + 3_600_001
    assert not aws.store.archive_telemetry(later_ms)
    assert len(queries.telemetry("V", 10)["telemetry"]) == 5, "they are not in the aggregates yet"
    aws.store.roll_up()
    aws.store.archive_telemetry(later_ms)
    assert len(queries.telemetry("V", 10)["telemetry"]) == 1, "the last row stays"
    assert len(queries.alarms()["alarms"]) == 1
    queries.close()
    aws.store.close()


def test_a_file_of_an_older_version_is_taken_up(folder: Path) -> None:
    folder.mkdir()
    with sqlite3.connect(folder / store_module.FILE) as db:
        db.execute(
            "CREATE TABLE devices (device_id TEXT PRIMARY KEY, product_id TEXT, last_timestamp INTEGER NOT NULL,"
            " last_key INTEGER NOT NULL) WITHOUT ROWID"
        )
        db.execute("INSERT INTO devices VALUES ('V', 'SedanVehicle', 1, 2)")
        db.execute(
            "CREATE TABLE dead_letters (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, reason TEXT NOT NULL,"
            " topic TEXT NOT NULL, payload BLOB NOT NULL)"
        )
        db.execute("INSERT INTO dead_letters VALUES (1, 1, 'topic.unknown', 'x', x'00')")
    db.close()
    for _ in range(2):
        aws = Aws(folder)
        aws.fire(1, 5.0)
        aws.pipeline.commit()
        aws.store.close()
    store = Store(folder)
    assert [(device.device_id, bool(device.course)) for device in store.load().devices] == [
        ("V", False), ("device-001", True),
    ]  # fmt: skip
    store.close()
