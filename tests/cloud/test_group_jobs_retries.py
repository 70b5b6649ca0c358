"""Retries of job executions: how many, when a job is over, what a device hears; by boto3 and paho."""

from typing import Any

from tests.cloud.test_cloud_devices import connect  # noqa: F401 - a fixture
from tests.cloud.test_group_jobs import ARN, group_of

TWICE = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]}


def test_a_failure_is_tried_again(cloud: Any, identity: Any, connect: Any) -> None:  # noqa: F811
    iot = cloud.client("iot")
    device = identity("clumsy")
    topic = "$aws/things/clumsy/jobs"
    with connect(device) as heard:
        heard.subscribe(f"{topic}/notify-next", f"{topic}/+/update/+")
        iot.create_job(
            jobId="hard",
            targets=[ARN.format("thing/clumsy")],
            document="{}",
            jobExecutionsRetryConfig=TWICE,
            abortConfig={
                "criteriaList": [
                    {
                        "failureType": "FAILED",
                        "action": "CANCEL",
                        "thresholdPercentage": 100,
                        "minNumberOfExecutedThings": 1,
                    }
                ]
            },
        )
        for attempt in range(3):
            execution = heard.until("/notify-next")["execution"]
            assert (execution["status"], execution["executionNumber"]) == ("QUEUED", attempt + 1)
            heard.publish(f"{topic}/hard/update", {"status": "FAILED"})
            heard.until("/update/accepted")
        assert "execution" not in heard.until("/notify-next")
    found = iot.list_job_executions_for_thing(thingName="clumsy")["executionSummaries"]
    attempts = [one["jobExecutionSummary"]["retryAttempt"] for one in found]
    assert attempts == [2, 1, 0]
    job = iot.describe_job(jobId="hard")["job"]
    assert (job["status"], job["jobProcessDetails"]["numberOfFailedThings"]) == ("COMPLETED", 1)


def test_retries_begin_anew_for_who_comes_back(cloud: Any) -> None:
    iot, jobs = cloud.client("iot"), cloud.client("iot-jobs-data")
    arn = group_of(iot, "returns", "back")
    iot.create_job(
        jobId="again", targets=[arn], document="{}", targetSelection="CONTINUOUS", jobExecutionsRetryConfig=TWICE
    )

    def newest() -> tuple[str, int, int]:
        found = iot.list_job_executions_for_thing(thingName="back")["executionSummaries"][0]["jobExecutionSummary"]
        return found["status"], found["executionNumber"], found["retryAttempt"]

    jobs.update_job_execution(jobId="again", thingName="back", status="FAILED")
    assert newest() == ("QUEUED", 2, 1)
    iot.remove_thing_from_thing_group(thingGroupName="returns", thingName="back")
    assert newest() == ("REMOVED", 2, 1)
    iot.add_thing_to_thing_group(thingGroupName="returns", thingName="back")
    assert newest() == ("QUEUED", 3, 0)
    for expected in (("QUEUED", 4, 1), ("QUEUED", 5, 2), ("FAILED", 5, 2)):
        jobs.update_job_execution(jobId="again", thingName="back", status="FAILED")
        assert newest() == expected
