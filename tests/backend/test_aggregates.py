"""Aggregates come to the same whatever the order, however often, and through whatever crash the input comes."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.backend.effects import SaveDevice, StoreTelemetry
from simulator.backend.platform import rollup
from simulator.backend.platform.outcomes import Placed, SaveMaster
from simulator.backend.platform.queries import PERIODS_MS, PlatformQueries
from simulator.backend.platform.rollup import SCALE, exact_sum
from simulator.backend.store import Store
from tests.backend.platform_world import NOW_MS, Start, worlds

HOUR_MS = 3_600_000
THINGS = {
    "a": ("prod-a", {"customerId": "north", "site": "n-1"}), "b": ("prod-a", {"customerId": "south"}),
    "c": ("prod-b", {"customerId": "north"}), "d": (None, {}),
}  # fmt: skip

Sample = tuple[str, int, float]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with worlds(tmp_path / "state", THINGS) as begin:
        yield begin


def windows(queries: PlatformQueries) -> dict[tuple[str, Any, str, int], Any]:
    """All aggregates."""
    found = [
        one
        for period in ("hour", "6h", "day")
        for customer in (None, "*")
        for one in queries.aggregates(period, customer=customer, limit=1000)["aggregates"]
    ]
    return {
        (one["period"], one["customer"], one["product"], one["start_ms"]): (one["records"], one["metrics"])
        for one in found
    }


def test_hours_and_days_of_products_and_customers(start: Start) -> None:
    world = start()
    for hour, thing, t in [(0, "a", 1.0), (0, "b", 2.0), (5, "a", 4.0), (6, "a", 8.0), (23, "b", 16.0), (0, "c", 5)]:
        world.say(thing, NOW_MS + hour * HOUR_MS, t=t, on=t > 3, gear="D")
    world.settle()
    found = windows(world.platform)
    sums = {key: metrics["t"]["sum"] for key, (_, metrics) in found.items()}
    hour, day = NOW_MS, NOW_MS
    assert sums == {
        ("hour", None, "prod-a", hour): 3, ("hour", None, "prod-a", hour + 5 * HOUR_MS): 4,
        ("hour", None, "prod-a", hour + 6 * HOUR_MS): 8, ("hour", None, "prod-a", hour + 23 * HOUR_MS): 16,
        ("hour", None, "prod-b", hour): 5,
        ("6h", None, "prod-a", hour): 7, ("6h", None, "prod-a", hour + 6 * HOUR_MS): 8,
        ("6h", None, "prod-a", hour + 18 * HOUR_MS): 16, ("6h", None, "prod-b", hour): 5,
        ("day", None, "prod-a", day): 31, ("day", None, "prod-b", day): 5,
        ("day", "north", "prod-a", day): 13, ("day", "south", "prod-a", day): 18, ("day", "north", "prod-b", day): 5,
    }  # fmt: skip
    records, metrics = found["day", None, "prod-a", day]
    assert (records, set(metrics)) == (5, {"t", "on"})
    assert metrics["t"] == {"count": 5, "mean": 6.2, "min": 1.0, "max": 16.0, "sum": 31.0}
    assert metrics["on"] == {"count": 5, "mean": 0.6, "min": 0.0, "max": 1.0, "sum": 3.0}


def test_they_can_be_asked_for(start: Start) -> None:
    world = start()
    world.now_ms += 30 * HOUR_MS
    for hour in range(30):
        world.say("a", NOW_MS + hour * HOUR_MS, t=hour)
        world.say("c", NOW_MS + hour * HOUR_MS, t=hour)
    world.settle()
    asked = world.platform.aggregates
    hours = asked("hour", product="prod-b", since_ms=NOW_MS + 3 * HOUR_MS, until_ms=NOW_MS + 5 * HOUR_MS)
    assert [one["start_ms"] - NOW_MS for one in hours["aggregates"]] == [3 * HOUR_MS, 4 * HOUR_MS]
    assert hours["aggregates"][0]["end_ms"] == NOW_MS + 4 * HOUR_MS
    assert {one["customer"] for one in asked("day", customer="north")["aggregates"]} == {"north"}
    assert not asked("day", customer="west")["aggregates"]
    after, seen = 0, []
    while page := (found := asked("hour", after=after, limit=7))["aggregates"]:
        seen += [(one["product"], one["start_ms"]) for one in page]
        after = found["next"]
    assert len(seen) == len(set(seen)) == 60
    assert asked("hour", after=after)["next"] == after


# -- disorder


@st.composite
def disordered(draw: st.DrawFn) -> tuple[list[Sample], list[Sample]]:
    """Samples in order, and as they come: in any order, some more than once."""
    numbers = st.sampled_from([0.1, 0.2, 0.3, 1e15, -1e15, 1e-9, 3e-15, 0.0, 1 / 3]) | st.floats(-1e15, 1e15)
    times = st.sampled_from([0, 1, HOUR_MS - 1, HOUR_MS, 7 * HOUR_MS, 24 * HOUR_MS]) | st.integers(0, 48 * HOUR_MS)
    samples = draw(
        st.lists(
            st.tuples(st.sampled_from("abcd"), times, numbers), min_size=1, max_size=40, unique_by=lambda one: one[:2]
        )
    )
    again = draw(st.lists(st.sampled_from(samples), max_size=20))
    return sorted(samples, key=lambda one: one[1]), draw(st.permutations(samples + again))


def kept(came: list[Sample], batches: int, crash_every: int, known_from: int = 0) -> dict[Any, Any]:
    """What the table holds in the end."""
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for i, (thing, offset_ms, value) in enumerate(came):
            if i == known_from:
                _know(store)
            store.add(
                StoreTelemetry(
                    thing, "platform", offset_ms, None, NOW_MS + offset_ms, None, NOW_MS, f'{{"v":{value!r}}}'
                )
            )
            if i % batches == 0:
                store.commit({}, {})
                store.roll_up()
            elif crash_every and i % crash_every == 0:
                store.commit({}, {})
                store.close()
                store = Store(Path(folder))  # what was not added up yet is added up now
        if known_from >= len(came):
            _know(store)
        store.commit({}, {})
        while store.roll_up():
            pass
        rows = store._db.execute("SELECT period, customer, product, start_ms, records, metrics FROM aggregates")
        found = {row[:4]: row[4:] for row in rows}
        store.close()
        return found


def _know(store: Store) -> None:
    for thing, (product, attributes) in THINGS.items():
        if product:
            store.add(SaveDevice(thing, product, 0, 0))
            store.add(SaveMaster(thing, "", attributes["customerId"], "put"))
        store.add(Placed(thing, product or ""))


@settings(max_examples=80, deadline=None)
@given(disordered(), st.integers(1, 9), st.integers(0, 7))
def test_disorder_repeats_and_crashes_come_to_the_same_aggregates(
    both: tuple[list[Sample], list[Sample]], batches: int, crash_every: int
) -> None:
    said, came = both
    sound = kept(said, 1000, 0)
    # A device that is known to have no product is looked up again after a restart, so `d` is left out of crashes.
    if crash_every:
        said, came = ([one for one in samples if one[0] != "d"] for samples in both)
        sound = kept(said, 1000, 0)
    assert kept(came, batches, crash_every) == sound


@settings(max_examples=60, deadline=None)
@given(disordered(), st.integers(1, 9), st.integers(0, 40), st.integers(0, 7))
def test_what_comes_before_the_product_is_known_counts_all_the_same(
    both: tuple[list[Sample], list[Sample]], batches: int, known_from: int, crash_every: int
) -> None:
    said, came = ([one for one in samples if one[0] != "d"] for samples in both)
    found = kept(came, batches, crash_every, min(known_from, len(came)))
    assert not [key for key in found if key[0] == "held"]
    assert found == kept(said, 1000, 0)


@given(st.lists(st.integers(-1000, 1000) | st.floats(-1e15, 1e15) | st.booleans(), min_size=1, max_size=50))
def test_a_sum_is_exact(column: list[Any]) -> None:
    cut = [int(Fraction(value) * SCALE) for value in column]  # towards zero, as ever
    assert exact_sum(tuple(column), min(column), max(column)) == sum(cut)


@pytest.mark.parametrize("least", [2.0**-12, 2.0**-12 - 2.0**-65, 1e-300])
def test_small_numbers_are_cut_off_one_by_one(least: float) -> None:
    column = (1.0, least, least, -least)
    assert exact_sum(column, -least, 1.0) == SCALE + int(Fraction(least) * SCALE)


# -- who it is counted for


def test_a_device_waits_for_its_product_over_a_restart(start: Start) -> None:
    world = start()
    world.answers = False
    world.say("a", t=1)
    world.settle()
    assert not windows(world.platform)
    world.again()
    world.answers = True
    world.say("a", NOW_MS + 1, t=2)
    world.settle()
    assert windows(world.platform)["day", "north", "prod-a", NOW_MS][0] == 2
    assert world.store._db.execute("SELECT count(*) FROM aggregates WHERE period = 'held'").fetchone()[0] == 0


def test_a_device_without_a_product_counts_for_none(start: Start) -> None:
    world = start()
    world.say("d", t=1)
    world.settle()
    assert {key[:3] for key in windows(world.platform)} == {("hour", None, ""), ("6h", None, ""), ("day", None, "")}


def test_a_customer_counts_from_when_it_has_the_device(start: Start) -> None:
    world = start()
    world.say("a", t=1)
    world.settle()
    world.changes.put_master(b'{"devices": [{"device_id": "a", "customer_id": "west"}]}')
    world.say("a", NOW_MS + 1, t=2)
    world.settle()
    found = windows(world.platform)
    assert (found["day", "north", "prod-a", NOW_MS][0], found["day", "west", "prod-a", NOW_MS][0]) == (1, 1)
    assert found["day", None, "prod-a", NOW_MS][0] == 2


# -- bounds


def test_a_window_has_room_for_so_many_metrics(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "METRICS_MAX", 3)
    world = start()
    world.say("a", t=1, u=2, v=3)
    world.settle()
    world.say("a", NOW_MS + 1, w=1, t=5)
    world.settle()
    assert set(windows(world.platform)["hour", None, "prod-a", NOW_MS][1]) == {"t", "u", "v"}
    assert world.platform.counts()["aggregates.metrics_lost"] == 4, "of three periods and of the customer"


def test_too_many_that_wait_count_for_no_product(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "HELD_MAX", 1)
    world = start()
    world.answers = False
    world.say("a", t=1)
    world.say("c", t=1)
    world.settle()
    assert world.platform.counts()["aggregates.not_held"] == 1
    assert windows(world.platform)["hour", None, "", NOW_MS][0] == 1


def test_windows_in_memory_and_in_the_table_have_a_bound(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "OPEN_MAX", 2)
    world = start()
    for hour in (0, 30, 0, 30, 1):
        world.say("a", NOW_MS + hour * HOUR_MS + world.now_ms % 1000, t=1)
        world.now_ms += 1
        world.settle()
    assert windows(world.platform)["day", None, "prod-a", NOW_MS][0] == 3
    assert len(world.store._platform.rollup._open) <= 2
    world.store.prune(NOW_MS + rollup.KEPT_MS["hour"] + 2 * HOUR_MS)
    assert {key[0] for key in windows(world.platform) if key[3] < NOW_MS + HOUR_MS} == {"6h", "day"}
    monkeypatch.setattr(rollup, "ROWS_KEPT_MAX", 0)
    world.store.prune(NOW_MS)
    assert not windows(world.platform)


def test_much_is_added_up_a_little_at_a_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "ROWS_MAX", 3)
    world = start()
    for i in range(7):
        world.say("a", NOW_MS + i, t=i)
    world.pipeline.commit()
    assert [world.store.roll_up() for _ in range(4)] == [3, 3, 1, 0]


def test_time_adds_up_by_itself(start: Start) -> None:
    world = start()
    world.say("a", t=1)
    world.wait(10)
    assert windows(world.platform)["hour", None, "prod-a", NOW_MS][0] == 1


def test_periods_are_those_of_the_contract() -> None:
    assert PERIODS_MS == {"hour": HOUR_MS, "6h": 6 * HOUR_MS, "day": 24 * HOUR_MS}
