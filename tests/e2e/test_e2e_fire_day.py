"""A day with 20 fires and 40 harmless disturbances, in virtual time: the built-in analysis against the contracts.

With fewer sensors that nothing befalls, and a record a minute; all 200 at the scenario's own pace, of more seeds and
of both profiles, are tests/bench/fire_day.py.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MINUTELY = ("--set", "every_s=60", "--set", "step_s=20")
FEWER = ("--set", "calm=20", "--set", "devices=80")


def day(out: Path, *flags: str) -> dict[str, Any]:
    command = ["run", "fire-day", "--virtual", "--record", "none", "--out", str(out), *flags]
    ran = subprocess.run([sys.executable, "-m", "simulator", *command], capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 1), ran.stderr
    report: dict[str, Any] = json.loads((out / "report.json").read_bytes())
    return report


def scored(out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "simulator", "score", "--run", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.e2e
def test_a_day_with_twenty_fires_meets_the_target(tmp_path: Path) -> None:
    report = day(tmp_path, *MINUTELY, *FEWER)
    assert {check["name"]: check["measured"] for check in report["checks"] if not check["passed"]} == {}
    by_fault = {row["of"]: row for row in report["scores"]["by_fault"]}
    assert by_fault["fire"]["faults"] == 20
    assert len({one["things"][0] for one in report["faults"] if one["fault"] == "fire"}) >= 6
    disturbed = {thing for one in report["faults"] for thing in one["things"] if "no harm in it" in one["expect"]}
    assert len(disturbed) == 40
    assert all("overdue" in missed or "no alarm" in missed for missed in by_fault["fire"]["missed"])
    assert scored(tmp_path).returncode == 0


@pytest.mark.e2e
def test_another_sensor_and_seed_meet_the_minimum(tmp_path: Path) -> None:
    report = day(tmp_path, *MINUTELY, *FEWER, "--set", "profile=fire-sensor-panel", "--seed", "2")
    assert {profile["profile"] for profile in report["fleet"]["profiles"]} == {"fire-sensor-panel-every-60s"}
    result = scored(tmp_path)
    assert result.returncode == 0, result.stdout
