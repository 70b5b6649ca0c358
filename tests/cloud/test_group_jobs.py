"""Jobs on thing groups: continuous and snapshot ones, who comes and who goes, targets that are added; by boto3."""

import json
from typing import Any

import pytest

from tests.cloud.test_cloud_devices import ALL_OF_IT, connect  # noqa: F401 - a fixture
from tests.cloud.test_dynamic_groups_static import refused

ARN = "arn:aws:iot:us-east-1:000000000000:{}"


@pytest.fixture(scope="module")
def iot(cloud: Any) -> Any:
    return cloud.client("iot")


def group_of(iot: Any, name: str, *things: str) -> str:
    """A static group with things of its own; its ARN."""
    arn: str = iot.create_thing_group(thingGroupName=name)["thingGroupArn"]
    for thing in things:
        iot.create_thing(thingName=thing)
        iot.add_thing_to_thing_group(thingGroupName=name, thingName=thing)
    return arn


def executions(iot: Any, job: str) -> dict[str, str]:
    """Thing → status of its execution, the newest where it has several."""
    found = iot.list_job_executions_for_job(jobId=job)["executionSummaries"]
    found.sort(key=lambda summary: summary["jobExecutionSummary"]["executionNumber"])
    return {one["thingArn"].rpartition("/")[2]: one["jobExecutionSummary"]["status"] for one in found}


def test_a_snapshot_keeps_its_things_and_a_continuous_job_takes_who_comes(iot: Any, cloud: Any) -> None:
    arn = group_of(iot, "fleet", "f-1", "f-2")
    iot.create_thing(thingName="f-3")
    rollout = {"jobExecutionsRolloutConfig": {"maximumPerMinute": 1}}
    iot.create_job(jobId="snapshot", targets=[arn], document="{}")
    iot.create_job(jobId="continuous", targets=[arn], document="{}", targetSelection="CONTINUOUS", **rollout)
    iot.add_thing_to_thing_group(thingGroupName="fleet", thingName="f-3")
    assert executions(iot, "snapshot") == {"f-1": "QUEUED", "f-2": "QUEUED"}
    # One of the first two waits for the next minute; who joins does not wait.
    assert executions(iot, "continuous") == {"f-1": "QUEUED", "f-3": "QUEUED"}
    iot.remove_thing_from_thing_group(thingGroupName="fleet", thingName="f-3")
    assert executions(iot, "continuous") == {"f-1": "QUEUED", "f-3": "REMOVED"}
    jobs = cloud.client("iot-jobs-data")
    assert jobs.get_pending_job_executions(thingName="f-3")["queuedJobs"] == []
    iot.add_thing_to_thing_group(thingGroupName="fleet", thingName="f-3")
    again = iot.describe_job_execution(jobId="continuous", thingName="f-3")["execution"]
    assert (again["status"], again["executionNumber"], again["versionNumber"]) == ("QUEUED", 2, 1)
    for thing in ("f-1", "f-2"):
        jobs.update_job_execution(jobId="snapshot", thingName=thing, status="SUCCEEDED")
    jobs.update_job_execution(jobId="continuous", thingName="f-1", status="SUCCEEDED")
    jobs.update_job_execution(jobId="continuous", thingName="f-3", status="SUCCEEDED")
    assert iot.describe_job(jobId="snapshot")["job"]["status"] == "COMPLETED"
    assert iot.describe_job(jobId="continuous")["job"]["status"] == "IN_PROGRESS"
    details = iot.describe_job(jobId="continuous")["job"]["jobProcessDetails"]
    assert (details["numberOfSucceededThings"], details["numberOfRemovedThings"]) == (2, 1)


def test_targets_are_associated_with_continuous_jobs(iot: Any) -> None:
    first, second = group_of(iot, "first", "a-1"), group_of(iot, "second", "a-2")
    iot.add_thing_to_thing_group(thingGroupName="second", thingName="a-1")
    iot.create_job(jobId="grows", targets=[first], document="{}", targetSelection="CONTINUOUS", description="d")
    associate = iot.associate_targets_with_job
    answer = associate(jobId="grows", targets=[second], comment="more")
    assert (answer["jobId"], answer["description"]) == ("grows", "d")
    assert executions(iot, "grows") == {"a-1": "QUEUED", "a-2": "QUEUED"}
    job = iot.describe_job(jobId="grows")["job"]
    assert (job["targets"], job["comment"]) == ([first, second], "more")
    iot.create_thing(thingName="a-3")
    iot.add_thing_to_thing_group(thingGroupName="second", thingName="a-3")
    assert executions(iot, "grows")["a-3"] == "QUEUED"
    # A thing of both groups goes out of the job with the last of them.
    iot.remove_thing_from_thing_group(thingGroupName="first", thingName="a-1")
    assert executions(iot, "grows")["a-1"] == "QUEUED"
    iot.remove_thing_from_thing_group(thingGroupName="second", thingName="a-1")
    assert executions(iot, "grows")["a-1"] == "REMOVED"

    refused("ResourceNotFoundException", associate, jobId="none", targets=[second])
    refused("ResourceNotFoundException", associate, jobId="grows", targets=[ARN.format("thinggroup/none")])
    refused("ResourceNotFoundException", associate, jobId="grows", targets=[first.replace("us-east-1", "eu-west-1")])
    things = [ARN.format(f"thing/more-{number}") for number in range(99)]
    refused("LimitExceededException", associate, jobId="grows", targets=things)
    iot.create_job(jobId="fixed", targets=[first], document="{}")
    refused("InvalidRequestException", associate, jobId="fixed", targets=[second])
    iot.cancel_job(jobId="grows")
    refused("InvalidRequestException", associate, jobId="grows", targets=[second])


def test_who_is_deleted_is_removed_from_jobs(iot: Any, cloud: Any) -> None:
    arn = group_of(iot, "mortal", "m-1", "m-2")
    iot.create_job(jobId="outlives", targets=[arn], document="{}")
    iot.create_job(jobId="goes-on", targets=[arn], document="{}", targetSelection="CONTINUOUS")
    jobs = cloud.client("iot-jobs-data")
    jobs.update_job_execution(jobId="outlives", thingName="m-2", status="SUCCEEDED")
    jobs.update_job_execution(jobId="goes-on", thingName="m-1", status="FAILED")
    iot.delete_thing(thingName="m-1")
    assert executions(iot, "outlives") == {"m-1": "REMOVED", "m-2": "SUCCEEDED"}
    assert executions(iot, "goes-on") == {"m-1": "FAILED", "m-2": "QUEUED"}
    assert iot.describe_job(jobId="outlives")["job"]["status"] == "COMPLETED"
    iot.delete_thing_group(thingGroupName="mortal")
    assert executions(iot, "goes-on") == {"m-1": "FAILED", "m-2": "REMOVED"}


def test_a_device_hears_of_what_its_group_gets(iot: Any, identity: Any, connect: Any) -> None:  # noqa: F811
    device, consumer = identity("member"), identity("watcher", ALL_OF_IT)
    arn, more = group_of(iot, "heard"), group_of(iot, "heard-later")
    events = {"THING_GROUP_MEMBERSHIP": {"Enabled": True}, "JOB_EXECUTION": {"Enabled": True}}
    iot.update_event_configurations(eventConfigurations=events)
    iot.create_job(jobId="heard", targets=[arn], document=json.dumps({"n": 1}), targetSelection="CONTINUOUS")
    iot.add_thing_to_thing_group(thingGroupName="heard-later", thingName="member")
    with connect(device) as heard, connect(consumer) as events_heard:
        heard.subscribe("$aws/things/member/jobs/notify-next", "$aws/things/member/jobs/notify")
        events_heard.subscribe("$aws/events/#")
        iot.associate_targets_with_job(jobId="heard", targets=[more])
        assert heard.until("/notify-next")["execution"]["jobDocument"] == {"n": 1}
        iot.remove_thing_from_thing_group(thingGroupName="heard-later", thingName="member")
        assert "execution" not in heard.until("/notify-next")
        assert events_heard.until("/thing/member/removed")["operation"] == "REMOVED"
        assert events_heard.until("/heard/removed")["status"] == "REMOVED"
