"""The quick loop, once in lines and once as JSON, with the same seed: what a run says and leaves behind."""

import json
import re
from collections.abc import Callable
from typing import NamedTuple

import pytest

from simulator.report import json_report
from simulator.report.facts import Report, Waterfall
from tests.e2e.fleetsim_command import Command

pytestmark = pytest.mark.e2e

THINGS = [*(f"Vehicle-VIN-{n:03}" for n in range(1, 7)), "device-001", "device-002"]
ALARM = ["fault_injected", "out_of_range", "alarm_raised", "command_sent", "delta_received", "acted"]
JOB = ["job_created", "job_notified", "downloaded", "verified", "installed", "rebooting", "connected"]
UPDATE = [*JOB, "version_reported", "job_succeeded"]
CURED = ["back_in_range", "in_range", "alarm_closed"]


class Ended(NamedTuple):
    """A run after its end."""

    exit_code: int
    command: Command
    report: Report
    ports: list[int]


@pytest.fixture(scope="module")
def runs(fleetsim: Callable[..., Command]) -> list[Ended]:
    """Two runs side by side, which also shows that they do not get into each other's way."""
    commands = [fleetsim("run", "quick-loop", "--seed", 7, "--out", "out", *flags) for flags in ([], ["--json"])]
    for command in commands:
        command.says("every alarm settled")
    ports = [command.ports() for command in commands]
    return [Ended(c.wait(), c, c.report, p) for c, p in zip(commands, ports, strict=True)]


@pytest.fixture(scope="module")
def run(runs: list[Ended]) -> Ended:
    return runs[0]


def test_it_passes(run: Ended) -> None:
    assert run.exit_code == 0, run.command.stdout
    assert (run.report.verdict, run.report.exit_code) == ("passed", 0)
    assert len(run.report.checks) == 9
    assert all(check.passed for check in run.report.checks)


def test_each_check_is_said_with_its_value_and_its_bound(run: Ended) -> None:
    lines = run.command.stdout.splitlines()
    assert re.fullmatch(r"  ✓  devices connected +8 +  = 8", lines[0])
    assert any(re.fullmatch(r"  ✓  time from first bad sample .* [\d.]+ s +≤ 30", line) for line in lines)
    *_, verdict, first, second, third = lines  # a machine that is slow has some messages to speak of before it
    assert re.fullmatch(r"PASSED: 9 of 9 checks  \([\d.]+ s, seed 7\)", verdict)
    assert [first, second, third] == ["html  out/report.html", "json  out/report.json", "xml   out/junit.xml"]


def test_progress_is_plain_lines_on_stderr(run: Ended) -> None:
    assert run.command.stderr.startswith("quick-loop: Three fans hang, quickly · 8 devices · seed 7\n")
    for words in ("fault injected", "alarm raised", "device acted", "job succeeded", "field dispatch opened"):
        assert re.search(rf"^ +\d+\.\ds  {words}  +Vehicle-VIN-00\d", run.command.stderr, re.M), words
    assert "8 of 8 connected" in run.command.stderr
    assert "\x1b" not in run.command.stdout + run.command.stderr


def test_json_is_one_document_on_stdout(runs: list[Ended]) -> None:
    command = runs[1].command
    assert json_report.loads(command.stdout.encode()) == runs[1].report
    assert command.stdout == (command.folder / "out" / "report.json").read_text()
    assert json.loads(command.stdout)["verdict"] == "passed"


def test_the_page_needs_nothing_else(run: Ended) -> None:
    page = (run.command.folder / "out" / "report.html").read_text()
    links = re.findall(r"""(?:src|href)=["']?([^"' >]*)""", page)
    assert links
    assert all(link.startswith("#") for link in links), links
    assert not re.search(r"url\(|@import|https?://", page)
    for waterfall in run.report.waterfalls:
        assert waterfall.thing in page


def test_who_broke_is_who_is_told_of(run: Ended) -> None:
    broken = {thing for fault in run.report.faults for thing in fault.things}
    assert len(broken) == 3
    assert {waterfall.thing for waterfall in run.report.waterfalls} == broken
    assert {device.thing for device in run.report.fleet.devices if device.affected} == broken
    hot = {s.thing: max(value for _, value in s.points) for s in run.report.series if s.metric == "engine_temp_c"}
    assert set(hot) == broken
    assert min(hot.values()) > 110


@pytest.mark.parametrize(
    ("fault", "outcome", "stages"),
    [
        (0, "closed", [*ALARM, *CURED]),
        (1, "closed", [*ALARM, *UPDATE, *CURED]),
        (2, "escalated", [*ALARM, *UPDATE, "alarm_escalated", "dispatch_opened"]),
    ],
    ids=["cured by a restart", "cured by an update", "escalated"],
)
def test_every_stage_is_there_in_order(run: Ended, fault: int, outcome: str, stages: list[str]) -> None:
    waterfall = _story(run.report, fault)
    told = iter(stage.kind for stage in waterfall.stages)
    assert waterfall.outcome == outcome
    assert all(stage in told for stage in stages), [stage.kind for stage in waterfall.stages]
    moments = [stage.at_ms for stage in waterfall.stages]
    assert None not in moments
    assert all(stage.since_previous_ms is not None for stage in waterfall.stages)
    assert waterfall.stages[0].kind == "fault_injected"
    assert waterfall.stages[-1].kind in ("alarm_closed", "dispatch_opened")


def test_a_restart_needs_no_job(run: Ended) -> None:
    assert not {stage.kind for stage in _story(run.report, 0).stages} & {*JOB[:4], *UPDATE[-2:]}


def test_the_new_version_is_where_a_job_brought_it(run: Ended) -> None:
    updated = {thing for fault in run.report.faults[1:] for thing in fault.things}
    versions = {device.thing: device.version for device in run.report.fleet.devices}
    assert versions == {thing: "1.1.0" if thing in updated else "1.0.0" for thing in THINGS}
    # What the cloud's $package shadows say is a check: it was asked for every device, and nobody disagrees.
    [agreed] = [check for check in run.report.checks if "$package" in check.name]
    assert (agreed.measured, agreed.passed) == (0, True)


def test_nothing_is_lost_on_the_way(run: Ended) -> None:
    rows = {row.kind: row for row in run.report.accounting}
    for row in rows.values():
        assert row.attempted == row.sent == row.acknowledged, row
        assert row.lost == 0
    assert rows["telemetry"].stored == rows["telemetry"].acknowledged > 100
    assert rows["control_result"].stored == rows["control_result"].acknowledged == 3


def test_the_same_seed_gives_the_same_run(runs: list[Ended]) -> None:
    first, second = (_repeatable(ended.report) for ended in runs)
    assert first == second


def test_nothing_is_left(runs: list[Ended]) -> None:
    for ended in runs:
        assert len(ended.ports) >= 3
        ended.command.leaves_nothing(ended.ports)
        assert list(ended.command.temporary.iterdir()) == []


def _story(report: Report, fault: int) -> Waterfall:
    """What happened to the one device that had this fault."""
    [thing] = report.faults[fault].things
    return next(waterfall for waterfall in report.waterfalls if waterfall.thing == thing)


def _repeatable(report: Report) -> object:
    """What must not change from run to run: faults, devices, verdict, outcomes."""
    return (
        report.verdict,
        [(fault.fault, fault.things, fault.params, fault.expect) for fault in report.faults],
        [(device.thing, device.profile, device.version, device.affected) for device in report.fleet.devices],
        [(check.name, check.bound, check.passed) for check in report.checks],
        [(waterfall.thing, waterfall.outcome, waterfall.reason) for waterfall in report.waterfalls],
    )
