"""How a run ends when it may not finish: a part of the sandbox dies, or somebody stops it. Nothing stays behind."""

import os
import signal
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleetsim_command import Command, until, variant

pytestmark = pytest.mark.e2e

ENDINGS = ("backend", "cloud", "SIGINT", "SIGTERM", "SIGKILL")


@pytest.fixture(scope="module")
def runs(home: Path, fleetsim: Callable[..., Command]) -> dict[str, Command]:
    """A run for each ending, side by side. They would go on for long enough."""

    def last(scenario: dict[str, Any]) -> None:
        scenario["timeline"].append({"kind": "hold", "for_s": 120})

    name = variant(home, "endless", last)
    return {ending: fleetsim("run", name, "--out", "out") for ending in ENDINGS}


def in_the_middle(command: Command) -> list[int]:
    """Waits until devices and backend are busy with each other; the ports of the run."""
    command.says("result received")
    ports = command.ports()
    assert len(ports) >= 3
    return ports


@pytest.mark.parametrize("part", ["backend", "cloud"])
def test_a_part_that_dies_is_named_and_quoted(runs: dict[str, Command], part: str) -> None:
    command = runs[part]
    ports = in_the_middle(command)
    [log_file] = command.temporary.glob(f"fleetsim-*/{part}.log")
    pid = command.parts()[part]
    os.kill(pid, signal.SIGKILL)
    log = log_file.read_text().splitlines()
    assert command.wait() == 3
    report = command.report
    assert (report.verdict, report.exit_code, report.checks) == ("unavailable", 3, [])
    assert report.reason == f"the sandbox's {part} (pid {pid}) was killed by signal 9"
    assert report.log_tail == log[-15:] != []
    assert f"{report.reason}\n  | {log[-15:][0]}" in command.stdout
    # What was known until then is told as ever.
    assert [fault.fault for fault in report.faults] == ["hang"] * 3
    assert {"alarm_raised", "command_sent", "acted"} <= {happening.kind for happening in report.timeline}
    assert log[-1] in unescape((command.folder / "out" / "report.html").read_text())
    command.leaves_nothing(ports)
    assert list(command.temporary.iterdir()) == []


@pytest.mark.parametrize("part", ["backend", "cloud"])
def test_a_part_may_die_before_the_fleet_is_there(fleetsim: Callable[..., Command], part: str) -> None:
    command = fleetsim("run", "quick-loop", "--out", "out")
    command.says("provisioning")
    os.kill(pid := command.parts()[part], signal.SIGKILL)
    assert command.wait() == 3
    assert command.report.reason == f"the sandbox's {part} (pid {pid}) was killed by signal 9"
    command.leaves_nothing([])


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_run_that_is_stopped_still_tells_what_it_saw(runs: dict[str, Command], name: str) -> None:
    command = runs[name]
    ports = in_the_middle(command)
    command.process.send_signal(signal.Signals[name])
    assert command.wait() == 130
    report = command.report
    assert (report.verdict, report.exit_code, report.reason) == (
        "interrupted",
        130,
        "stopped by Ctrl-C or SIGTERM",
    )
    assert "alarm_raised" in {happening.kind for happening in report.timeline}
    assert "INTERRUPTED" in command.stdout
    assert "Traceback" not in command.stderr
    command.leaves_nothing(ports)
    assert list(command.temporary.iterdir()) == []


def test_the_sandbox_ends_with_a_run_that_is_killed(runs: dict[str, Command]) -> None:
    command = runs["SIGKILL"]
    ports = in_the_middle(command)
    os.kill(command.process.pid, signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL
    command.leaves_nothing(ports)


@pytest.mark.parametrize("moment", ["starting the sandbox", "provisioning", "connected"])
def test_ctrl_c_may_come_at_any_time(fleetsim: Callable[..., Command], moment: str) -> None:
    command = fleetsim("run", "quick-loop", "--out", "out")
    command.says(moment)
    if moment == "starting the sandbox":
        until(command.parts, "the first process of the sandbox")
    command.process.send_signal(signal.SIGINT)
    assert command.wait() == 130
    assert command.report.verdict == "interrupted"
    assert "Traceback" not in command.stderr
    command.leaves_nothing([])
    assert list(command.temporary.iterdir()) == []
