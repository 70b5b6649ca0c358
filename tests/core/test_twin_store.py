"""The twin's store: counts as the real one does, remembers what a restart takes up, and stays within its bounds."""

from typing import Any

import orjson
import pytest

from simulator.audit import Subject
from simulator.backend.core import Backend as Core
from simulator.backend.effects import CloseDispatch, DeadLetter, OpenDispatch, Record, StoreTelemetry
from simulator.backend.rules import load_rules
from simulator.clock import VIRTUAL_START_MS as START_MS
from simulator.matching import Deliveries
from simulator.twin import store as twin_store
from simulator.twin.store import MemoryStore

RULES = load_rules([{"ruleId": "hot", "productId": "Pump", "condition": "metrics.temp > 50", "severity": "high"}])
TOPIC = "iotlink/stg/nohub/Pump-001/periodic/pub/telemetry/json"


def new() -> tuple[MemoryStore, list[Record]]:
    told: list[Record] = []
    return MemoryStore(told.append), told


def add(store: MemoryStore, effects: list[Any]) -> None:
    for effect in effects:
        if do := store.writes.get(type(effect)):
            do(effect)


def sample(at_ms: int, temp: float = 20.0) -> bytes:
    return orjson.dumps({"device_timestamp": at_ms, "data": {"metrics": {"temp": temp}}})


def telemetry(key: int, thing: str = "a", idx: int | None = None) -> StoreTelemetry:
    return StoreTelemetry(thing, "platform", key, None, 1000 + key, None, 2000 + key, '{"x": 1}', idx)


def test_a_sample_is_counted_once_in_whatever_order_it_comes() -> None:
    store, _ = new()
    add(store, [telemetry(key) for key in (5, 9, 7, 9, 5, -3, 7)])
    add(store, [telemetry(5, "b", idx=77)])
    assert (store.stored, store.duplicates) == ({"telemetry": 5}, 3)
    got = Deliveries("it", [Subject("telemetry", "a"), Subject("telemetry", "b")])
    store.deliver(got, {})
    subject, stamp, ingest_ms, seq = got.pick(None).stored
    assert subject.tolist() == [0, 0, 0, 0, 1]
    assert stamp.tolist() == [1005, 1009, 1007, 997, 77]
    assert ingest_ms.tolist() == [2005, 2009, 2007, 1997, 2005]
    assert seq.tolist() == [0, 1, 2, 3, 4]
    assert got.pick(None).repeated[1].tolist() == [1009, 1005, 1007]


def test_what_the_fleet_did_not_say_is_a_stranger_and_what_was_refused_is_told() -> None:
    store, _ = new()
    add(
        store,
        [telemetry(1), telemetry(2, "stranger"), DeadLetter(9, "payload.not_json", TOPIC, b'{"device_timestamp":8')],
    )
    got = Deliveries("it", [Subject("telemetry", "a"), Subject("telemetry", "Pump-001")])
    store.deliver(got, {})
    assert got.strangers == 1
    assert got.pick(None).dead.T.tolist() == [[1, 8, 9, -1]]
    assert got.reasons == ["payload.not_json"]


def test_an_empty_store_has_nothing_to_tell() -> None:
    store, _ = new()
    got = Deliveries("it", [])
    store.deliver(got, {})
    assert got.count == 0


def test_a_bound_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin_store, "KEYS_MAX", 100)
    monkeypatch.setattr(twin_store, "AUDIT_MAX", 100)
    monkeypatch.setattr(twin_store, "READINGS_EACH_MAX", 10)
    store, _ = new()
    store.watched = {"a"}
    add(store, [telemetry(key) for key in range(1000)])
    assert store.stored["telemetry"] == 1000
    assert sum(len(row.keys) for row in store._rows) <= 101
    assert len(store.readings["a"]) == 10
    got = Deliveries("it", [Subject("telemetry", "a")])
    store.deliver(got, {})
    assert got.count <= 1000
    add(store, [telemetry(999)])
    assert store.duplicates == 1, "the latest are known still"


def test_a_restart_takes_up_what_was_open() -> None:
    store, told = new()
    core = Core(RULES)
    add(store, core.ingest(TOPIC, sample(START_MS), START_MS))
    add(store, core.product_answered("Pump-001", "Pump", START_MS))
    add(store, core.ingest(TOPIC, sample(START_MS + 1000, 60.0), START_MS + 1000))
    assert [record.kind for record in told] == ["alarm_raised"]
    assert store.open_alarms == 1
    [alarm] = store.alarms()
    assert store.alarms()[0] is alarm, "it is read once"
    saved = store.saved()
    again = Core(RULES)
    again.resume(saved.pop("devices"), saved.pop("documents"), START_MS + 2000, **saved)
    assert again.product_of("Pump-001") == "Pump"
    assert [one.alarm_id for one in again.open_alarms.values()] == [alarm["alarm_id"]]
    for n in range(2, 40):
        add(store, again.ingest(TOPIC, sample(START_MS + 1000 * n), START_MS + 1000 * n))
    assert [record.kind for record in told] == ["alarm_raised", "in_range", "alarm_closed"]
    assert (store.open_alarms, store.saved()["documents"]) == (0, [])
    assert store.alarms()[0]["state"] == "closed"


def test_dispatches_are_opened_and_closed_once() -> None:
    store, _ = new()
    opened = OpenDispatch(1, "alarm", "thing", "rule", "high", "why")
    add(store, [opened, opened._replace(at_ms=2)])
    add(store, [CloseDispatch(3, "alarm"), CloseDispatch(4, "other")])
    assert store.dispatches == {"alarm": [opened, 3]}
