"""The facts of a report: the values of report.json, and what makes them from a ledger.

Rules: frozen values of plain types, so that a report is the same after a round trip through JSON. Moments
are milliseconds since the Unix epoch. Every list has a bound; what was left out is counted and shown, and
the routine goes first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from simulator.checks import STORED_KINDS
from simulator.ledger import Event
from simulator.words import word

TIMELINE_MAX = 3000
POINTS_MAX = 600

Verdict = Literal["passed", "failed", "inconclusive", "interrupted", "unavailable"]
Outcome = Literal["closed", "escalated", "open", "job_failed", "left_alone", "false_alarm"]


@dataclass(frozen=True, slots=True)
class Check:
    """One promise and whether it was kept."""

    name: str
    measured: float | int | str | None
    bound: str
    unit: str
    passed: bool
    why: str


@dataclass(frozen=True, slots=True)
class ProfileCount:
    """How many devices of a profile there are, and how many run each version."""

    profile: str
    count: int
    versions: dict[str, int]


@dataclass(frozen=True, slots=True)
class Device:
    """One device as it was at the end."""

    thing: str
    profile: str
    version: str
    state: str
    affected: bool


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who took part."""

    profiles: list[ProfileCount] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Fault:
    """What was broken, where and when, and what should come of it."""

    fault: str
    things: list[str]
    at_ms: int
    params: dict[str, Any]
    expect: str


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the timeline."""

    at_ms: int
    source: str
    kind: str
    thing: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a device's story; a step that was due and never came has no time."""

    name: str
    kind: str
    at_ms: int | None
    since_previous_ms: int | None
    source: str
    detail: str


@dataclass(frozen=True, slots=True)
class Waterfall:
    """From the fault to the end of the alarm, for one device; `reason` says in a line how it ended."""

    thing: str
    outcome: Outcome
    reason: str
    stages: list[Stage]


@dataclass(frozen=True, slots=True)
class Account:
    """Messages of one kind at each hop; `stored` is None where the backend keeps none of that kind.

    `lost` is None when the run ended while messages were under way: what had not arrived may be on its way.
    """

    kind: str
    attempted: int
    sent: int
    acknowledged: int
    stored: int | None
    lost: int | None
    missed: int = 0  # were due, and never said: whoever runs the devices was too late


@dataclass(frozen=True, slots=True)
class KindAudit:
    """The messages of one kind by their fates: how many, of how many nothing explains it, what explains the others."""

    kind: str
    said: int
    fates: dict[str, int]
    unexplained: dict[str, int]
    causes: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Astray:
    """One message whose fate nothing explains, and where it went astray."""

    fate: str
    kind: str
    thing: str
    stamp: int
    at_ms: int
    hop: str


@dataclass(frozen=True, slots=True)
class Audit:
    """Every message, from both ends; `reason` says why there is no audit."""

    source: str = ""  # of what the backend got; empty: only the devices' half is known
    reason: str = ""
    kinds: list[KindAudit] = field(default_factory=list)
    unexplained: list[Astray] = field(default_factory=list)  # the first of each fate
    not_audited: dict[str, int] = field(default_factory=dict)  # messages by kind
    strangers: int = 0  # in the store, and not from this fleet
    unreadable: dict[str, int] = field(default_factory=dict)  # dead letters that do not say whose they are, by reason


@dataclass(frozen=True, slots=True)
class Spread:
    """How long something took, in seconds."""

    p50: float
    p95: float
    max: float


@dataclass(frozen=True, slots=True)
class Score:
    """How well faults were noticed: all of them, those of a kind, or those of a profile's devices."""

    of: str
    faults: int
    noticed: int
    left_alone: int  # faults that were not to be noticed
    recall: float | None
    alarms: int  # with a fault behind them
    false_alarms: int
    precision: float | None
    false_per_device_day: float | None
    detect_s: Spread | None
    close_s: Spread | None
    missed: list[str]


@dataclass(frozen=True, slots=True)
class Scores:
    """The backend's score against what was broken."""

    total: Score
    by_fault: list[Score]
    by_profile: list[Score]


@dataclass(frozen=True, slots=True)
class Rate:
    """One second of traffic: messages in that second, devices and alarms at its end."""

    at_ms: int
    sent: int
    acknowledged: int
    connected: int
    alarms_open: int


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one device over time."""

    thing: str
    metric: str
    limit: float | None
    points: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class StrainSample:
    """About a second of one engine: how well it kept pace. `worker` is empty where there is one engine."""

    worker: str
    at_ms: int
    lasted_s: float
    cpu: float  # share of one core
    lag_ms: float  # the longest that the event loop stood still
    slip_p50_ms: float  # how late devices were woken
    slip_p99_ms: float
    slip_max_ms: float
    woken: int
    said: int
    missed: int
    dropped: int
    queued: int  # messages that wait in the links


@dataclass(frozen=True, slots=True)
class Strain:
    """How well the generator itself kept pace; `reason` says in a line why it was the bottleneck, if it was."""

    reason: str
    slip_bound_ms: float
    samples: list[StrainSample]


@dataclass(frozen=True, slots=True)
class LoadRow:
    """What one kind of message or request came to, by all who made it; times in milliseconds."""

    method: str
    name: str
    count: int
    failed: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    reasons: dict[str, int]  # of failures
    service_p50_ms: float | None = None  # from the first byte, where that is not the intended moment …
    service_p99_ms: float | None = None  # … from which the others count


@dataclass(frozen=True, slots=True)
class Worker:
    """What the devices of one worker said; `lost` says how it died."""

    name: str
    attempted: int
    sent: int
    acknowledged: int
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """A level of a load that looks for its limit."""

    devices: int
    passed: bool
    why: str


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """When a fault was on; no end: until the end of the run."""

    words: str
    begin_ms: int
    end_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """Some seconds of a course, from `at_ms` on: rates are a second's, percentiles those of all in these seconds."""

    at_ms: int
    attempted: float | None = None
    acknowledged: float | None = None
    stored: float | None = None
    failed: float = 0.0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    stored_p50_ms: float | None = None  # from said to stored
    stored_p95_ms: float | None = None
    stored_p99_ms: float | None = None
    on: int | None = None
    connected: int | None = None
    alarms_open: int | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """How a load went over time: all of it ("all"), that of a protocol (MQTT, TCP, REST), or that of people."""

    of: str
    points: list[Point]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A row that was much slower than usual, or that failed: for how long, at which hop, and what was broken then."""

    hop: str
    row: str
    since_ms: int
    until_ms: int | None  # None: to the end
    usual_ms: float | None  # p95 before and after; None: it was never better
    worst_ms: float | None  # p95
    failed: int
    faults: list[str]
    words: str


@dataclass(frozen=True, slots=True)
class Load:
    """A load test, beside what every run has."""

    shape: dict[str, Any]
    devices_most: int  # on at once
    workers: list[Worker]
    rows: list[LoadRow]
    levels: list[Level] = field(default_factory=list)
    knee: int | None = None  # devices at the last good level
    every_s: float = 1.0  # how long a point of the courses lasts
    courses: list[Course] = field(default_factory=list)
    faults: list[FaultSpan] = field(default_factory=list)
    faults_left_out: int = 0
    where: str = ""  # in a line: where it went wrong, if it did
    troubles: list[Trouble] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """All that is known of a run."""

    fleetsim: str
    scenario: str
    title: str
    seed: int
    target: str
    started_at_ms: int
    ended_at_ms: int
    verdict: Verdict
    exit_code: int
    scenario_file: str = ""  # as the user gave it; empty: the scenario's name finds it
    reason: str = ""
    log_tail: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    fleet: Fleet = field(default_factory=Fleet)
    faults: list[Fault] = field(default_factory=list)
    timeline: list[Happening] = field(default_factory=list)
    waterfalls: list[Waterfall] = field(default_factory=list)
    alarms: dict[str, int] = field(default_factory=dict)  # of the backend, by their state at the end
    accounting: list[Account] = field(default_factory=list)
    audit: Audit | None = None
    scores: Scores | None = None
    throughput: list[Rate] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    events_dropped: int = 0
    load: Load | None = None
    strain: Strain | None = None


def from_backend(rows: Iterable[Mapping[str, Any]]) -> list[Event]:
    """The rows of the backend's /api/events as ledger events."""
    return [
        Event(
            int(row["at_ms"]),
            "backend",
            str(row["kind"]),
            str(row.get("thing") or ""),
            {**(row.get("detail") or {}), "alarm_id": row.get("alarm_id")},
        )
        for row in rows
    ]


def in_order(events: Iterable[Event]) -> list[Event]:
    """Events by time; within a millisecond a cause comes before its effect."""
    return sorted(events, key=lambda event: (event.at_ms, word(event.kind).order))


def timeline(events: Iterable[Event], limit: int = TIMELINE_MAX) -> tuple[list[Happening], int]:
    """Events of every source in order, and how many were left out: first routine ones, then the latest."""
    told = in_order(events)
    if len(told) <= limit:
        chosen = told
    else:
        notable = [event for event in told if not word(event.kind).routine][:limit]
        room = limit - len(notable)
        chosen = in_order([*notable, *[event for event in told if word(event.kind).routine][:room]])
    happenings = [Happening(event.at_ms, event.source, event.kind, event.thing, dict(event.detail)) for event in chosen]
    return happenings, len(told) - len(chosen)


def accounting(
    attempted: Mapping[str, int],
    sent: Mapping[str, int],
    acknowledged: Mapping[str, int],
    stored: Mapping[str, int] | None = None,
    missed: Mapping[str, int] = MappingProxyType({}),
) -> list[Account]:
    """Messages at each hop by kind; lost is what was attempted and did not reach the last hop we can see.

    `stored` is the backend's own count, or None when there is no backend to ask.
    """
    return [
        replace(
            _account(kind, attempted.get(kind, 0), sent.get(kind, 0), acknowledged.get(kind, 0), stored),
            missed=missed.get(kind, 0),
        )
        for kind in sorted({*attempted, *sent, *acknowledged, *missed})
    ]


def _account(kind: str, attempted: int, sent: int, acknowledged: int, stored: Mapping[str, int] | None) -> Account:
    kept = None
    if stored is not None and (kind in STORED_KINDS or kind in stored):
        kept = stored.get(kind, 0)
    arrived = acknowledged if kept is None else kept
    return Account(kind, attempted, sent, acknowledged, kept, max(0, attempted - arrived))


def thinned(points: Sequence[tuple[int, float]], limit: int = POINTS_MAX) -> list[tuple[int, float]]:
    """At most `limit` points that keep the shape: the lowest and highest of each stretch, and both ends."""
    if len(points) <= limit:
        return list(points)
    stretches = max(1, (limit - 2) // 2)
    kept = {0, len(points) - 1}
    for i in range(stretches):
        rows = range(i * len(points) // stretches, (i + 1) * len(points) // stretches)
        kept.add(min(rows, key=lambda row: points[row][1]))
        kept.add(max(rows, key=lambda row: points[row][1]))
    return [points[row] for row in sorted(kept)]
