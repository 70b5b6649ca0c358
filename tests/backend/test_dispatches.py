"""Classes and levels of alarms, and field engineers: every step, also those that come by themselves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.backend.platform.classes import class_of
from simulator.backend.platform.queries import HISTORY
from simulator.errors import UsageError
from tests.backend.platform_world import HOT, NOW_MS, Start, World, worlds

SENT = {**HOT, "autoAction": "restart-fan", "actionTimeout_s": 1, "thenDispatch": True, "clearFor_s": 1}
ALARM = f"V-hot-{NOW_MS}"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with worlds(tmp_path / "state") as begin:
        yield begin


def sent(world: World) -> None:
    """An alarm that nothing helps against."""
    world.say(t=120)
    world.wait(2)


def well(world: World) -> None:
    for _ in range(3):
        world.wait(1)
        world.say(t=20)
    world.pipeline.commit()


def steps(world: World) -> list[tuple[str, str]]:
    found = world.platform.dispatch(ALARM)
    assert found is not None
    return [(step["state"], step["who"]) for step in found["steps"]]


def states(world: World) -> list[tuple[str, str, bool]]:
    found = world.queries.dispatches()["dispatches"]
    return [(one["state"], one["who"], one["closed_at_ms"] is not None) for one in found]


def test_from_opened_to_done(start: Start) -> None:
    world = start(rules=[SENT])
    sent(world)
    assert states(world) == [("opened", "", False)]
    for state, who, note in (
        ("assigned", "Ann", "she is near"), ("assigned", "Bob", "Ann is ill"), ("on_the_way", "", ""),
        ("on_site", "", "the fan is broken"), ("done", "Bob", "new fan"),
    ):  # fmt: skip
        world.now_ms += 1000
        world.changes.advance_dispatch(ALARM, state, who, note)
    assert states(world) == [("done", "Bob", True)]
    assert steps(world) == [
        ("opened", ""), ("assigned", "Ann"), ("assigned", "Bob"), ("on_the_way", "Bob"), ("on_site", "Bob"),
        ("done", "Bob"),
    ]  # fmt: skip
    found = world.platform.dispatch(ALARM)
    assert found is not None
    assert [step["note"] for step in found["steps"]] == [
        "no control_result within 1 s of action", "she is near", "Ann is ill", "", "the fan is broken", "new fan",
    ]  # fmt: skip
    closed_at_ms = found["closed_at_ms"]
    assert closed_at_ms == world.now_ms
    well(world)
    assert world.kinds()[-1] == "alarm_closed", "what is done is not cancelled"
    assert world.queries.dispatches()["dispatches"][0]["closed_at_ms"] == closed_at_ms


@pytest.mark.parametrize(
    ("way", "end"),
    [([], "cancelled"), (["assigned"], "cancelled"), (["assigned", "on_the_way"], "cancelled"),
     (["assigned", "on_the_way", "on_site"], "done")],
)  # fmt: skip
def test_an_alarm_that_closes_by_itself_ends_it(start: Start, way: list[str], end: str) -> None:
    world = start(rules=[SENT])
    sent(world)
    for state in way:
        world.changes.advance_dispatch(ALARM, state, "Ann")
    world.again()
    well(world)
    assert states(world) == [(end, "Ann" if way else "", True)]
    assert world.kinds()[-2:] == ["alarm_closed", f"dispatch_{end}"]
    with pytest.raises(UsageError, match="or it has ended"):
        world.changes.advance_dispatch(ALARM, "done")


@pytest.mark.parametrize(
    ("state", "who", "why"),
    [
        ("on_site", "", "after 'opened' comes assigned or cancelled, not 'on_site'"),
        ("assigned", "", "needs somebody"),
        ("asigned", "Ann", "did you mean 'assigned'"),
        ("opened", "", "not 'opened'"),
        ("assigned", "A" * 301, "who: longer than 300"),
    ],
)
def test_what_is_no_next_step_is_refused(start: Start, state: str, who: str, why: str) -> None:
    world = start(rules=[SENT])
    sent(world)
    with pytest.raises(UsageError, match=why):
        world.changes.advance_dispatch(ALARM, state, who)
    assert states(world) == [("opened", "", False)]


def test_an_unknown_dispatch_is_none(start: Start) -> None:
    world = start()
    with pytest.raises(UsageError, match="dispatch 'x': there is none"):
        world.changes.advance_dispatch("x", "assigned", "Ann")
    assert world.platform.dispatch("x") is None


def test_for_a_demo_they_go_by_themselves(start: Start) -> None:
    demo = {"assign_after_s": 10, "leave_after_s": 20, "arrive_after_s": 30, "done_after_s": 40, "engineers": ["Ann"]}
    world = start(rules=[SENT], dispatch=demo)
    sent(world)
    world.wait(11)
    assert steps(world)[-1] == ("assigned", "Ann")
    world.again()
    world.wait(20)
    assert steps(world)[-1] == ("on_the_way", "Ann")
    world.changes.advance_dispatch(ALARM, "on_site", note="quicker than he should")
    world.wait(41)
    assert steps(world) == [(state, "Ann" if state != "opened" else "") for state in
                            ("opened", "assigned", "on_the_way", "on_site", "done")]  # fmt: skip
    world.wait(1000, 100)
    assert steps(world)[-1] == ("done", "Ann")


def test_without_a_demo_nobody_moves(start: Start) -> None:
    world = start(rules=[SENT])
    sent(world)
    world.wait(2000, 100)
    assert states(world) == [("opened", "", False)]


def test_pages_of_dispatches(start: Start) -> None:
    world = start(rules=[SENT])
    for i in range(5):
        world.say(f"V-{i}", t=120)
    world.wait(2)
    world.changes.advance_dispatch(f"V-3-hot-{NOW_MS}", "assigned", "Ann")
    first = world.queries.dispatches(limit=3)
    second = world.queries.dispatches(after=first["next"])
    assert [one["thing"] for one in first["dispatches"] + second["dispatches"]] == [f"V-{i}" for i in range(5)]
    assert [one["thing"] for one in world.queries.dispatches(state="assigned")["dispatches"]] == ["V-3"]
    assert world.queries.dispatches(after=second["next"])["next"] == second["next"]


def test_a_store_of_before_had_opened_and_closed_ones(start: Start) -> None:
    world = start(rules=[SENT])
    sent(world)
    db = world.store._db
    for column in ("state", "who", "updated_at_ms"):
        db.execute(f"ALTER TABLE dispatches DROP COLUMN {column}")
    db.execute("INSERT INTO dispatches VALUES ('old', 'W', 'hot', 'high', 'why', 1, 2)")
    world.again()
    assert states(world) == [("opened", "", False), ("cancelled", "", True)]
    world.changes.advance_dispatch(ALARM, "assigned", "Ann")
    assert states(world)[0] == ("assigned", "Ann", False)


# -- classes and levels


@pytest.mark.parametrize(
    ("severity", "said", "found"),
    [("critical", None, "act_now"), ("high", None, "act_now"), ("medium", None, "watch"), ("low", None, "watch"),
     ("info", None, "information"), ("high", "information", "information"), ("info", "act_now", "act_now")],
)  # fmt: skip
def test_the_class_of_an_alarm(severity: str, said: Any, found: str) -> None:
    assert class_of(severity, said) == found


def levels(world: World) -> list[tuple[float, int]]:
    events = world.queries.events(0, kinds=HISTORY["alarm"], thing="V")["events"]
    return [((e["at_ms"] - NOW_MS) / 1000, e["detail"]["level"]) for e in events if e["kind"] == "alarm_level"]


def test_an_alarm_rises_with_time(start: Start) -> None:
    world = start(rules=[HOT])
    world.say(t=120)
    world.pipeline.commit()
    world.wait(305, 10)
    world.again()
    world.wait(5000, 100)
    assert levels(world) == [(300, 2), (905, 3)]
    [alarm] = world.queries.alarms()["alarms"]
    assert (alarm["alarm_class"], alarm["level"], alarm["state"]) == ("act_now", 3, "open")


def test_who_was_away_for_long_finds_it_at_its_last_level(start: Start) -> None:
    world = start(rules=[{**HOT, "severity": "medium"}], escalation={"watch": [10, 20, 30]})
    world.say(t=120)
    world.pipeline.commit()
    world.now_ms += 25_000
    world.again()
    world.wait(20)
    assert levels(world) == [(26, 3), (30, 4)]


def test_information_has_no_levels(start: Start) -> None:
    world = start(rules=[{**HOT, "alarmClass": "information"}])
    world.say(t=120)
    world.wait(100_000, 1000)
    assert levels(world) == []


def test_at_the_last_level_somebody_is_sent_where_nothing_is_being_done(start: Start) -> None:
    world = start(rules=[{**HOT, "thenDispatch": True, "clearFor_s": 1}], escalation={"act_now": [10, 20]})
    world.say(t=120)
    world.wait(19)
    assert not states(world)
    world.wait(2)
    assert states(world) == [("opened", "", False)]
    assert world.kinds() == ["alarm_raised", "alarm_level", "alarm_level", "alarm_escalated", "dispatch_opened"]
    well(world)
    assert states(world) == [("cancelled", "", True)]


def test_a_closed_alarm_rises_no_more(start: Start) -> None:
    world = start(rules=[{**HOT, "clearFor_s": 1}])
    world.say(t=120)
    well(world)
    world.wait(5000, 100)
    assert world.kinds() == ["alarm_raised", "in_range", "alarm_closed"]
