"""Is the platform there, what has it counted, and how long does it take."""

from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.responses import Response

from simulator.backend.api import answers
from simulator.backend.api.route import PUBLIC, STAFF, Asked, Call, Route


def health(_call: Call[Asked]) -> Any:
    return {"status": "ok"}


def counts(call: Call[Asked]) -> Any:
    tcp = call.desk.tcp
    return call.reads.queries.counts() | ({} if tcp is None else {"tcp": dict(tcp)})


def metrics(call: Call[Asked]) -> Any:
    said = figures(call)
    if not prefers_text(call.request.headers.get("accept", "")):
        return said
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures(said))
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST, "Vary": "Accept"})


def prefers_text(accept: str) -> bool:
    """Is it Prometheus that asks? JSON is for all others."""
    wanted = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return any(one in ("text/plain", "application/openmetrics-text") for one in wanted) and (
        "application/json" not in wanted
    )


def figures(call: Call[Asked]) -> dict[str, Any]:
    """Counters and times, as JSON takes them."""
    desk = call.desk
    return {
        "at_ms": call.now_ms,
        "messages": counts(call),
        "platform": call.reads.platform.counts(),
        "processing": desk.times.document() if desk.times else None,
        "api": {
            "answers": {str(status): n for status, n in sorted(desk.answers.items())},
            "waiting_refused": desk.readers.refused,
            "stream": {
                "listeners": desk.feed.listeners, "sent": desk.feed.sent, "dropped": desk.feed.dropped,
                "refused": desk.feed.refused,
            },
        },
    }  # fmt: skip


class Figures(Collector):
    """The same for Prometheus."""

    def __init__(self, said: dict[str, Any]) -> None:
        self._said = said

    def collect(self) -> "list[Metric]":
        messages, api = self._said["messages"], self._said["api"]
        found: list[Metric] = []
        for name, help_text, label in (
            ("received", "Messages that came, by kind.", "kind"),
            ("stored", "Messages that were stored, by kind.", "kind"),
            ("dead", "Messages that were refused, by reason.", "reason"),
            ("replayed", "Refused messages that were tried again with success, by reason.", "reason"),
            ("tcp", "What the TCP gateway counted.", "what"),
        ):
            family = CounterMetricFamily(f"fleetsim_messages_{name}", help_text, labels=[label])
            for value, n in messages.get(name, {}).items():
                family.add_metric([value], n)
            found.append(family)
        for name in ("duplicates", "dead_dropped"):
            found.append(CounterMetricFamily(f"fleetsim_messages_{name}", "Messages.", value=messages[name]))
        platform = CounterMetricFamily("fleetsim_platform", "What the platform counted.", labels=["what"])
        for name, n in self._said["platform"].items():
            platform.add_metric([name], n)
        statuses = CounterMetricFamily("fleetsim_api_answers", "Answers of the API, by status.", labels=["status"])
        for status, n in api["answers"].items():
            statuses.add_metric([status], n)
        found += [platform, statuses]
        stream = api["stream"]
        found.append(
            GaugeMetricFamily("fleetsim_stream_listeners", "Who listens to events.", value=stream["listeners"])
        )
        for name in ("sent", "dropped", "refused"):
            found.append(CounterMetricFamily(f"fleetsim_stream_{name}", "Events, or listeners.", value=stream[name]))
        if (times := self._said["processing"]) is not None:
            buckets = [(str(le), float(n)) for le, n in times["buckets"]]
            found.append(
                HistogramMetricFamily(
                    "fleetsim_processing_seconds", "From a message's arrival to its commit.", buckets, times["sum_s"]
                )
            )
        return found


ROUTES = (
    Route("GET", "/api/health", PUBLIC, "Is it there?", health, answer=answers.Health),
    Route("GET", "/api/counts", STAFF, "Messages received, stored, refused and replayed, by kind and reason.", counts),
    Route("GET", "/api/metrics", STAFF, "Counters and processing times; for Prometheus by `Accept: text/plain`.",
          metrics),
)  # fmt: skip
