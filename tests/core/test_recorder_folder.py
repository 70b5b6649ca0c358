"""The folder of a run: enough to replay it from there alone, nothing of anybody else touched, nothing secret in it."""

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator import folders, profiles, replay, scenarios, tape
from simulator.clock import VIRTUAL_START_MS, VirtualClock
from simulator.errors import UsageError
from simulator.faults.hang import Hang
from simulator.fleet import Fleet
from simulator.ledger import Event, Ledger
from simulator.recorder import Recorder
from simulator.report import facts as told
from simulator.report import json_report
from simulator.report.facts import Report
from simulator.runtime.run_folder import Mode, Run, RunFolder, affected, mode
from simulator.runtime.virtual import Virtual
from simulator.steps import Inject
from tests.core.fleets import PUBLIC_KEY

SCENARIO = """\
scenario: night
seed: 1
parameters: {cars: 3, part: fan_level}
fleet:
  - {profile: vehicle-sedan, count: "${cars}", name: "V-${part}-{n}"}
  - {profile: hub-gateway, count: 1}
  - {profile: vehicle-suv, count: 1, name: "V-{n}", channel: tcp}
timeline:
  - {kind: connect, over_s: 1}
  - {kind: inject, profiles: [vehicle-sedan], count: 1, fault: {kind: hang, part: "${part}"}}
  - {kind: hold, for_s: 60}
checks:
  - {kind: devices, equals: 5}
"""
THINGS = ["V-fan_level-001", "V-fan_level-002", "V-fan_level-003", "hub-gateway-001", "V-001"]
SEED = 7


class Night:
    """A run in virtual time, as a run folder gets it."""

    def __init__(self, path: Path, bytes_max: int = 1 << 26) -> None:
        path.write_text(SCENARIO)
        self.scenario, self.profiles = scenarios.read(path, {"cars": 3}, SEED)
        self.fleet: Fleet = self.scenario.build(self.profiles, SEED, VIRTUAL_START_MS, PUBLIC_KEY)
        self.ledger = Ledger()
        self.recorder = Recorder(self.fleet, bytes_max)
        virtual = Virtual(self.fleet, VirtualClock(), self.ledger)
        for index in range(len(THINGS)):
            virtual.start(index, VIRTUAL_START_MS + index)
        virtual.inject(1, Hang(part="fan_level"), VIRTUAL_START_MS + 5000)
        virtual.run_until(VIRTUAL_START_MS + 120_000)

    def report(self, *checks: told.Check, **more: Any) -> Report:
        devices = [told.Device(d.thing, d.profile, d.version, "connected", i == 1) for i, d in
                   enumerate(self.fleet.devices)]  # fmt: skip
        values = {
            "verdict": "failed" if any(not check.passed for check in checks) else "passed",
            "checks": list(checks), "fleet": told.Fleet([], devices), **more,
        }  # fmt: skip
        return Report("0.1.0", "night", "", SEED, "virtual", VIRTUAL_START_MS, VIRTUAL_START_MS + 1, exit_code=0,
                      **values)  # fmt: skip

    def write(self, out: Path, how: Mode = "affected", report: Report | None = None) -> Run:
        folder = RunFolder(out, how)
        folder.begin(self.scenario, SEED)
        injected = [(VIRTUAL_START_MS + 5000, Inject(Hang(part="fan_level"), (THINGS[1],)), "x")]
        found = report or self.report()
        json_report.write(found, out / "report.json")
        folder.end(found, self.scenario, self.ledger, injected, self.recorder, VIRTUAL_START_MS, "virtual", PUBLIC_KEY)
        return Run(out)


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path / "night.yaml")


def replayed(run: Run, *things: str) -> list[replay.Played]:
    scenario, used = run.scenario()
    about, wanted = run.about, list(things) or run.things()
    key = bytes.fromhex(about.public_key)
    fleet = replay.fleet(scenario, used, about.seed, about.start_ms, key, wanted)
    return list(replay.play(fleet, {thing: run.calls(thing) for thing in wanted}))


def failed(why: str) -> told.Check:
    return told.Check("devices connected", 4, "= 5", "", False, why)


# From the folder alone


def test_a_folder_copied_elsewhere_is_enough(night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night.write(tmp_path / "out", "all")
    copy = shutil.copytree(tmp_path / "out", tmp_path / "elsewhere" / "copy")
    shutil.rmtree(tmp_path / "out")
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("FLEETSIM_HOME", str(tmp_path / "nowhere"))
    played = replayed(Run(copy))
    assert len(played) == night.recorder.calls > 20
    assert {one.thing for one in played} == set(THINGS)
    assert all(one.same for one in played)
    assert os.environ["FLEETSIM_HOME"] == str(tmp_path / "nowhere")


def test_it_is_the_folders_profiles_that_count(night: Night, tmp_path: Path) -> None:
    run = night.write(tmp_path / "out", "all")
    path = run.path / "profiles" / "vehicle-sedan.yaml"
    path.write_text(path.read_text().replace("SedanVehicle", "OtherVehicle"))
    assert run.scenario()[1]["vehicle-sedan"].thing_type == "OtherVehicle"
    assert profiles.profile("vehicle-sedan").thing_type == "SedanVehicle", "and afterwards those of the place again"


def test_the_scenario_is_as_it_was_run(night: Night, tmp_path: Path) -> None:
    run = night.write(tmp_path / "out")
    again, _ = run.scenario()
    assert [thing for thing, _, _ in again.things()] == THINGS
    assert (again.scenario, again.seed, again.parameters) == ("night", SEED, {})
    assert again.timeline == night.scenario.timeline
    assert run.about.parameters == {"cars": 3, "part": "fan_level"}
    assert "${" not in (run.path / "scenario.yaml").read_text()
    names = {path.stem for path in (run.path / "profiles").iterdir()}
    assert names == {"vehicle-sedan", "vehicle-suv", "hub-gateway", "machine-a"}
    assert len(list((run.path / "firmware").iterdir())) == len(list(folders.folder("firmware").glob("*.yaml")))


def test_what_is_in_it_can_be_read_by_anybody(night: Night, tmp_path: Path) -> None:
    run = night.write(tmp_path / "out")
    events = [json.loads(line) for line in (run.path / "ledger.jsonl").read_text().splitlines()]
    assert [Event(**event) for event in events] == [e._replace(detail=dict(e.detail)) for e in night.ledger.events]
    faults = [json.loads(line) for line in (run.path / "faults.jsonl").read_text().splitlines()]
    assert faults[0] == {"event": "injected", "at_ms": VIRTUAL_START_MS + 5000, "step": "x", "things": [THINGS[1]],
                         "fault": {**Hang(part="fan_level").params, "ramp_s": 0.0, "probability": 1.0,
                                   "harmless": False}}  # fmt: skip
    assert run.about.counts["attempted"] == dict(night.ledger.attempted)
    with gzip.open(run.path / run.about.wire[THINGS[1]]) as file:
        first = json.loads(file.readline())
    assert (first["call"], first["given"]) == ("receive", {"Connected": {"session_present": False}})


# Who is in it


@pytest.mark.parametrize(
    ("checks", "more", "expected"),
    [
        ([], {}, [THINGS[1]]),
        ([failed(f"away: {THINGS[2]}, {THINGS[4]}")], {}, [THINGS[1], THINGS[2], THINGS[4]]),
        ([failed("nobody knows who")], {}, THINGS),
        ([], {"verdict": "failed"}, THINGS),
        ([], {"verdict": "interrupted"}, THINGS),
    ],
)
def test_those_are_kept_that_a_fault_or_a_failed_check_affected(
    night: Night, checks: list[told.Check], more: dict[str, Any], expected: list[str]
) -> None:
    assert affected(night.report(*checks, **more), THINGS, "affected") == expected
    assert affected(night.report(*checks, **more), THINGS, "all") == THINGS


def test_messages_astray_keep_whose_they_are(night: Night) -> None:
    odd = told.Astray("lost", "telemetry", THINGS[3], 1, 2, "stored")
    report = night.report(failed(THINGS[0]), audit=told.Audit(unexplained=[odd]))
    assert affected(report, THINGS, "affected") == [THINGS[0], THINGS[1], THINGS[3]]


def test_a_device_that_was_not_recorded(night: Night, tmp_path: Path) -> None:
    run = night.write(tmp_path / "out")
    assert run.things() == run.things(THINGS[1]) == [THINGS[1]]
    with pytest.raises(UsageError, match=r"'V-fan_level-003' was not recorded; run it with --record all"):
        run.things(THINGS[2])


def test_none_is_none(night: Night, tmp_path: Path) -> None:
    night.write(tmp_path / "out", "all")
    with pytest.raises(UsageError, match="no folder of a run"):
        night.write(tmp_path / "out", "none")
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["report.json"]
    assert mode("none") == "none"
    with pytest.raises(UsageError, match=r"--record: unknown 'al' \(did you mean 'all'\?\)"):
        mode("al")


def test_a_small_memory_says_what_it_could_not_keep(tmp_path: Path) -> None:
    night = Night(tmp_path / "night.yaml", bytes_max=20_000)
    run = night.write(tmp_path / "out", "all")
    assert run.about.recorded.digested > 0
    assert run.about.recorded.bytes_max == 20_000
    played = replayed(run)
    assert len(played) == run.about.recorded.calls - run.about.recorded.missed
    assert all(one.same for one in played)
    assert any(one.call.said is None for one in played)


# Whose folder it is


def test_the_next_run_takes_the_place_of_the_one_before(night: Night, tmp_path: Path) -> None:
    night.write(tmp_path / "out", "all")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    (tmp_path / "out" / "wire" / "mine.txt").write_text("mine")
    run = night.write(tmp_path / "out")
    assert sorted(path.name for path in (run.path / "wire").iterdir()) == [f"{THINGS[1]}.jsonl.gz", "mine.txt"]
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["profiles", "firmware", "wire", "scenario.yaml"])
def test_what_is_not_ours_is_not_touched(night: Night, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    (out / name).mkdir(parents=True)
    with pytest.raises(UsageError, match=f"has a '{name}' that is no run's: choose another folder with --out"):
        RunFolder(out)
    RunFolder(out, "none")


@pytest.mark.parametrize("files", [["../mine.txt"], ["/mine.txt"], ["wire/../../mine.txt"]])
def test_a_list_of_files_that_leads_out_of_the_folder_is_not_followed(
    night: Night, tmp_path: Path, files: list[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    run = night.write(tmp_path / "out")
    path = run.path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": files}))
    night.write(tmp_path / "out")
    assert (tmp_path / "mine.txt").read_text() == "mine"


# Folders that are none


def change(**fields: Any) -> Callable[[Path], object]:
    def do(out: Path) -> None:
        path = out / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return do


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda out: (out / "run.json").unlink(), "is no folder of a run: run.json: No such file"),
        (lambda out: (out / "run.json").write_text("{}"), r"run.json: format: Field required"),
        (change(format=99, fleetsim="9.0"), "was written by fleetsim 9.0, in a newer form than this knows"),
        (lambda out: (out / "wire" / f"{THINGS[1]}.jsonl.gz").unlink(), "No such file"),
        (lambda out: (out / "wire" / f"{THINGS[1]}.jsonl.gz").write_bytes(b"no"), "Not a gzipped file"),
        (lambda out: _cut(out / "wire" / f"{THINGS[1]}.jsonl.gz"), "ended before"),
        (lambda out: (out / "scenario.yaml").unlink(), "no such file"),
        (lambda out: (out / "profiles" / "vehicle-sedan.yaml").unlink(), "no profile 'vehicle-sedan'"),
    ],
)
def test_a_folder_that_is_not_whole(night: Night, tmp_path: Path, spoil: Any, said: str) -> None:
    night.write(tmp_path / "out")
    spoil(tmp_path / "out")
    with pytest.raises(UsageError, match=said):
        replayed(Run(tmp_path / "out"))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def test_lines_that_are_the_same_make_files_that_are_the_same(night: Night, tmp_path: Path) -> None:
    one, other = night.write(tmp_path / "one", "all"), night.write(tmp_path / "other", "all")
    for name in one.about.files:
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name


def test_calls_of_a_hub_are_those_of_its_children(night: Night, tmp_path: Path) -> None:
    run = night.write(tmp_path / "out", "all")
    played = replayed(run, "hub-gateway-001")
    assert all(one.same for one in played)
    topics = {tape.message(said).topic for one in played for said in one.said if "Publish" in said}
    assert any("hub-gateway-001-" in topic for topic in topics)
