"""boto3 alone walks through device management, and devices of AWS's SDK do what they are told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from awscrt import io

from tests.cloud.conftest import start, stop
from tests.e2e.device_management import ARN, FIRMWARE, TYPE, VERSION, Walk, eventually, name_of

pytestmark = pytest.mark.e2e

MINUTE_S = 1.0  # of a job
ABORT = {"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 50.0, "minNumberOfExecutedThings": 5}


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    """A cloud of its own, in whose log nothing may go wrong."""
    cloud = start(tmp_path, job_minute_s=MINUTE_S)
    walk = Walk(cloud, tmp_path)
    yield walk
    for device in walk.devices:
        device.close()
    io.ClientBootstrap.release_static_default()
    assert stop(cloud.process) == 0
    log = (tmp_path / "log.txt").read_text()
    assert "Traceback" not in log, log
    assert " ERROR " not in log, log


def test_boto3_walks_through_device_management(walk: Walk) -> None:
    iot = walk.iot
    assert walk.left() == {}
    walk.provision()
    walk.index()
    walk.query()
    walk.count()
    members = walk.group()
    assert len(members) == 10
    walk.publish()

    # A continuous job, five devices a minute.
    first, late = walk.device(members[0]), walk.device(name_of(0))
    late.hear_of_jobs()
    eventually(lambda: walk.search("connectivity.connected:true"), sorted([first.name, late.name]))
    walk.create_job(
        "update",
        "1.1.0",
        targetSelection="CONTINUOUS",
        jobExecutionsRolloutConfig={"maximumPerMinute": 5},
        abortConfig={"criteriaList": [ABORT]},
        timeoutConfig={"inProgressTimeoutInMinutes": 60},
    )
    eventually(lambda: walk.executions("update"), dict.fromkeys(members, "QUEUED"))
    executions = walk.all_of("list_job_executions_for_job", jobId="update")
    queued = sorted(one["jobExecutionSummary"]["queuedAt"] for one in executions)
    assert (queued[5] - queued[4]).total_seconds() >= MINUTE_S
    job = iot.describe_job(jobId="update")["job"]
    assert (job["status"], job["targetSelection"]) == ("IN_PROGRESS", "CONTINUOUS")
    assert job["destinationPackageVersions"] == [f"{ARN}package/{TYPE}/version/1.1.0"]

    # A device of AWS's SDK, then the others by the jobs data plane.
    execution = first.start_next_job()
    assert (execution.job_id, execution.status) == ("update", "IN_PROGRESS")
    assert first.do(execution) == FIRMWARE["1.1.0"]
    told = iot.describe_job_execution(jobId="update", thingName=first.name)["execution"]
    assert (told["status"], told["statusDetails"]["detailsMap"]["progress"]) == ("SUCCEEDED", "100%")
    assert told["versionNumber"] == 6
    assert first.start_next_job() is None
    for name in members[1:-1]:
        walk.finish("update", name)
    walk.finish("update", members[-1], "FAILED")

    # One that comes later, because it is charged.
    assert late.next_jobs.empty()
    assert late.report(batteryStatus=80) == 2
    execution = late.next_jobs.get(timeout=30)
    assert (execution.job_id, execution.status) == ("update", "QUEUED")
    assert late.do(late.start_next_job()) == FIRMWARE["1.1.0"]
    assert late.shadow("$package") == {TYPE: {"version": "1.1.0", "attributes": {}}}
    updated = sorted([late.name, *members[:-1]])
    eventually(lambda: walk.search(f"{VERSION}:1.1.0"), updated)
    assert walk.processed("update") == {"Succeeded": 10, "Failed": 1}
    assert iot.describe_job(jobId="update")["job"]["status"] == "IN_PROGRESS", "continuous: it never completes"
    # And one that leaves is done with it already.
    late.report(batteryStatus=3)
    eventually(walk.members, members)
    assert walk.executions("update")[late.name] == "SUCCEEDED"

    # Back to the default, once and for those who are there now.
    walk.create_job("revert", "$default")
    for name in members:
        walk.finish("revert", name)
    eventually(lambda: walk.search(f"{VERSION}:1.1.0"), [late.name])
    assert walk.processed("revert") == {"Succeeded": 10}
    assert iot.describe_job(jobId="revert")["job"]["status"] == "COMPLETED"
    assert first.shadow("$package") == {TYPE: {"version": "1.0.0", "attributes": {}}}

    # A job that goes wrong: who takes too long is timed out, who fails ends it for those who wait.
    hasty = {"timeoutConfig": {"inProgressTimeoutInMinutes": 1}, "abortConfig": {"criteriaList": [ABORT]}}
    walk.create_job("doomed", "1.1.0", **hasty)
    assert first.start_next_job().job_id == "doomed"
    eventually(lambda: walk.executions("doomed")[first.name], "TIMED_OUT")
    for name in members[1:5]:
        walk.finish("doomed", name, "FAILED")
    eventually(lambda: iot.describe_job(jobId="doomed")["job"]["status"], "CANCELED")
    assert walk.processed("doomed") == {"TimedOut": 1, "Failed": 4, "Canceled": 5}

    # A command, and what the device made of it.
    once = first.obey(lambda payload: {"horn": {"s": payload["horn"]}})
    honk = {"content": b'{"horn": "twice"}', "contentType": "application/json"}
    arn = iot.create_command(commandId="honk", namespace="AWS-IoT", payload=honk)["commandArn"]
    started = walk.jobs.start_command_execution(commandArn=arn, targetArn=f"{ARN}thing/{first.name}")
    assert once() == started["executionId"]
    asked = {"executionId": started["executionId"], "targetArn": f"{ARN}thing/{first.name}"}
    eventually(lambda: iot.get_command_execution(**asked)["status"], "SUCCEEDED")
    assert iot.get_command_execution(**asked, includeResult=True)["result"] == {"horn": {"S": "twice"}}

    walk.clean_up()
    assert walk.left() == {}
