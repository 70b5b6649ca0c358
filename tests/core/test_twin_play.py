"""A scenario in virtual time: what passes live passes here, the same seed gives the same bytes, mistakes are found."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from simulator import scenarios, twin
from simulator.backend.core import Backend as Core
from simulator.backend.decode import Telemetry
from simulator.backend.effects import Effect, Record
from simulator.clock import VIRTUAL_START_MS
from simulator.errors import UsageError
from simulator.profiles import Profile
from simulator.report import json_report
from simulator.report.facts import Report
from simulator.runtime.run import Plan
from simulator.scenarios import Scenario
from simulator.targets import SANDBOX

DEMO = scenarios.find("alarm-to-ota")
HALF_AN_HOUR = """\
scenario: half-an-hour
seed: 5
physics_step_s: 5
fleet:
  - {profile: vehicle-suv, count: 20, every_s: 20}
  - {profile: machine-a, count: 10, channel: tcp, every_s: 20}
  - {profile: machine-a, count: 5, name: "rest-{n}", channel: rest, every_s: 20}
  - {profile: hub-gateway, count: 2}
sandbox:
  rules:
    - {ruleId: engine-overheat, productId: SUVVehicle, condition: "metrics.engine_temp_c > 110", severity: high,
       autoAction: restart-fan, thenDispatch: true, actionTimeout_s: 120, clearFor_s: 60}
    - {ruleId: silent, productId: "*", type: silence, after_s: 90, clearFor_s: 60}
timeline:
  - {kind: connect, over_s: 20}
  - {kind: inject, at_s: 60, profiles: [vehicle-*], count: 3, fault: {kind: hang, part: fan_level}}
  - {kind: inject, name: away, profiles: [vehicle-*], count: 2, fault: {kind: disconnect, for_s: 300}}
  - {kind: hold, name: first, after: alarm raised, for_s: 240}
__MORE__
  - {kind: hold, at_s: 1740, for_s: 60}
checks:
  - {kind: devices, equals: 37}
  - {kind: recall}
  - {kind: precision}
  - {kind: unexplained}
  - {kind: lost, equals: 0}
  - {kind: duplicates, equals: 0}
"""


def half_an_hour(tmp_path: Path, *more: str) -> tuple[Scenario, dict[str, Profile]]:
    path = tmp_path / "half-an-hour.yaml"
    path.write_text(HALF_AN_HOUR.replace("__MORE__", "\n".join(f"  - {step}" for step in more)))
    return scenarios.read(path)


def told(report: Report) -> dict[str, Any]:
    """What the checks measured."""
    return {check.name: check.measured for check in report.checks}


def missed(report: Report) -> list[str]:
    return [f"{check.name}: {check.measured} {check.bound} {check.why}" for check in report.checks if not check.passed]


@pytest.mark.parametrize("name", ["alarm-to-ota", "all-channels"])
def test_a_shipped_scenario_passes_as_it_does_live(name: str) -> None:
    scenario, profiles = scenarios.read(scenarios.find(name))
    report = twin.play(scenario, profiles, scenario.seed)
    assert not missed(report)
    assert (report.verdict, report.exit_code, report.target) == ("passed", 0, "virtual")


def test_the_story_of_an_alarm_is_all_there() -> None:
    scenario, profiles = scenarios.read(DEMO)
    report = twin.play(scenario, profiles, 1)
    kinds = {happening.kind for happening in report.timeline}
    assert {"fault_injected", "out_of_range", "alarm_raised", "command_sent", "delta_received", "acted", "relapsed",
            "job_created", "download_started", "verified", "installed", "job_succeeded", "alarm_closed",
            "dispatch_opened"} <= kinds  # fmt: skip
    assert sorted(w.outcome for w in report.waterfalls) == ["closed", "closed", "escalated"]
    assert len(report.series) == 3
    assert all(len(series.points) > 10 for series in report.series)
    assert report.started_at_ms == VIRTUAL_START_MS


# Determinism

SAY_HASHES = """\
import hashlib, sys
from pathlib import Path
from simulator import scenarios, twin
from simulator.runtime.run import Plan
from simulator.targets import SANDBOX
scenario, profiles = scenarios.read(scenarios.find("alarm-to-ota"))
out = Path(sys.argv[1])
_, paths = twin.run(Plan(scenario, profiles, int(sys.argv[2]), SANDBOX, out, asked=("alarm-to-ota", "sandbox")))
for path in [*paths, out / "ledger.jsonl"]:
    print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
"""


def hashes(out: Path, seed: int, hash_seed: str) -> str:
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": f"UTC+{hash_seed}"}
    command = [sys.executable, "-c", SAY_HASHES, str(out), str(seed)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120).stdout


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    first, second = hashes(tmp_path / "a", 3, "1"), hashes(tmp_path / "b", 3, "7")
    assert first == second
    assert [line.split()[0] for line in first.splitlines()] == [
        "report.html", "report.json", "junit.xml", "ledger.jsonl"
    ]  # fmt: skip


def test_the_same_seed_gives_the_same_bytes_again_and_another_one_others(tmp_path: Path) -> None:
    scenario, profiles = half_an_hour(tmp_path)
    first, again, other = (
        hashlib.sha256(json_report.dumps(twin.play(scenario, profiles, seed))).hexdigest() for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


# Every channel, and what goes wrong


def test_faults_are_noticed_and_every_message_is_accounted_for(tmp_path: Path) -> None:
    scenario, profiles = half_an_hour(tmp_path)
    report = twin.play(scenario, profiles, 5)
    assert not missed(report)
    assert report.scores is not None
    assert {score.of: score.faults for score in report.scores.by_fault} == {"hang": 3, "disconnect": 2}
    assert report.audit is not None
    telemetry = next(kind for kind in report.audit.kinds if kind.kind == "telemetry")
    assert telemetry.said > 3000
    assert set(telemetry.causes) == {"late"}  # what waited for the network


@pytest.mark.parametrize("action", ["restart", "pause"])
def test_a_backend_that_goes_away_loses_nothing_and_forgets_no_alarm(tmp_path: Path, action: str) -> None:
    scenario, profiles = half_an_hour(tmp_path, f"{{kind: sandbox, part: backend, action: {action}, for_s: 30}}")
    report = twin.play(scenario, profiles, 5)
    assert not missed(report)
    kinds = [happening.kind for happening in report.timeline if happening.source == "run"]
    assert kinds == [f"part_{action}", "part_back"]


def test_what_an_operator_does_is_done(tmp_path: Path) -> None:
    scenario, profiles = half_an_hour(
        tmp_path,
        "{kind: publish_firmware, version: 1.2.0, signed: false, packages: [SUVVehicle]}",
        "{kind: create_job, name: unsigned, profiles: [vehicle-*], count: 2, version: 1.2.0}",
        "{kind: create_job, name: rollout, profiles: [vehicle-*], version: 1.1.0, rate_per_minute: 8}",
        "{kind: set, profiles: [hub-*], desired: {colour: red}}",
        "{kind: control, profiles: [hub-*], action: dance}",
        "{kind: disconnect, profiles: [hub-*], count: 1}",
        "{kind: hold, for_s: 30}",
        "{kind: connect, profiles: [hub-*]}",
    )
    report = twin.play(scenario, profiles, 5)
    assert not missed(report)
    versions = {profile.profile: profile.versions for profile in report.fleet.profiles}
    assert versions["vehicle-suv-every-20s"] == {"1.1.0": 20}
    happened = [(h.kind, h.detail) for h in report.timeline]
    failed = [detail["reason"] for kind, detail in happened if kind == "job_failed"]
    assert len(failed) == 2
    assert all("signature" in reason for reason in failed)
    assert sum(kind == "job_succeeded" for kind, _ in happened) == 20
    assert sum(kind == "desired_unknown" for kind, _ in happened) == 2
    assert "switched off" in {detail["reason"] for kind, detail in happened if kind == "disconnected"}


def test_what_the_account_refuses_ends_the_run_with_its_words(tmp_path: Path) -> None:
    scenario, profiles = half_an_hour(tmp_path, "{kind: create_job, profiles: [vehicle-*], version: 9.9.9}")
    report = twin.play(scenario, profiles, 5)
    assert (report.verdict, report.exit_code) == ("failed", 1)
    assert report.reason == "the account refuses a step: package version SUVVehicle 9.9.9 does not exist"


@pytest.mark.parametrize(
    ("step", "what"),
    [
        ("{kind: sandbox, part: cloud, action: restart}", "'restart' of the cloud"),
        ("{kind: sandbox, part: backend, action: kill}", "'kill' of the backend"),
        ("{kind: inject, fault: {kind: throttling, part: cloud}}", "the fault 'throttling' of the cloud"),
        ("{kind: repeat, times: 1, steps: [{kind: inject, fault: {kind: slow_answers, part: backend, ms: 100}}]}",
         "the fault 'slow_answers' of the backend"),
    ],
)  # fmt: skip
def test_what_needs_real_processes_is_refused_beforehand(tmp_path: Path, step: str, what: str) -> None:
    scenario, profiles = half_an_hour(tmp_path, step)
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=f"^step '.*': {what} needs the sandbox: run it without --virtual$"):
        twin.run(Plan(scenario, profiles, 5, SANDBOX, out))
    assert not out.exists()


# Planted mistakes


class Forgetful(Core):
    """Loses one sample of a hundred that it acknowledged."""

    def _telemetry(self, sample: Telemetry, *rest: Any) -> list[Effect]:
        if self.received["telemetry"] % 100 == 7:
            return []
        return super()._telemetry(sample, *rest)


class Deaf(Core):
    """Raises no alarm."""

    def _judge(self, *anything: Any) -> list[Effect]:
        return []


class Broken(Core):
    """A bug that ends it."""

    def tick(self, now_ms: int) -> list[Effect]:
        if now_ms > VIRTUAL_START_MS + 100_000:
            raise ZeroDivisionError("planted")
        return super().tick(now_ms)


def test_a_backend_that_loses_messages_is_found(tmp_path: Path) -> None:
    scenario, profiles = half_an_hour(tmp_path)
    report = twin.play(scenario, profiles, 5, make_core=Forgetful)
    names = [check.name for check in report.checks if not check.passed]
    assert names == ["messages astray that nothing explains", "acknowledged messages missing from the store"]
    assert report.audit is not None
    assert {odd.hop for odd in report.audit.unexplained} == {"after it was acknowledged, before the store"}


def test_what_is_harmless_was_left_alone_or_is_a_false_alarm(tmp_path: Path) -> None:
    scenario, profiles = half_an_hour(
        tmp_path,
        "{kind: inject, things: [rest-001, rest-002], fault: {kind: disconnect, for_s: 20, harmless: true}}",
        "{kind: inject, things: [rest-003], fault: {kind: disconnect, for_s: 300, harmless: true}}",
    )
    report = twin.play(scenario, profiles, 5)
    outcomes = Counter(waterfall.outcome for waterfall in report.waterfalls)
    assert (outcomes["left_alone"], outcomes["false_alarm"], outcomes["open"]) == (2, 1, 0)
    [false] = [waterfall for waterfall in report.waterfalls if waterfall.outcome == "false_alarm"]
    assert false.reason == "nothing was to be noticed, and an alarm was raised; it closed again"
    assert report.alarms["closed"] == sum(event.kind == "alarm_closed" for event in report.timeline)


def test_a_backend_that_notices_nothing_is_found() -> None:
    scenario, profiles = scenarios.read(DEMO)
    found = told(twin.play(scenario, profiles, 1, make_core=Deaf))
    assert found["broken devices noticed"] == 0
    assert found["alarms closed"] == 0


def test_a_backend_that_breaks_ends_the_run_with_a_report(tmp_path: Path) -> None:
    scenario, profiles = half_an_hour(tmp_path)
    report = twin.play(scenario, profiles, 5, make_core=Broken)
    assert (report.verdict, report.exit_code) == ("failed", 1)
    assert report.reason == "ZeroDivisionError: planted"
    assert any("in tick" in line for line in report.log_tail)


# What a wait costs


def test_waiting_for_long_costs_next_to_nothing(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text("""\
scenario: long
physics_step_s: 60
fleet: [{profile: machine-a, count: 1, every_s: 3600}]
timeline:
  - {kind: connect, over_s: 0}
  - {kind: hold, name: never, after: alarm raised, patience_s: 86400, for_s: 1}
  - {kind: expect, within_s: 86400, check: {kind: alarms, which: raised, equals: 1}}
checks: [{kind: devices, equals: 1}]
""")
    scenario, profiles = scenarios.read(path)
    judged = 0
    check = scenario.timeline[2].check  # type: ignore[attr-defined]

    class Counting(type(check)):  # type: ignore[misc]
        def measure(self, facts: Any) -> Any:
            nonlocal judged
            judged += 1
            return super().measure(facts)

    step = scenario.timeline[2].model_copy(update={"check": Counting(which="raised", equals=1)})
    report = twin.play(scenario.model_copy(update={"timeline": [*scenario.timeline[:2], step]}), profiles, 1)
    assert report.verdict == "passed"
    assert report.ended_at_ms - report.started_at_ms == pytest.approx(2 * 86_400_000 + 1000, abs=2000)
    assert [(h.kind, h.at_ms - VIRTUAL_START_MS) for h in report.timeline if h.source == "run"] == [
        ("waited_in_vain", 86_400_000)
    ]
    assert judged < 1500


def test_what_it_records_says_when_and_of_which_alarm() -> None:
    scenario, profiles = scenarios.read(DEMO)
    report = twin.play(scenario, profiles, 2)
    raised: list[Mapping[str, Any]] = [h.detail for h in report.timeline if h.kind == "alarm_raised"]
    assert len(raised) == 3
    assert all(detail["alarm_id"].startswith(("Vehicle-VIN-", "device-")) for detail in raised)
    assert Record._fields[:2] == ("at_ms", "kind")
