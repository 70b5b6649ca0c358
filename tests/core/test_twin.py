"""A scenario in virtual time with the backend's core beside it: the loop closes, and one seed gives the same bytes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simulator import scenarios
from simulator.backend.core import Backend
from simulator.errors import UsageError
from simulator.twin.play import play, unfit

ROOT = Path(__file__).parents[2]


def test_the_demo_closes_its_loop_in_virtual_time() -> None:
    report = play(*scenarios.read(scenarios.find("alarm-to-ota")), 1)
    assert [(check.name, check.measured) for check in report.checks if not check.passed] == []
    assert report.target == "virtual"
    assert {waterfall.outcome for waterfall in report.waterfalls} == {"closed", "escalated"}


def run(out: Path, seed: int, hash_seed: str) -> bytes:
    """The report of a run in a process of its own."""
    command = [sys.executable, "-m", "simulator", "run", "alarm-to-ota", "--virtual", "--seed", str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [*command, "--out", str(out)], cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return (out / "report.json").read_bytes()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = run(tmp_path / "a", 7, "1")
    assert run(tmp_path / "b", 7, "2") == first
    assert (tmp_path / "a" / "report.html").read_bytes() == (tmp_path / "b" / "report.html").read_bytes()
    assert run(tmp_path / "c", 8, "1") != first


class Jumpy(Backend):
    """A backend with a bug: it judges a message only when something jumped since the one before."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.last: dict[str, dict[str, Any]] = {}

    def _judge(self, device: Any, sample: Any, now_ms: int) -> Any:
        before, self.last[device.thing] = self.last.get(device.thing), dict(sample.metrics)
        jumped = before is None or any(
            isinstance(value, float) and abs(value - before.get(name, value)) > 0.3 * max(1.0, abs(value))
            for name, value in sample.metrics.items()
            if name in ("engine_temp_c", "tempC")
        )
        return super()._judge(device, sample, now_ms) if jumped else []


def test_a_backend_that_never_notices_slow_drift_is_found_and_named() -> None:
    scenario, profiles = scenarios.read(scenarios.find("slow-drift"), {"devices": 12})
    report = play(scenario, profiles, 1, make_core=Jumpy)
    [recall] = [check for check in report.checks if check.name.startswith("faults noticed")]
    assert not recall.passed
    assert "drift" in recall.why


def test_a_sound_backend_notices_slow_drift() -> None:
    scenario, profiles = scenarios.read(scenarios.find("slow-drift"), {"devices": 12})
    report = play(scenario, profiles, 1)
    assert [check.name for check in report.checks if not check.passed] == []


def test_what_needs_processes_is_refused_beforehand() -> None:
    scenario, profiles = scenarios.read(scenarios.find("alarm-to-ota"))
    assert unfit(scenario) is None
    killed = scenario.model_copy(
        update={"timeline": [*scenario.timeline, _step({"kind": "sandbox", "part": "cloud", "action": "kill"})]}
    )
    with pytest.raises(UsageError, match="needs the sandbox"):
        play(killed, profiles, 1)


def _step(said: dict[str, Any]) -> Any:
    from simulator.steps.sandbox import Sandbox

    return Sandbox.model_validate(said)
