"""A report with three stories (cured by a restart, cured by an update, escalated), in each of its forms."""

import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from math import exp, sin
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

from simulator.errors import UsageError
from simulator.ledger import Event
from simulator.report import html, json_report, text
from simulator.report.facts import (
    Check,
    Device,
    Fault,
    Fleet,
    ProfileCount,
    Rate,
    Report,
    Series,
    accounting,
    thinned,
    timeline,
)
from simulator.report.waterfall import waterfalls

START_MS = 1_767_225_600_000
LENGTH_MS = 80_000
RESTARTED, UPDATED, BROKEN = "Vehicle-VIN-007", "Vehicle-VIN-012", "Vehicle-VIN-023"
VEHICLES = [f"Vehicle-VIN-{i:03d}" for i in range(1, 31)]
SENSORS = [f"device-{i:03d}" for i in range(1, 11)]

Told = tuple[float, str, dict[str, Any]]

RULE = {"rule_id": "engine-overheat"}
RAISE: list[Told] = [
    (8.0, "fleet fault_injected", {"fault": "hang", "component": "fan"}),
    (22.41, "fleet out_of_range", {"metric": "engine_temp_c", "value": 110.62, "limit": 110}),
    (
        22.447,
        "backend alarm_raised",
        {**RULE, "severity": "high", "metric": "engine_temp_c", "value": 110.62, "limit": 110},
    ),
    (22.471, "backend command_sent", {"action": "restart-fan", "id": "a1-1"}),
    (22.502, "fleet delta_received", {"action": "restart-fan"}),
    (22.61, "fleet acted", {"name": "restart-fan", "result": "done"}),
    (22.655, "backend control_result", {"name": "restart-fan", "result": "done"}),
    (27.35, "fleet back_in_range", {"metric": "engine_temp_c", "value": 108.9, "limit": 110}),
    (27.39, "backend in_range", RULE),
]
CURE: list[Told] = [(48.2, "backend alarm_closed", RULE)]
UPDATE: list[Told] = [
    (34.1, "fleet out_of_range", {"metric": "engine_temp_c", "value": 110.2, "limit": 110}),
    (34.15, "backend relapsed", {**RULE, "value": 110.2}),
    (34.31, "backend job_created", {"job_id": "ota-a1", "version": "1.1.0"}),
    (34.39, "fleet job_notified", {"job_id": "ota-a1", "version": "1.1.0"}),
    (34.42, "fleet download_started", {"bytes": 262_144}),
    (34.9, "fleet download_progress", {"percent": 50}),
    (35.6, "fleet downloaded", {"bytes": 262_144}),
    (35.63, "fleet verified", {"sha256": "9f2c41d0"}),
    (36.7, "fleet installed", {"version": "1.1.0"}),
    (36.71, "fleet rebooting", {"off_ms": 2500}),
    (36.72, "fleet disconnected", {"reason": "power"}),
    (39.4, "fleet connected", {}),
    (39.52, "fleet version_reported", {"version": "1.1.0"}),
    (39.61, "fleet job_succeeded", {"job_id": "ota-a1"}),
    (39.66, "backend job_succeeded", {"job_id": "ota-a1"}),
]
HEAL: list[Told] = [
    (45.2, "fleet back_in_range", {"metric": "engine_temp_c", "value": 109.1, "limit": 110}),
    (45.26, "backend in_range", RULE),
    (65.4, "backend alarm_closed", RULE),
]
ESCALATE: list[Told] = [
    (54.7, "backend relapsed", {**RULE, "value": 118.4}),
    (54.71, "backend alarm_escalated", RULE),
    (54.74, "backend dispatch_opened", {"dispatch_id": "d-1", "to": "field engineer"}),
]
STORIES = {RESTARTED: RAISE + CURE, UPDATED: RAISE + UPDATE + HEAL, BROKEN: RAISE + UPDATE + ESCALATE}


def events_of(stories: dict[str, list[Told]]) -> list[Event]:
    found = []
    for offset, (thing, told) in enumerate(stories.items()):
        for at_s, what, detail in told:
            source, kind = what.split()
            found.append(Event(START_MS + round(1000 * at_s) + 700 * offset, source, kind, thing, detail))
    return found


def temperature(thing: str, at_s: float) -> float:
    """A made-up curve that passes the limit when the stories say so."""

    def towards(start: float, goal: float, since_s: float, tau_s: float) -> float:
        return goal + (start - goal) * exp(-max(0.0, since_s) / tau_s)

    value = 88 + 0.4 * sin(at_s * 1.7)
    if at_s > 8:
        value += towards(0, 32, min(at_s, 22.6) - 8, 12.0)
    if at_s > 22.6:
        value -= towards(0, 22, min(at_s, 27.5) - 22.6, 15.0)
    if at_s > 27.5:
        if thing == RESTARTED:
            value -= towards(0, 14, at_s - 27.5, 6.0)
        else:
            value += towards(0, 9, min(at_s, 39.5) - 27.5, 8.0)
            if at_s > 39.5:
                value += towards(0, -26 if thing == UPDATED else 6, at_s - 39.5, 8.0)
    return round(value, 2)


def make_report() -> Report:
    events = events_of(STORIES)
    own = [event for event in events if event.source == "fleet"]
    heard = [event for event in events if event.source == "backend"]
    connects = [
        Event(START_MS + 400 + 23 * i, "fleet", "connected", name, {}) for i, name in enumerate(VEHICLES + SENSORS)
    ]
    told, left_out = timeline(
        [
            Event(START_MS, "run", "started", "", {"devices": 40}),
            *connects,
            *own,
            *heard,
            Event(START_MS + LENGTH_MS, "run", "ended", "", {}),
        ]
    )
    alarms = [
        {"alarm_id": f"a{i}", "thing": thing, "state": "escalated" if thing == BROKEN else "closed"}
        for i, thing in enumerate(STORIES)
    ]
    counts = {"telemetry": 2148, "control_result": 3, "shadow": 61, "job_update": 14}
    profiles = [
        ("vehicle-sedan", VEHICLES[:10]),
        ("vehicle-suv", VEHICLES[10:20]),
        ("vehicle-truck", VEHICLES[20:]),
    ]
    return Report(
        fleetsim="0.1.0",
        scenario="alarm-to-ota",
        title="From an alarm to an over-the-air update",
        seed=7,
        target="sandbox",
        started_at_ms=START_MS,
        ended_at_ms=START_MS + LENGTH_MS,
        verdict="passed",
        exit_code=0,
        scenario_file="scenarios/alarm-to-ota.yaml",
        checks=[
            Check("every device connected", 40, "= 40", "", True, "all of the fleet was up within 1.4 s"),
            Check("alarms raised", 3, "= 3", "", True, "one for each device whose fan hangs, and no other"),
            Check("alarm latency, worst", 0.041, "≤ 5", "s", True, "from the first bad sample to the alarm"),
            Check("cured by the action", 1, "≥ 1", "", True, "Vehicle-VIN-007"),
            Check("jobs succeeded", 2, "= 2", "", True, "Vehicle-VIN-012, Vehicle-VIN-023"),
            Check("versions agree", "2 of 2", "all", "", True, "device, $package shadow and job say 1.1.0"),
            Check("alarms escalated", 1, "= 1", "", True, "Vehicle-VIN-023: a field dispatch is open"),
            Check("messages lost", 0, "= 0", "", True, "all that was acknowledged is stored"),
        ],
        fleet=Fleet(
            [
                *(
                    ProfileCount(profile, 10, {"1.0.0": 10 - len({UPDATED, BROKEN} & set(things)), "1.1.0": n})
                    if (n := len({UPDATED, BROKEN} & set(things)))
                    else ProfileCount(profile, 10, {"1.0.0": 10})
                    for profile, things in profiles
                ),
                ProfileCount("fire-sensor", 10, {"1.0.0": 10}),
            ],
            [
                Device(
                    thing,
                    profile,
                    "1.1.0" if thing in (UPDATED, BROKEN) else "1.0.0",
                    "connected",
                    thing in STORIES,
                )
                for profile, things in [*profiles, ("fire-sensor", SENSORS)]
                for thing in things
            ],
        ),
        faults=[
            Fault(
                "hang",
                list(STORIES),
                START_MS + 8000,
                {"component": "fan", "cured_by": "restart-fan"},
                "engine-overheat",
            )
        ],
        timeline=told,
        waterfalls=waterfalls(own, heard, alarms),
        alarms={"closed": 2, "escalated": 1},
        accounting=accounting(counts, counts, counts, {"telemetry": 2148, "control_result": 3}),
        throughput=[
            Rate(
                START_MS + 1000 * i,
                round(27 + 4 * sin(i / 3)),
                round(27 + 4 * sin((i - 0.2) / 3)),
                min(40, 27 * i) - 2 * (37 <= i < 40),
                0 if i < 22 else 3 if i < 48 else 2 if i < 55 else 1,
            )
            for i in range(81)
        ],
        series=[
            Series(
                thing,
                "engine_temp_c",
                110.0,
                [(START_MS + 500 * i, temperature(thing, i / 2 - 0.7 * n)) for i in range(161)],
            )
            for n, thing in enumerate(STORIES)
        ],
        events_dropped=left_out,
    )


@pytest.fixture(scope="module")
def report() -> Report:
    return make_report()


class Page(HTMLParser):
    """Fails on a tag that is not closed, and collects what could be fetched or run."""

    VOID = frozenset({"meta", "input", "br", "link", "img", "path"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def tags(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


def test_the_page_is_well_formed_and_tells_the_story(report: Report) -> None:
    page = Page(html.render(report))
    words = " ".join(" ".join(page.words).split())
    for wanted in (
        "PASSED: 8 of 8 checks",
        "cured by restart-fan",
        "cured by the update to 1.1.0",
        "restart-fan did not hold; the update to 1.1.0 did not cure it; a field dispatch was opened",
        "climbed again",
        "messages per second",
        "fleetsim run scenarios/alarm-to-ota.yaml --seed 7",
    ):
        assert wanted in words
    ids = [attributes["id"] for _, attributes in page.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [link["href"] for link in page.tags("a")]
    assert [target for target in targets if not target or target.removeprefix("#") not in ids] == []
    for table in ("th", "col"), ("th", "row"):
        assert any(attributes.get("scope") == table[1] for attributes in page.tags(table[0]))
    assert [svg for svg in page.tags("svg") if not svg.get("aria-label")] == []


def folded(report: Report) -> list[bool]:
    """Of each story."""
    parts = re.findall(r'<article class="story".*?<details( open)?>', html.render(report), re.DOTALL)
    return [not part for part in parts]


def test_stories_are_folded_but_for_the_first_and_those_that_need_a_look(report: Report) -> None:
    [fine, _, bad] = report.waterfalls
    assert folded(report) == [False, False, False]
    many = [replace(fine, thing=f"d-{i}") for i in range(30)]
    assert folded(replace(report, waterfalls=[*many, bad])) == [False] * 3 + [True] * 27 + [False]
    assert folded(replace(report, waterfalls=[*many, *[bad] * 9])) == [True] * 30 + [False] * 6 + [True] * 3


def test_tiles_count_alarms_and_leave_alone_what_is_to_be(report: Report) -> None:
    fine, other, bad = report.waterfalls
    tiles = dict(html._tiles(report))
    assert (tiles["alarms closed"], tiles["escalated"]) == ("2 of 3", "1")
    assert not {"left alone", "false alarms", "devices not settled"} & set(tiles)
    mixed = [
        replace(fine, outcome="left_alone"), replace(other, outcome="false_alarm"), replace(bad, outcome="open"),
    ]  # fmt: skip
    tiles = dict(html._tiles(replace(report, waterfalls=mixed, alarms={})))
    assert (tiles["left alone"], tiles["false alarms"], tiles["devices not settled"]) == ("1", "1", "1")
    words = " ".join(Page(html.render(replace(report, waterfalls=mixed))).words)
    assert "left alone" in words
    assert "false alarm" in words


def test_nothing_is_fetched(report: Report) -> None:
    rendered = html.render(report)
    page = Page(rendered)
    assert [a for _, a in page.seen if "src" in a or not (a.get("href") or "#").startswith("#")] == []
    assert page.tags("link") == []
    assert not re.search(r"@import|url\(|https?://|fetch\(|XMLHttpRequest", rendered)
    policy = next(meta["content"] for meta in page.tags("meta") if "http-equiv" in meta)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_what_came_from_outside_cannot_run(report: Report) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    stages = [replace(stage, name=evil, detail=evil) for stage in report.waterfalls[0].stages]
    hostile = replace(
        report,
        title=evil,
        scenario=evil,
        reason=evil,
        target=evil,
        log_tail=[evil],
        checks=[Check(evil, evil, evil, evil, False, evil)],
        fleet=Fleet([ProfileCount(evil, 1, {evil: 1})], [Device(evil, evil, evil, evil, True)]),
        faults=[Fault(evil, [evil], START_MS, {evil: evil}, evil)],
        timeline=[replace(report.timeline[0], thing=evil, kind=evil, source=evil, detail={evil: evil})],
        waterfalls=[replace(report.waterfalls[0], thing=evil, reason=evil, stages=stages)],
        accounting=[replace(report.accounting[0], kind=evil)],
        series=[replace(report.series[0], thing=evil, metric=evil)],
    )
    page = Page(html.render(hostile))
    assert len(page.tags("script")) == 1
    assert page.tags("img") == []
    assert [a for _, a in page.seen if any(name.startswith("on") for name in a)] == []


@pytest.mark.parametrize("verdict", ["failed", "interrupted", "unavailable"])
def test_a_run_that_ended_early_still_has_a_page(verdict: Any) -> None:
    early = Report(
        "0.1.0",
        "alarm-to-ota",
        "",
        7,
        "aws",
        START_MS,
        START_MS,
        verdict,
        3,
        "",
        "the backend ended with exit 1",
        ["boom"],
    )
    words = " ".join(Page(html.render(early)).words)
    assert "the backend ended with exit 1" in words
    assert "boom" in words
    assert "--target aws" in words


def test_json_round_trip(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "report.json"
    json_report.write(report, path)
    json_report.write(report, path)
    assert path.read_bytes() == json_report.dumps(report)
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]
    assert json_report.load(path) == report
    document = orjson.loads(path.read_bytes())
    jsonschema.validate(document, json_report.json_schema())
    assert list(document) == list(asdict(report))


def test_json_says_what_is_wrong(report: Report) -> None:
    document = orjson.loads(json_report.dumps(report))
    document["waterfalls"][1]["outcome"] = "fine"
    with pytest.raises(UsageError, match=r"waterfalls\.1\.outcome"):
        json_report.loads(orjson.dumps(document))


def test_a_failed_write_leaves_the_old_file(report: Report, tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    with pytest.raises(OSError, match=r"report\.json"):
        json_report.write(report, tmp_path / "report.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_verdict_lines(report: Report) -> None:
    failed = replace(
        report,
        verdict="failed",
        exit_code=1,
        checks=[*report.checks, Check("replies", None, "≥ 1", "", False, "none came")],
    )
    lines = text.verdict_lines(failed, [Path("runs/1/report.html")])
    assert lines[2] == "  ✓  alarm latency, worst    0.041 s  ≤ 5"
    assert re.fullmatch(r"  ✗  replies +– +≥ 1   none came", lines[8])
    assert "FAILED: 8 of 9 checks passed  (1 min 20 s, seed 7)" in lines
    assert lines[-1] == "html  runs/1/report.html"


def test_verdict_lines_in_ascii(report: Report) -> None:
    lines = text.verdict_lines(report, encoding="ascii")
    assert all(line.isascii() for line in lines)
    assert lines[2] == "  +  alarm latency, worst    0.041 s  <= 5"


def test_accounting() -> None:
    rows = accounting(
        {"telemetry": 100, "shadow": 5, "control_result": 2},
        {"telemetry": 99, "shadow": 5, "control_result": 2},
        {"telemetry": 98, "shadow": 4, "control_result": 2},
        {"telemetry": 97},
    )
    assert [(row.kind, row.stored, row.lost) for row in rows] == [
        ("control_result", 0, 2),
        ("shadow", None, 1),
        ("telemetry", 97, 3),
    ]
    assert [row.lost for row in accounting({"telemetry": 9}, {"telemetry": 9}, {"telemetry": 9})] == [0]


def test_timeline_is_bounded_and_keeps_what_matters() -> None:
    dull = [Event(i, "fleet", "download_progress", "a", {"percent": i}) for i in range(50)]
    told, left_out = timeline([*dull, Event(40, "backend", "alarm_raised", "a", {})], limit=10)
    assert (len(told), left_out) == (10, 41)
    assert told[-1].kind == "alarm_raised"
    assert [row.at_ms for row in told] == sorted(row.at_ms for row in told)


def test_a_cause_is_told_before_its_effect() -> None:
    told, _ = timeline([Event(5, "backend", "alarm_raised", "a", {}), Event(5, "fleet", "out_of_range", "a", {})])
    assert [row.kind for row in told] == ["out_of_range", "alarm_raised"]


def test_thinned_keeps_peaks_and_ends() -> None:
    points = [(i, 0.0) for i in range(10_000)]
    points[5_003], points[7_001] = (5_003, 9.0), (7_001, -9.0)
    kept = thinned(points, 100)
    assert len(kept) <= 100
    assert {points[0], points[5_003], points[7_001], points[-1]} <= set(kept)
    assert thinned(points[:50], 100) == points[:50]
