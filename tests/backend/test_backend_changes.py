"""Rules and specs that change while the platform runs, and dead letters that are tried again."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from simulator.backend import changes as changes_module
from simulator.backend import store as store_module
from simulator.backend.changes import Changes, Kept, _rule
from simulator.backend.config import BackendConfig
from simulator.backend.core import Backend
from simulator.backend.decode import frame_topic
from simulator.backend.effects import Call, LookUp, SaveVersion
from simulator.backend.pipeline import Answer, Pipeline
from simulator.backend.queries import Queries
from simulator.backend.rules import Rule, load_rules
from simulator.backend.store import Store
from simulator.errors import UsageError
from simulator.wire.spec import ProductSpec
from tests.backend.tcp_peers import MACHINE, NOW_MS, body

HOT: dict[str, Any] = {"ruleId": "hot", "productId": "*", "condition": "metrics.t > 110"}
TOPIC = "iotlink/dev/nohub/V/periodic/pub/telemetry/json"


class Platform:
    """Everything but the sockets; stopped and started again with another configuration."""

    def __init__(self, folder: Path, rules: list[dict[str, Any]] | None = None, **more: Any) -> None:
        raw = {"state_dir": folder, "mqtt": {"host": "h", "port": 1, "client_id": "c"}, "rules": rules or [], **more}
        config = BackendConfig.model_validate(raw)
        self.store = Store(folder)
        self.kept = Kept(self.store, config, load_rules(config.rules, config.product_names), NOW_MS)
        core = Backend(self.kept.rules)
        core.replace_specs(self.kept.specs)
        self.pipeline = Pipeline(core, self.store, lambda: NOW_MS)
        self.queries = Queries(self.store.path)
        self.spoken: list[set[str]] = []
        self.changes = Changes(
            self.kept, self.pipeline, self.queries, config.product_names, lambda specs: self.spoken.append(set(specs))
        )
        self.pipeline.save(self.kept.changes)
        self.pipeline.start(self, self.kept.old_rules)

    def submit(self, call: Call) -> bool:
        if isinstance(call, LookUp):
            self.pipeline.answered(Answer(call, NOW_MS))
        return True

    def say(self, at_ms: int, t: float) -> None:
        self.pipeline.ingest(TOPIC, orjson.dumps({"device_timestamp": at_ms, "data": {"metrics": {"t": t}}}))
        self.pipeline.commit()

    def put(self, **rule: Any) -> int:
        return self.changes.put_rule("hot", orjson.dumps(rule))

    def states(self) -> list[tuple[str, int]]:
        return [(alarm["state"], alarm["rule_version"]) for alarm in self.queries.alarms()["alarms"]]

    def replay(self, **wanted: Any) -> dict[str, Any]:
        return asyncio.run(self.changes.replay(orjson.dumps(wanted)))

    def close(self) -> None:
        self.queries.close()
        self.store.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Platform]]:
    running: list[Platform] = []

    def begin(*args: Any, **more: Any) -> Platform:
        while running:
            running.pop().close()
        running.append(Platform(tmp_path, *args, **more))
        return running[-1]

    yield begin
    while running:
        running.pop().close()


Start = Callable[..., Platform]


def test_a_changed_rule_holds_at_once_and_after_a_restart(start: Start) -> None:
    first = start([HOT])
    first.say(NOW_MS, 100)
    assert first.states() == []
    assert first.put(productId="*", condition="metrics.t > 90") == 2
    assert first.put(productId="*", condition="metrics.t > 90") == 2  # the same again is no change
    first.say(NOW_MS + 1, 100)
    assert first.states() == [("open", 2)]
    second = start([HOT])
    assert [rule["version"] for rule in second.queries.current("rule")] == [2]
    assert [(v["version"], v["source"]) for v in second.queries.history("rule", "hot")] == [(2, "api"), (1, "config")]


def test_the_configuration_counts_again_when_it_changes(start: Start) -> None:
    start([HOT]).put(productId="*", condition="metrics.t > 90")
    third = start([HOT | {"condition": "metrics.t > 70"}])
    [rule] = third.queries.current("rule")
    assert (rule["version"], rule["source"], rule["rule"]["condition"]) == (3, "config", "metrics.t > 70")
    assert start([]).queries.current("rule") == []


def test_an_alarm_keeps_the_rule_that_raised_it_and_ends_with_it(start: Start) -> None:
    platform = start([HOT])
    platform.say(NOW_MS, 120)
    platform.put(productId="*", condition="metrics.t > 200")
    platform.say(NOW_MS + 1, 120)
    assert platform.states() == [("open", 1)]
    platform = start([HOT])
    for i in range(2, 40):
        platform.say(NOW_MS + i * 1000, 150)  # bad by version 1, so it does not close
    assert platform.states() == [("open", 1)]
    assert platform.changes.delete_rule("hot")
    assert platform.states() == [("closed", 1)]
    assert not platform.changes.delete_rule("hot")
    platform = start([HOT])  # what the file says has not changed: it stays deleted
    platform.say(NOW_MS + 90_000, 300)
    assert platform.states() == [("closed", 1)]
    assert platform.put(productId="*", condition="metrics.t > 200") == 4
    platform.say(NOW_MS + 91_000, 300)
    assert sorted(platform.states()) == [("closed", 1), ("open", 4)]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"productId": "*", "condition": "t > 1"}, "rule.condition: at column 1: unknown name 't'"),
    ({"productId": "*", "condition": "metrics.t > 1", "seveirty": "high"}, "rule.seveirty: unknown key 'seveirty'"),
    ({"productId": "sedna", "condition": "metrics.t > 1"}, "rule.productId: unknown product 'sedna' (did you mean"),
    ({"ruleId": "cold", "productId": "*", "condition": "metrics.t > 1"}, "rule.ruleId: is 'cold', but the address"),
]


@pytest.mark.parametrize(("rule", "why"), WRONG)
def test_a_wrong_rule_changes_nothing(start: Start, rule: dict[str, Any], why: str) -> None:
    platform = start([HOT], products=["sedan"])
    with pytest.raises(UsageError) as refused:
        platform.put(**rule)
    assert str(refused.value).startswith(why)
    assert [found["version"] for found in platform.queries.current("rule")] == [1]


def test_a_spec_is_mended_and_its_dead_letters_are_read_once(start: Start) -> None:
    platform = start()
    for seq in (1, 2):
        platform.pipeline.ingest(frame_topic("machine"), body(seq))
    platform.pipeline.ingest(frame_topic("other"), b"x")
    platform.pipeline.commit()
    assert platform.queries.counts()["dead"] == {"spec.no_product": 3}
    assert platform.replay(reason="spec.no_product") == {"replayed": 0, "failed": {"spec.no_product": 3}, "unknown": []}
    assert platform.changes.put_spec("machine", MACHINE.encode()) == 1
    assert platform.spoken == [{"machine"}]
    platform.pipeline.ingest(frame_topic("machine"), body(1))  # it came again meanwhile
    platform.pipeline.commit()
    said = platform.replay(reason="spec.no_product")
    assert said == {"replayed": 2, "failed": {"spec.no_product": 1}, "unknown": []}
    assert platform.replay(ids=[1, 2, 3, 9]) == {"replayed": 0, "failed": {"spec.no_product": 1}, "unknown": [1, 2, 9]}
    found = platform.queries.counts()
    assert (found["stored"], found["duplicates"]) == ({"telemetry": 2}, 1)
    assert (found["dead"], found["replayed"]) == ({"spec.no_product": 1}, {"spec.no_product": 2})
    assert [letter["id"] for letter in platform.queries.dead_letters(0, 10)["dead_letters"]] == [3]
    shown = platform.queries.dead_letters(0, 10, replayed=True)["dead_letters"]
    assert [letter["replayed_at_ms"] for letter in shown] == [NOW_MS, NOW_MS, None]
    again = start()
    assert ProductSpec.model_validate(again.queries.current("spec")[0]["spec"]) == again.kept.specs["machine"]
    assert again.queries.counts() == found


def test_what_is_refused_for_another_reason_says_so(start: Start) -> None:
    platform = start()
    platform.pipeline.ingest(frame_topic("machine"), body(1) + b"x")
    platform.pipeline.commit()
    platform.changes.put_spec("machine", MACHINE.encode())
    assert platform.replay(ids=[1])["failed"] == {"spec.size": 1}
    [letter] = platform.queries.dead_letters(0, 10, "spec.size")["dead_letters"]
    assert letter["id"] == 1
    assert platform.queries.counts()["dead"] == {"spec.size": 1}


def test_a_wrong_spec_is_told_as_in_a_profile(start: Start) -> None:
    platform = start()
    with pytest.raises(UsageError, match=r"spec:1:1: .*messages"):
        platform.changes.put_spec("machine", b"endian: big\n")
    with pytest.raises(UsageError, match="UTF-8"):
        platform.changes.put_spec("machine", b"\xff")
    assert platform.queries.current("spec") == []


@pytest.mark.parametrize("wanted", [{}, {"ids": "all"}, {"ids": [True]}, {"ids": [1], "reason": "x"}, {"reason": 1}])
def test_a_wrong_replay_is_refused(start: Start, wanted: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="the body must be"):
        start().replay(**wanted)


def test_an_id_that_the_store_cannot_know_is_refused(start: Start) -> None:
    assert start().replay(ids=[2**63 - 1])["unknown"] == [2**63 - 1]
    with pytest.raises(UsageError, match="the body must be"):
        start().replay(ids=[2**64 - 1])


@pytest.mark.parametrize("name", [" hot", "hot ", " hot ", "\u2003hot"])
def test_a_name_is_taken_to_the_letter(start: Start, name: str) -> None:
    """One with a space would be kept beside 'hot', count as 'hot', and nobody could delete it."""
    platform = start()
    with pytest.raises(UsageError, match="has spaces around it"):
        platform.changes.put_rule(name, orjson.dumps({"productId": "*", "condition": "metrics.t > 1"}))
    with pytest.raises(UsageError, match="has spaces around it"):
        platform.changes.put_formula(name, orjson.dumps({"productId": "p", "expression": "t"}))
    assert platform.queries.current("rule") == platform.queries.current("formula") == []


def test_an_unknown_key_is_told_in_one_short_line(start: Start) -> None:
    for key in ("a\nb", "q" * 100_000):
        with pytest.raises(UsageError) as caught:
            start().changes.put_rule("hot", orjson.dumps({key: 1, "productId": "*", "condition": "metrics.t > 1"}))
        assert "unknown key" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500


def test_what_does_not_change_is_not_read_anew(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    platform, read = start(), list[str]()

    def reading(saved: SaveVersion) -> Rule:
        read.append(saved.name)
        return _rule(saved)

    monkeypatch.setattr(changes_module, "_rule", reading)
    for i in range(10):
        platform.changes.put_rule(f"r{i}", orjson.dumps({"productId": "*", "condition": f"metrics.t > {i}"}))
    assert read == [f"r{i}" for i in range(10)]
    platform.changes.put_rule("r3", orjson.dumps({"productId": "*", "condition": "metrics.t > 99"}))
    assert read[10:] == ["r3"]
    assert platform.kept.old_rules == {}, "they are for a start"


def test_dead_letters_have_a_bound_in_bytes_too(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "DEAD_BYTES_MAX", 1000)
    platform = start()
    for i in range(5):
        platform.pipeline.ingest("nonsense", bytes(300) + bytes([i]))
        platform.pipeline.commit()
    assert [letter["id"] for letter in platform.queries.dead_letters(0, 10)["dead_letters"]] == [3, 4, 5]
    assert platform.queries.counts()["dead_dropped"] == 2


def test_binary_that_waits_survives_a_restart(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = start()
    platform.changes.put_spec("machine", MACHINE.encode())
    monkeypatch.setattr(Platform, "submit", lambda _self, _call: True)  # nobody answers
    topic = "iotlink/dev/nohub/m-1/periodic/pub/telemetry/bin"
    said = {"device_timestamp": NOW_MS + 1, "data": {"bin": body(1).hex()}}
    platform.pipeline.ingest(topic, orjson.dumps(said))
    platform.pipeline.commit()
    again = start()
    assert again.queries.counts()["stored"] == {}
    again.pipeline.answered(Answer(LookUp("m-1"), NOW_MS, product="machine"))
    assert again.queries.counts()["stored"] == {"telemetry": 1}
    assert start().store.load().waiting == []
