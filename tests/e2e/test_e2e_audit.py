"""A copy of the backend that drops every hundredth message after acknowledging it: found, and each one named."""

import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.e2e.fleetsim_command import REPO, Command

pytestmark = pytest.mark.e2e

SCENARIO = """\
scenario: NAME
title: Does every message arrive?
fleet:
  - {profile: vehicle-sedan, count: 20, name: "Vehicle-VIN-{n}"}
  - {profile: vehicle-suv, count: 5, name: "Vehicle-VIN-{n}", channel: tcp}
  - {profile: fire-sensor, count: 5, name: "device-{n}", channel: rest}
  - {profile: machine-a, count: 5, name: "machine-{n}"}
timeline:
  - {kind: connect, over_s: 0.5}
  - {kind: hold, for_s: 6}
checks:
  - {kind: unexplained}
  - {kind: unexplained, name: alert reports astray, messages: [alert_report]}
  - {kind: processing_time}
  - {kind: error_rate}
  - {kind: availability}
  - {kind: false_alarms, per: run, equals: 0}
"""
BEFORE = "        effects: list[Effect] = [\n            StoreTelemetry("
AFTER = "        if sample.nodes is not None and sample.hub_id == sample.device_id:"
PLANTED = """\
        self.taken = getattr(self, "taken", 0) + 1
        if self.taken % 100 == 0:
            effects.clear()
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program with that bug in its backend."""
    folder = tmp_path_factory.mktemp("planted")
    shutil.copytree(REPO / "simulator", folder / "simulator", ignore=shutil.ignore_patterns("__pycache__"))
    core = folder / "simulator" / "backend" / "core.py"
    text = core.read_text()
    assert text.index(BEFORE) < text.index(AFTER), "the bug has no place to stand"
    core.write_text(text.replace(AFTER, PLANTED + AFTER, 1))
    return folder


@pytest.fixture(scope="module")
def runs(home: Path, fleetsim: Callable[..., Command], planted: Path) -> dict[str, Command]:
    """The same scenario on the backend as it is and on the other one, side by side."""
    for name in ("sound", "leaky"):
        (home / "scenarios" / f"{name}.yaml").write_text(SCENARIO.replace("NAME", name))
    return {
        "sound": fleetsim("run", "sound", "--out", "out"),
        "leaky": fleetsim("run", "leaky", "--out", "out", PYTHONPATH=str(planted)),
    }


def test_a_sound_backend_loses_nothing(runs: dict[str, Command]) -> None:
    command = runs["sound"]
    assert command.wait() == 0, command.stdout
    report = command.report
    assert report.audit
    assert report.audit.source == "the sandbox's store"
    for kind in report.audit.kinds:
        attempted = next(account.attempted for account in report.accounting if account.kind == kind.kind)
        assert (kind.said, kind.fates, kind.unexplained) == (attempted, {"delivered": attempted}, {})
    assert {"telemetry", "provisioning_complete"} <= {kind.kind for kind in report.audit.kinds}
    assert (report.audit.not_audited, report.audit.strangers, report.audit.unreadable) == ({}, 0, {})
    command.leaves_nothing([])


def test_every_message_that_a_leaky_one_drops_is_named(runs: dict[str, Command]) -> None:
    command = runs["leaky"]
    assert command.wait() == 1, command.stdout
    report = command.report
    assert report.audit
    by_kind = {kind.kind: kind for kind in report.audit.kinds}
    telemetry = by_kind["telemetry"]
    lost = telemetry.said // 100
    assert lost > 0
    assert telemetry.fates == {"delivered": telemetry.said - lost, "lost": lost}
    assert (telemetry.unexplained, telemetry.causes) == ({"lost": lost}, {})
    assert by_kind["provisioning_complete"].unexplained == {}
    named = report.audit.unexplained
    assert len({(one.thing, one.stamp) for one in named}) == lost
    assert {(one.fate, one.kind, one.hop) for one in named} == {
        ("lost", "telemetry", "after it was acknowledged, before the store")
    }
    [failed] = [check for check in report.checks if not check.passed]
    assert (failed.name, failed.measured) == ("messages astray that nothing explains", lost)
    assert f"telemetry of {named[0].thing}: lost, after it was acknowledged, before the store" in failed.why
    assert f"{lost} lost ({lost} unexplained)" in command.stdout
    command.leaves_nothing([])


def test_a_ci_sees_the_same(runs: dict[str, Command]) -> None:
    command = runs["leaky"]
    command.wait()
    path = command.folder / "out" / "junit.xml"
    assert str(path.relative_to(command.folder)) in command.stdout
    [suite] = ElementTree.parse(path).getroot()  # noqa: S314 (our own)
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("leaky", "6", "1")
    [failure] = suite.iter("failure")
    assert "telemetry of " in (failure.text or "")
