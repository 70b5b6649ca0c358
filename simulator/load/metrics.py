"""A picture of a load test (`simulator.runtime.picture`) for machines: Prometheus' text, and CSV.

Rules: labels are kinds, profiles and states, of which there are few; never a device. Counters begin anew with each
test, as Prometheus expects of something that was started again.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from simulator.report.json_report import replace
from simulator.runtime.picture import BOUNDS_S

COLUMNS = (
    "Type", "Name", "Count", "Failures", "Per second", "p50 ms", "p95 ms", "p99 ms", "Max ms", "Bytes", "Reasons",
)  # fmt: skip
_KEYS = ("method", "name", "count", "failed", "per_s", "p50_ms", "p95_ms", "p99_ms", "max_ms", "bytes")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Picture = Mapping[str, Any]


class Metrics(Collector):
    """What Prometheus is told of the latest picture."""

    def __init__(self, picture: Callable[[], Picture]) -> None:
        self._picture = picture
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        return []  # nothing is drawn just to be registered

    def collect(self) -> Iterator[Metric]:
        picture = self._picture()
        yield from _of_rows(picture.get("rows", ()))
        yield _gauge("devices", "Devices by state.", "state", picture.get("devices", {}))
        profiles = picture.get("profiles", {})
        connected = {name: online for name, (online, _) in profiles.items()}
        yield _gauge("devices_connected", "Connected devices by profile.", "profile", connected)
        yield _gauge("alarms", "Alarms by state.", "state", picture.get("alarms", {}))
        yield _gauge("jobs", "Job executions by status, as devices say.", "status", picture.get("jobs", {}))
        yield _number("devices_on", "Devices that are some user's.", picture.get("on", 0))
        yield _number("faults_on", "Faults that are on now.", len(picture.get("faults", ())))
        yield _number("elapsed_seconds", "How long the test has lasted.", picture.get("elapsed_s", 0))


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    labels = ["method", "kind"]
    counted = CounterMetricFamily("fleetsim_messages", "Messages and requests by kind.", labels=labels)
    size = CounterMetricFamily("fleetsim_payload_bytes", "Bytes of payload by kind.", labels=labels)
    failed = CounterMetricFamily("fleetsim_failures", "Failures by kind and reason.", labels=[*labels, "reason"])
    took = HistogramMetricFamily(
        "fleetsim_latency_seconds", "From the moment at which it was to be said to the answer.", labels=labels
    )
    for row in rows:
        of = [row["method"], row["name"]]
        counted.add_metric(of, row["count"])
        size.add_metric(of, row["bytes"])
        for reason, times in row["reasons"].items():
            failed.add_metric([*of, reason], times)
        bounds = [*zip(map(str, BOUNDS_S), row["buckets"], strict=True), ("+Inf", row["timed"])]
        took.add_metric(of, bounds, row["sum_s"])
    yield from (counted, size, failed, took)


def _gauge(name: str, words: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(f"fleetsim_{name}", words, labels=[label])
    for of, count in sorted(counts.items()):
        family.add_metric([of], count)
    return family


def _number(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fleetsim_{name}", words, value=value)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        reasons = "; ".join(f"{times} x {reason}" for reason, times in row["reasons"].items())
        writer.writerow([_plain(value) for value in (*(row[key] for key in _KEYS), reasons)])
    return text.getvalue()


def write(rows: Sequence[Mapping[str, Any]], prefix: str) -> None:
    """`<prefix>_fleet.csv`, beside Locust's own files; a reader sees a whole table."""
    replace(Path(f"{prefix}_fleet.csv"), table(rows).encode())


def _plain(value: Any) -> Any:
    """A text that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
