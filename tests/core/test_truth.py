"""The score against the ground truth: by tables, of one device and of several."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.ledger import Event
from simulator.truth import NO_FAULT, Evidence, Truth, percentile, truth
from tests.core.fleets import profile

END_S = 2000
HANG = {"kind": "hang", "part": "fan"}  # to be noticed by temp_c, within 300 s
SMALL = {"kind": "bias", "signal": "temp_c", "by": 1}  # to be left alone
LOST = {"kind": "drop_out", "signal": "temp_c"}  # to be missed
MANGLED = {"kind": "malformed_json"}  # to be refused
REJECTED = {"kind": "reject"}  # a job's affair
OLD = {"kind": "wrong_firmware", "version": "9.9.9"}  # to be seen in the versions
SUBJECTS = {"pump": profile().subject, "other": profile().subject}


def began(at_s: float, params: Mapping[str, Any], thing: str = "a", until_s: float | None = None) -> list[Event]:
    kind = params["kind"]
    found = [Event(int(1000 * at_s), "fleet", "fault_injected", thing, {"fault": kind, "params": params})]
    if until_s is not None:
        found.append(Event(int(1000 * until_s), "fleet", "fault_cleared", thing, {"fault": kind}))
    return found


def bad(at_s: float, thing: str = "a", metric: str = "temp_c") -> list[Event]:
    return [Event(int(1000 * at_s), "fleet", "out_of_range", thing, {"metric": metric, "value": 1, "limit": 0})]


def alarm(
    at_s: float, thing: str = "a", metric: str | None = "temp_c", closed_s: float | None = None
) -> dict[str, Any]:
    said = {} if metric is None else {"metric": metric}
    closed_at_ms = None if closed_s is None else int(1000 * closed_s)
    return {"thing": thing, "rule_id": "hot", "raised_at_ms": int(1000 * at_s), "closed_at_ms": closed_at_ms, **said}


def known(
    events: Sequence[Event],
    alarms: Sequence[Mapping[str, Any]] | None = (),
    devices: Sequence[str] = ("a",),
    **more: Any,
) -> Truth:
    of = {thing: "pump" if thing < "m" else "other" for thing in devices}
    return truth(Evidence(events, of, SUBJECTS, alarms, 0, 1000 * END_S, **more))


# events, alarms → faults to be noticed, noticed, times to detect and to close (s), true and false alarms
ALARMED: list[tuple[list[Event], list[dict[str, Any]], int, int, list[float], list[float], int, int]] = [
    ([], [], 0, 0, [], [], 0, 0),
    (began(100, HANG), [], 1, 0, [], [], 0, 0),
    (began(100, HANG), [alarm(150)], 1, 1, [50], [], 1, 0),
    ([*began(100, HANG), *bad(140)], [alarm(150, closed_s=200)], 1, 1, [10], [50], 1, 0),  # from the first bad sample
    ([*began(100, HANG), *bad(90), *bad(160)], [alarm(150)], 1, 1, [50], [], 1, 0),  # not those of another time
    ([*began(100, HANG), *bad(120, metric="x")], [alarm(150)], 1, 1, [50], [], 1, 0),  # nor those of another signal
    (began(100, HANG), [alarm(120, metric="x"), alarm(150)], 1, 1, [50], [], 2, 0),  # its own signal first
    (began(100, HANG), [alarm(120, metric="x")], 1, 1, [20], [], 1, 0),
    (began(100, HANG), [alarm(401)], 1, 0, [301], [], 1, 0),  # too late, and not false
    (began(100, HANG, until_s=110), [alarm(405)], 1, 0, [], [], 1, 0),
    (began(100, HANG, until_s=110), [alarm(415)], 1, 0, [], [], 0, 1),  # so long after it nothing excuses it
    (began(100, HANG), [alarm(99)], 1, 1, [], [], 0, 1),  # it was raised for nothing, and is right by now
    (began(100, HANG), [alarm(50, closed_s=99)], 1, 0, [], [], 0, 1),
    (began(100, HANG), [alarm(150, "b")], 1, 0, [], [], 0, 1),
    (began(100, HANG), [alarm(150, "stranger")], 1, 0, [], [], 0, 0),  # not ours to judge
    ([*began(100, HANG, until_s=200), *began(900, HANG)], [alarm(150, closed_s=210), alarm(950)],
     2, 2, [50, 50], [60], 2, 0),
    (began(100, SMALL), [alarm(150)], 0, 0, [], [], 0, 1),
    ([*began(100, SMALL), *began(120, HANG)], [alarm(150)], 1, 1, [30], [], 1, 0),
    (began(100, LOST), [alarm(150, metric="")], 1, 1, [50], [], 1, 0),
    (began(100, LOST), [alarm(150)], 1, 0, [], [], 1, 0),  # of something else; it may follow from it
    (began(100, HANG), [alarm(150, metric="")], 1, 0, [], [], 1, 0),
    (began(100, HANG), [alarm(150, metric=None)], 1, 1, [50], [], 1, 0),  # a backend that does not say
    (began(100, {"kind": "nobody knows it"}), [], 0, 0, [], [], 0, 0),
]  # fmt: skip


@pytest.mark.parametrize(("events", "alarms", "faults", "noticed", "detect", "close", "true", "false"), ALARMED)
def test_faults_and_alarms(
    events: list[Event], alarms: list[dict[str, Any]], faults: int, noticed: int, detect: list[float],
    close: list[float], true: int, false: int,
) -> None:  # fmt: skip
    score = known(events, alarms, ["a", "b"]).score()
    assert (score.faults, score.noticed) == (faults, noticed)
    assert [took_ms / 1000 for _, took_ms in score.detected] == detect
    assert [took_ms / 1000 for took_ms in score.close_ms] == close
    assert (score.alarms, score.false_alarms) == (true, false)


def test_what_is_not_noticed_by_an_alarm() -> None:
    refused = known(began(100, MANGLED), refusals=[("a", 99_000), ("b", 150_000), ("a", 160_000)]).score()
    assert (refused.noticed, refused.detected) == (1, [("a", 60_000)])
    assert known(began(100, MANGLED), refusals=[("a", 401_000)]).score().noticed == 0
    hung_up = Event(150_000, "fleet", "disconnected", "a", {"reason": "the server closed the connection"})
    assert known([*began(100, MANGLED), hung_up]).score().noticed == 1
    severed = hung_up._replace(detail={"reason": "severed"})
    assert known([*began(100, MANGLED), severed]).score().noticed == 0

    job = {"thing": "a", "job": "j", "version": "1.1.0"}
    for status, noticed in (("FAILED", 1), ("REJECTED", 1), ("TIMED_OUT", 1), ("SUCCEEDED", 0), ("QUEUED", 0)):
        assert known(began(100, REJECTED), executions=[{**job, "status": status}]).score().noticed == noticed
    assert known(began(100, OLD), disagreeing=frozenset(["a"])).score().noticed == 1
    assert known(began(100, OLD)).score().noticed == 0


def test_scores_by_fault_and_by_profile() -> None:
    devices = ["a", "b", "x", "y"]
    events = [*began(100, HANG, "a"), *began(100, HANG, "x"), *began(100, SMALL, "b")]
    found = known(events, [alarm(150, "a"), alarm(150, "b"), alarm(160, "y")], devices)
    total, by_fault, by_profile = found.table()
    assert (total.recall, total.precision, total.left_alone) == (0.5, 1 / 3, 1)
    assert total.missed == ["x (hang, no alarm, and nothing out of range)"]
    assert total.false_per_day == pytest.approx(2 / (4 * END_S / 86_400))
    assert [(s.of, s.faults, s.noticed, s.alarms, s.false_alarms) for s in by_fault] == [
        ("bias", 0, 0, 0, 1), ("hang", 2, 1, 1, 0), (NO_FAULT, 0, 0, 0, 1),
    ]  # fmt: skip
    assert [(s.of, s.devices, s.faults, s.noticed, s.alarms, s.false_alarms) for s in by_profile] == [
        ("other", 2, 1, 0, 0, 1), ("pump", 2, 1, 1, 1, 1),
    ]  # fmt: skip
    assert found.score("", faults=["hang"], profiles=["pump"]).recall == 1.0
    assert (by_fault[0].recall, by_fault[1].precision) == (None, 1.0)


def test_a_child_is_judged_by_its_hub() -> None:
    events = began(100, HANG, "a")
    for of, true, false in (({"child": "a"}, 1, 0), ({"child": "b"}, 0, 1), ({}, 0, 0)):
        score = known(events, [alarm(150, "child", metric="x")], ["a", "b"], carried_by=of).score()
        assert (score.alarms, score.false_alarms) == (true, false)


def test_who_was_switched_off_may_be_missed() -> None:
    gone = [
        Event(100_000, "fleet", "disconnected", "a", {"reason": "switched off"}),
        Event(200_000, "fleet", "connected", "a"),
    ]
    score = known(gone, [alarm(150, metric=""), alarm(250, metric=""), alarm(160)]).score()
    assert (score.alarms, score.false_alarms) == (0, 2)


def test_trouble_of_the_sandbox_is_to_be_left_alone() -> None:
    restart = {"kind": "part_restart", "part": "backend"}
    found = known(began(100, restart, "", 110), [alarm(120, metric=""), alarm(900)])
    total, by_fault, _ = found.table()
    assert (total.faults, total.left_alone, total.false_alarms) == (0, 1, 2)
    assert [(score.of, score.left_alone, score.false_alarms) for score in by_fault] == [
        (NO_FAULT, 0, 1), ("part_restart", 1, 1),
    ]  # fmt: skip


def test_a_backend_may_say_what_an_alarm_is_of() -> None:
    missed = {**alarm(150), "rule_type": "silence"}
    assert known(began(100, LOST), [missed]).score().noticed == 1
    assert known(began(100, LOST), [{**alarm(150, metric=""), "rule_type": "threshold"}]).score().noticed == 0


def test_a_backend_that_cannot_be_asked_notices_nothing() -> None:
    assert known(began(100, HANG), None).score().noticed == 0


@pytest.mark.parametrize(
    ("values", "percent", "found"),
    [([], 50, None), ([5], 1, 5), ([5], 100, 5), ([4, 1, 3, 2], 50, 2), ([4, 1, 3, 2], 51, 3), (range(1, 101), 95, 95)],
)
def test_percentiles(values: Sequence[int], percent: float, found: int | None) -> None:
    assert percentile(values, percent) == found


MOMENTS = st.integers(0, END_S)
STORIES = st.lists(
    st.tuples(st.sampled_from("abxy"), st.sampled_from([HANG, SMALL, LOST]), MOMENTS, MOMENTS), max_size=12
)
RAISED = st.lists(st.tuples(st.sampled_from("abxy"), MOMENTS, st.sampled_from(["temp_c", "", None])), max_size=12)


@given(stories=STORIES, raised=RAISED)
def test_every_fault_and_every_alarm_is_counted_once(
    stories: list[tuple[str, dict[str, Any], int, int]], raised: list[tuple[str, int, str | None]]
) -> None:
    events = [e for thing, what, at, lasts in stories for e in began(at, what, thing, at + lasts)]
    alarms = [alarm(at, thing, metric) for thing, at, metric in raised]
    found = known(sorted(events, key=lambda event: event.at_ms), alarms, "abxy")
    total, by_fault, by_profile = found.table()
    assert total.faults + total.left_alone == len(stories)
    assert total.alarms + total.false_alarms == len(alarms)
    for rows in (by_fault, by_profile):
        for name in ("faults", "noticed", "left_alone", "alarms", "false_alarms"):
            assert sum(getattr(row, name) for row in rows) == getattr(total, name)
    assert total.noticed + len(total.missed) == total.faults
    assert all(took_ms >= 0 for _, took_ms in total.detected)
