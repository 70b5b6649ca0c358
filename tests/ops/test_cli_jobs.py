"""`fleetsim packages …` and `fleetsim jobs …`, without a terminal, against the real cloud process."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.ops import packages, provision
from simulator.ops.aws import Aws
from tests.ops.conftest import Ended

Fleetsim = Callable[..., Ended]
THINGS = [f"Vehicle-VIN-{n:03}" for n in range(1, 13)]


@pytest.fixture(scope="module", autouse=True)
def fleet(aws: Aws) -> None:
    """Twelve things in a group, and what provisioning makes for an account."""
    provision.groundwork(aws)
    provision.catalogue(aws, [])
    aws.iot.create_thing_group(thingGroupName="USFleet")
    for thing in THINGS:
        aws.iot.create_thing(thingName=thing)
        aws.iot.add_thing_to_thing_group(thingName=thing, thingGroupName="USFleet")


def test_from_a_package_to_its_installation(aws: Aws, fleetsim: Fleetsim, tmp_path: Path) -> None:
    image = tmp_path / "image.bin"
    image.write_bytes(b"firmware" * 9000)
    assert fleetsim("packages", "create", "Sedan", "--description", "cars", "--dry-run", "--json").json == {
        "dryRun": True, "packageName": "Sedan",
    }  # fmt: skip
    assert fleetsim("packages", "create", "Sedan").out == "package Sedan is created\n"
    added = fleetsim("packages", "add-version", "Sedan", "1.1.0", image, "--attribute", "rev=b", "--default", "--json")
    assert (added.json["status"], added.json["attributes"]["rev"]) == ("PUBLISHED", "b")
    assert "us-east-1" in added.err, "where it is written is said"
    listed = fleetsim("packages", "list").out.splitlines()
    assert re.split(r"\s{2,}", listed[0]) == ["package", "default", "versions", "modified"]
    assert re.split(r"\s{2,}", listed[1])[:3] == ["Sedan", "1.1.0", "1.1.0"]
    assert listed[2] == "1 package"
    assert "  key: firmware/Sedan/1.1.0/image.bin" in fleetsim("packages", "show", "Sedan", "$default").out
    assert fleetsim("packages", "config", "enable").out.startswith("enabled: yes\n")

    create = ["jobs", "create", "--package", "Sedan", "--version", "$default", "--group", "USFleet", "--snapshot"]
    rest = ["--rate", 500, "--abort", "FAILED:50:10", "--timeout-minutes", 60, "--retry", "TIMED_OUT:1"]
    dry = fleetsim(*create, *rest, "--dry-run", "--json").json["createJob"]
    assert dry["presignedUrlConfig"]["expiresInSec"] == 3600
    assert fleetsim("jobs", "list", "--json").json == {"jobs": [], "summary": {}}
    made = fleetsim(*create, *rest, "--json").json
    job_id = made["jobId"]
    assert re.fullmatch(r"ota-Sedan-1-1-0-\d{8}-\d{6}", job_id)
    shown = fleetsim("jobs", "show", job_id).out
    assert "jobExecutionsRolloutConfig:\n  maximumPerMinute: 500\n" in shown
    assert "    - failureType: FAILED\n      action: CANCEL\n" in shown

    plan = fleetsim("jobs", "simulate", "--success-rate", 75, "--seed", 7, "--dry-run", "--json")
    outcomes = [one["outcome"] for one in plan.json["plan"]]
    assert (outcomes.count("SUCCESS"), outcomes.count("FAILURE")) == (9, 3)
    assert f"[1/12] Vehicle-VIN-001 -> {outcomes[0]}\n" in plan.err
    asked = fleetsim("jobs", "simulate", "--success-rate", 75, "--seed", 7)
    assert (asked.code, asked.err.splitlines()[-1]) == (
        2, "Execute 12 job executions? Nobody can be asked; add --yes to do it",
    )  # fmt: skip
    done = fleetsim("jobs", "simulate", "--success-rate", 75, "--seed", 7, "--yes", "--json")
    assert done.code == 0
    assert done.json["summary"] == {"SUCCEEDED": 9, "FAILED": 3}
    assert "[12/12] Vehicle-VIN-012  72000/72000 bytes  " in done.err
    found = fleetsim("jobs", "executions", job_id).out.splitlines()
    assert found[-1] == "12 executions: 9 SUCCEEDED, 3 FAILED"
    assert len(found) == 14
    one = fleetsim("jobs", "executions", job_id, "--thing", "Vehicle-VIN-001", "--json").json
    assert one["status"] == {"SUCCESS": "SUCCEEDED", "FAILURE": "FAILED"}[outcomes[0]]
    details = fleetsim("jobs", "executions", job_id, "--details", "--status", "failed").out
    assert "reason=simulated: " in details
    runs = fleetsim("packages", "versions-of", *THINGS).out
    assert (runs.count("Sedan  "), runs.count("never reported")) == (9, 3)

    gone = fleetsim("jobs", "delete", job_id)
    assert (gone.code, gone.err.splitlines()[-1]) == (
        2, "delete 1 job with all executions: nobody can be asked; add --yes to do it",
    )  # fmt: skip
    assert fleetsim("jobs", "delete", job_id, "--yes").out == f"job {job_id} is being deleted\n"


def test_any_document_and_its_end(fleetsim: Fleetsim, tmp_path: Path) -> None:
    file = tmp_path / "reboot.json"
    file.write_text(json.dumps({"operation": "reboot"}))
    wanted = ["jobs", "create", "--document", file, "--thing", ",".join(THINGS[:2]), "--continuous", "--id", "r-1"]
    assert fleetsim(*wanted, "--description", "once").out == "job r-1 is created\n"
    listed = fleetsim("jobs", "list").out.splitlines()
    assert re.split(r"\s{2,}", listed[1])[:3] == ["r-1", "IN_PROGRESS", "CONTINUOUS"]
    assert listed[-1] == "1 job: 1 IN_PROGRESS"
    assert fleetsim("jobs", "cancel", "r-1", "--comment", "enough").out == "job r-1 is cancelled\n"
    assert fleetsim("jobs", "list", "--status", "canceled", "--json").json["summary"] == {"CANCELED": 1}
    nothing = fleetsim("jobs", "simulate", "--yes")
    assert (nothing.code, nothing.out) == (0, "0 executions pending; nothing was executed\n")
    assert fleetsim("jobs", "delete", "r-1", "--yes").code == 0


def test_a_scheduled_job_waits(fleetsim: Fleetsim, tmp_path: Path) -> None:
    file = tmp_path / "later.json"
    file.write_text("{}")
    wanted = ["jobs", "create", "--document", file, "--thing", THINGS[0], "--id", "later", "--snapshot"]
    assert fleetsim(*wanted, "--start", "+1h", "--end", "+1d", "--end-behavior", "cancel").code == 0
    shown = fleetsim("jobs", "show", "later", "--json").json
    assert (shown["status"], shown["schedulingConfig"]["endBehavior"]) == ("SCHEDULED", "CANCEL")
    assert fleetsim("jobs", "simulate", "--yes").out.startswith("0 executions pending")
    assert fleetsim("jobs", "delete", "later", "--force", "--yes").code == 0


def test_one_that_ends_otherwise_than_planned_is_an_exit_code(fleetsim: Fleetsim, tmp_path: Path) -> None:
    file = tmp_path / "ota.json"
    file.write_text('{"operation": "ota", "url": "http://127.0.0.1:1/"}')
    fleetsim("jobs", "create", "--document", file, "--thing", THINGS[0], "--id", "astray", "--snapshot")
    done = fleetsim("jobs", "simulate", "--job", "astray", "--yes", "--json")
    assert (done.code, done.json["astray"]) == (1, 1)
    assert done.json["executions"][0]["reason"] == "download failed: ConnectionError"


def test_a_job_that_its_abort_criteria_cancel_says_so(fleetsim: Fleetsim, tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text("{}")
    things = ["--thing", ",".join(THINGS[:8])]
    fleetsim("jobs", "create", "--document", file, *things, "--id", "bad", "--snapshot", "--abort", "FAILED:50:5")
    done = fleetsim("jobs", "simulate", "--job", "bad", "--success-rate", 0, "--parallel", 1, "--yes")
    assert done.code == 1
    total, why = done.out.splitlines()[-2:]
    assert total == "8 executions: 5 FAILED, 3 SKIPPED; 3 not as planned"
    assert why.startswith("job bad was cancelled by its abort criteria: Abort criteria for failure type FAILED")
    none = fleetsim("jobs", "executions", "bad", "--thing", THINGS[9])
    assert none.err.endswith(f"job 'bad' has no execution for thing '{THINGS[9]}' (8 others have one)\n")
    fleetsim("jobs", "delete", "bad", "--yes")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["jobs", "show", "nothing"], r"no job 'nothing'"),
        (["jobs", "list", "--status", "DONE"], r"unknown status 'DONE'"),
        (["jobs", "create", "--thing", "x"], r"--package is missing"),
        (["jobs", "create", "--package", "Sedam", "--version", "1"], r"no package 'Sedam'"),
        (["jobs", "create", "--abort", "FAILED"], r"abort criterion 'FAILED': expected 3 parts"),
        (["jobs", "create", "--document", "none.json"], r"job document 'none.json': No such file"),
        (["jobs", "create", "--document", "a", "--package", "b"], r"--document is for jobs that are no OTA"),
        (["packages", "config", "on"], r"packages config 'on'"),
        (["packages", "add-version", "Sedan", "1", "none.bin"], r"artifact 'none.bin': no such file"),
        (["packages", "add-version", "Sedan", "1", "--attribute", "x"], r"attribute 'x': expected name=value"),
        (["jobs", "simulate", "--success-rate", "101"], r"less than or equal to 100"),
    ],
)
def test_mistakes_are_one_line(fleetsim: Fleetsim, arguments: list[str], says: str) -> None:
    ended = fleetsim(*arguments)
    assert ended.code == 2
    assert re.search(says, ended.err)
    assert "Traceback" not in ended.err
    assert not ended.out


def test_explanations_and_calls_are_shown(fleetsim: Fleetsim) -> None:
    ended = fleetsim("jobs", "simulate", "--explain", "--debug", "--dry-run")
    assert "What a device does" in ended.err
    assert "iot ListJobs" in ended.err
    assert ended.out == "0 executions pending; nothing was executed\n"


def test_a_revert_by_jobs(aws: Aws, fleetsim: Fleetsim, tmp_path: Path) -> None:
    image = tmp_path / "old.bin"
    image.write_bytes(b"old firmware")
    packages.create(aws, "Truck")
    packages.add_version(aws, "Truck", "1.0.0", image)
    packages.revert(aws, "Truck", "1.1.0", THINGS)
    args = ["packages", "revert", "Truck", "1.0.0", *(word for thing in THINGS for word in ("--thing", thing))]
    refused = fleetsim(*args)
    assert refused.code == 2
    assert "  Vehicle-VIN-001  Truck 1.1.0 -> 1.0.0\n" in refused.err
    assert "… and 2 more" in refused.err
    assert fleetsim(*args, "--dry-run").out == "12 devices would go back to Truck 1.0.0\n"
    assert set(packages.versions_of(aws, THINGS)[THINGS[0]] or {}) >= {"Truck"}
    done = fleetsim(*args, "--by-job", "--yes", "--json").json
    assert done["count"] == 12
    assert fleetsim("jobs", "simulate", "--job", done["jobs"][0], "--yes").code == 0
    now = packages.versions_of(aws, THINGS)
    assert {(said or {})["Truck"] for said in now.values()} == {"1.0.0"}
