"""Our pages in Locust's UI: what they answer, to whom, and that nothing in them comes from elsewhere or runs."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from simulator.histogram import Histogram
from simulator.runtime.course import Course, Gauges
from simulator.runtime.live import Alarm, Job, Snapshot
from simulator.runtime.meter import Row
from simulator.runtime.picture import BOUNDS_S, Pictures, below

SCRIPT = Path(__file__).with_name("load_pages.py")
HOSTILE = '<script>alert("1")</script>'
PAGES = ("/fleet", "/fleet/table")
DATA = ("/fleet/picture.json", "/fleet/rows.json", "/fleet/rows.csv", "/metrics")


def picture() -> dict[str, Any]:
    """As a coordinator would draw it."""
    row, odd = Row("MQTT", "telemetry", payload_bytes=500), Row("REST", HOSTILE)
    for ms in (1, 2, 3, 400):
        row.latency.add(ms * 1_000_000)
    row.fail("refused")
    odd.untimed = 2
    odd.fail("=cmd|' /C calc'!A0", 2)
    course = Course(1000)
    course.add([row], 1500)
    course.gauge(1500, Gauges(4, 4, 2, {"MQTT": 2}, 1))
    snapshot = Snapshot(
        12.5, "hold", 0, {"connected": 2, "away": 1}, {"vehicle-sedan": (2, 3)}, 4, 4, 40, 40, {"open": 1},
        [Alarm(HOSTILE, "rule-1", "open", 99.5)], {"SUCCEEDED": 3}, [Job("V-1", "1.1.0", "SUCCEEDED", 100)],
    )  # fmt: skip
    rows = {(one.method, one.name): one for one in (row, odd)}
    return Pictures().draw(snapshot, rows, course, 2, ["slow_answers of the backend's store"])


def answers(
    *ask: str, login: bool = False, base: str = "", shown: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    asked = {"picture": picture() if shown is None else shown, "verdict": {}, "login": login, "base": base, "ask": ask}
    done = subprocess.run(
        [sys.executable, SCRIPT], input=json.dumps(asked), capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, Any]]:
    """Everything, as it is answered to anybody where there is no login."""
    files = ("style.css", "fleet.js", "page.js", "pages.py", "..%2fpages.py")
    ask = ("/", "/stats/requests", *PAGES, *DATA, *(f"/fleet/static/{name}" for name in files))
    return dict(zip(ask, answers(*ask), strict=True))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_asks_nobody_else_and_runs_nothing_inline(told: dict[str, dict[str, Any]], page: str) -> None:
    said = told[page]
    assert said["status"] == 200
    policy = said["headers"]["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"""(src|href)="?(https?:)?//""", said["body"])
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|style=", said["body"])
    assert '<html lang="en">' in said["body"]
    assert 'name="viewport"' in said["body"]


def test_files_are_served_and_no_others(told: dict[str, dict[str, Any]]) -> None:
    kinds = {"style.css": "text/css", "fleet.js": "javascript", "page.js": "javascript"}
    for name, kind in kinds.items():
        said = told[f"/fleet/static/{name}"]
        assert (said["status"], kind in said["headers"]["Content-Type"]) == (200, True)
        assert said["headers"]["X-Content-Type-Options"] == "nosniff"
    assert told["/fleet/static/pages.py"]["status"] == told["/fleet/static/..%2fpages.py"]["status"] == 404


def test_the_picture_says_how_it_stands(told: dict[str, dict[str, Any]]) -> None:
    said = json.loads(told["/fleet/picture.json"]["body"])
    assert told["/fleet/picture.json"]["headers"]["Content-Type"] == "application/json"
    assert (said["state"], said["scenario"], said["verdict"], said["on"]) == ("ready", "small", {}, 2)
    assert said["faults"] == ["slow_answers of the backend's store"]
    assert said["alarms_latest"][0]["thing"] == HOSTILE, "it is data: the page shows it as text"
    assert said["course"]["p99_ms"][0] == pytest.approx(400, rel=0.001)
    assert "buckets" not in said["rows"][0]


def test_the_table_is_in_locusts_ui_too(told: dict[str, dict[str, Any]]) -> None:
    stats = json.loads(told["/stats/requests"]["body"])
    (extended,) = stats["extended_stats"]
    assert extended["key"] == "fleet"
    assert [(row["method"], row["count"], row["failed"]) for row in extended["data"]] == [
        ("MQTT", 4, 1),
        ("REST", 2, 2),
    ]
    page = told["/"]["body"]
    assert "extended_tabs" in page
    assert 'href="./fleet"' in page
    assert page.index('href="./fleet"') < page.index('id="root"')


def test_metrics_are_what_prometheus_reads(told: dict[str, dict[str, Any]]) -> None:
    said = told["/metrics"]
    assert said["headers"]["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", "and no second charset"
    families = {family.name: family for family in text_string_to_metric_families(said["body"])}
    counts = {s.labels["kind"]: s.value for s in families["fleetsim_messages"].samples}
    assert counts == {"telemetry": 4, HOSTILE: 2}
    took = [s for s in families["fleetsim_latency_seconds"].samples if s.labels["kind"] == "telemetry"]
    buckets = {s.labels["le"]: s.value for s in took if s.name.endswith("_bucket")}
    assert (buckets["0.0025"], buckets["0.005"], buckets["0.5"], buckets["+Inf"]) == (2, 3, 4, 4)
    assert next(s.value for s in took if s.name.endswith("_sum")) == pytest.approx(0.406)
    labels = {label for family in families.values() for s in family.samples for label in s.labels}
    assert labels <= {"method", "kind", "reason", "le", "state", "profile", "status"}, "never a device"
    assert {s.labels["profile"]: s.value for s in families["fleetsim_devices_connected"].samples} == {
        "vehicle-sedan": 2
    }


def test_the_csv_is_a_table_and_no_formula(told: dict[str, dict[str, Any]]) -> None:
    said = told["/fleet/rows.csv"]
    assert said["headers"]["Content-Disposition"] == "attachment; filename=fleet.csv"
    first, second = csv.DictReader(io.StringIO(said["body"]))
    assert (first["Type"], first["Name"], first["Count"], first["Failures"]) == ("MQTT", "telemetry", "4", "1")
    assert second["Reasons"].startswith("2 x =cmd"), "what begins with a count is no formula"


def test_with_a_login_only_style_and_scripts_are_for_everybody() -> None:
    ask = (*PAGES, *DATA)
    for address, said in zip(ask, answers(*ask, login=True), strict=True):
        assert said["status"] == 302, address
        assert said["headers"]["Location"].startswith("/login")
    (style,) = answers("/fleet/static/style.css", login=True)
    assert style["status"] == 200


def test_under_a_base_path_everything_is_there_too() -> None:
    page, data, root = answers("/load/fleet", "/load/fleet/picture.json", "/load/", base="/load")
    assert (page["status"], data["status"]) == (200, 200)
    assert 'href="./fleet"' in root["body"]


def test_before_the_first_test_nothing_is_shown() -> None:
    said = answers(*DATA, shown={})
    assert [one["status"] for one in said] == [200] * len(DATA)
    assert json.loads(said[0]["body"])["rows"] == []


def test_buckets_are_exact_at_their_bounds() -> None:
    histogram = Histogram()
    for bound_s in BOUNDS_S:
        histogram.add(round(bound_s * 1e9))
        histogram.add(round(bound_s * 1.01e9))
    assert below(histogram) == [1 + 2 * i for i in range(len(BOUNDS_S))]


def test_a_picture_tells_rates_since_the_one_before() -> None:
    pictures, row, course = Pictures(), Row("MQTT", "telemetry"), Course(0)
    rates = []
    for second, count in ((1.0, 10), (2.0, 30), (4.0, 30)):
        while row.latency.count < count:
            row.latency.add(1_000_000)
        drawn = pictures.draw(Snapshot(second, "hold", 0), {("MQTT", "telemetry"): row}, course, 0, [])
        rates.append(drawn["rows"][0]["per_s"])
    assert rates == [10.0, 20.0, 0.0]
