"""Late, repeated and out-of-order records come to the same end as sorted ones, and take a bounded memory."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.backend.fire import history
from simulator.backend.fire.analysis import FORGET_MS, Fire
from simulator.backend.fire.history import HISTORY_MAX, HOUR_MS, LATE_MAX, LATE_MS, Log, entry_of
from simulator.backend.fire.state import QUIET
from tests.backend.fire_records import (
    BLAZE,
    HOT,
    NORMAL,
    SMOKE,
    START_MS,
    Analysis,
    Kept,
    Said,
    metrics,
    reading,
    series,
)

KINDS: list[dict[str, Any]] = [{}, {}, SMOKE, HOT, BLAZE, {"arc_count": 2, "status": 1 << 11}, {"sensorTemp": 55.0}]


@st.composite
def conversations(draw: st.DrawFn) -> list[Said]:
    """Records of up to three sensors, in order."""
    said: list[Said] = []
    for thing in draw(st.sampled_from([["a"], ["a", "b"], ["a", "b", "c"]])):
        at_ms, kind, idx = START_MS, 0, 0
        for _ in range(draw(st.integers(0, 40))):
            idx = draw(st.sampled_from([idx + 1] * 15 + [0]))
            if idx == 0:  # now and then a sensor restarts; one that is back sooner looks as if it said the same again
                at_ms += LATE_MS
            at_ms += draw(st.sampled_from([0, 1, 700, 5_000, 30_000, 61_000, 170_000]))
            kind = draw(st.just(kind) | st.integers(0, len(KINDS) - 1))
            warmer = draw(st.floats(0, 3, width=16))
            changes = KINDS[kind]
            values = metrics(**(changes | {"pcbTemp": changes.get("pcbTemp", 35.0) + warmer}))
            said.append(Said(thing, at_ms, idx, values))
    return sorted(said, key=lambda one: (one.at_ms, one.thing, one.idx))


@st.composite
def disordered(draw: st.DrawFn) -> tuple[list[Said], list[Said]]:
    """Records in order, and as they come: none later than the bound, some more than once."""
    said = draw(conversations())
    lateness = st.integers(0, LATE_MS - 1)
    late = [(one.at_ms + draw(st.just(0) | lateness), i, one) for i, one in enumerate(said)]
    again = [(one.at_ms + draw(lateness), i, one) for i, one in enumerate(said) if draw(st.integers(0, 9)) == 0]
    return said, [one for _, _, one in sorted(late + again, key=lambda arrival: arrival[:2])]


SITES = {"a": "s", "b": "s"}  # c stands elsewhere


def same(one: Kept, other: Kept) -> None:
    assert one.risks == other.risks
    assert one.alerts == other.alerts
    assert one.windows == other.windows
    assert one.findings == other.findings
    assert one.states == other.states


@settings(max_examples=150, deadline=None)
@given(disordered())
def test_disorder_comes_to_the_same_end(both: tuple[list[Said], list[Said]]) -> None:
    said, came = both
    sound, disturbed = Analysis(**SITES).hear(*said), Analysis(**SITES).hear(*came)
    assert disturbed.fire.fates["too_late"] == 0
    assert disturbed.fire.fates["repeated"] == len(came) - len(said)
    same(disturbed.end(), sound.end())


@settings(max_examples=60, deadline=None)
@given(disordered(), st.integers(1, 50))
def test_windows_that_time_closed_are_mended_by_what_comes_later(
    both: tuple[list[Said], list[Said]], every: int
) -> None:
    said, came = both
    sound, disturbed = Analysis(**SITES).hear(*said), Analysis(**SITES)
    for i, one in enumerate(came):
        disturbed.hear(one)
        if i % every == 0:
            disturbed.kept.write(disturbed.fire.tick(one.at_ms + LATE_MS))
    same(disturbed.end(), sound.end())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 5_000, 400_000, 900_000]), st.integers(0, 90), st.integers(0, 3)),
                min_size=10, max_size=60), st.data())  # fmt: skip
def test_push_and_pop_undo_each_other(steps: list[tuple[int, int, int]], data: st.DataObject) -> None:
    log, at_ms = Log(), START_MS
    for idx, (gap_ms, celsius, arcs) in enumerate(steps):
        at_ms += gap_ms
        log.aim(at_ms)
        log.push(entry_of(at_ms, idx, idx, reading(pcbTemp=float(celsius), arc_count=arcs)), 0, QUIET)
    popped = [log.pop() for _ in range(data.draw(st.integers(0, len(steps))))]
    for entry in reversed(popped):
        log.aim(entry.at_ms)
        log.push(entry, 0, QUIET)
    log.aim(at_ms)
    within = [i for i, moment in enumerate(log.at_ms) if moment > at_ms - HOUR_MS]
    temperatures = [log.temperature[i] for i in within]
    assert (log._sum, log._squares) == (sum(temperatures), sum(t * t for t in temperatures))
    assert log._arcs == sum(log.arcs[i] for i in within)


def test_a_record_beyond_the_bound_changes_nothing() -> None:
    said = series("a", 60, *[{}] * 20)
    analysis = Analysis().hear(*said)
    before = analysis.kept.states["a"], dict(analysis.kept.risks)
    late = Said("a", said[-1].at_ms - LATE_MS - 1, 99, metrics(**BLAZE))
    analysis.hear(late)
    assert analysis.fire.fates == {"next": 20, "too_late": 1}
    assert (analysis.kept.states["a"], analysis.kept.risks) == before
    analysis.hear(late._replace(at_ms=said[-1].at_ms - LATE_MS))
    assert analysis.fire.fates["late"] == 1
    assert analysis.kept.risks != before[1]


def test_nor_one_that_too_many_came_after() -> None:
    analysis = Analysis().hear(*series("a", 0.1, *[{}] * (LATE_MAX + 10)))
    analysis.hear(Said("a", START_MS + 500, 9999, metrics()))
    assert analysis.fire.fates["too_late"] == 1


def test_a_redelivered_record_is_known_though_it_comes_later() -> None:
    said = series("a", 5, *[{}] * 10)
    analysis = Analysis().hear(*said)
    taken = analysis.fire.take("a", said[-1].at_ms + 3000, said[4].idx, said[4].key, said[4].metrics)
    assert taken is not None
    assert taken.fate == "repeated"
    assert not taken.writes


def test_an_index_that_begins_again_is_no_repeat() -> None:
    analysis = Analysis().hear(*series("a", 5, *[{}] * 30), *series("a", 5, *[{}] * 30, from_s=200))
    assert analysis.fire.fates == {"next": 60}


@pytest.mark.parametrize("every_s", [0.05, 1.0, 60.0])
def test_memory_has_a_bound(every_s: float) -> None:
    log = Log()
    for idx in range(3 * (HISTORY_MAX + LATE_MAX)):
        at_ms = START_MS + int(1000 * every_s * idx)
        log.aim(at_ms)
        log.push(entry_of(at_ms, idx, idx, reading(**BLAZE)), 0, QUIET)
    within = (HOUR_MS + LATE_MS) / (1000 * every_s)
    assert len(log) <= min(within, HISTORY_MAX + LATE_MAX) + history._TRIM
    assert sum(one is not None for one in log.readings) <= LATE_MAX
    assert len(log.states) == len(log.readings) == len(log.at_ms)


def test_a_trimmed_log_goes_back_as_far_as_it_must() -> None:
    said = series("a", 1, *[{"arc_count": i % 40 == 0, "pcbTemp": 35 + i % 7} for i in range(9000)])
    held = said[-500]
    sound, disturbed = Analysis().hear(*said), Analysis().hear(*[one for one in said if one is not held], held)
    assert disturbed.fire.fates["late"] == 1
    same(disturbed.end(), sound.end())


def test_who_is_silent_for_long_is_forgotten_but_not_with_an_open_alert() -> None:
    analysis = Analysis().hear(*series("a", 5, *[{}] * 9), *series("b", 5, *[BLAZE] * 9))
    analysis.kept.write(analysis.fire.tick(START_MS + FORGET_MS + 60_000))
    assert set(analysis.fire._devices) == {"b"}
    analysis.kept.write(analysis.fire.tick(START_MS + 9 * FORGET_MS))
    assert analysis.fire.alert_of("b") is not None


def test_the_number_of_sensors_has_a_bound() -> None:
    fire = Fire(devices_max=1)
    assert fire.take("a", START_MS, 1, 1, NORMAL) is not None
    assert fire.take("b", START_MS, 1, 1, NORMAL) is None
    assert fire.fates["too_many"] == 1
