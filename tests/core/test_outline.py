"""What a scenario will do, told before it does it: order, times, whom, and what should be noticed."""

import json
from pathlib import Path

import pytest

from simulator import scenarios
from simulator.cli import explain as command
from simulator.outline import outline

SCENARIO = """\
scenario: night
parameters: {broken: 2}
fleet:
  - {profile: vehicle-sedan, count: 6, name: "V-{n}", group: canary}
  - {profile: fire-sensor, count: 4, name: "device-{n}"}
timeline:
  - {kind: connect, over_s: 3}
  - kind: parallel
    name: both
    branches:
      - - {kind: hold, for_s: 10}
        - kind: inject
          name: hot
          count: ${broken}
          groups: [canary]
          fault: {kind: bias, signal: engine_temp_c, by: 40}
      - - {kind: expect, within_s: 60, check: {kind: devices, equals: 10}, after: alarm raised}
  - {kind: hold, for_s: 5, at_s: 100}
checks:
  - {kind: devices, equals: 10}
"""


@pytest.fixture
def night(tmp_path: Path) -> Path:
    path = tmp_path / "night.yaml"
    path.write_text(SCENARIO)
    return path


def test_every_step_has_its_time(night: Path) -> None:
    rows = outline(*scenarios.read(night), 1)
    assert [(row.title, row.depth, row.begins_s, row.ends_s, row.ends_latest_s) for row in rows] == [
        ("connect", 0, 0, 3, 3), ("both", 0, 3, 13, 63), ("hold", 1, 3, 13, 13), ("hot", 1, 13, 13, 13),
        ("expect", 1, 3, 3, 63), ("hold", 0, 100, 105, 105),
    ]  # fmt: skip
    hot, expect = rows[3], rows[4]
    assert hot.does == "bias (signal engine_temp_c, by 40) · 2 devices of canary"
    assert hot.notice == "engine_temp_c reads +40 beside the truth (alarm within 300 s)"
    assert (expect.waits_for, expect.does) == ("after alarm raised", "devices connected equals 10")


def test_it_is_drawn(night: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.explain(str(night), None, ["broken=3"], as_json=False)
    said = capsys.readouterr().out
    assert "10 devices: 6 vehicle-sedan, 4 fire-sensor" in said
    assert "3 devices of canary" in said
    assert "to be noticed: engine_temp_c reads +40" in said
    assert "devices connected: equals 10" in said
    assert all(len(line) <= 160 for line in said.splitlines())


def test_it_is_a_document_too(night: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.explain(str(night), 7, [], as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["seed"], document["parameters"]) == (7, {"broken": 2})
    assert [step["kind"] for step in document["steps"]] == ["connect", "parallel", "hold", "inject", "expect", "hold"]
