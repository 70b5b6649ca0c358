"""Notifications: who is told what by which channel, once, and not too often; SNS is tried again."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.backend.effects import Tell
from simulator.backend.platform import outbox
from tests.backend.platform_world import HOT, NOW_MS, Start, World, worlds

TOPIC = "arn:aws:sns:us-east-1:000000000000:on-call"
QUICK = {**HOT, "clearFor_s": 1}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with worlds(tmp_path / "state") as begin:
        yield begin


def flap(world: World, thing: str = "V") -> None:
    """An alarm that is raised and closes by itself."""
    world.say(thing, t=120)
    for _ in range(3):
        world.wait(1)
        world.say(thing, t=20)
    world.wait(1)


def told(world: World) -> list[tuple[str, str]]:
    return [(one["channel"], one["what"]) for one in world.queries.notifications()["notifications"]]


def test_by_its_class_an_alarm_has_channels(start: Start) -> None:
    rules = [{**HOT, "ruleId": severity, "severity": severity} for severity in ("high", "medium", "info")]
    world = start(rules=rules)
    world.say(t=120)
    world.pipeline.commit()
    found = Counter((one["alarm_class"], one["channel"]) for one in world.queries.notifications()["notifications"])
    assert found == {
        ("act_now", "phone"): 1, ("act_now", "email"): 1, ("act_now", "dashboard"): 1, ("watch", "email"): 1,
        ("watch", "dashboard"): 1, ("information", "dashboard"): 1,
    }  # fmt: skip
    assert [one["alarm_class"] for one in world.queries.notifications(channel="phone")["notifications"]] == ["act_now"]


def test_what_it_says(start: Start) -> None:
    world = start(rules=[QUICK], notifications={"act_now": ["email"]})
    flap(world)
    raised, closed = world.queries.notifications()["notifications"]
    assert raised == {
        "id": 1, "notification_id": f"V-hot-{NOW_MS}/alarm_raised/{NOW_MS + 1000}/email", "at_ms": NOW_MS + 1000,
        "alarm_id": f"V-hot-{NOW_MS}", "thing": "V", "alarm_class": "act_now", "channel": "email",
        "what": "alarm_raised", "level": 1, "subject": "[act now] V: metrics.t > 100 (t = 120)",
        "body": {
            "thing": "V", "product": "prod-a", "ruleId": "hot", "severity": "high", "level": 1,
            "detail": {
                "rule_id": "hot", "severity": "high", "condition": "metrics.t > 100", "metric": "t", "value": 120.0,
                "device_timestamp": NOW_MS,
            },
        },
        "state": "sent", "sent_at_ms": NOW_MS + 1000, "tries": 0, "error": "",
    }  # fmt: skip
    assert closed["subject"] == "[closed] V: in range for 1 s"


def test_from_the_second_level_on_everybody_is_told(start: Start) -> None:
    world = start(rules=[{**HOT, "severity": "medium"}], escalation={"watch": [10]})
    world.say(t=120)
    world.pipeline.commit()
    world.wait(11)
    assert told(world) == [
        ("email", "alarm_raised"), ("dashboard", "alarm_raised"),
        ("email", "alarm_level"), ("dashboard", "alarm_level"), ("phone", "alarm_level"),
    ]  # fmt: skip
    assert (
        world.queries.notifications(channel="phone")["notifications"][0]["subject"] == "[watch] V: still open, level 2"
    )


def test_the_same_alarm_again_is_quiet_for_a_while(start: Start) -> None:
    world = start(rules=[QUICK], notifications={"act_now": ["email"], "quiet_s": 60})
    for _ in range(3):
        flap(world)
    assert told(world) == [("email", "alarm_raised"), ("email", "alarm_closed")]
    assert world.platform.counts()["notifications.quieted"] == 4
    flap(world, "W")
    assert len(told(world)) == 4, "another device is another matter"
    world.wait(60)
    flap(world)
    assert len(told(world)) == 6


def test_a_quieted_alarm_that_lasts_is_told_of_all_the_same(start: Start) -> None:
    world = start(rules=[QUICK], notifications={"act_now": ["email"]}, escalation={"act_now": [30]})
    flap(world)
    world.say(t=120)
    world.wait(40)
    assert told(world)[-1] == ("email", "alarm_level")


def test_a_storm_is_dropped_and_counted(start: Start) -> None:
    world = start(rules=[HOT], notifications={"phone_per_minute": 3, "email_per_minute": 0})
    for i in range(10):
        world.say(f"V-{i}", t=120)
    world.pipeline.commit()
    assert Counter(channel for channel, _ in told(world)) == {"phone": 3, "dashboard": 10}
    counts = world.platform.counts()
    assert (counts["notifications.dropped.phone"], counts["notifications.dropped.email"]) == (7, 10)
    assert counts["notifications.told.phone"] == 3
    world.wait(61)
    world.say("W", t=120)
    world.pipeline.commit()
    assert len(world.queries.notifications(channel="phone")["notifications"]) == 4


def test_pages_of_the_outbox(start: Start) -> None:
    world = start(rules=[HOT])
    for i in range(5):
        world.say(f"V-{i}", t=120)
    world.pipeline.commit()
    first = world.queries.notifications(channel="email", limit=3)
    second = world.queries.notifications(channel="email", after=first["next"], limit=3)
    assert [one["thing"] for one in first["notifications"] + second["notifications"]] == [f"V-{i}" for i in range(5)]


# -- SNS


def sending(start: Start, **more: Any) -> World:
    return start(rules=[HOT], sns_topics={"email": TOPIC}, notifications={"act_now": ["email", "dashboard"]}, **more)


def test_a_channel_with_a_topic_is_sent_there(start: Start) -> None:
    world = sending(start)
    world.say(t=120)
    world.pipeline.commit()
    [call] = world.told
    assert (call.topic, call.subject) == (TOPIC, "[act now] V: metrics.t > 100 (t = 120)")
    [one] = world.queries.notifications(channel="email")["notifications"]
    assert (one["state"], one["tries"], one["error"]) == ("sent", 1, "")


def test_what_fails_is_tried_again_also_after_a_restart(start: Start) -> None:
    world = sending(start)
    world.refusal = "SNS is away"
    world.say(t=120)
    world.pipeline.commit()
    [one] = world.queries.notifications(channel="email")["notifications"]
    assert (one["state"], one["tries"], one["error"], one["sent_at_ms"]) == ("waiting", 1, "SNS is away", None)
    world.wait(29)
    assert len(world.told) == 1
    world.wait(2)
    assert len(world.told) == 2
    world.refusal = ""
    world.again()
    assert len(world.told) == 3
    [one] = world.queries.notifications(channel="email")["notifications"]
    assert (one["state"], one["tries"], one["sent_at_ms"]) == ("sent", 3, world.now_ms)


def test_in_the_end_it_is_given_up(start: Start) -> None:
    world = sending(start)
    world.refusal = "no such topic"
    world.say(t=120)
    world.wait(3600, 10)
    [one] = [
        one for one in world.queries.notifications(channel="email")["notifications"] if one["what"] == "alarm_raised"
    ]
    assert (one["state"], one["tries"], one["error"]) == ("failed", 5, "no such topic")
    assert world.platform.counts()["notifications.failed"] >= 1


def test_how_many_wait_has_a_bound(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "WAITING_MAX", 2)
    world = sending(start)
    world.refusal = "SNS is away"
    for i in range(5):
        world.say(f"V-{i}", t=120)
    world.pipeline.commit()
    assert len(world.queries.notifications(channel="email")["notifications"]) == 2
    assert world.platform.counts()["notifications.dropped.email"] == 3


def test_an_answer_that_nobody_waits_for_changes_nothing(start: Start) -> None:
    world = sending(start)
    stray = Tell("V", "a", "n", TOPIC, "s", "{}")
    assert world.pipeline.core.done(stray, NOW_MS, "", NOW_MS) == []


def test_a_subject_is_one_line_that_sns_takes(start: Start) -> None:
    world = start(rules=[{**HOT, "ruleId": "r" * 64}])
    world.say("Gerät-" + "x" * 100, t=120)
    world.pipeline.commit()
    for one in world.queries.notifications()["notifications"]:
        assert len(one["subject"]) <= 100
        assert one["subject"].isascii()
        assert one["subject"].isprintable()


def test_the_outbox_has_a_bound(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator.backend.platform import tables

    monkeypatch.setattr(tables, "NOTIFICATIONS_MAX", 0)
    world = sending(start)
    world.refusal = "SNS is away"
    world.say(t=120)
    world.pipeline.commit()
    world.store.prune(world.now_ms)
    assert told(world) == [("email", "alarm_raised")], "what waits to be sent stays"


def test_an_alarm_of_an_older_file_whose_rule_is_gone_is_told_of(start: Start, tmp_path: Path) -> None:
    world = start(rules=[HOT])
    world.say(t=120)
    world.pipeline.commit()
    world.stop()
    with sqlite3.connect(next((tmp_path / "state").glob("*.sqlite3"))) as db:
        db.execute("UPDATE alarms SET document = json_remove(document, '$.alarm_class')")
    db.close()
    world.start(rules=[])
    assert [alarm["state"] for alarm in world.queries.alarms()["alarms"]] == ["closed"]
    assert ("dashboard", "alarm_closed") in told(world)
