"""Histograms: how near a bucket is to its values, that merging loses nothing, and quantiles."""

from math import ceil

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.histogram import VALUE_MAX, Histogram, Packed, bucket, middle

VALUES = st.one_of(st.integers(0, 5000), st.integers(0, VALUE_MAX))
LISTS = st.lists(VALUES, max_size=50)


def of(values: list[int]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


@given(VALUES)
def test_the_middle_of_a_bucket_is_within_a_thousandth_of_each_of_its_values(value: int) -> None:
    assert abs(middle(bucket(value)) - value) <= value / 1000


@given(VALUES, VALUES)
def test_buckets_are_in_the_order_of_their_values(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert bucket(low) <= bucket(high)


@given(VALUES)
def test_the_middle_of_a_bucket_is_in_the_bucket(value: int) -> None:
    assert bucket(round(middle(bucket(value)))) == bucket(value)


def test_there_are_not_many_buckets() -> None:
    assert bucket(VALUE_MAX) < 27_648


@given(LISTS, LISTS)
def test_merging_is_counting_all(one: list[int], other: list[int]) -> None:
    merged = of(one)
    merged.merge(of(other))
    assert merged.pack() == of(one + other).pack()


@given(LISTS, st.lists(st.integers(-1000, VALUE_MAX + 1000), max_size=50))
def test_counting_many_at_once_is_counting_each(before: list[int], values: list[int]) -> None:
    made = of(before)
    made.add_all(np.array(values, dtype=np.int64))
    assert made.pack()[:3] == of(before + values).pack()[:3]
    assert made.counts == of(before + values).counts


@given(LISTS)
def test_sum_lowest_highest_and_number_are_exact(values: list[int]) -> None:
    made = of(values)
    assert (made.count, made.total) == (len(values), sum(values))
    if values:
        assert (made.low, made.high) == (min(values), max(values))


@given(st.lists(VALUES, min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_is_within_a_thousandth_of_the_value_of_that_rank(values: list[int], q: float) -> None:
    exact = sorted(values)[max(1, ceil(q * len(values))) - 1]
    found = of(values).quantile(q)
    assert abs(found - exact) <= exact / 1000
    assert min(values) <= found <= max(values)


@given(LISTS)
def test_it_survives_a_pipe(values: list[int]) -> None:
    sent = of(values)
    came = Histogram.unpack(Packed(*orjson.loads(orjson.dumps(list(sent.pack())))))
    assert (came.pack(), came.count) == (sent.pack(), sent.count)


@pytest.mark.parametrize(("value", "counted"), [(-5, 0), (VALUE_MAX + 1, VALUE_MAX)])
def test_what_is_out_of_range_counts_as_the_nearest_that_is_in(value: int, counted: int) -> None:
    assert of([value, value]).pack() == of([counted, counted]).pack()


def test_an_empty_one_has_no_quantiles() -> None:
    assert Histogram().quantile(0.5) == 0
