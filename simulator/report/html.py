"""report.html: the facts of a run as one file that opens anywhere, offline.

What stands where is in `templates/`; here is only what a template cannot say: percents, letters, counts.

Rules: no request leaves the page (its Content-Security-Policy forbids every one, and every script but the
one inside, known by its hash). Everything that came from outside is escaped by jinja2's autoescape. Colour
never says a thing alone. It reads with JavaScript off, on a phone, in the dark and on paper.
"""

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from simulator.matching import FATES
from simulator.report.facts import FaultSpan, Point, Rate, Report, Score, Series, Stage, Waterfall
from simulator.report.json_report import replace
from simulator.report.svg import Line, Mark, Span, clock, line_chart, moments
from simulator.report.text import headline, measured_text, rerun, verdict_words
from simulator.words import detail_text, number, span, word

_TEMPLATES = Path(__file__).parent / "templates"

DEVICES_MAX = 1000
WATERFALLS_MAX = 200
MARKS_MAX = 12  # faults that are shaded
UNFOLDED_MAX = 6  # stories: those that need a look, and then …
UNFOLDED_FIRST = 3  # … the first of the others
MARGIN_MS = 10_000  # of a curve, before the first stage and after the last

# The stages that are marked on the curve.
_MARKED = (
    "fault_injected",
    "alarm_raised",
    "acted",
    "relapsed",
    "job_created",
    "version_reported",
    "job_failed",
    "alarm_closed",
    "alarm_escalated",
)
_OUTCOMES = {
    "closed": ("alarm closed", "good"),
    "escalated": ("escalated", "action"),
    "open": ("still open", "bad"),
    "job_failed": ("job failed", "bad"),
    "left_alone": ("left alone", "good"),
    "false_alarm": ("false alarm", "bad"),
}


_GROUPS = {"all": "all devices", "people": "people and downloads"}
_PERCENTILES = (("p50", "sent", "p50_ms"), ("p95", "acknowledged", "p95_ms"), ("p99", "alarms", "p99_ms"))


class Bar(NamedTuple):
    """A stage as a row of the waterfall: its bar reaches from the stage before it to its own moment."""

    stage: Stage
    letter: str
    left: float
    width: float


class Story(NamedTuple):
    """All that is shown of one affected device."""

    waterfall: Waterfall
    outcome: str
    tone: str
    lasted_ms: int
    bars: list[Bar]
    ticks: list[tuple[float, str]]
    charts: list[Markup]
    unfolded: bool = False


def write(report: Report, path: Path) -> None:
    """Write report.html, replacing an earlier one at once."""
    replace(path, render(report).encode())


def render(report: Report) -> str:
    """The whole page."""
    script = source("_script.html.j2")
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    stories = [_story(waterfall, report) for waterfall in report.waterfalls[:WATERFALLS_MAX]]
    devices = sorted(report.fleet.devices, key=lambda device: (not device.affected, device.thing))
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            script=Markup(script),  # noqa: S704 - our own file
            style=Markup(source("_style.html.j2")),  # noqa: S704 - our own file
            script_digest=digest,
            headline=headline(report),
            verdict=verdict_words(report),
            rerun=rerun(report),
            stories=_unfolded(stories, report),
            devices=devices[:DEVICES_MAX],
            tiles=_tiles(report),
            charts=[] if report.load and report.load.courses else _throughput(report.throughput),
            loads=_loads(report),
            marks=_marks(report),
            sources=sorted({happening.source for happening in report.timeline}),
            fates=_fates(report),
            scores=_scores(report),
            lost=_lost(report),
        )
    )


@cache
def environment() -> Environment:
    """The templates of every page of ours."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": number,
        "detail": detail_text,
        "measured": measured_text,
        "moment": _moment,
        "span": span,
        "word": word,
    }
    return environment


def source(name: str) -> str:
    """A template's text as it is."""
    return (_TEMPLATES / name).read_text("utf-8")


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _tiles(report: Report) -> list[tuple[str, str]]:
    """The few numbers that are read first."""
    outcomes = Counter(waterfall.outcome for waterfall in report.waterfalls)
    alarms = Counter(report.alarms)
    tiles = [
        ("devices", number(sum(profile.count for profile in report.fleet.profiles))),
        ("devices affected", number(outcomes.total())),
        ("alarms closed", f"{number(alarms['closed'])} of {number(alarms.total())}"),
        ("escalated", number(alarms["escalated"])),
    ]
    unsettled = outcomes["open"] + outcomes["job_failed"]
    false = report.scores.total.false_alarms if report.scores else outcomes["false_alarm"]
    told = (("false alarms", false), ("left alone", outcomes["left_alone"]), ("devices not settled", unsettled))
    tiles += [(name, number(count)) for name, count in told if count]
    if report.accounting:
        tiles.append(("messages sent", number(sum(account.sent for account in report.accounting))))
        lost = [count for count in _lost(report).values() if count is not None]
        tiles.append(("messages lost", number(sum(lost)) if lost else "not known"))
        for fate in ("refused", "never_sent"):
            count = sum(kind.fates.get(fate, 0) for kind in report.audit.kinds) if report.audit else 0
            tiles += [(f"messages {fate.replace('_', ' ')}", number(count))] if count else []
    return [*tiles, ("duration", span(report.ended_at_ms - report.started_at_ms))]


def _lost(report: Report) -> dict[str, int | None]:
    """How many messages of each kind were lost: by the audit, where all of them were looked at, else by the counts."""
    lost = {account.kind: account.lost for account in report.accounting}
    if report.audit:
        audited = [kind for kind in report.audit.kinds if kind.kind not in report.audit.not_audited]
        lost |= {kind.kind: kind.fates.get("lost", 0) for kind in audited}
    return lost


def _fates(report: Report) -> list[str]:
    """What became of any message in this run, in the order in which it is told."""
    kinds = report.audit.kinds if report.audit else []
    return [fate for fate in FATES if any(fate in kind.fates for kind in kinds)]


def _scores(report: Report) -> list[tuple[str, list[Score]]]:
    """The rows of the score, under their headings."""
    scores = report.scores
    if scores is None:
        return []
    profiles = [row for row in scores.by_profile if row.faults or row.left_alone or row.false_alarms]
    return [("all", [scores.total]), ("by fault", scores.by_fault), ("by profile", profiles)]


def _story(waterfall: Waterfall, report: Report) -> Story:
    outcome, tone = _OUTCOMES[waterfall.outcome]
    times = [stage.at_ms for stage in waterfall.stages if stage.at_ms is not None]
    start_ms, end_ms = (times[0], times[-1]) if times else (report.started_at_ms, report.ended_at_ms)
    length_ms = max(1, end_ms - start_ms)
    letters = iter("ABCDEFGHIJKL")
    bars = []
    for stage in waterfall.stages:
        marked = stage.kind in _MARKED and stage.at_ms is not None
        since_ms = stage.since_previous_ms or 0
        left = 0.0 if stage.at_ms is None else 100 * (stage.at_ms - since_ms - start_ms) / length_ms
        bars.append(Bar(stage, next(letters, "") if marked else "", left, 100 * since_ms / length_ms))
    marks = [
        Mark(bar.stage.at_ms, bar.letter, bar.stage.name) for bar in bars if bar.letter and bar.stage.at_ms is not None
    ]
    window = (max(report.started_at_ms, start_ms - MARGIN_MS), min(report.ended_at_ms, end_ms + MARGIN_MS))
    charts = [_curve(series, window, marks, start_ms) for series in report.series if series.thing == waterfall.thing]
    ticks = [(100 * (at - start_ms) / length_ms, clock(at - start_ms)) for at in moments(start_ms, end_ms, start_ms)]
    return Story(waterfall, outcome, tone, end_ms - start_ms, bars, ticks, charts)


def _unfolded(stories: Sequence[Story], report: Report) -> list[Story]:
    """Which are not folded: the first that need a look (bad, or a fault was missed), and the first of the others."""
    missed = {words.split(" (")[0] for words in report.scores.total.missed} if report.scores else set()
    needs = [i for i, story in enumerate(stories) if story.tone != "good" or story.waterfall.thing in missed]
    others = [i for i in range(len(stories)) if i not in needs][:UNFOLDED_FIRST]
    unfolded = {*[*needs, *others][:UNFOLDED_MAX]}
    return [story._replace(unfolded=i in unfolded) for i, story in enumerate(stories)]


def _curve(series: Series, window: tuple[int, int], marks: Sequence[Mark], zero_ms: int) -> Markup:
    start_ms, end_ms = window
    points = [(at, value) for at, value in series.points if start_ms <= at <= end_ms]
    title = f"{series.metric} of {series.thing}"
    line = Line(series.metric, "reading", points)
    return line_chart(title, [line], start_ms, end_ms, series.limit, marks, zero_ms)


def _marks(report: Report) -> list[tuple[str, FaultSpan]]:
    """The faults that are shaded in the charts of a load, with their letters."""
    faults = report.load.faults if report.load else []
    return [(chr(ord("A") + i), fault) for i, fault in enumerate(faults[:MARKS_MAX])]


def _loads(report: Report) -> list[tuple[str, list[Markup]]]:
    """The charts of a load over time: of all of it, by protocol, of people."""
    load = report.load
    if load is None:
        return []
    spans = [Span(fault.begin_ms, fault.end_ms, letter, fault.words) for letter, fault in _marks(report)]
    found = []
    for course in load.courses:
        at_ms = [point.at_ms for point in course.points]
        end_ms = max(at_ms, default=0) + int(1000 * load.every_s)

        def chart(
            title: str, *lines: tuple[str, str, str], of: Sequence[Point] = course.points, end_ms: int = end_ms
        ) -> Markup | None:
            told = [
                Line(name, style, [(p.at_ms, value) for p in of if (value := getattr(p, key)) is not None])
                for name, style, key in lines
            ]
            told = [line for line in told if line.points]
            if not told:
                return None
            return line_chart(title, told, report.started_at_ms, end_ms, low_at_most=0, spans=spans)

        name = _GROUPS.get(course.of, course.of)
        asked = "requests" if course.of == "people" else "messages"
        charts = [
            chart(f"{asked} per second, {name}", ("attempted", "sent", "attempted"),
                  ("acknowledged" if asked == "messages" else "answered", "acknowledged", "acknowledged"),
                  ("stored", "stored", "stored")),
            chart(f"ms until acknowledged, {name}" if asked == "messages" else f"ms until answered, {name}",
                  *_PERCENTILES),
            chart(f"ms until stored, {name}", *((line, style, f"stored_{key}") for line, style, key in _PERCENTILES)),
            chart(f"devices, {name}", ("on", "sent", "on"), ("connected", "acknowledged", "connected")),
            chart("alarms open", ("alarms open", "alarms", "alarms_open")),
            chart(f"failures per second, {name}", ("failures", "alarms", "failed"))
            if course.of == "all" or any(point.failed for point in course.points) else None,
        ]  # fmt: skip
        found.append((name, [one for one in charts if one is not None]))
    return [*found, *_generator(report, spans)]


def _generator(report: Report, spans: Sequence[Span]) -> list[tuple[str, list[Markup]]]:
    """How well the generator kept pace: in each second, that of its engines that was worst off."""
    samples = report.strain.samples if report.strain else []
    if not samples:
        return []
    worst: dict[int, list[float]] = {}
    for one in samples:
        now = (one.cpu, one.slip_p99_ms, one.lag_ms, one.queued)
        before = worst.setdefault((one.at_ms - report.started_at_ms) // 1000, [0.0] * len(now))
        before[:] = map(max, before, now)
    start_ms, end_ms = report.started_at_ms, report.started_at_ms + 1000 * max(worst)

    def line(name: str, style: str, column: int) -> Line:
        return Line(name, style, [(start_ms + 1000 * at, of[column]) for at, of in sorted(worst.items())])

    charts = (
        ("ms that devices were woken late, and that the event loop stood still",
         [line("slip p99", "sent", 1), line("lag", "acknowledged", 2)]),
        ("share of a core, the busiest engine", [line("cpu", "sent", 0)]),
        ("messages that wait in the links", [line("queued", "sent", 3)]),
    )  # fmt: skip
    told = [line_chart(title, lines, start_ms, end_ms, low_at_most=0, spans=spans) for title, lines in charts]
    return [("the generator itself", told)]


def _throughput(rates: Sequence[Rate]) -> list[Markup]:
    if not rates:
        return []
    start_ms, end_ms = rates[0].at_ms, rates[-1].at_ms

    def chart(title: str, **lines: str) -> Markup:
        told = [
            Line(name, style, [(rate.at_ms, getattr(rate, name)) for rate in rates]) for name, style in lines.items()
        ]
        return line_chart(title, told, start_ms, end_ms, low_at_most=0)

    return [
        chart("messages per second", sent="sent", acknowledged="acknowledged"),
        chart("devices connected", connected="reading"),
        chart("alarms open", alarms_open="alarms"),
    ]
