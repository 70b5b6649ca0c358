"""The table of executions, and what a job on a large group costs."""

from typing import Any

import pytest

from simulator.cloud.jobs.executions import Executions, _about

KEYS = [("account", "region", (thing, job)) for thing in ("t1", "t2") for job in ("j1", "j2")]


@pytest.fixture
def table() -> Executions:
    table = Executions()
    for key in KEYS:
        table[key] = {"key": key}
    return table


def about(kind: Any, name: str, table: Executions) -> list[Any]:
    token = _about.set((kind, name))
    try:
        assert [execution["key"] for _, execution in table.items()] == list(table)
        return [key[2] for key in table]
    finally:
        _about.reset(token)


def test_what_is_about_one_iterates_over_its_own(table: Executions) -> None:
    assert list(table) == [key for key, _ in table.items()] == KEYS
    assert about("thing", "t2", table) == [("t2", "j1"), ("t2", "j2")]
    assert about("job", "j2", table) == [("t1", "j2"), ("t2", "j2")]
    assert about("job", "other", table) == []


def test_what_goes_is_in_no_index(table: Executions) -> None:
    del table[KEYS[0]]
    assert table.pop(KEYS[1])["key"] == KEYS[1]
    assert table.pop(KEYS[1], None) is None
    with pytest.raises(KeyError):
        table.pop(KEYS[1])
    assert about("thing", "t1", table) == []
    assert about("job", "j1", table) == [("t2", "j1")]
    table.clear()
    assert about("job", "j1", table) == [] == list(table)
    table[KEYS[0]] = {"key": KEYS[0]}
    table[KEYS[0]] = {"key": KEYS[0]}
    assert about("job", "j1", table) == [("t1", "j1")]
