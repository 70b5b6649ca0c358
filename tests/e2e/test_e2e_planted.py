"""The loop is real: take one step out of the backend's rule, and the checks say what is missing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleetsim_command import Command, variant

pytestmark = pytest.mark.e2e

NOTHING = ("open", "no action followed the alarm")
RESTARTED = ("closed", "cured by restart-fan")
UPDATED = ("closed", "cured by the update to 1.1.0")
DISPATCHED = ("escalated", "restart-fan did not hold; a field dispatch was opened")
ABANDONED = ("open", "nothing followed the action's time-out")

# What the rule lacks → checks that fail and what they measure, and how the three stories end.
PLANTED: dict[str, tuple[dict[str, float], list[tuple[str, str]]]] = {
    "autoAction": (
        {"alarms closed": 0, "alarms escalated": 0, "job executions SUCCEEDED": 0},
        [NOTHING, NOTHING, NOTHING],
    ),
    "thenUpdateTo": (
        {"alarms closed": 1, "alarms escalated": 2, "job executions SUCCEEDED": 0},
        [RESTARTED, DISPATCHED, DISPATCHED],
    ),
    "thenDispatch": (
        {"alarms escalated": 0},
        [RESTARTED, UPDATED, ABANDONED],
    ),
}


@pytest.fixture(scope="module")
def runs(home: Path, fleetsim: Callable[..., Command]) -> dict[str, Command]:
    """One run without each key, side by side."""

    def without(key: str) -> Callable[[dict[str, Any]], None]:
        def edit(scenario: dict[str, Any]) -> None:
            del scenario["sandbox"]["rules"][0][key]
            scenario["timeline"][-1]["within_s"] = 20  # what is waited for does not come

        return edit

    names = {key: variant(home, f"without-{key.lower()}", without(key)) for key in PLANTED}
    return {key: fleetsim("run", name, "--out", "out") for key, name in names.items()}


@pytest.mark.parametrize("key", PLANTED)
def test_a_step_that_is_missing_is_noticed(runs: dict[str, Command], key: str) -> None:
    failed, endings = PLANTED[key]
    command = runs[key]
    assert command.wait() == 1, command.stdout
    report = command.report
    assert (report.verdict, report.exit_code) == ("failed", 1)
    assert {check.name: check.measured for check in report.checks if not check.passed} == failed
    for name in failed:
        assert any(line.startswith(f"  ✗  {name} ") for line in command.stdout.splitlines()), command.stdout
    assert f"FAILED: {9 - len(failed)} of 9 checks passed" in command.stdout
    by_thing = {waterfall.thing: waterfall for waterfall in report.waterfalls}
    stories = [by_thing[thing] for fault in report.faults for thing in fault.things]
    assert [(story.outcome, story.reason) for story in stories] == endings
    command.leaves_nothing([])
