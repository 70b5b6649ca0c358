"""Merges what an engine measured into Locust's statistics: thousands of samples at once, not an event for each.

Rules: the result is what Locust's own `log_request` and `log_error` would have come to, one by one: counts, sums,
lowest and highest exactly, response times within the 0.1 % of our histogram before Locust rounds them. A batch goes
in the way in which a worker's report does, by `StatsEntry.extend`.
"""

from locust import stats as locust_stats
from locust.stats import RequestStats, StatsEntry, StatsError

from simulator.histogram import middle
from simulator.runtime.meter import Row

NS_PER_MS = 1e6
ERRORS_MAX = 500  # Locust shows as many


def merge(stats: RequestStats, row: Row, at_s: float) -> None:
    """Add a row that came together up to the time `at_s`."""
    entry = _entry(stats, row, at_s)
    stats.entries[(row.name, row.method)].extend(entry)
    stats.total.extend(entry)
    for reason, times in row.failed.items():
        _count_error(stats, row, reason, times, at_s)


def _entry(stats: RequestStats, row: Row, at_s: float) -> StatsEntry:
    entry, latency, second = StatsEntry(stats, row.name, row.method), row.latency, int(at_s)
    entry.num_requests = latency.count + row.untimed
    entry.num_none_requests = row.untimed
    entry.num_failures = row.failed.total()
    entry.total_content_length = row.payload_bytes
    entry.last_request_timestamp = at_s
    entry.num_reqs_per_sec[second] = entry.num_requests
    if entry.num_failures:
        entry.num_fail_per_sec[second] = entry.num_failures
    if latency.count:
        entry.total_response_time = latency.total / NS_PER_MS
        entry.min_response_time = latency.low / NS_PER_MS
        entry.max_response_time = latency.high / NS_PER_MS
        rounded = locust_stats.bucket_response_time  # looked up each time: Locust lets its users replace it
        for index, times in latency.counts.items():
            value = min(max(middle(index), latency.low), latency.high)
            entry.response_times[rounded(value / NS_PER_MS)] += times
    return entry


def _count_error(stats: RequestStats, row: Row, reason: str, times: int, at_s: float) -> None:
    key = StatsError.create_key(row.method, row.name, reason)
    if key not in stats.errors and len(stats.errors) >= ERRORS_MAX:
        reason = "other"
        key = StatsError.create_key(row.method, row.name, reason)
    error = stats.errors.setdefault(key, StatsError(row.method, row.name, reason))
    error.occurrences += times
    error.first_seen = error.first_seen or at_s
    error.last_seen = at_s
