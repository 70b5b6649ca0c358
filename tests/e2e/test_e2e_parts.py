"""Runs whose parts of the sandbox are killed, restarted, paused, disturbed on purpose: they go on to their checks."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleetsim_command import Command, variant

pytestmark = pytest.mark.e2e

CONNECT = [{"kind": "connect", "over_s": 0.3}, {"kind": "hold", "for_s": 1}]
BACKEND = {"kind": "part_restart", "part": "backend"}


def inject(*faults: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "inject", "fault": faults[0], "also": list(faults[1:])}


@pytest.fixture(scope="module")
def runs(home: Path, fleetsim: Callable[..., Command]) -> dict[str, Command]:
    """Side by side: a storm, one whose backend stays dead, one whose cloud does, one that ends in a pause."""

    def timeline(*steps: dict[str, Any], checks: list[dict[str, Any]]) -> Callable[[dict[str, Any]], None]:
        def edit(scenario: dict[str, Any]) -> None:
            machines = {"profile": "machine-a", "count": 3, "name": "m-{n}"}
            rest = {"profile": "vehicle-sedan", "count": 3, "name": "r-{n}", "channel": "rest"}
            scenario["fleet"] += [machines, rest]
            scenario["sandbox"]["rules"] = [
                {"ruleId": "gone", "productId": "*", "type": "silence", "after_s": 30, "thenDispatch": True}
            ]
            scenario["timeline"] = [*CONNECT, *steps]
            scenario["checks"] = checks

        return edit

    whole = [
        {"kind": "devices", "equals": 14}, {"kind": "lost", "equals": 0},
        {"kind": "alarms", "which": "raised", "equals": 0},
    ]  # fmt: skip
    hold = {"kind": "hold", "for_s": 2}
    storm = [
        inject(BACKEND), hold, {"kind": "sandbox", "part": "backend", "action": "restart", "for_s": 1}, hold,
        inject(
            {"kind": "slow_answers", "part": "backend", "ms": 100, "of": ["store"], "for_s": 2},
            {"kind": "server_errors", "part": "backend", "probability": 0.5, "for_s": 2},
            {"kind": "throttling", "part": "cloud", "of": ["mqtt", "iot*"], "publishes_per_s": 1, "for_s": 2},
        ),
        hold, {"kind": "sandbox", "part": "cloud", "action": "restart", "for_s": 1},
        {"kind": "sandbox", "part": "backend", "action": "pause", "for_s": 1},
        inject({**BACKEND, "for_s": 600}, {"kind": "slow_answers", "part": "cloud", "ms": 50}), hold,
    ]  # fmt: skip
    seen = [{"kind": "alarms", "which": "raised", "equals": 0}]
    kill = {"kind": "sandbox", "action": "kill"}
    scenarios = {
        "storm": timeline(*storm, checks=whole),
        "no-backend": timeline({**kill, "part": "backend"}, hold, checks=seen),
        "no-cloud": timeline({**kill, "part": "cloud"}, hold, checks=seen),
        "paused": timeline(
            inject({"kind": "part_pause", "part": "backend"}), {"kind": "hold", "for_s": 120}, checks=seen
        ),
    }
    return {
        name: fleetsim("run", variant(home, f"parts-{name}", edit), "--out", "out") for name, edit in scenarios.items()
    }


def test_nothing_is_lost_and_nobody_missed_in_a_storm_of_the_parts(runs: dict[str, Command]) -> None:
    command = runs["storm"]
    assert command.wait() == 0, command.stdout
    report = command.report
    assert [(fault.fault, fault.things) for fault in report.faults] == [
        ("part_restart", ["the backend"]), ("slow_answers", ["the backend"]), ("server_errors", ["the backend"]),
        ("throttling", ["the cloud"]), ("part_restart", ["the backend"]), ("slow_answers", ["the cloud"]),
    ]  # fmt: skip
    told = [happening.kind for happening in report.timeline]
    assert (told.count("part_back"), told.count("fault_cleared")) == (5, 6)
    command.leaves_nothing([])


@pytest.mark.parametrize("part", ["backend", "cloud"])
def test_a_part_that_is_killed_on_purpose_is_for_the_checks_to_judge(runs: dict[str, Command], part: str) -> None:
    command = runs[f"no-{part}"]
    assert command.wait() == 0, command.stderr
    assert command.report.verdict == "passed"
    assert "part_kill" in [happening.kind for happening in command.report.timeline]
    command.leaves_nothing([])


def test_a_run_that_is_stopped_ends_its_paused_part_too(runs: dict[str, Command]) -> None:
    command = runs["paused"]
    command.says("part paused")
    stat = Path(f"/proc/{command.parts()['backend']}/stat")
    command.until(lambda: " T " in stat.read_text() or None, "the backend is stopped")
    os.kill(command.process.pid, signal.SIGINT)
    assert command.wait() == 130
    command.leaves_nothing([])


def test_what_needs_the_sandbox_is_refused_beforehand_on_another_target(
    home: Path, fleetsim: Callable[..., Command]
) -> None:
    def edit(scenario: dict[str, Any]) -> None:
        scenario["timeline"] = [*CONNECT, inject(BACKEND)]

    (home / "targets").mkdir(exist_ok=True)
    target = home / "targets" / "broker.yaml"
    target.write_text("target: broker\nkind: endpoints\nmqtt_host: localhost\nmqtt_port: 1\nmqtt_tls: false\n")
    command = fleetsim("run", variant(home, "not-ours", edit), "--target", target, "--yes", "--out", "out")
    assert command.wait() == 2
    assert "does something to a part of the sandbox: target 'broker' is not ours to touch" in command.stderr
