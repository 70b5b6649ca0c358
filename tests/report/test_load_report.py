"""The report of a load over time: its charts, where it went wrong, and the same in report.json."""

import re
from html.parser import HTMLParser

from simulator.report import html, json_report
from simulator.report.facts import Course, FaultSpan, Load, LoadRow, Point, Report, Strain, StrainSample, Trouble

START_MS = 1_767_225_600_000
HOSTILE = '<img src=x onerror="alert(1)">'


def made(where: str = "") -> Report:
    points = [
        Point(START_MS + 1000 * i, 50.0, 49.5, 48.0, 0.0, 2.0, 5.0 + i, 9.0, 3.0, 6.0, 12.0, 40, 38 + i % 3, i % 2)
        for i in range(30)
    ]
    people = [Point(START_MS + 1000 * i, acknowledged=2.0, p50_ms=20.0, p95_ms=30.0, p99_ms=40.0) for i in range(30)]
    faults = [FaultSpan(f"bias of 3 devices ({HOSTILE})", START_MS + 8000, START_MS + 15_000),
              FaultSpan("slow_answers of the backend's store", START_MS + 20_000)]  # fmt: skip
    troubles = [
        Trouble("backend → store", f"MQTT {HOSTILE}", START_MS + 20_000, None, 5, 4000, 0, [faults[1].words], "late")
    ]
    load = Load(
        {"kind": "ramp"}, 40, [], [LoadRow("MQTT", "telemetry", 10, 0, 1, 2, 3, 4, {})],
        courses=[Course("all", points), Course("MQTT", points), Course("people", people)], faults=faults,
        faults_left_out=3, where=where, troubles=troubles if where else [],
    )  # fmt: skip
    verdict = "failed" if where else "passed"
    strain = Strain("", 250.0, [
        StrainSample(f"worker-{w}", START_MS + 1000 * i, 1.0, 0.1 * w, 3.0, 1.0, 2.0 * w, 4.0, 10, 10, 0, 0, w)
        for i in range(30) for w in (1, 2)
    ])  # fmt: skip
    return Report(
        "0.1.0", "s", "t", 1, "sandbox", START_MS, START_MS + 30_000, verdict, 1, load=load, strain=strain,  # type: ignore[arg-type]
    )  # fmt: skip


class Figures(HTMLParser):
    """The charts of a page by their captions: the text for who cannot see them, and how many times are shaded."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, tuple[str, int]] = {}
        self._caption, self._said, self._shaded, self._in = "", "", 0, False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "figcaption":
            self._caption, self._shaded, self._in = "", 0, True
        if tag == "svg":
            self._said = dict(attrs).get("aria-label") or ""
        self._shaded += tag == "rect"

    def handle_data(self, data: str) -> None:
        self._caption += data if self._in else ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "figcaption":
            self._in = False
        if tag == "figure":
            self.found[self._caption] = (self._said, self._shaded)


def test_every_chart_has_its_text_and_the_faults_are_shaded_in_it() -> None:
    page = html.render(made())
    figures = Figures(page).found
    assert {"messages per second, all devices", "ms until acknowledged, MQTT", "ms until stored, all devices",
            "devices, all devices", "alarms open", "failures per second, all devices",
            "ms until answered, people and downloads"} <= set(figures)  # fmt: skip
    for title, (said, shaded) in figures.items():
        assert said.startswith(f"{title}: from "), title
        assert (shaded, "shaded: A bias of 3 devices" in said) == (2, True)
    assert figures["share of a core, the busiest engine"][0].startswith(
        "share of a core, the busiest engine: from 0.2 to 0.2"
    )
    assert "3 more faults are not shaded" in page
    assert 'id="throughput"' not in page, "it is among the charts of the load"


def test_it_says_where_it_went_wrong_and_escapes_everything() -> None:
    page = html.render(made("backend → store, from 20 s"))
    assert "Where it went wrong" in page
    assert re.search(r'<table id="troubles">.*backend → store.*the end.*late', page, re.DOTALL)
    assert HOSTILE not in page
    assert "Where it went wrong" not in html.render(made())


def test_the_same_is_in_the_json() -> None:
    report = made("backend → store, from 20 s")
    assert json_report.loads(json_report.dumps(report)) == report


def test_an_older_report_without_courses_is_still_drawn() -> None:
    page = html.render(Report("0.1.0", "s", "t", 1, "sandbox", 0, 1, "passed", 0, load=Load({}, 1, [], [])))
    assert 'id="throughput"' in page
