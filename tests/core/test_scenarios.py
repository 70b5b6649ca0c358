"""Scenarios and profiles: the shipped ones are right; what is wrong in one is said with its place, all at once."""

from pathlib import Path

import pytest

from simulator import profiles, scenarios
from simulator.errors import UsageError
from simulator.scenarios import Group, Scenario
from simulator.schema import YamlProblems
from simulator.steps.connect import Connect
from tests.core.fleets import PUMP, START_MS

REPO = Path(scenarios.__file__).parents[1]

SCENARIO = """\
scenario: night
fleet:
  - {profile: pump, count: 3, name: "Pump-{n}"}
timeline:
  - {kind: connect}
  - kind: inject
    count: 2
    fault: {kind: hang, part: fan}
checks:
  - {kind: devices, equals: 3}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with a pump in it; here is there."""
    for name in ("profiles", "scenarios"):
        (tmp_path / name).mkdir()
    (tmp_path / "profiles" / "pump.yaml").write_text(PUMP)
    monkeypatch.setenv("FLEETSIM_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    profiles.profile.cache_clear()
    return tmp_path


def wrong(home: Path, text: str) -> list[str]:
    """What is wrong with a scenario, as the user sees it."""
    (home / "scenarios" / "night.yaml").write_text(text)
    try:
        scenarios.read(Path("scenarios/night.yaml"))
    except YamlProblems as error:
        return str(error).splitlines()
    return []


def changed(old: str, new: str) -> str:
    assert SCENARIO.count(old) == 1
    return SCENARIO.replace(old, new)


# Shipped


@pytest.mark.parametrize("path", sorted((REPO / "scenarios").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_scenarios_are_right(path: Path) -> None:
    scenario, used = scenarios.read(path)
    assert scenario.load or isinstance(scenario.timeline[0], Connect)
    fleet = scenario.build(used, scenario.seed, START_MS, bytes(32))
    assert len(fleet.by_thing) == len(fleet.devices) == sum(group.count for group in scenario.fleet)
    assert scenarios.find(path.stem).samefile(path)


@pytest.mark.parametrize("name", profiles.names())
def test_shipped_profiles_are_right(name: str) -> None:
    found = profiles.profile(name)
    assert found.title
    assert {behaviour.model_dump()["kind"] for behaviour in found.behaviours} >= {"telemetry", "shadow", "jobs"}


def test_a_right_scenario_has_nothing_wrong(home: Path) -> None:
    assert wrong(home, SCENARIO) == []


# What is wrong with a scenario

AT = "scenarios/night.yaml"
NO_NAME = "gives no thing name: at most 128 characters, and only {n}, {profile} in braces"
WRONG = [
    ("unknown key", "count: 3,", "cuont: 3,",
     [f"{AT}:3:5: missing key 'count'",
      f"{AT}:3:21: unknown key 'cuont' (did you mean 'count'?)"]),
    ("wrong unit", "{kind: connect}", "{kind: connect, over_s: 5min}",
     [f"{AT}:5:29: expected a number of seconds, got '5min'"]),
    ("duplicate key", "count: 3,", "count: 3, count: 4,",
     [f"{AT}:3:31: duplicate key 'count' (first on line 3, column 21)"]),
    ("missing profile", "profile: pump,", "profile: pmup,", [f"{AT}:3:15: no profile 'pmup' (did you mean 'pump'?)"]),
    ("unknown fault", "kind: hang", "kind: hnag", [f"{AT}:8:19: unknown kind 'hnag' (did you mean 'hang'?)"]),
    ("a fault that the device cannot have", "part: fan", "part: fam",
     [f"{AT}:8:12: profile 'pump' cannot have the fault 'hang': it has no part 'fam' (did you mean 'fan'?)"]),
    ("two devices with the same name", "  - {profile: pump, count: 3, name: \"Pump-{n}\"}\n",
     "  - {profile: pump, count: 3, name: \"Pump-{n}\"}\n  - {profile: pump, count: 1, name: Pump-002}\n",
     [f"{AT}:2:1: two devices would be named 'Pump-002'"]),
    ("all with the same name", "Pump-{n}", "Pump",
     [f"{AT}:2:1: two devices would be named 'Pump'",
      f"{AT}:3:37: needs {{n}}, or all devices of the group have the same name"]),
    ("an unknown placeholder", "Pump-{n}", "Pump-{n}-{i}",
     [f"{AT}:3:37: 'Pump-{{n}}-{{i}}' {NO_NAME}"]),
    ("a name too long", "Pump-{n}", "P" * 124 + "-{n}",
     [f"{AT}:3:37: '{'P' * 124}-{{n}}' {NO_NAME}"]),
    ("not connected first", "  - {kind: connect}\n", "",
     [f"{AT}:5:5: the first step must be 'connect' or 'ramp': nothing happens to a fleet that is off"]),
    ("a check without a bound", ", equals: 3}", "}",
     [f"{AT}:10:5: a check needs a bound: 'at_least', 'at_most' or 'equals'"]),
    ("more than there are", "count: 2", "count: 4", [f"{AT}:6:5: wants 4 devices, but only 3 of the fleet match"]),
    ("none of them", "count: 2", "profiles: [truck-*]", [f"{AT}:6:5: wants a device, but only 0 of the fleet match"]),
    ("another name than the file", "scenario: night", "scenario: day",
     [f"{AT}:1:11: the name must be the file's: 'night', is 'day'"]),
    ("too many for one fleet", "count: 3, name: \"Pump-{n}\"}",
     "count: 100000, name: \"Pump-{n}\"}\n  - {profile: pump, count: 1}",
     [f"{AT}:2:1: 100001 devices are more than 100000"]),
    ("several things at once",
     "count: 2\n    fault: {kind: hang, part: fan}", "count: 9\n    fault: {kind: hang, part: x}",
     [f"{AT}:6:5: wants 9 devices, but only 3 of the fleet match",
      f"{AT}:8:12: profile 'pump' cannot have the fault 'hang': it has no part 'x' "
      "(known: ambient_c, fan, load, temp_c)"]),
    ("a fixing firmware that is no version", "part: fan", "part: fan, fixed_in: '1.²'",
     [f"{AT}:8:46: '1.²' does not have the form ^[a-zA-Z0-9._-]{{1,64}}$"]),
    ("an expectation without a bound", "  - {kind: connect}",
     "  - {kind: connect}\n  - {kind: expect, within_s: 3, check: {kind: devices}}",
     [f"{AT}:6:40: a check needs a bound: 'at_least', 'at_most' or 'equals'"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "lines"), WRONG, ids=[case[0] for case in WRONG])
def test_what_is_wrong_is_said_with_its_place(home: Path, name: str, old: str, new: str, lines: list[str]) -> None:
    assert wrong(home, changed(old, new)) == lines


def test_no_such_scenario(home: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file: scenarios/nihgt\.yaml"):
        scenarios.read(scenarios.find("nihgt").relative_to(home))


# What is wrong with a profile


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("step_s: 5", "step_s: 5s", "3:9: expected a number of seconds, got '5s'"),
        ("load: load", "load: lod", "7:11: unknown signal 'lod' (did you mean 'load'?)"),
        ("metrics: [temp_c, fan]", "metrics: [temp_c, fna]", "11:5: unknown signal 'fna' (did you mean 'fan'?)"),
        ("restarts: fan", "restarts: fen", "12:5: unknown signal 'fen' (did you mean 'fan'?)"),
        ("profile: pump", "profile: pomp", "1:10: the name must be the file's: 'pump', is 'pomp'"),
        ("every_s: 10", "every_s: [5, 1]", "11:32: must rise from low to high, is [5, 1]"),
        ("every_s: 10", "every_s: 0", "11:32: must lie between 0.001 and 86400 seconds, is 0"),
        ("every_s: 10", "every_s: [1, 1e6]", "11:32: must lie between 0.001 and 86400 seconds, is 1e+06"),
        ("retries: 3", "retries: many", "13:54: expected a whole number, got 'many'"),
    ],
)
def test_a_wrong_profile_is_reported_as_that_file(home: Path, old: str, new: str, line: str) -> None:
    assert PUMP.count(old) == 1
    (home / "profiles" / "pump.yaml").write_text(PUMP.replace(old, new))
    [said] = wrong(home, SCENARIO)
    assert said.startswith(f"profiles/pump.yaml:{line}")


def test_profiles_are_found_by_name_only(home: Path) -> None:
    assert profiles.names() == ["pump"]
    with pytest.raises(UsageError, match=r"no profile 'pum' \(did you mean 'pump'\?\)"):
        profiles.profile("pum")


# Names


def named(*groups: Group) -> list[str]:
    whole = Scenario.model_validate(
        {
            "scenario": "s",
            "fleet": groups,
            "timeline": [{"kind": "connect"}],
            "checks": [{"kind": "devices", "equals": 0}],
        }
    )
    return [thing for thing, _, _ in whole.things()]


def test_names_are_padded_to_the_width_of_the_fleet() -> None:
    assert named(Group(profile="pump", count=2)) == ["pump-001", "pump-002"]
    names = named(Group(profile="a", count=1500, name="V-{n}"), Group(profile="b", count=500, name="V-{n}"))
    assert (names[0], names[1499], names[-1]) == ("V-0001", "V-1500", "V-2000")
    assert len(set(names)) == 2000


def test_groups_with_the_same_name_count_on_and_others_begin_at_1() -> None:
    groups = (
        Group(profile="a", count=1, name="V-{n}"), Group(profile="b", count=1),
        Group(profile="c", count=1, name="V-{n}"),
        Group(profile="c", count=1, name="{profile}:{n}_{n}"), Group(profile="c", count=1, name="hub"),
    )  # fmt: skip
    assert named(*groups) == ["V-001", "b-001", "V-002", "c:001_001", "hub"]


def test_a_group_may_have_its_own_firmware(home: Path) -> None:
    text = changed("count: 3,", "count: 3, firmware: 0.9.0,")
    assert wrong(home, text) == []
    scenario, used = scenarios.read(Path(AT))
    fleet = scenario.build(used, 1, START_MS, bytes(32))
    assert {device.version for device in fleet.devices} == {"0.9.0"}
