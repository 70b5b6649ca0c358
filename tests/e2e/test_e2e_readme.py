"""Every command in README.md runs, in the README's order, as a reader would type it.

The fences marked `sh` are the commands. `make demo` and `make test` would install everything again, so of those
only what they start is looked at; CI runs the second, and the first is the run below. A sandbox that the README
starts in one terminal keeps running for the commands of the second.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from simulator import rooms, schema, targets
from simulator.cloud.differences import DIFFERENCES
from simulator.report import json_report
from simulator.report.facts import Report
from simulator.wire.spec import ProductSpec
from tests.e2e.fleetsim_command import REPO, until

README = (REPO / "README.md").read_text()
FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.M | re.S)
COMMANDS = [text for language, text in FENCES if language == "sh"]
OPERATIONS = [text for text in COMMANDS if text.startswith("fleetsim provision")]
YAML = [text for language, text in FENCES if language == "yaml"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder that looks like the repository."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("scenarios", "profiles", "firmware"):
        shutil.copytree(REPO / name, folder / name)
    for name in ("locustfile.py", "Makefile"):
        shutil.copy(REPO / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """As after `. .venv/bin/activate`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FLEETSIM_"))}
    return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def shell(script: str, place: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euc", script], cwd=place, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def sandbox(place: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The README's sandbox, ready."""
    [script] = [text for text in COMMANDS if text.startswith("fleetsim sandbox")]
    process = subprocess.Popen(
        ["bash", "-euc", f"exec {script}"], cwd=place, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        until((place / "sandbox.env").exists, "the env file")
        yield process
    finally:
        process.terminate()
        process.wait(30)


def test_make_starts_the_demo_and_the_tests(place: Path) -> None:
    assert [line.split()[1] for line in COMMANDS[0].splitlines()] == ["demo", "test"]
    for target, started in (("demo", "fleetsim demo"), ("test", "pytest")):
        said = subprocess.run(["make", "-n", target], cwd=REPO, capture_output=True, text=True, check=True).stdout
        assert started in said


@pytest.mark.parametrize("script", [text for text in COMMANDS[1:] if "sandbox" not in text and text not in OPERATIONS])
def test_command_succeeds(script: str, place: Path, environment: dict[str, str]) -> None:
    ran = shell(script, place, environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    if "all-channels" in script:
        _every_profile_over_three_protocols(json_report.load(place / "runs" / "channels" / "report.json"))


def _every_profile_over_three_protocols(report: Report) -> None:
    [telemetry] = [account for account in report.accounting if account.kind == "telemetry"]
    assert telemetry.attempted == telemetry.acknowledged == telemetry.stored
    assert telemetry.attempted > 2000
    assert len(report.fleet.devices) == 300


def test_second_terminal_talks_to_the_sandbox(
    sandbox: subprocess.Popen[str], place: Path, environment: dict[str, str]
) -> None:
    [script] = [text for text in COMMANDS if "./sandbox.env" in text]
    ran = shell(script, place, environment)
    assert (ran.returncode, ran.stdout.splitlines()) == (0, ["000000000000", "{'status': 'ok'}"]), ran.stderr


def test_a_fleet_is_managed(sandbox: subprocess.Popen[str], place: Path, environment: dict[str, str]) -> None:
    [script] = OPERATIONS
    ran = shell(script, place, {**environment, "FLEETSIM_SANDBOX": str(place / "sandbox.env")})
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_what_the_sandbox_lacks_is_listed() -> None:
    rows = [f"| {one.area} | {one.aws} | {one.sandbox} |" for one in DIFFERENCES]
    assert [row for row in rows if row not in README] == []
    made = subprocess.run(
        [sys.executable, "-m", "simulator.cloud.coverage"], cwd=REPO, capture_output=True, text=True, check=True
    )
    assert made.stdout.strip() in README


def test_every_fault_is_listed() -> None:
    listed = set(
        re.findall(r"`([a-z0-9_]+)`", README[README.index("| where | faults |") : README.index("Each fault declares")])
    )
    assert listed == set(rooms.kinds("faults"))


def test_scenario_of_the_readme_passes(place: Path, environment: dict[str, str]) -> None:
    [text] = [text for text in YAML if text.startswith("scenario:")]
    (place / "scenarios" / f"{yaml.safe_load(text)['scenario']}.yaml").write_text(text)
    ran = shell("fleetsim run scenarios/two-fans.yaml --out runs/two", place, environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_sandbox_of_the_readme_is_right(place: Path, environment: dict[str, str]) -> None:
    [scenario] = [text for text in YAML if text.startswith("scenario:")]
    [sandbox] = [text for text in YAML if text.startswith("sandbox:")]
    told = yaml.safe_load(scenario) | yaml.safe_load(sandbox) | {"scenario": "told"}
    (place / "scenarios" / "told.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    ran = shell("fleetsim validate scenarios/told.yaml", place, environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_targets_of_the_readme_are_right() -> None:
    found = [text for text in YAML if text.startswith("target:")]
    assert len(found) == 2
    for text in found:
        assert schema.parse(text.replace("ca.pem", str(REPO / "LICENSE")), "README.md", targets.Target)


def test_payload_of_the_readme_is_right() -> None:
    [text] = [text for _, text in FENCES if text.startswith("payload:")]
    assert ProductSpec.model_validate(yaml.safe_load(text)["payload"]).frame
