"""Run by test_locust_statistics.py in a process of its own, since importing locust patches the whole process.

stdin   samples as JSON: {"samples": [[row, nanoseconds or null, reason or null, bytes], …], "batches": n}
stdout  {"merged": …, "logged": …}: Locust's statistics after our merging, and after Locust's own logging one by one
"""

import json
import sys
import time
from typing import Any

from simulator.load.statistics import merge  # first: it imports locust

# isort: split
from locust.stats import RequestStats

from simulator.runtime.meter import Meter

FIELDS = (
    "num_requests", "num_none_requests", "num_failures", "total_response_time", "min_response_time",
    "max_response_time", "total_content_length", "median_response_time",
)  # fmt: skip


def merged(samples: list[Any], batches: int) -> RequestStats:
    stats, meter = RequestStats(), Meter()
    for number in range(batches):
        for name, latency_ns, reason, size in samples[number::batches]:
            row = meter._row("MQTT", name)
            row.payload_bytes += size
            if latency_ns is None:
                row.untimed += 1
            else:
                row.latency.add(latency_ns)
            if reason is not None:
                row.fail(reason)
        for row in meter.take():
            merge(stats, row, time.time())
    return stats


def logged(samples: list[Any]) -> RequestStats:
    stats = RequestStats()
    for name, latency_ns, reason, size in samples:
        stats.log_request("MQTT", name, None if latency_ns is None else latency_ns / 1e6, size)
        if reason is not None:
            stats.log_error("MQTT", name, reason)
    return stats


def told(stats: RequestStats) -> dict[str, Any]:
    entries = {name: entry for (name, _), entry in stats.entries.items()} | {"Aggregated": stats.total}
    return {
        "rows": {
            name: {
                **{field: getattr(entry, field) for field in FIELDS},
                "response_times": sorted(entry.response_times.items()),
                "per_second": sum(entry.num_reqs_per_sec.values()),
                "failed_per_second": sum(entry.num_fail_per_sec.values()),
                "methods": entry.method,
                "current_p95": entry.get_current_response_time_percentile(0.95),
            }
            for name, entry in entries.items()
        },
        "errors": {error.to_name(): error.occurrences for error in stats.errors.values()},
    }


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(
        {"merged": told(merged(asked["samples"], asked["batches"])), "logged": told(logged(asked["samples"]))},
        sys.stdout,
    )
