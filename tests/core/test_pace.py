"""A group at its own pace: how often its devices measure, look and report; and how fine the physics is."""

from pathlib import Path

import pytest

from simulator import scenarios
from simulator.clock import VIRTUAL_START_MS as START_MS
from simulator.clock import VirtualClock
from simulator.errors import UsageError
from simulator.ledger import Ledger
from simulator.runtime.virtual import Virtual

SCENARIO = """\
scenario: pace
physics_step_s: 10
fleet:
  - {profile: machine-a, count: 1}
  - {profile: machine-a, count: 1, name: slow, every_s: 120}
  - {profile: machine-a, count: 1, name: rest, every_s: 0.5, channel: rest}
timeline: [{kind: connect, over_s: 1}]
checks: [{kind: devices, equals: 3}]
"""


def read(tmp_path: Path, text: str = SCENARIO) -> scenarios.Scenario:
    path = tmp_path / "pace.yaml"
    path.write_text(text)
    return scenarios.read(path)[0]


def test_a_slow_device_speaks_looks_and_reports_less_often(tmp_path: Path) -> None:
    path = tmp_path / "pace.yaml"
    path.write_text(SCENARIO)
    scenario, profiles = scenarios.read(path)
    assert list(profiles) == ["machine-a", "machine-a-every-120s", "machine-a-over-rest-every-0.5s"]
    said = {
        name: {str(b.model_dump()["kind"]): b.model_dump() for b in profile.behaviours}
        for name, profile in profiles.items()
    }
    usual, slow, rest = said.values()
    assert (usual["telemetry"]["every_s"], slow["telemetry"]["every_s"], rest["telemetry"]["every_s"]) == (5, 120, 0.5)
    assert (usual["alert"]["look_every_s"], slow["alert"]["look_every_s"]) == (1, 120)
    assert (usual["shadow"]["report_every_s"], slow["shadow"]["report_every_s"]) == (60, 1200)
    assert (usual["heartbeat"]["every_s"], slow["heartbeat"]["every_s"]) == (60, 1200)
    fleet, ledger = scenario.build(profiles, 1, START_MS, bytes(32)), Ledger()
    assert {device.plant.step_s for device in fleet.devices} == {10}
    virtual = Virtual(fleet, VirtualClock(), ledger)
    for index in range(3):
        virtual.start(index, START_MS)
    virtual.run_until(START_MS + 3_600_000)
    assert ledger.sent["telemetry"] == pytest.approx(720 + 30 + 7200, abs=5)


def test_a_pace_has_its_bounds(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must be ≥ 0\.001, is 0"):
        read(tmp_path, SCENARIO.replace("every_s: 120", "every_s: 0"))
    with pytest.raises(UsageError, match=r"must be ≤ 60, is 61"):
        read(tmp_path, SCENARIO.replace("physics_step_s: 10", "physics_step_s: 61"))


def test_who_is_switched_off_says_nothing_until_it_is_on_again(tmp_path: Path) -> None:
    path = tmp_path / "pace.yaml"
    path.write_text(SCENARIO)
    scenario, profiles = scenarios.read(path)
    fleet, ledger = scenario.build(profiles, 1, START_MS, bytes(32)), Ledger()
    heard: list[int] = []
    virtual = Virtual(fleet, VirtualClock(), ledger, lambda at_ms, *_: heard.append(at_ms - START_MS))
    virtual.start(0, START_MS)
    virtual.start(0, START_MS + 500)  # it is on already
    virtual.stop(0, START_MS + 60_000)
    virtual.power_cycle(0, START_MS + 59_000, 5000)  # its end finds it switched off
    virtual.start(0, START_MS + 120_000)
    virtual.stop(0, START_MS + 180_000)
    virtual.stop(0, START_MS + 190_000)
    virtual.run_until(START_MS + 300_000)
    assert not [at for at in heard if 59_000 < at < 120_000 or at > 180_000]
    assert [at for at in heard if at < 59_000]
    assert [at for at in heard if 120_000 <= at <= 180_000]
    reasons = [event.detail["reason"] for event in ledger.events if event.kind == "disconnected"]
    assert reasons == ["severed", "switched off"]
