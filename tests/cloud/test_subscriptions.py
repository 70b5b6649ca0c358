"""The index of subscriptions gives what a look at every filter gives, and forgets what is gone."""

from hypothesis import given
from hypothesis import strategies as st

from simulator.cloud.broker.subscriptions import Subscriptions

LEVEL = st.sampled_from(["a", "b", "", "$aws", "things"])
TOPICS = st.lists(LEVEL, min_size=1, max_size=5).map("/".join)
FILTERS = st.tuples(st.lists(st.one_of(LEVEL, st.just("+")), min_size=1, max_size=4), st.sampled_from(["", "/#"])).map(
    lambda parts: "/".join(parts[0]) + parts[1]
)


def matches(topic_filter: str, topic: str) -> bool:
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted, levels = wanted[:-1], levels[: len(wanted) - 1]
    return len(wanted) == len(levels) and all(w in ("+", at) for w, at in zip(wanted, levels, strict=True))


@given(st.lists(FILTERS, max_size=12), TOPICS)
def test_it_finds_what_a_look_at_all_finds(filters: list[str], topic: str) -> None:
    table = Subscriptions()
    for one in filters:
        table.setdefault(one, set()).add(one)
    found = list(table.matching(topic))
    assert len(found) == len(set(found))
    assert set(found) == {one for one in filters if matches(one, topic)}


@given(st.lists(FILTERS, max_size=12))
def test_nothing_is_left_of_what_was_taken_out(filters: list[str]) -> None:
    table = Subscriptions()
    for one in filters:
        table.setdefault(one, set()).add(one)
    for one in filters:
        table.pop(one, None)
    assert (dict(table), table._root) == ({}, {})


def test_it_is_a_dictionary() -> None:
    table = Subscriptions()
    table.setdefault("a/+", set()).add(1)
    table.setdefault("b", set()).add(2)
    assert [sorted(found) for found in table.values()] == [[1], [2]]
    assert table.pop("missing", None) is None
    table.clear()
    assert list(table.values()) == []
    assert list(table.matching("a/b")) == []
