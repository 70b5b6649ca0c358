"""The shipped scenario by the shipped command: what `make demo` runs."""

from collections import Counter
from collections.abc import Callable

import pytest

from simulator.report import json_report
from tests.e2e.fleetsim_command import PATIENCE_S, REPO, Command

pytestmark = pytest.mark.e2e


def test_the_demo_passes(fleetsim: Callable[..., Command]) -> None:
    command = fleetsim("demo", FLEETSIM_HOME=str(REPO))
    command.says(" of 40 connected")
    ports = command.ports()
    assert len(ports) >= 3
    assert command.process.wait(2 * PATIENCE_S) == 0, command.stdout  # the issue's own limit: 120 s
    command.leaves_nothing(ports)
    [folder] = (command.folder / "runs").iterdir()
    assert folder.name.startswith("alarm-to-ota-")
    report = json_report.load(folder / "report.json")
    assert (folder / "report.html").is_file()
    assert "PASSED: 9 of 9 checks" in command.stdout
    assert {p.profile: p.count for p in report.fleet.profiles} == {
        "vehicle-sedan": 14, "vehicle-suv": 10, "vehicle-truck": 6, "fire-sensor": 10,
    }  # fmt: skip
    assert Counter(waterfall.outcome for waterfall in report.waterfalls) == {"closed": 2, "escalated": 1}
