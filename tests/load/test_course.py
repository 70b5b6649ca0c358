"""The course of a load: bounded, exact whatever was merged, and the worst of its gauges stays."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.histogram import VALUE_MAX, Histogram, bucket, middle, middles
from simulator.runtime.course import ROWS_MAX, Course, Gauges, frozen
from simulator.runtime.meter import Row

START_MS = 1_000_000


def row(*latencies_ns: int, method: str = "MQTT", name: str = "telemetry", failed: int = 0) -> Row:
    made = Row(method, name)
    for value in latencies_ns:
        made.latency.add(value)
    if failed:
        made.fail("refused", failed)
    return made


samples = st.lists(
    st.tuples(st.integers(0, 100), st.integers(0, 10**11), st.sampled_from(["telemetry", "alert_report"])),
    min_size=1, max_size=200,
)  # fmt: skip


@settings(deadline=None)
@given(samples)
def test_nothing_is_lost_however_often_stretches_become_one(said: list[tuple[int, int, str]]) -> None:
    course, together = Course(START_MS, 4), Histogram()
    for second, value, name in sorted(said, key=lambda one: one[0]):
        course.add([row(value, name=name, failed=1)], START_MS + 1000 * second)
        together.add(value)
    stretches = course.stretches()
    assert len(stretches) <= 4
    assert sum(of.failed_of("all") for _, of in stretches) == len(said)
    counts: dict[int, int] = {}
    for _, of in stretches:
        found = of.of("all")
        for index, times in zip(found.buckets.tolist(), found.counts.tolist(), strict=True):
            counts[index] = counts.get(index, 0) + times
    assert counts == together.counts


@given(st.lists(st.integers(0, VALUE_MAX), min_size=1, max_size=300))
def test_percentiles_are_those_of_the_histogram(values: list[int]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    wanted = [histogram.quantile(q) for q in (0.5, 0.95, 0.99)]
    assert histogram.quantiles(0.5, 0.95, 0.99) == wanted
    found = frozen(histogram).quantiles_ms()
    assert found is not None
    assert np.allclose(found, [value / 1e6 for value in wanted], rtol=1e-9, atol=0.0006)


@given(st.lists(st.integers(0, VALUE_MAX), min_size=1, max_size=100))
def test_the_middles_of_many_buckets_are_those_of_each(values: list[int]) -> None:
    indexes = [bucket(value) for value in values]
    assert middles(np.array(indexes, np.int32)).tolist() == [middle(index) for index in indexes]


def test_nothing_measured_has_no_percentiles() -> None:
    course = Course(START_MS)
    course.add([], START_MS + 2500)
    assert [of.quantiles_ms("all") for _, of in course.stretches()] == [None, None, None]


def test_the_worst_of_the_gauges_stays() -> None:
    course = Course(START_MS, 4)
    for second in range(17):
        connected = {"MQTT": 3 if second == 2 else 10, "TCP": 5}
        course.gauge(START_MS + 1000 * second, Gauges(second * 7, second * 6, 15, connected, int(second == 1)))
    assert course.every_s == 8
    first, last, _ = (of for _, of in course.stretches())
    assert (first.connected, first.alarms_open, first.on) == ({"MQTT": 3, "TCP": 5}, 1, 15)
    assert (last.connected, last.alarms_open) == ({"MQTT": 10, "TCP": 5}, 0)
    assert first.attempted + last.attempted == 15 * 7, "what came since the first look"


def test_groups_are_of_messages_and_people_are_apart() -> None:
    course = Course(START_MS)
    course.add(
        [row(1_000_000), row(9_000_000_000, name="connect"), row(2_000_000, method="TCP"),
         row(3_000_000, method="GET", name="GET alarms")], START_MS,
    )  # fmt: skip
    ((_, stretch),) = course.stretches()
    assert int(stretch.of("all").counts.sum()) == 2
    assert int(stretch.of("MQTT").counts.sum()) == 1
    assert stretch.quantiles_ms("people") == (3.0, 3.0, 3.0)


def test_what_has_too_many_names_becomes_other() -> None:
    course = Course(START_MS)
    course.add([row(1, name=f"kind-{i}") for i in range(ROWS_MAX + 5)], START_MS)
    ((_, stretch),) = course.stretches()
    assert len(stretch.rows) == ROWS_MAX + 1
    assert int(stretch.rows["MQTT", "other"].counts.sum()) == 5
