"""A run's folder elsewhere: it is replayed byte for byte, shows what changed, stops where asked, and goes live."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator.runtime.run_folder import Run
from tests.e2e.fleetsim_command import PATIENCE_S, REPO, Command, variant

pytestmark = pytest.mark.e2e

DEVICES = 8


def storm(scenario: dict[str, Any]) -> None:
    """Bad networks, a skewed clock and a power cut beside the three fans."""
    sensors: list[dict[str, Any]] = [
        {"kind": "flapping", "down_s": [0.3, 0.6], "up_s": [0.5, 1], "for_s": 3},
        {"kind": "latency", "delay_ms": 50, "jitter_ms": 40, "for_s": 6},
        {"kind": "bias", "signal": "co", "by": 3, "for_s": 5},
    ]
    scenario["timeline"].insert(
        2, {"kind": "inject", "profiles": ["fire-sensor"], "fault": sensors[0], "also": sensors[1:]}
    )
    scenario["timeline"].insert(3, {"kind": "inject", "profiles": ["vehicle-*"], "count": 1,
                                    "fault": {"kind": "crash", "for_s": 5}})  # fmt: skip


@pytest.fixture(scope="module")
def run(home: Path, fleetsim: Callable[..., Command], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, copied away from everything it was made with."""
    command = fleetsim("run", variant(home, "stormy-loop", storm), "--record", "all", "--out", "out")
    command.wait()
    made = command.folder / "out"
    assert {path.name for path in made.iterdir()} >= {"report.html", "report.json", "run.json", "scenario.yaml", "wire"}
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "run"
    shutil.move(made, elsewhere)
    return elsewhere


def replay(*arguments: object, said: str = "", code: Path = REPO) -> subprocess.CompletedProcess[str]:
    """`fleetsim replay` in a fresh process that knows nothing of where the run was made."""
    env = {"PYTHONPATH": str(code), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "FLEETSIM_HOME": "/nowhere"}
    return subprocess.run(
        [sys.executable, "-m", "simulator", "replay", *map(str, arguments)],
        cwd="/", env=env, input=said, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def test_it_says_the_same_elsewhere_byte_for_byte(run: Path) -> None:
    about = Run(run).about
    assert len(about.wire) == DEVICES
    assert about.recorded.calls > 100
    again = replay(run)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{DEVICES} devices: {about.recorded.calls:,} calls in " in again.stdout
    assert "all the same, byte for byte" in again.stdout
    assert "recorded by" not in again.stdout, "it is the same code"


def test_one_device_alone(run: Path) -> None:
    again = replay(run, "--device", "device-001")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.splitlines()[-1].startswith("1 device: ")
    unknown = replay(run, "--device", "device-01")
    assert unknown.returncode == 2
    assert "'device-01' was not recorded; run it with --record all (did you mean 'device-001'?)" in unknown.stderr


def test_it_holds_no_secret(run: Path) -> None:
    for path in run.rglob("*"):
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes(), path


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose devices tell the time a millisecond later."""
    code = tmp_path_factory.mktemp("changed")
    shutil.copytree(REPO / "simulator", code / "simulator", ignore=shutil.ignore_patterns("__pycache__"))
    path = code / "simulator" / "behaviours" / "telemetry.py"
    text = path.read_text()
    later = text.replace("% (_HEAD, now_ms, ", "% (_HEAD, now_ms + 1, ")
    assert later != text
    path.write_text(later)
    return code


def test_changed_code_is_found_at_its_first_difference(run: Path, changed: Path) -> None:
    again = replay(run, "--device", "Vehicle-VIN-001", code=changed)
    assert again.returncode == 1, again.stdout + again.stderr
    lines = again.stdout.splitlines()
    assert any(line.startswith("recorded by fleetsim") for line in lines)
    [told] = [line for line in lines if line.startswith("✗")]
    assert re.fullmatch(r"✗ Vehicle-VIN-001 says something else at \d+\.\d{3} s \(.* UTC\), call \d+", told)
    assert "  step" in lines
    expected, got = (next(line for line in lines if line.strip().startswith(word)) for word in ("expected", "got"))
    stamps = [int(re.findall(r'"device_timestamp":(\d+)', line)[0]) for line in (expected, got)]
    assert stamps[1] == stamps[0] + 1
    assert f"device_timestamp: {stamps[0]} → {stamps[1]}" in again.stdout
    assert re.search(r"^\s+- 0000[0-9a-f]0  .*\n\s+\+ 0000[0-9a-f]0  ", again.stdout, re.M), "and as bytes"
    assert "Traceback" not in again.stderr


def test_it_stops_where_it_is_asked_to(run: Path) -> None:
    again = replay(run, "--until", "2.5", "--device", "Vehicle-VIN-002")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "up to 2.5 s" in again.stdout
    state = again.stdout.splitlines()[-1]
    assert re.match(r"  Vehicle-VIN-002: (connected|away|off), firmware 1\.0\.0, faults .*, wakes ", state)


def test_the_debugger_has_the_device_at_hand(run: Path) -> None:
    again = replay(run, "--until", "2", "--pdb", "--device", "device-002", said="p device.thing, call.call\nc\nq\n")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "device-002, before 2." in again.stderr
    assert "('device-002', " in again.stdout
    assert "Traceback" not in again.stderr


def test_the_debugger_stops_before_the_first_difference(run: Path, changed: Path) -> None:
    said = "p call.n, device.thing\ns\ns\ns\nq\n"
    again = replay(run, "--device", "Vehicle-VIN-001", "--pdb", code=changed, said=said)
    assert again.returncode == 1, again.stdout + again.stderr
    [n] = re.findall(r"✗ .* call (\d+)$", again.stdout, re.M)
    assert f"({n}, 'Vehicle-VIN-001')" in again.stdout
    assert "Traceback" not in again.stderr


def test_the_same_bytes_go_to_a_live_backend(run: Path, fleetsim: Callable[..., Command]) -> None:
    command = fleetsim("replay", run, "--live", "--until", "6")
    assert command.wait() == 0, command.stdout + command.stderr
    found = re.match(r"8 devices sent (\d+) messages in \d+ connections: (\d+) acknowledged, 0 refused", command.stdout)
    assert found
    assert found[1] == found[2]
    assert re.search(r"the backend stored .*telemetry \d+", command.stdout)
    command.leaves_nothing([])


@pytest.mark.parametrize("arguments", [("--until", "-1"), ("--device",), ("--live", "--target", "nowhere")])
def test_wrong_usage(run: Path, arguments: tuple[str, ...]) -> None:
    again = replay(run, *arguments)
    assert again.returncode == 2
    assert "Traceback" not in again.stderr


def test_what_is_no_run(tmp_path: Path) -> None:
    again = replay(tmp_path)
    assert again.returncode == 2
    assert "is no folder of a run: run.json: No such file or directory" in again.stderr
