"""Jobs by our operations, and devices outside a scenario that execute them, against the real cloud process."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import UsageError
from simulator.ops import jobs, packages, provision, rollout, simulate
from simulator.ops.aws import Aws
from simulator.ops.simulate import FAILURE, SUCCESS, Pending, Step

THINGS = [f"Vehicle-VIN-{n:03}" for n in range(1, 11)]
IMAGE = b"firmware" * 20_000


@pytest.fixture(scope="module")
def fleet(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Ten things in a group, and a published package version."""
    provision.groundwork(aws)
    provision.catalogue(aws, [])
    aws.iot.create_thing_group(thingGroupName="USFleet")
    for thing in THINGS:
        aws.iot.create_thing(thingName=thing)
        aws.iot.add_thing_to_thing_group(thingName=thing, thingGroupName="USFleet")
    image = tmp_path_factory.mktemp("image") / "image.bin"
    image.write_bytes(IMAGE)
    packages.create(aws, "Sedan")
    packages.add_version(aws, "Sedan", "1.1.0", image)
    packages.configure(aws, True)
    return THINGS


def ota(aws: Aws, job_id: str, **more: Any) -> dict[str, Any]:
    document, arn = jobs.ota_document(aws, "Sedan", "1.1.0")
    aims = jobs.targets(aws, ["USFleet"], [])
    return jobs.create(aws, jobs.parameters(aws, job_id, aims, document, destinations=[arn], **more))


def run(aws: Aws, job_id: str, percent: float = 100, seed: int = 1) -> tuple[list[Step], list[Step]]:
    heard: list[Step] = []
    planned = simulate.plan(simulate.pending(aws, [job_id]), percent, seed)
    return simulate.execute(aws, planned, seed, heard.append), heard


def test_an_id_is_generated_with_its_time() -> None:
    now = datetime(2026, 12, 1, 2, 3, 4, tzinfo=UTC)
    assert jobs.generated_id("ota-Sedan-1.1.0", now) == "ota-Sedan-1-1-0-20261201-020304"
    long = jobs.generated_id("ota-" + "x" * 100, now)
    assert len(long) == 64
    assert long.endswith("x-20261201-020304")


def test_a_whole_configuration_comes_back(aws: Aws, fleet: list[str]) -> None:
    made = ota(
        aws, "whole", continuous=True, description="the spring release",
        rate=rollout.rate(500, 50, 2.0, after_notified=1000), abort=rollout.abort(["FAILED:20:5"]),
        timeout=rollout.timeout(60), retries=rollout.retries(["FAILED:2"]),
    )  # fmt: skip
    assert made["jobArn"].endswith(":job/whole")
    job = jobs.show(aws, "whole")
    assert (job["status"], job["targetSelection"], job["description"]) == (
        "IN_PROGRESS", "CONTINUOUS", "the spring release",
    )  # fmt: skip
    assert job["presignedUrlConfig"] == {
        "roleArn": f"arn:aws:iam::{aws.account}:role/{provision.JOBS_ROLE}", "expiresInSec": 3600,
    }  # fmt: skip
    assert job["jobExecutionsRolloutConfig"]["exponentialRate"]["incrementFactor"] == 2.0
    assert job["abortConfig"]["criteriaList"][0]["thresholdPercentage"] == 20
    assert job["timeoutConfig"] == {"inProgressTimeoutInMinutes": 60}
    assert job["jobExecutionsRetryConfig"]["criteriaList"][0]["numberOfRetries"] == 2
    assert [arn.rsplit(":", 1)[-1] for arn in job["destinationPackageVersions"]] == ["package/Sedan/version/1.1.0"]
    assert job["document"]["url"].startswith("${aws:iot:s3-presigned-url:https://s3.us-east-1.amazonaws.com/")
    assert job["document"]["size"] == len(IMAGE)
    assert isinstance(job["createdAt"], str)
    with pytest.raises(UsageError, match="job 'whole' is there already; give another --id"):
        ota(aws, "whole")
    with pytest.raises(UsageError, match="job 'whole' is under way: cancel it first"):
        jobs.delete(aws, "whole")
    jobs.cancel(aws, "whole", comment="enough", reason_code="TEST")
    assert jobs.show(aws, "whole")["status"] == "CANCELED"
    assert "whole" in [job["jobId"] for job in jobs.every(aws, "CANCELED")]
    assert jobs.summary(jobs.executions(aws, "whole")) == {"CANCELED": 10}
    jobs.delete(aws, "whole")
    assert "whole" not in [job["jobId"] for job in jobs.every(aws)]


def test_devices_download_and_end_as_planned(aws: Aws, fleet: list[str]) -> None:
    ota(aws, "eight-of-ten")
    waiting = simulate.pending(aws, ["eight-of-ten"])
    assert waiting == [Pending("eight-of-ten", thing, "QUEUED") for thing in fleet]
    planned = simulate.plan(waiting, 80, 7)
    assert planned == simulate.plan(list(reversed(waiting)), 80, 7)[::-1], "the seed decides, not the order"
    assert [one.outcome for one in planned].count(FAILURE) == 2
    assert planned[0].line(1, 10) in ("[1/10] Vehicle-VIN-001 -> SUCCESS", "[1/10] Vehicle-VIN-001 -> FAILURE")
    heard: list[Step] = []
    ends = simulate.execute(aws, planned, 7, heard.append)
    for one, end in zip(planned, ends, strict=True):
        assert end.status == ("SUCCEEDED" if one.outcome == SUCCESS else "FAILED")
        assert (end.thing, end.received, end.size) == (one.pending.thing, len(IMAGE), len(IMAGE))
        mine = [step for step in heard if step.thing == end.thing]
        assert [step.status for step in mine][:-1] == ["IN_PROGRESS"] * (len(mine) - 1)
        assert len({step.received for step in mine}) > 2, "progress was reported"
    found = jobs.executions(aws, "eight-of-ten")
    assert [one["thing"] for one in found] == fleet
    assert jobs.summary(found) == {"SUCCEEDED": 8, "FAILED": 2}
    assert [one["status"] for one in jobs.executions(aws, "eight-of-ten", "FAILED")] == ["FAILED", "FAILED"]
    failed = next(end for end in ends if end.status == "FAILED")
    assert failed.reason.startswith("simulated: ")
    assert jobs.execution(aws, "eight-of-ten", failed.thing)["statusDetails"] == {"reason": failed.reason}
    told = jobs.details(aws, "eight-of-ten", found)
    assert {one["statusDetails"].get("version") for one in told} == {"1.1.0", None}
    assert simulate.pending(aws, ["eight-of-ten"]) == []
    ran = packages.versions_of(aws, fleet)
    assert {thing for thing, said in ran.items() if said} == {e.thing for e in ends if e.status == "SUCCEEDED"}


def test_what_really_goes_wrong_fails_whatever_the_plan_says(aws: Aws, fleet: list[str]) -> None:
    document, arn = jobs.ota_document(aws, "Sedan", "1.1.0")
    thing = jobs.targets(aws, [], fleet[:1])
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("size", {"size": 5}, "size mismatch: got 65536 bytes, the job says 5"),
        ("hash", {"sha256": "0" * 64}, "sha256 mismatch"),
        ("gone", {"url": document["url"].replace(".bin}", ".bim}")}, "download failed: HTTP 404"),
        ("file", {"url": "file:///etc/passwd"}, "job document: url is neither https nor http"),
        ("port", {"url": "http://127.0.0.1:1/x"}, "download failed: ConnectionError"),
    ]
    for name, change, reason in wrong:
        jobs.create(aws, jobs.parameters(aws, f"wrong-{name}", thing, {**document, **change}, destinations=[arn]))
        ends, _ = run(aws, f"wrong-{name}")
        assert [end.status for end in ends] == ["FAILED"]
        assert ends[0].reason.startswith(reason)


def test_a_document_of_ones_own_has_nothing_to_download(aws: Aws, fleet: list[str], tmp_path: Path) -> None:
    file = tmp_path / "reboot.json"
    file.write_text('{"operation": "reboot", "delay_s": 3}')
    wanted = jobs.parameters(aws, "reboot", jobs.targets(aws, [], fleet[:2]), jobs.read_document(file))
    assert "presignedUrlConfig" not in wanted
    jobs.create(aws, wanted)
    assert jobs.show(aws, "reboot")["document"] == json.loads(file.read_text())
    ends, _ = run(aws, "reboot")
    assert [(end.status, end.size) for end in ends] == [("SUCCEEDED", 0)] * 2
    file.write_text("[]")
    with pytest.raises(UsageError, match="a JSON object is expected, not a list"):
        jobs.read_document(file)
    file.write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        jobs.read_document(file)
    with pytest.raises(UsageError, match="No such file"):
        jobs.read_document(tmp_path / "none")


def test_an_execution_that_ends_meanwhile_is_left_alone(aws: Aws, fleet: list[str]) -> None:
    ota(aws, "taken-away")
    planned = simulate.plan(simulate.pending(aws, ["taken-away"], fleet[:3]), 100, 1)
    assert len(planned) == 3
    jobs.cancel(aws, "taken-away")
    ends = simulate.execute(aws, planned, 1, lambda step: None)
    assert [end.status for end in ends] == ["SKIPPED"] * 3
    assert ends[0].reason.startswith("it ended without us: ")


def test_mistakes_say_the_way_out(aws: Aws, fleet: list[str]) -> None:
    ota(aws, "known-job")
    for call in (jobs.show, jobs.executions, jobs.cancel, jobs.delete):
        with pytest.raises(UsageError, match=r"no job 'known-jop' \(did you mean 'known-job'\?\)"):
            call(aws, "known-jop")
    with pytest.raises(UsageError, match=r"no job 'known-jop' \(did you mean"):
        simulate.pending(aws, ["known-jop"])
    with pytest.raises(UsageError, match=r"no group 'USFleat' \(did you mean 'USFleet'\?\)"):
        jobs.targets(aws, ["USFleat"], [])
    with pytest.raises(UsageError, match="no thing 'nobody'"):
        jobs.targets(aws, [], ["nobody"])
    with pytest.raises(UsageError, match="0 targets: a job has 1 to 100"):
        jobs.targets(aws, [], [])
    with pytest.raises(UsageError, match=r"job 'known-job' has no execution for thing 'Vehicle-VIN-01' \(10 others"):
        jobs.execution(aws, "known-job", "Vehicle-VIN-01")
    packages.add_version(aws, "Sedan", "2.0.0", None, publish=False)
    with pytest.raises(UsageError, match=r"Sedan 2\.0\.0 is a DRAFT; publish it"):
        jobs.ota_document(aws, "Sedan", "2.0.0")
    packages.add_version(aws, "Sedan", "2.0.0", None)
    with pytest.raises(UsageError, match="has no artifact"):
        jobs.ota_document(aws, "Sedan", "2.0.0")
    with pytest.raises(UsageError, match="job id 'a b'"):
        jobs.parameters(aws, "a b", [], "{}")
    with pytest.raises(UsageError, match="60 to 3600"):
        jobs.parameters(aws, "a", [], "{}", url_seconds=5)
    with pytest.raises(UsageError, match="32768 at most"):
        jobs.parameters(aws, "a", [], {"x": "y" * 40_000})
    with pytest.raises(UsageError, match="success rate 101"):
        simulate.plan([], 101, 1)
    jobs.delete(aws, "known-job", force=True)
