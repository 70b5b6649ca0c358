"""A load test as it is now, for the pages of Locust's UI, Prometheus and the CSV: plain values, told once a second.

Rules: nothing in it is named after a device but the latest alarms and jobs, which are few. Every list is bounded. A
row's `buckets` are how many of its times were no longer than each of `BOUNDS_S`, as Prometheus has them; they are
exact to the 0.1 % of our histograms.
"""

from collections.abc import Mapping
from typing import Any

from simulator.histogram import Histogram, bucket
from simulator.runtime.course import Course
from simulator.runtime.live import Snapshot
from simulator.runtime.meter import Row
from simulator.runtime.rows import Key

BOUNDS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
ROWS_MAX = 200
REASONS_MAX = 20
_NS_PER_MS, _NS_PER_S = 1e6, 1e9
_BOUNDS = [bucket(round(bound_s * _NS_PER_S)) for bound_s in BOUNDS_S]


class Pictures:
    """Draws them, one after another: what a second brought is what was not in the one before."""

    def __init__(self) -> None:
        self._before: dict[Key, int] = {}
        self._at_s = 0.0

    def draw(
        self, snapshot: Snapshot, rows: Mapping[Key, Row], course: Course, on: int, faults: list[str]
    ) -> dict[str, Any]:
        """The run now."""
        since_s = max(0.001, snapshot.elapsed_s - self._at_s)
        told = [
            _row(row, (_count(row) - self._before.get(key, 0)) / since_s)
            for key, row in sorted(rows.items())[:ROWS_MAX]
        ]
        self._before = {key: _count(row) for key, row in rows.items()}
        self._at_s = snapshot.elapsed_s
        return {
            "elapsed_s": snapshot.elapsed_s, "phase": snapshot.phase, "devices": dict(snapshot.devices), "on": on,
            "profiles": snapshot.profiles, "sent": snapshot.sent, "acknowledged": snapshot.acknowledged,
            "alarms": dict(snapshot.alarms), "alarms_latest": [_plain(alarm) for alarm in snapshot.alarms_latest],
            "jobs": dict(snapshot.jobs), "jobs_latest": [_plain(job) for job in snapshot.jobs_latest],
            "faults": faults, "rows": told, "course": _course(course),
        }  # fmt: skip


def _plain(one: Any) -> dict[str, Any]:
    """A value with slots, as a mapping."""
    return {name: getattr(one, name) for name in one.__slots__}


def _count(row: Row) -> int:
    return row.latency.count + row.untimed


def _row(row: Row, rate: float) -> dict[str, Any]:
    p50, p95, p99 = (round(ns / _NS_PER_MS, 3) for ns in row.latency.quantiles(0.5, 0.95, 0.99))
    return {
        "method": row.method, "name": row.name, "count": _count(row), "per_s": round(max(0.0, rate), 1),
        "failed": row.failed.total(), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99,
        "max_ms": round(row.latency.high / _NS_PER_MS, 3), "reasons": dict(row.failed.most_common(REASONS_MAX)),
        "bytes": row.payload_bytes, "timed": row.latency.count, "sum_s": row.latency.total / _NS_PER_S,
        "buckets": below(row.latency),
    }  # fmt: skip


def below(histogram: Histogram) -> list[int]:
    """How many of the values are no more than each bound."""
    found = [0] * len(_BOUNDS)
    for index, times in histogram.counts.items():
        for i in range(len(_BOUNDS) - 1, -1, -1):
            if index > _BOUNDS[i]:
                break
            found[i] += times
    return found


def _course(course: Course) -> dict[str, Any]:
    """In columns, a stretch a row: from when on (in seconds), and what was then in a second."""
    stretches = course.stretches()
    failed = [of.failed_of("all") / course.every_s for _, of in stretches]
    shares = [1 / of.lasted_s if of.lasted_s else None for _, of in stretches]
    attempted, acknowledged = (
        [None if share is None else round(share * getattr(of, name), 1) for share, (_, of) in zip(
            shares, stretches, strict=True
        )] for name in ("attempted", "acknowledged")
    )  # fmt: skip
    quantiles = [of.quantiles_ms("all") or (None, None, None) for _, of in stretches]
    return {
        "every_s": course.every_s, "at_s": [(at_ms - course.start_ms) / 1000 for at_ms, _ in stretches],
        "attempted": attempted, "acknowledged": acknowledged,
        "failed": [round(rate, 2) for rate in failed],
        "p50_ms": [one[0] for one in quantiles], "p95_ms": [one[1] for one in quantiles],
        "p99_ms": [one[2] for one in quantiles],
        "on": [of.on for _, of in stretches],
        "connected": [None if of.on is None else sum(of.connected.values()) for _, of in stretches],
        "alarms_open": [of.alarms_open for _, of in stretches],
    }  # fmt: skip
