"""`fleetsim shrink`: from a failed run's folder to the smallest scenario that fails for the same reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator import resolved, scenarios, twin
from simulator.checks.detected import Detected
from simulator.checks.unexplained import Unexplained
from simulator.cli import shrink as command
from simulator.errors import BackendUnavailable, UsageError
from simulator.ledger import Ledger
from simulator.report import facts as told
from simulator.report import json_report
from simulator.report.facts import Report
from simulator.runtime.run_folder import RunFolder
from simulator.runtime.smaller import Smaller, alone, counted, failed, miss
from simulator.scenarios import Scenario

# The rule knows sedans only, so the hang of the SUV is not noticed.
DEAF = """\
scenario: deaf
seed: 3
physics_speed: 30
fleet:
  - {profile: vehicle-sedan, count: 6, name: "Vehicle-VIN-{n}"}
  - {profile: vehicle-suv, count: 5, name: "Vehicle-VIN-{n}"}
  - {profile: fire-sensor, count: 3, name: "device-{n}"}
sandbox:
  rules:
    - {ruleId: hot, productId: [SedanVehicle], type: threshold, severity: high,
       condition: "metrics.engine_temp_c > 110"}
timeline:
  - {kind: connect, over_s: 3}
  - {kind: hold, for_s: 6}
  - {kind: inject, profiles: [vehicle-sedan], count: 2, fault: {kind: hang, part: fan_level}}
  - {kind: inject, name: unheard, profiles: [vehicle-suv], count: 1, fault: {kind: hang, part: fan_level}}
  - {kind: hold, for_s: 60}
checks:
  - {kind: devices, equals: 14}
  - {kind: recall}
"""
RECALL = "faults noticed, of those to be noticed"


def folder(tmp_path: Path, text: str = DEAF, **changes: Any) -> Path:
    """The folder of a run of it, in virtual time."""
    path = tmp_path / f"{text.split()[1]}.yaml"
    path.write_text(text)
    scenario, profiles = scenarios.read(path)
    report = replace(twin.play(scenario, profiles, scenario.seed), **changes)
    made = RunFolder(out := tmp_path / "out")
    made.begin(scenario, scenario.seed)
    out.mkdir()
    json_report.write(report, out / "report.json")
    made.end(report, scenario, Ledger(), [], None, report.started_at_ms, "virtual", b"")
    return out


def shrink(folder: Path, **more: Any) -> int:
    given: dict[str, Any] = {"check": None, "out": None, "live": False, "tries": 100, "minutes": 5.0, **more}
    return command.shrink(folder, **given)


def test_the_smallest_scenario_that_fails_for_the_same_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder(tmp_path)
    assert shrink(out) == 0
    path = out / "deaf-small.yaml"
    said = capsys.readouterr()
    assert "14 devices, 5 steps → 1 device, 3 steps" in said.out
    assert "  gone: fleet: fire-sensor" in said.out
    assert f"FLEETSIM_HOME={out} fleetsim run {path}" in said.out
    assert "still fails without" in said.err
    monkeypatch.setenv("FLEETSIM_HOME", str(out))
    small, profiles = scenarios.read(path)
    assert [(group.profile, group.count) for group in small.fleet] == [("vehicle-suv", 1)]
    assert [step.title for step in small.timeline] == ["connect", "unheard", "hold"]
    assert small.timeline[-1].lasts_s() == (60, 60), "the backend has as much time as it had"
    assert [check.title for check in small.checks] == [RECALL]
    [check] = twin.play(small, profiles, small.seed).checks
    assert not check.passed
    assert path.read_text().startswith(f"# Made by fleetsim shrink from deaf, seed 3: check '{RECALL}'\n# gone: ")


def test_bounds_and_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder(tmp_path)
    assert shrink(out, tries=2, out=tmp_path / "mine.yaml", check=RECALL) == 0
    assert "2 tries in " in capsys.readouterr().err
    assert scenarios.read(tmp_path / "mine.yaml")[0].scenario == "mine"
    with pytest.raises(UsageError, match=r"a scenario is a file with the ending \.yaml"):
        shrink(out, out=tmp_path / "mine.txt")
    with pytest.raises(UsageError, match="the run failed no check 'devices connected'"):
        shrink(out, check="devices connected")


def test_a_run_that_passed_has_nothing_to_look_for(tmp_path: Path) -> None:
    out = folder(tmp_path, verdict="passed", checks=[])
    with pytest.raises(UsageError, match="the run failed no check: it passed"):
        shrink(out)


def test_a_failure_that_does_not_come_again_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = told.Check("devices connected", 13, "= 14", "", False, "away: Vehicle-VIN-002")
    assert shrink(folder(tmp_path, checks=[odd])) == 1
    said = capsys.readouterr().err
    assert "the whole scenario does not fail so in virtual time: measured 14, bound = 14; --live asks a sandbox" in said


def test_what_needs_a_sandbox_says_so(tmp_path: Path) -> None:
    out = folder(tmp_path)
    path = out / "scenario.yaml"
    path.write_text(path.read_text().replace("checks:", "- {kind: sandbox, part: cloud, action: kill}\nchecks:"))
    with pytest.raises(UsageError, match="or let shrink ask a sandbox each time, with --live"):
        shrink(out)


# What counts as the same failure


class World:
    """Answers with a report of its own making."""

    def __init__(self, tmp_path: Path, text: str = DEAF) -> None:
        path = tmp_path / f"{text.split()[1]}.yaml"
        path.write_text(text)
        self.scenario, _ = scenarios.read(path)
        self.data = resolved.data(self.scenario, 3)
        self.answers: list[told.Check | Exception] = []

    def perform(self, scenario: Scenario, profiles: Any, seed: int) -> Report:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        devices = [told.Device(thing, profile, "", "", False) for thing, profile, _ in scenario.things()]
        return Report("", "", "", seed, "", 0, 1, "failed", 1, checks=[answer], fleet=told.Fleet([], devices),
                      faults=[told.Fault("hang", [], 0, {}, "")])  # fmt: skip

    def fails(self, check: told.Check, *answers: told.Check | Exception) -> list[bool]:
        asked = Smaller(self.perform, check, "", 3)
        self.answers = list(answers)
        return [asked.fails(self.data) for _ in answers]


def check(measured: float | None, why: str = "", passed: bool = False, name: str = RECALL) -> told.Check:
    return told.Check(name, measured, "", "", passed, why)


def test_it_names_no_other_kinds_of_devices_and_faults(tmp_path: Path) -> None:
    suv, sedan = "missed: Vehicle-VIN-007 (hang)", "missed: Vehicle-VIN-001 (hang)"
    found = World(tmp_path).fails(check(0.6, suv), check(0.6, suv), check(0.0, suv), check(0.0, sedan), check(0.0))
    assert found == [True, True, False, False]


def test_it_stays_measurable_and_failed(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = world.fails(check(0.6), check(0.6), check(None), check(0.6, passed=True), check(0.6, name="another"))
    assert found == [True, False, False, False]
    assert world.fails(check(0.6), check(0.6), BackendUnavailable("gone")) == [True, False]
    assert world.fails(check(None), check(None), check(0.6)) == [True, False]


def test_a_count_may_not_be_missed_by_more(tmp_path: Path) -> None:
    text = DEAF.replace("{kind: devices, equals: 14}", "{kind: detected, equals: 3}")
    name = Detected(equals=3).title
    world = World(tmp_path, text)
    found = world.fails(*(check(value, name=name) for value in (2, 2, 1, 2, 0)))
    assert found == [True, False, True, False]


def test_by_how_much_a_bound_is_missed() -> None:
    assert miss(Detected(equals=3), 1) == miss(Detected(equals=3), 5) == 2
    assert miss(Detected(at_least=3, at_most=9), 12) == 3
    assert miss(Detected(at_least=3), 4) == 0
    assert miss(Unexplained(), 4) == 4


def test_a_device_that_failed_fails_in_the_same_way(tmp_path: Path) -> None:
    world = World(tmp_path)
    ends = iter(["KeyError: 'x'", "KeyError: 'y'", "ValueError: z"])

    def perform(scenario: Scenario, profiles: Any, seed: int) -> Report:
        return Report("", "", "", 3, "", 0, 1, "failed", 1, reason=f"device 'a' failed: {next(ends)}")

    asked = Smaller(perform, None, "device 'b' failed: KeyError: 'z'", 3)
    assert [asked.fails(world.data) for _ in range(3)] == [True, True, False]


def test_what_could_not_be_run_is_not_valid(tmp_path: Path) -> None:
    world = World(tmp_path)
    asked = Smaller(world.perform, None, "", 3)
    assert asked.valid(world.data)
    assert not asked.valid({**world.data, "timeline": world.data["timeline"][1:]})
    assert not asked.valid({**world.data, "fleet": []})
    assert counted(world.data) == "14 devices, 5 steps"


def test_only_the_check_that_failed_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path)
    kept = alone(world.data, world.scenario, check(0.6))
    assert [one["kind"] for one in kept["checks"]] == ["recall"]
    assert alone(world.data, world.scenario, check(0.6, name="usual one")) == world.data
    report = replace(world_report(), checks=[check(1, passed=True, name="a"), check(0, name="b"), check(0, name="c")])
    found = failed(report, None)
    assert found
    assert found.name == "b"
    with pytest.raises(UsageError, match=r"the run failed no check 'bb' \(did you mean 'b'\?\)"):
        failed(report, "bb")


def world_report() -> Report:
    return Report("", "", "", 3, "", 0, 1, "failed", 1)
