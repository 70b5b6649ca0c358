"""The rules of membership, by themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cloud.groups.membership import (
    DEPTH_MAX,
    GROUPS_PER_THING_MAX,
    ancestors,
    below,
    depth,
    displaced,
    dynamic_groups,
    same_hierarchy,
)

PARENTS = {"de": "europe", "bavaria": "de", "fr": "europe", "us": "america"}
NAMES = sorted({*PARENTS, *PARENTS.values()})


def parent(name: str) -> str | None:
    return PARENTS.get(name)


@pytest.mark.parametrize(("static", "expected"), [(0, "abcdefghij"), (8, "ab"), (9, "a"), (10, ""), (11, "")], ids=str)
def test_dynamic_groups_take_the_room_that_is_left_oldest_first(static: int, expected: str) -> None:
    assert "".join(dynamic_groups("abcdefghijkl", static)) == expected


def test_who_is_full_joins_an_older_group_and_leaves_the_newest() -> None:
    full = [f"g{age}" for age in range(1, 11)]
    assert list(dynamic_groups([*full, "newer"], 0)) == full
    assert list(dynamic_groups(["older", *full], 0)) == ["older", *full[:-1]]


@given(st.lists(st.integers(), unique=True, max_size=20), st.integers(0, 12), st.booleans())
def test_a_thing_is_never_in_more_than_ten_groups(ages: list[int], static: int, override: bool) -> None:
    dynamic = list(dynamic_groups([str(age) for age in ages], static))
    assert len(dynamic) + min(static, GROUPS_PER_THING_MAX) <= GROUPS_PER_THING_MAX
    leaving = displaced(static, dynamic, override=override)
    if leaving is None:
        assert static + len(dynamic) >= GROUPS_PER_THING_MAX
    else:
        assert static + 1 + len(dynamic) - len(leaving) <= GROUPS_PER_THING_MAX
        assert leaving == dynamic[len(dynamic) - len(leaving) :]


def test_a_static_group_displaces_the_newest_dynamic_one_when_it_may() -> None:
    assert displaced(8, ["old", "new"], override=True) == ["new"]
    assert displaced(8, ["old", "new"], override=False) is None
    assert displaced(8, ["old"], override=False) == []
    assert displaced(10, [], override=True) is None


def test_hierarchies() -> None:
    assert ancestors("bavaria", parent) == ["europe", "de"]
    assert (ancestors("europe", parent), depth("europe", parent), depth("bavaria", parent)) == ([], 1, 3)
    assert same_hierarchy("fr", ["us", "bavaria"], parent) == "bavaria"
    assert same_hierarchy("fr", ["us", "fr"], parent) is None
    assert below("europe", NAMES, parent, recursive=False) == ["de", "fr"]
    assert below("europe", NAMES, parent, recursive=True) == ["bavaria", "de", "fr"]
    assert below(None, NAMES, parent, recursive=False) == ["america", "europe"]
    assert below(None, NAMES, parent, recursive=True) == NAMES


def test_a_circle_of_parents_has_an_end() -> None:
    assert depth("a", {"a": "b", "b": "a"}.get) == DEPTH_MAX
