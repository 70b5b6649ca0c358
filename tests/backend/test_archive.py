"""Retention: a sample is in the store or in a long-term file, once, whatever is interrupted."""

import gzip
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.backend import store as store_module
from simulator.backend.platform import archive
from simulator.backend.platform.archive import file_name
from simulator.backend.platform.queries import PlatformQueries
from simulator.backend.store import Store
from tests.backend.platform_world import NOW_MS, Start, World, worlds

DAY_MS = 86_400_000
OLD_MS = NOW_MS + store_module.TELEMETRY_KEPT_MS + 3 * DAY_MS
THINGS = {"a": ("prod-a", {}), "b": ("Prod B/1", {}), "c": (None, dict[str, str]())}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with worlds(tmp_path / "state", THINGS) as begin:
        yield begin


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PIECE_ROWS", 7)


def fill(world: World, count: int = 20, step_ms: int = 3_600_000) -> None:
    for i in range(count):
        world.now_ms = NOW_MS + i * step_ms
        for thing in THINGS:
            world.say(thing, t=i, s='a "b"\n')
        world.pipeline.commit()
    world.settle()


def in_store(store: Store) -> list[tuple[str, int]]:
    return store._db.execute("SELECT device_id, device_timestamp FROM telemetry").fetchall()


def in_files(store: Store) -> list[tuple[str, int]]:
    """What zcat sees."""
    lines = [
        orjson.loads(line)
        for path in sorted((store.path.parent / archive.FOLDER).glob("*/*.gz"))
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    return [(line["device_id"], line["device_timestamp"]) for line in lines]


def move_all(store: Store, now_ms: int = OLD_MS) -> None:
    while store.archive_telemetry(now_ms):
        pass


def test_what_is_old_is_moved_by_day_and_product(start: Start, small: None) -> None:
    world = start()
    fill(world, 30)
    everything = sorted(in_store(world.store))
    move_all(world.store)
    assert len(in_store(world.store)) == 1, "the last row stays"
    assert sorted(in_store(world.store) + in_files(world.store)) == everything
    root = world.store.path.parent / archive.FOLDER
    assert sorted(str(path.relative_to(root)) for path in root.glob("*/*")) == [
        f"{day}/{name}" for day in ("2026-01-01", "2026-01-02")
        for name in sorted(file_name(product) for product in ("prod-a", "Prod B/1", ""))
    ]  # fmt: skip
    assert world.platform.counts()["archive.moved"] == 89
    move_all(world.store)
    assert len(in_files(world.store)) == 89


def test_it_can_still_be_asked_for(start: Start, small: None) -> None:
    world = start()
    fill(world, 30)
    move_all(world.store)
    since, until = NOW_MS + 5 * 3_600_000, NOW_MS + 9 * 3_600_000
    found = world.platform.archive("a", since, until)
    assert found["complete"]
    assert [(one["device_timestamp"] - since) // 3_600_000 for one in found["samples"]] == [0, 1, 2, 3]
    assert found["samples"][0] == {
        "device_id": "a", "stream": "platform", "key": since, "hub_id": None, "device_timestamp": since,
        "hub_timestamp": None, "ingest_timestamp": since, "metrics": {"t": 5, "s": 'a "b"\n'}, "idx": None,
    }  # fmt: skip
    part = world.platform.archive("a", since, OLD_MS, 3)
    assert (len(part["samples"]), part["complete"]) == (3, False)
    assert part["samples"] == found["samples"][:3]
    assert world.platform.archive("nobody", 0, OLD_MS) == {"samples": [], "complete": True}


def test_a_question_reads_so_much_at_most(start: Start, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "READ_MAX", 1000)
    world = start()
    fill(world, 30)
    move_all(world.store)
    found = world.platform.archive("a", 0, OLD_MS, 1000)
    assert not found["complete"]
    assert 0 < len(found["samples"]) < 10


def test_what_is_young_stays(start: Start) -> None:
    world = start()
    fill(world, 20)
    young_ms = NOW_MS + store_module.TELEMETRY_KEPT_MS
    assert not world.store.archive_telemetry(young_ms + 1)
    assert len(in_store(world.store)) == 60, "few of them wait for more, for an hour"
    world.store.archive_telemetry(young_ms + 3_600_001)
    assert len(in_store(world.store)) == 54, "those of the first hour and of the second"


def test_how_long_it_stays_is_configured(start: Start) -> None:
    world = start()
    fill(world, 3)
    world.store.telemetry_kept_ms = 0
    move_all(world.store, world.now_ms + 3_600_001)
    assert len(in_store(world.store)) == 1


def test_what_is_too_much_is_moved_though_it_is_young(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "TELEMETRY_MAX", 10)
    world = start()
    fill(world, 20)
    move_all(world.store, world.now_ms)
    assert (len(in_store(world.store)), len(in_files(world.store))) == (10, 50)


def test_what_is_not_in_the_aggregates_yet_stays(start: Start) -> None:
    world = start()
    world.say("a", t=1)
    world.pipeline.commit()
    move_all(world.store)
    assert len(in_store(world.store)) == 1


def test_a_clock_that_was_wrong_loses_nothing(start: Start, small: None) -> None:
    world = start()
    fill(world, 3)
    world.now_ms = OLD_MS + DAY_MS  # for a moment
    world.say("a", t=1)
    world.pipeline.commit()
    world.now_ms = NOW_MS + 4 * 3_600_000
    world.say("a", t=2)
    world.say("b", t=2)
    world.settle()
    everything = sorted(in_store(world.store))
    move_all(world.store)
    assert sorted(in_store(world.store) + in_files(world.store)) == everything


# -- crashes


class Crash(Exception):
    """The process ends here."""


@pytest.mark.parametrize("at", range(6))
def test_a_crash_loses_nothing_and_doubles_nothing(
    start: Start, small: None, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Somewhere between the writing of a piece and its registration."""
    world = start()
    fill(world, 12)
    everything = sorted(in_store(world.store))
    assert world.store.archive_telemetry(OLD_MS)
    syncs = 0
    real = os.fsync

    def sync(number: int) -> None:
        nonlocal syncs
        real(number)
        syncs += 1
        if syncs > at:
            raise Crash

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(Crash):
        move_all(world.store)
    monkeypatch.setattr(os, "fsync", real)
    assert len(in_store(world.store) + in_files(world.store)) >= len(everything)
    world.again()
    assert sorted(in_store(world.store) + in_files(world.store)) == everything, "what was not registered is cut off"
    move_all(world.store)
    assert sorted(in_store(world.store) + in_files(world.store)) == everything


def test_a_transaction_that_fails_is_as_if_it_had_not_been(
    start: Start, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = start()
    fill(world, 12)
    everything = sorted(in_store(world.store))
    monkeypatch.setattr(archive, "_COUNT", "INSERT INTO nowhere VALUES (?, ?)")
    with pytest.raises(sqlite3.OperationalError):
        world.store.archive_telemetry(OLD_MS)
    assert sorted(in_store(world.store)) == everything
    monkeypatch.undo()
    move_all(world.store)
    assert Counter(in_store(world.store) + in_files(world.store)) == Counter(everything)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=12))
def test_moving_in_any_steps_with_any_restarts(tmp_path_factory: Any, steps: list[tuple[int, bool]]) -> None:
    world = World(tmp_path_factory.mktemp("state"), THINGS)
    said = 0
    for hours, restart in steps:
        for _ in range(hours):
            said += 1
            world.now_ms += 3_600_000
            world.say("a", t=said)
        world.settle()
        move_all(world.store, world.now_ms + store_module.TELEMETRY_KEPT_MS)
        if restart:
            world.again()
    found = in_store(world.store) + in_files(world.store)
    world.stop()
    assert len(found) == len(set(found)) == said


# -- the bound


def test_the_oldest_day_goes_when_there_is_too_much(start: Start, small: None) -> None:
    world = start()
    world.store.archive.bytes_max = 900
    fill(world, 30, 4 * 3_600_000)
    move_all(world.store)
    assert world.store.archive.bytes <= 900 or len({path for (path,) in _days(world.store)}) == 1
    counts = world.platform.counts()
    assert counts["archive.dropped"] == counts["archive.moved"] - len(in_files(world.store)) > 0
    assert not world.platform.archive("a", NOW_MS, NOW_MS + DAY_MS)["samples"]
    assert not (world.store.path.parent / archive.FOLDER / "2026-01-01").exists()


def _days(store: Store) -> list[tuple[str]]:
    return store._db.execute("SELECT DISTINCT day FROM archive_pieces").fetchall()


def test_a_file_that_has_gone_is_no_error(start: Start, small: None) -> None:
    world = start()
    fill(world, 12)
    move_all(world.store)
    for path in (world.store.path.parent / archive.FOLDER).glob("*/*.gz"):
        path.unlink()
    queries = PlatformQueries(world.store.path)
    assert queries.archive("a", 0, OLD_MS) == {"samples": [], "complete": True}
    queries.close()


@pytest.mark.parametrize(
    "product", ["", "prod-a", "PROD-A", "../../etc/passwd", "a/b", "a_b", "ü", "x" * 128, "x" * 127, ".", "none"]
)
def test_a_product_has_a_file_of_its_own(product: str) -> None:
    names = {file_name(one) for one in ("", "prod-a", "PROD-A", "../../etc/passwd", "a/b", "a_b", "ü", "x" * 128)}
    assert len(names) == 8
    name = file_name(product)
    assert Path(name).name == name
    assert len(name) < 100
