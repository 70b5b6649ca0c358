"""Figures of aggregations, by the examples of AWS's documentation and by plain reckoning."""

import statistics as reckoned
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cloud.indexing.aggregations import PERCENTS, buckets, cardinality, percentiles, statistics, values_of

EMPTY: list[list[Any]] = [[], []]


def test_the_documentation_of_statistics() -> None:
    assert statistics([[-125.0], [150.0], [75.0], []], "Number") == pytest.approx(
        {
            "count": 3,
            "average": 33.333333333333336,
            "sum": 100.0,
            "minimum": -125.0,
            "maximum": 150.0,
            "sumOfSquares": 43750.0,
            "variance": 13472.22222222222,
            "stdDeviation": 116.06990230986766,
        }
    )


def test_statistics_of_other_types() -> None:
    assert statistics([["a"], ["b"], []], "String") == {"count": 2}
    assert statistics([[True], [False], [True]], "Boolean") == pytest.approx(
        {"count": 3, "average": 2 / 3, "sum": 2.0, "minimum": 0.0, "maximum": 1.0}
    )
    assert statistics(EMPTY, "Number") == {"count": 0}
    assert statistics([[1e200], [1e200]], "Number") == {"count": 2}


def test_the_documentation_of_percentiles() -> None:
    values = [[1.0]] * 3 + [[2.0]] * 3 + [[3.0]] * 3
    found = {x["percent"]: x["value"] for x in percentiles(values, [10, 20, 30, 40, 50, 60, 70, 80, 90, 99])}
    assert found == pytest.approx({10: 1, 20: 1, 30: 1.4, 40: 2, 50: 2, 60: 2, 70: 2.6, 80: 3, 90: 3, 99: 3})
    assert percentiles(EMPTY, PERCENTS) == []
    assert [x["value"] for x in percentiles([[5.0]], PERCENTS)] == [5.0] * 7


def test_buckets_and_cardinality() -> None:
    values: list[list[Any]] = [["b"], ["a"], ["b"], ["c", "a"], [], ["b", "b"]]
    assert buckets(values, 2) == [{"keyValue": "b", "count": 3}, {"keyValue": "a", "count": 2}]
    assert cardinality(values) == 3
    assert buckets([[1.0], [1.5], [True], [1.0]], 10) == [
        {"keyValue": "1", "count": 2},
        {"keyValue": "1.5", "count": 1},
        {"keyValue": "true", "count": 1},
    ]
    assert cardinality(EMPTY) == 0


@pytest.mark.parametrize(
    ("name", "kind", "values"),
    [
        ("attributes.x", "String", ["12"]),
        ("attributes.x", "Number", [12.0]),
        ("attributes.x", "Boolean", []),
        ("attributes.on", "Boolean", [True]),
        ("shadow.reported.n", "Number", [3.0]),
        ("shadow.reported.n", "String", []),
        ("shadow.reported.text", "Number", []),
        ("shadow.reported.flag", "Boolean", [False]),
        ("shadow.reported.flag", "Number", []),
        ("shadow.reported.list", "Number", [1.0, 2.0]),
        ("shadow.reported.missing", "Number", []),
        ("registry.thingTypeName", "String", ["Sedan"]),
        ("registry.version", "Number", [7.0]),
    ],
)
def test_values_that_fit_their_type(name: str, kind: str, values: list[Any]) -> None:
    document = {
        "thingTypeName": "Sedan",
        "registry": {"version": 7},
        "attributes": {"x": "12", "on": "TRUE"},
        "shadow": {"reported": {"n": 3, "text": "3", "flag": False, "list": [1, "a", 2, None]}},
    }
    assert list(values_of([document], name, kind)) == [values]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_any_numbers(numbers: list[float]) -> None:
    found = statistics([[number] for number in numbers], "Number")
    assert found["count"] == len(numbers)
    assert found["variance"] == pytest.approx(reckoned.pvariance(numbers), abs=1e-3)
    spread = [x["value"] for x in percentiles([numbers], [0, *PERCENTS, 100])]
    assert spread == sorted(spread)
    assert (spread[0], spread[-1]) == (min(numbers), max(numbers))
