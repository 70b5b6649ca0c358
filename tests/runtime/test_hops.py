"""How far messages came at which time: counts by hop, and the time until they were stored by when they were said."""

from collections import Counter

import numpy as np

from simulator.audit import Subject
from simulator.matching import Lives
from simulator.runtime.course import Course
from simulator.runtime.hops import Hops
from simulator.runtime.meter import Row

START_MS = 10_000


def made() -> Hops:
    course = Course(START_MS)
    course.add([], START_MS + 2999)  # three stretches
    subjects = [Subject("telemetry", "car"), Subject("telemetry", "machine"), Subject("alert_report", "car")]
    said = [0, 500, 1000, 1100, 2000, 2100]
    answered = [5, 505, 1005, -1, 2900, 2105]
    stored = [10, 510, 2900, -1, 2890, 9000]
    of = [0, 0, 0, 1, 1, 2]
    said_ms, answered_ms, stored_ms = (
        np.array([START_MS + ms if ms >= 0 else -1 for ms in column]) for column in (said, answered, stored)
    )
    hops = Hops(lambda thing: {"car": "MQTT", "machine": "TCP"}[thing], course)
    for some in (slice(0, 4), slice(4, 6)):
        subject = np.array(of, np.uint32)[some]
        hops.add(Lives(subjects, subject, said_ms[some], answered_ms[some], stored_ms[some]))
    return hops


def test_counts_are_of_when_each_thing_happened() -> None:
    stage = made().stage(["MQTT"])
    assert stage.attempted.tolist() == [2, 1, 1]
    assert stage.acknowledged.tolist() == [2, 1, 1]
    assert stage.stored.tolist() == [2, 0, 2], "what came after the last stretch is in the last"
    stage = made().stage(["TCP"])
    assert (stage.attempted.tolist(), stage.acknowledged.tolist()) == ([0, 1, 1], [0, 0, 1])


def test_the_time_until_it_is_stored_is_of_when_it_was_said() -> None:
    stage = made().stage(["MQTT"], ["telemetry"])
    found = [stage.until_stored_ms(i) for i in range(3)]
    assert found == [(10.0, 10.0, 10.0), (1900.0, 1900.0, 1900.0), None]


def test_what_still_comes_is_of_the_last_stretch() -> None:
    course = Course(START_MS, 4)
    course.add([], START_MS + 2500)
    course.end()
    course.add([Row("MQTT", "telemetry", untimed=1, failed=Counter({"lost": 1}))], START_MS + 60_000)
    stretches = course.stretches()
    assert len(stretches) == 3
    assert stretches[-1][1].failed_of("all") == 1


def test_rows_are_by_method_and_kind() -> None:
    found = {(row.method, row.name): row.latency for row in made().rows()}
    assert {key: of.count for key, of in found.items()} == {
        ("MQTT", "telemetry → stored"): 3, ("TCP", "telemetry → stored"): 1, ("MQTT", "alert_report → stored"): 1,
    }  # fmt: skip
    assert found["TCP", "telemetry → stored"].high == 890_000_000


def test_nobody_said_anything() -> None:
    nothing = np.empty(0, np.int64)
    hops = Hops(lambda thing: "MQTT", Course(START_MS))
    hops.add(Lives([], np.empty(0, np.uint32), nothing, nothing, nothing))
    assert (list(hops.rows()), hops.stage(["MQTT"]).until_stored_ms(0)) == ([], None)
