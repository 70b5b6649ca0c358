"""The edges of a run: who is asked, on which stream, and what is left when a device fails."""

import asyncio
import io
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from simulator import scenarios
from simulator.cli import run as command
from simulator.cli.app import app
from simulator.errors import UsageError
from simulator.profiles import profile
from simulator.report import json_report
from simulator.runtime import run as runs
from simulator.runtime.engine import DeviceFailed
from simulator.scenarios import Scenario
from simulator.targets import Target
from tests.e2e.fleetsim_command import listening
from tests.links.mqtt_peers import MOSQUITTO, make_certificates, mosquitto

BROKER = Target(target="b", kind="endpoints", mqtt_host="127.0.0.1", mqtt_port=1, mqtt_tls=False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "agreed"), [("y\n", True), (" Y \n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_the_question_is_no_data(
    typed: str, agreed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    if agreed:
        command.agree(BROKER, False, [])
    else:
        with pytest.raises(UsageError, match="nothing was written"):
            command.agree(BROKER, False, [])
    said = capsys.readouterr()
    assert said.out == ""
    assert "Go on?" in said.err


@pytest.mark.parametrize("flags", [["run", "alarm-to-ota"], ["describe", "profile", "fire-sensor"]])
def test_a_seed_that_no_report_could_hold_is_refused(flags: list[str]) -> None:
    found = CliRunner().invoke(app, [*flags, "--seed", str(1 << 63)])
    assert found.exit_code == 2
    assert "--seed" in found.output


def test_a_device_that_fails_is_in_the_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def play(stage: Any, *_: Any) -> Any:
        raise DeviceFailed("Pump-001", ValueError("no such byte"))

    monkeypatch.setattr(runs._Stage, "_play", play)
    scenario, profiles = scenarios.read(scenarios.find("alarm-to-ota"))
    report, paths = runs.run(runs.Plan(scenario, profiles, 1, BROKER, tmp_path), lambda line: None)
    assert (report.verdict, report.exit_code) == ("failed", 1)
    assert report.reason == "device 'Pump-001' failed: ValueError: no such byte"
    assert report.log_tail[-1] == "ValueError: no such byte"
    assert json_report.load(paths[1]).reason == report.reason


@pytest.mark.peer
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_on_another_target_a_run_stays_until_ctrl_c_and_opens_no_port(tmp_path: Path) -> None:
    scenario = Scenario.model_validate(
        {
            "scenario": "elsewhere",
            "fleet": [{"profile": "machine-a", "count": 2, "name": "machine-{n}"}],
            "timeline": [{"kind": "connect", "over_s": 0}, {"kind": "hold", "for_s": 0.5}],
            "checks": [{"kind": "devices", "equals": 2}],
        }
    )
    before, during = listening(os.getpid()), list[list[int]]()

    def say(line: str) -> None:
        if line.startswith("the timeline is over; Ctrl-C ends the run"):
            during.append(listening(os.getpid()))
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)

    with mosquitto(tmp_path, make_certificates(tmp_path)) as broker:
        target = BROKER.model_copy(update={"mqtt_port": broker.port})
        plan = runs.Plan(scenario, {"machine-a": profile("machine-a")}, 1, target, tmp_path / "out", stay=True)
        report, _ = runs.run(plan, say)
    assert during == [before]
    assert report.verdict not in ("interrupted", "unavailable"), "Ctrl-C is its good end"
