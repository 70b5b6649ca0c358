"""The history of control, updates, rollbacks and alarms, of one device and of all."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from simulator.backend.effects import CreateJob
from simulator.backend.pipeline import Answer
from simulator.backend.platform import deployments
from simulator.backend.platform.deployments import Deployments
from simulator.backend.platform.queries import HISTORY
from tests.backend.platform_world import HOT, NOW_MS, World

STEPS = {
    **HOT, "autoAction": "restart-fan", "actionTimeout_s": 1, "thenUpdateTo": "1.1.0", "updateTimeout_s": 5,
    "thenDispatch": True,
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "state", rules=[STEPS])
    yield world
    world.stop()


def kinds(world: World, kind: str, thing: str | None = None) -> list[str]:
    return [event["kind"] for event in world.queries.events(0, kinds=HISTORY[kind], thing=thing)["events"]]


def job_ended(world: World, job_id: str, status: str, reason: str = "", thing: str = "") -> None:
    event = {
        "eventType": "JOB_EXECUTION", "jobId": job_id, "status": status.upper(), "statusDetails": {"reason": reason},
        **({"thingArn": f"arn:aws:iot:us-east-1:000000000000:thing/{thing}"} if thing else {}),
    }  # fmt: skip
    world.pipeline.ingest(f"$aws/events/jobExecution/{job_id}/{status}", orjson.dumps(event))
    world.pipeline.commit()


def confirm(world: World) -> None:
    for call in world.calls:
        world.pipeline.answered(Answer(call, world.now_ms))
    world.calls.clear()


def test_what_an_alarm_did(world: World) -> None:
    for thing in ("V", "W"):
        world.say(thing, t=120)
    world.pipeline.commit()
    confirm(world)
    world.wait(2)
    jobs = {call.thing: call.job_id for call in world.calls if isinstance(call, CreateJob)}
    confirm(world)
    job_ended(world, jobs["V"], "failed", "1.1.0 does not start: back in 1.0.0", "V")
    job_ended(world, jobs["V"], "failed", "1.1.0 does not start: back in 1.0.0", "V")
    job_ended(world, jobs["W"], "succeeded", thing="W")
    assert kinds(world, "control", "V") == ["command_sent"]
    assert kinds(world, "control") == ["command_sent"] * 2
    assert kinds(world, "ota", "V") == ["job_created", "job_failed"]
    assert kinds(world, "ota") == ["job_created", "job_created", "job_failed", "job_succeeded"]
    assert kinds(world, "rollback") == kinds(world, "rollback", "V") == ["firmware_rolled_back"]
    assert kinds(world, "alarm", "V") == ["alarm_raised", "action_timed_out", "alarm_escalated"]
    assert kinds(world, "alarm", "nobody") == []


def test_jobs_of_somebody_else_are_history_too(world: World) -> None:
    for _ in range(2):
        job_ended(world, "rollout-7", "succeeded", thing="V")
        job_ended(world, "rollout-7", "failed", "rolled back after a watchdog", "W")
    job_ended(world, "rollout-8", "succeeded")  # whose is not said
    [first, second] = world.queries.events(0, kinds=HISTORY["ota"])["events"]
    assert (first["thing"], first["kind"], first["detail"]["status"]) == ("V", "job_ended", "SUCCEEDED")
    assert (second["thing"], second["detail"]["job_id"]) == ("W", "rollout-7")
    assert kinds(world, "rollback") == ["firmware_rolled_back"]


def test_how_many_ends_are_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployments, "REMEMBERED_MAX", 2)
    found = Deployments()
    for thing in "abc":
        assert len(found.ended(thing, "j", "succeeded", "", 1)) == 1
    assert not found.ended("c", "j", "succeeded", "", 1)
    assert found.ended("a", "j", "succeeded", "", 1), "it was forgotten"


@pytest.mark.parametrize("thing", [None, "V-1"])
def test_pages_of_the_history(world: World, thing: str | None) -> None:
    for i in range(12):
        world.say(f"V-{i % 3}", at_ms=NOW_MS + i, t=120)
    world.wait(10)
    whole = world.queries.events(0, 1000, kinds=HISTORY["alarm"], thing=thing)["events"]
    after, seen = 0, []
    while page := (found := world.queries.events(after, 4, kinds=HISTORY["alarm"], thing=thing))["events"]:
        assert len(page) <= 4
        seen += page
        after = found["next"]
    assert seen == whole != []
    assert [event["seq"] for event in seen] == sorted(event["seq"] for event in seen)


def test_every_kind_of_event_is_of_one_history() -> None:
    names = [name for kinds in HISTORY.values() for name in kinds]
    assert len(names) == len(set(names))


def asked(db: sqlite3.Connection, *ask: Callable[[], object]) -> list[str]:
    """How SQLite does what is asked."""
    found: list[str] = []
    db.set_trace_callback(found.append)
    for one in ask:
        one()
    db.set_trace_callback(None)
    return [row[3] for sql in found for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]


def test_the_questions_use_indexes(world: World) -> None:
    """A page is read from its place in an index, however long the table is."""
    queries, platform = world.queries, world.platform
    of_all = asked(queries.db, lambda: queries.events(0, kinds=HISTORY["alarm"]))
    assert of_all[0] == "SEARCH events USING INDEX events_kind (kind=? AND seq>?)"
    of_one = asked(queries.db, lambda: queries.events(0, kinds=HISTORY["ota"], thing="V"))
    assert of_one == ["SEARCH events USING INDEX events_of (thing=? AND seq>?)"]
    told = asked(queries.db, lambda: queries.notifications(channel="email"))
    assert told == ["SEARCH notifications USING INDEX notifications_channel (channel=? AND id>?)"]
    plans = of_all + asked(
        platform.db,
        lambda: platform.devices("customer"),
        lambda: platform.devices(site="site"),
        lambda: platform.aggregates("hour", product="prod-a"),
        lambda: platform.aggregates("day", customer="c"),
        lambda: platform.archive("V", 0, 1),
        lambda: platform.master("V"),
    )
    scans = [plan for plan in plans if plan.startswith("SCAN") and "subquery" not in plan.lower()]
    assert [plan for plan in scans if not plan.startswith(("SCAN (", "SCAN CONSTANT"))] == []


def test_a_page_of_some_kinds_costs_the_same_of_a_long_history(world: World) -> None:
    """Of each kind no more is read than a page has."""
    db, kinds = world.queries.db, HISTORY["alarm"]
    world.queries.events(0, kinds=kinds)  # the first question of a connection reads the schema too

    def steps(rows: int) -> int:
        row = "INSERT INTO events (at_ms, kind, thing, alarm_id, detail) VALUES (1, ?, 'V', 'a', '{}')"
        world.store._db.executemany(row, ((kinds[i % len(kinds)],) for i in range(rows)))
        taken: list[None] = []
        db.set_progress_handler(lambda: taken.append(None), 1)
        assert len(world.queries.events(0, 10, kinds=kinds)["events"]) == 10
        db.set_progress_handler(None, 1)
        return len(taken)

    assert steps(200) == steps(5000)
