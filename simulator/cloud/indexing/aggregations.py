"""Aggregations of fleet indexing: values in, figures out.

Rules: a value that does not fit the type of its field is left out. The variance is that of the whole population.
Percentiles are interpolated between neighbours. Sums that leave the range of a double give no figures.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from simulator.cloud.indexing.match import reader
from simulator.cloud.indexing.tree import number

PERCENTS = (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)
_OTHER_NAMES = {"registry.thingTypeName": "thingTypeName", "registry.thingGroupNames": "thingGroupNames"}

Value = str | float | bool


def values_of(documents: Iterable[Mapping[str, Any]], name: str, kind: str) -> Iterable[list[Value]]:
    """Of each document, its values of a field of a type (String, Number, Boolean)."""
    read, fits = reader(_OTHER_NAMES.get(name, name)), _FITS[kind]
    text = name.startswith("attributes.")
    for document in documents:
        found = read(document)
        several = found if isinstance(found, list) else [found]
        yield [value for value in (fits(one, text) for one in several) if value is not None]


def statistics(each: Iterable[Sequence[Value]], kind: str) -> dict[str, Any]:
    """The `statistics` of GetStatistics."""
    found = [values for values in each if values]
    if kind == "String":
        return {"count": len(found)}
    numbers = [float(value) for values in found for value in values]
    if not numbers:
        return {"count": 0}
    total, squares = math.fsum(numbers), math.fsum(x * x for x in numbers)
    average = total / len(numbers)
    if not math.isfinite(squares):
        return {"count": len(numbers)}
    result = {
        "count": len(numbers),
        "average": average,
        "sum": total,
        "minimum": min(numbers),
        "maximum": max(numbers),
    }
    if kind == "Boolean":
        return result
    variance = math.fsum((x - average) ** 2 for x in numbers) / len(numbers)
    return {**result, "sumOfSquares": squares, "variance": variance, "stdDeviation": math.sqrt(variance)}


def cardinality(each: Iterable[Sequence[Value]]) -> int:
    """How many different values there are."""
    return len({_key(value) for values in each for value in values})


def percentiles(each: Iterable[Sequence[Value]], percents: Sequence[float]) -> list[dict[str, float]]:
    """The `percentiles` of GetPercentiles; none when there are no values."""
    numbers = sorted(float(value) for values in each for value in values)
    if not numbers:
        return []
    return [{"percent": float(percent), "value": _interpolated(numbers, percent)} for percent in percents]


def _interpolated(numbers: Sequence[float], percent: float) -> float:
    place = (len(numbers) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(numbers) - 1)
    return numbers[low] + (numbers[high] - numbers[low]) * (place - low)


def buckets(each: Iterable[Sequence[Value]], most: int) -> list[dict[str, Any]]:
    """The `buckets` of GetBucketsAggregation: the fullest first."""
    counts = Counter(key for values in each for key in {_key(value) for value in values})
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"keyValue": key, "count": count} for key, count in ranked[:most]]


def _key(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return value


def _string(value: Any, text: bool) -> Value | None:
    return value if isinstance(value, str) else None


def _number(value: Any, text: bool) -> Value | None:
    if isinstance(value, str):
        return number(value) if text else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e308 else None


def _boolean(value: Any, text: bool) -> Value | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower()) if text else None
    return value if isinstance(value, bool) else None


_FITS: dict[str, Callable[[Any, bool], Value | None]] = {"String": _string, "Number": _number, "Boolean": _boolean}
