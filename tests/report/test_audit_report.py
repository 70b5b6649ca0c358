"""How the reports tell of each message's fate, of the score, and of checks as test cases."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from simulator.report import html, json_report, junit
from simulator.report.facts import Astray, Audit, Check, KindAudit, Report, Score, Scores, Spread
from simulator.report.text import verdict_lines
from tests.report.test_report_outputs import START_MS, Page, make_report

LOST = Astray("lost", "telemetry", "Vehicle-VIN-004", 1_767_225_600_123, START_MS + 4200, "before the <store>")
AUDIT = Audit(
    "the sandbox's store", "",
    [
        KindAudit("alert_report", 12, {"delivered": 12}, {}, {}),
        KindAudit(
            "telemetry", 2148, {"delivered": 2140, "late": 5, "lost": 3}, {"lost": 2},
            {"late": {"latency": 4, "backend restarted": 1}, "lost": {"loss dropped it": 1}},
        ),
    ],
    [LOST, replace(LOST, thing="Vehicle-VIN-009")], {"telemetry": 7}, 4, {"payload.not_json": 2},
)  # fmt: skip
NONE = Score("bias", 0, 0, 2, None, 0, 1, 0.0, 1.5, None, None, [])
SOME = Score(
    "hang",
    4,
    3,
    0,
    0.75,
    3,
    0,
    1.0,
    0.0,
    Spread(0.5, 61.0, 300.0),
    Spread(20.0, 20.0, 20.0),
    ["Vehicle-VIN-023 (hang)"],
)
SCORES = Scores(replace(SOME, of="all"), [NONE, SOME], [replace(SOME, of="vehicle-sedan")])


@pytest.fixture(scope="module")
def report() -> Report:
    return replace(make_report(), audit=AUDIT, scores=SCORES)


def words(report: Report) -> str:
    return " ".join(" ".join(Page(html.render(report)).words).split())


def test_the_page_tells_of_every_fate(report: Report) -> None:
    told = words(report)
    assert "by what the sandbox's store has" in told
    assert "telemetry 2,148 2,140 5 3 2 unexplained" in told
    assert "late: latency 4, backend restarted 1; lost: loss dropped it 1" in told
    assert "4.2 s lost telemetry Vehicle-VIN-004 1767225600123 before the <store>" in told
    assert "Not looked at one by one: 7 of telemetry" in told
    assert "4 more are in the store, and nobody of this fleet said them" in told
    assert "2 × payload.not_json" in told


def test_the_page_tells_the_score(report: Report) -> None:
    told = words(report)
    assert "hang 4 3 75 % 0 3 0 100 % 0 500 ms / 1 min 01 s / 5 min 00 s 20.0 s / 20.0 s / 20.0 s" in told
    assert "bias 0 0 – 2 0 1 0 % 1.5 – –" in told
    assert "by profile" in told
    assert "Vehicle-VIN-023 (hang)" in told


def test_a_profile_to_which_nothing_happened_is_left_out(report: Report) -> None:
    idle = replace(NONE, of="vehicle-idle", left_alone=0, false_alarms=0)
    told = words(replace(report, scores=replace(SCORES, by_profile=[idle, *SCORES.by_profile])))
    assert "vehicle-sedan 4" in told
    assert "vehicle-idle" not in told


def test_what_was_refused_is_not_lost(report: Report) -> None:
    [row] = [account for account in report.accounting if account.kind == "telemetry"]
    counted = replace(report, accounting=[replace(row, stored=2143, lost=5)])
    kind = KindAudit("telemetry", 2148, {"delivered": 2143, "refused": 4, "lost": 1}, {}, {})
    looked = replace(counted, audit=replace(AUDIT, kinds=[kind], not_audited={}))
    tiles = dict(html._tiles(looked))
    assert (tiles["messages lost"], tiles["messages refused"]) == ("1", "4")
    assert "1 lost" in words(looked)
    assert "5 lost" not in words(looked)
    assert dict(html._tiles(replace(counted, audit=None)))["messages lost"] == "5"
    some = replace(looked, audit=replace(AUDIT, kinds=[kind], not_audited={"telemetry": 3}))
    assert dict(html._tiles(some))["messages lost"] == "5", "who did not look at all of them cannot tell"


def test_a_page_without_an_audit_says_why(report: Report) -> None:
    why = words(replace(report, audit=Audit(reason="nobody answers"), scores=None))
    assert "The messages were not looked at one by one: nobody answers." in why
    assert "Recall" not in why
    alone = words(replace(report, audit=replace(AUDIT, source="")))
    assert "as far as the devices know" in alone


def test_the_facts_are_the_same_after_a_round_trip(report: Report) -> None:
    data = json_report.dumps(report)
    assert json_report.loads(data) == report
    assert json_report.dumps(json_report.loads(data)) == data
    assert json_report.loads(json_report.dumps(make_report())).audit is None, "a report of before has none"


def test_a_line_says_what_went_astray(report: Report) -> None:
    assert "2,160 messages: 2,152 delivered, 5 late, 3 lost (2 unexplained)" in verdict_lines(report)
    fine = replace(report, audit=replace(AUDIT, kinds=AUDIT.kinds[:1]))
    assert not any("messages:" in line for line in verdict_lines(fine)), "nobody wants to hear that all is well"


# JUnit


def suite(report: Report) -> ElementTree.Element:
    found = ElementTree.fromstring(junit.dumps(report)).find("testsuite")  # noqa: S314 (our own)
    assert found is not None
    return found


def test_every_check_is_a_test_case(report: Report) -> None:
    bad = Check("detected <early>", None, "≥ 3", "s", False, "a & b\x00\ud800 missed")
    given = replace(report, checks=[*report.checks, bad], verdict="failed")
    found = suite(given)
    assert {key: found.get(key) for key in ("name", "tests", "failures", "errors", "skipped")} == {
        "name": "alarm-to-ota", "tests": "9", "failures": "1", "errors": "0", "skipped": "0",
    }  # fmt: skip
    cases = found.findall("testcase")
    assert [case.get("name") for case in cases] == [check.name for check in given.checks]
    assert {case.get("classname") for case in cases} == {"fleetsim.alarm-to-ota"}
    said = [case.findtext("system-out") for case in cases[:-1]]
    assert said[2] == "measured 0.041 s, must be ≤ 5. from the first bad sample to the alarm"
    failure = cases[-1].find("failure")
    assert failure is not None
    assert failure.get("message") == "measured –, must be ≥ 3"
    assert failure.text == "detected <early>: measured –, must be ≥ 3\na & b�� missed"
    assert junit.dumps(given) == junit.dumps(given)


def test_a_run_without_a_check_is_an_error(report: Report) -> None:
    gone = replace(report, checks=[], verdict="unavailable", reason="the backend died", log_tail=["last words"])
    found = suite(gone)
    assert (found.get("tests"), found.get("failures"), found.get("errors")) == ("1", "0", "1")
    error = found.find("testcase/error")
    assert error is not None
    assert (error.get("type"), error.text) == ("unavailable", "the backend died\nlast words")
