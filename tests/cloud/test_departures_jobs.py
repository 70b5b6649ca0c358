"""The Jobs service by the clock: rollouts, time-outs, retries, abort, schedules, and what a device is told of them.

A minute of the service takes a fraction of a second here; nothing is asserted about how long anything took.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from simulator.cloud.jobs import rules
from simulator.cloud.jobs.engine import JobEngine
from tests.cloud.conftest import Cloud, start, stop
from tests.cloud.raw_device import RawDevice

ALL_OF_IT = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
MINUTE_S = 0.4
WAIT_S = 20.0


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A process whose minutes are short."""
    folder = tmp_path_factory.mktemp("cloud")
    running = start(folder, job_minute_s=MINUTE_S, thing_type_wait_s=300)
    yield running
    assert stop(running.process) == 0
    log = Path(folder / "log.txt").read_text()
    assert "Traceback" not in log, log
    assert " ERROR " not in log, log


@pytest.fixture(scope="module")
def iot(cloud: Cloud) -> Any:
    return cloud.client("iot")


@pytest.fixture(scope="module")
def device(cloud: Cloud, identity: Any, iot: Any) -> Callable[..., RawDevice]:
    who = identity("all-things", ALL_OF_IT)

    def make(thing: str) -> RawDevice:
        iot.create_thing(thingName=thing)
        made = RawDevice(cloud, who)
        made.connect(thing)
        topic = f"$aws/things/{thing}/jobs"
        made.subscribe(f"{topic}/notify", f"{topic}/notify-next", f"{topic}/+/update/+", f"{topic}/start-next/+")
        return made

    return make


def arn(thing: str) -> str:
    return f"arn:aws:iot:us-east-1:000000000000:thing/{thing}"


def aborting(minimum: int) -> dict[str, Any]:
    """Cancel the job when half of them failed."""
    half = {"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 50}
    return {"criteriaList": [{**half, "minNumberOfExecutedThings": minimum}]}


def until(found: Callable[[], Any], wanted: Any) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + WAIT_S
    while (now := found()) != wanted:
        assert time.monotonic() < deadline, f"{now}, not {wanted}"
        time.sleep(0.05)


def told(one: RawDevice) -> tuple[str, Any]:
    """The next message: ids by status of a notification, the head of a notify-next, the ending of another topic."""
    topic, payload = one.message()
    if topic.endswith("/notify"):
        return "notify", {status: [job["jobId"] for job in jobs] for status, jobs in payload["jobs"].items()}
    if topic.endswith("/notify-next"):
        head = payload.get("execution")
        return "next", head and (head["jobId"], head["status"])
    return topic.split("/", 4)[-1], payload


def report(one: RawDevice, thing: str, job: str, status: str, **more: Any) -> Any:
    """The answer to a report."""
    assert one.publish(f"$aws/things/{thing}/jobs/{job}/update", {"status": status, **more}) == 0
    where, answer = told(one)
    assert where in (f"{job}/update/accepted", f"{job}/update/rejected")
    return answer


def test_the_documented_sequence(device: Any, iot: Any) -> None:
    with device("sequence") as one:

        def create(job: str) -> None:
            iot.create_job(jobId=job, targets=[arn("sequence")], document="{}")

        create("s1")
        assert [told(one), told(one)] == [("notify", {"QUEUED": ["s1"]}), ("next", ("s1", "QUEUED"))]
        create("s2")
        assert told(one) == ("notify", {"QUEUED": ["s1", "s2"]})
        report(one, "sequence", "s1", "IN_PROGRESS")
        one.nothing()
        create("s3")
        assert told(one) == ("notify", {"IN_PROGRESS": ["s1"], "QUEUED": ["s2", "s3"]})
        report(one, "sequence", "s1", "SUCCEEDED")
        assert [told(one), told(one)] == [("notify", {"QUEUED": ["s2", "s3"]}), ("next", ("s2", "QUEUED"))]
        report(one, "sequence", "s3", "IN_PROGRESS")
        assert told(one) == ("next", ("s3", "IN_PROGRESS"))
        one.nothing()
        report(one, "sequence", "s2", "REJECTED")
        assert told(one) == ("notify", {"IN_PROGRESS": ["s3"]})
        one.nothing()
        iot.cancel_job_execution(jobId="s3", thingName="sequence", force=True)
        assert [told(one), told(one)] == [("notify", {}), ("next", None)]
        refused = report(one, "sequence", "s3", "SUCCEEDED", clientToken="late")
        assert (refused["code"], refused["executionState"]["status"]) == ("InvalidStateTransition", "CANCELED")
        assert refused["clientToken"] == "late"


def test_the_next_one_is_the_one_in_progress(device: Any, iot: Any, cloud: Cloud) -> None:
    with device("resumes") as one:
        for job in ("r1", "r2"):
            iot.create_job(jobId=job, targets=[arn("resumes")], document="{}")
        [told(one) for _ in range(3)]
        cloud.client("iot-jobs-data").update_job_execution(jobId="r2", thingName="resumes", status="IN_PROGRESS")
        assert told(one) == ("next", ("r2", "IN_PROGRESS"))
        one.publish("$aws/things/resumes/jobs/start-next", {"statusDetails": {"step": "again"}})
        execution = told(one)[1]["execution"]
        assert (execution["jobId"], execution["versionNumber"], "statusDetails" in execution) == ("r2", 2, False)


def test_an_execution_times_out_by_itself(device: Any, iot: Any) -> None:
    iot.update_event_configurations(eventConfigurations={"JOB_EXECUTION": {"Enabled": True}, "JOB": {"Enabled": True}})
    with device("late") as one:
        one.subscribe("$aws/events/jobExecution/+/timed_out", "$aws/events/job/+/completed")
        iot.create_job(
            jobId="t1", targets=[arn("late")], document="{}", timeoutConfig={"inProgressTimeoutInMinutes": 2}
        )
        [told(one) for _ in range(2)]
        report(one, "late", "t1", "IN_PROGRESS")
        heard = dict(one.messages(4))
        assert heard["$aws/events/jobExecution/t1/timed_out"]["status"] == "TIMED_OUT"
        assert heard["$aws/events/job/t1/completed"]["jobProcessDetails"]["numberOfTimedOutThings"] == 1
        assert heard["$aws/things/late/jobs/notify"]["jobs"] == {}
        assert "execution" not in heard["$aws/things/late/jobs/notify-next"]


def test_the_step_timer(device: Any, iot: Any) -> None:
    with device("steps") as one:
        iot.create_job(jobId="st1", targets=[arn("steps")], document="{}")
        [told(one) for _ in range(2)]
        for wrong in (0, -2, 10081, "1", 1.5):
            answer = report(one, "steps", "st1", "IN_PROGRESS", stepTimeoutInMinutes=wrong)
            assert (answer["code"], "stepTimeoutInMinutes" in answer["message"]) == ("InvalidRequest", True)
        one.publish("$aws/things/steps/jobs/start-next", {"stepTimeoutInMinutes": 10_000})
        assert "approximateSecondsBeforeTimedOut" in told(one)[1]["execution"]
        report(one, "steps", "st1", "IN_PROGRESS", stepTimeoutInMinutes=-1)
        one.publish("$aws/things/steps/jobs/start-next", {})
        assert "approximateSecondsBeforeTimedOut" not in told(one)[1]["execution"]
        report(one, "steps", "st1", "IN_PROGRESS", stepTimeoutInMinutes=1)
        assert [told(one), told(one)] == [("notify", {}), ("next", None)]
    found = iot.describe_job_execution(jobId="st1", thingName="steps")["execution"]
    assert (found["status"], found["versionNumber"]) == ("TIMED_OUT", 5)


def test_a_failure_is_tried_again(device: Any, iot: Any) -> None:
    with device("retries") as one:
        iot.create_job(
            jobId="y1",
            targets=[arn("retries")],
            document="{}",
            jobExecutionsRetryConfig={"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]},
            abortConfig={
                "criteriaList": [
                    {
                        "failureType": "FAILED",
                        "action": "CANCEL",
                        "thresholdPercentage": 50,
                        "minNumberOfExecutedThings": 1,
                    }
                ]
            },
        )
        [told(one) for _ in range(2)]
        for attempt in (1, 2):
            report(one, "retries", "y1", "FAILED")
            assert [told(one), told(one)] == [("notify", {"QUEUED": ["y1"]}), ("next", ("y1", "QUEUED"))]
            summary = iot.list_job_executions_for_thing(thingName="retries")["executionSummaries"][0]
            assert summary["jobExecutionSummary"]["retryAttempt"] == attempt
            assert summary["jobExecutionSummary"]["executionNumber"] == attempt + 1
        report(one, "retries", "y1", "FAILED")
        assert [told(one), told(one)] == [("notify", {}), ("next", None)]
    job = iot.describe_job(jobId="y1")["job"]
    assert (job["status"], job["jobProcessDetails"]["numberOfFailedThings"]) == ("COMPLETED", 1)


def fleet(iot: Any, prefix: str, count: int) -> list[str]:
    names = [f"{prefix}-{number:02d}" for number in range(count)]
    for name in names:
        iot.create_thing(thingName=name)
    return names


def test_a_rollout_that_grows(iot: Any) -> None:
    names = fleet(iot, "wave", 15)
    iot.create_job(
        jobId="w1",
        targets=[arn(name) for name in names],
        document="{}",
        jobExecutionsRolloutConfig={
            "maximumPerMinute": 8,
            "exponentialRate": {
                "baseRatePerMinute": 2,
                "incrementFactor": 2,
                "rateIncreaseCriteria": {"numberOfNotifiedThings": 2},
            },
        },
    )
    waves: list[int] = []

    def queued() -> int:
        found = iot.list_job_executions_for_job(jobId="w1")["executionSummaries"]
        count = len(found)
        if not waves or waves[-1] != count:
            waves.append(count)
        return count

    until(queued, 15)
    assert set(waves) <= {2, 6, 14, 15}
    assert waves[0] == 2


def test_too_many_failures_cancel_the_job(iot: Any, cloud: Cloud) -> None:
    names = fleet(iot, "abort", 6)
    iot.create_job(
        jobId="a1",
        targets=[arn(name) for name in names],
        document="{}",
        jobExecutionsRolloutConfig={"maximumPerMinute": 4},
        abortConfig=aborting(2),
    )
    data = cloud.client("iot-jobs-data")
    data.update_job_execution(jobId="a1", thingName=names[0], status="IN_PROGRESS")
    data.update_job_execution(jobId="a1", thingName=names[1], status="FAILED")
    assert iot.describe_job(jobId="a1")["job"]["status"] == "IN_PROGRESS"
    data.update_job_execution(jobId="a1", thingName=names[2], status="FAILED")
    job = iot.describe_job(jobId="a1")["job"]
    assert (job["status"], job["reasonCode"]) == ("CANCELED", "ABORT_CANCEL")
    counts = job["jobProcessDetails"]
    assert (counts["numberOfInProgressThings"], counts["numberOfFailedThings"]) == (1, 2)
    assert counts["numberOfQueuedThings"] == 0
    data.update_job_execution(jobId="a1", thingName=names[0], status="SUCCEEDED")
    with pytest.raises(data.exceptions.TerminalStateException):
        data.describe_job_execution(jobId="a1", thingName=names[0])


def test_the_life_of_a_job(iot: Any, cloud: Cloud) -> None:
    iot.create_thing(thingName="life")
    soon = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 86_400))
    iot.create_job(jobId="l1", targets=[arn("life")], document="{}", schedulingConfig={"startTime": soon})
    assert iot.describe_job(jobId="l1")["job"]["status"] == "SCHEDULED"
    assert iot.list_jobs(status="SCHEDULED")["jobs"][0]["jobId"] == "l1"
    assert iot.list_job_executions_for_job(jobId="l1")["executionSummaries"] == []
    with pytest.raises(iot.exceptions.InvalidStateTransitionException):
        iot.delete_job(jobId="l1")
    iot.cancel_job(jobId="l1")
    assert iot.describe_job(jobId="l1")["job"]["status"] == "CANCELED"
    iot.delete_job(jobId="l1")

    iot.create_job(jobId="l2", targets=[arn("life")], document="{}")
    with pytest.raises(iot.exceptions.InvalidStateTransitionException):
        iot.delete_job(jobId="l2")
    cloud.client("iot-jobs-data").update_job_execution(jobId="l2", thingName="life", status="IN_PROGRESS")
    with pytest.raises(iot.exceptions.InvalidStateTransitionException):
        iot.cancel_job_execution(jobId="l2", thingName="life")
    with pytest.raises(iot.exceptions.VersionConflictException):
        iot.cancel_job_execution(jobId="l2", thingName="life", expectedVersion=9, force=True)
    iot.cancel_job(jobId="l2")
    assert iot.describe_job_execution(jobId="l2", thingName="life")["execution"]["status"] == "IN_PROGRESS"
    iot.delete_job(jobId="l2", force=True)
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_job(jobId="l2")


def test_a_device_is_refused_with_a_reason(device: Any, iot: Any) -> None:
    with device("wrong") as one:
        iot.create_job(jobId="e1", targets=[arn("wrong")], document="{}")
        [told(one) for _ in range(2)]
        answer = report(one, "wrong", "e1", "IN_PROGRESS", expectedVersion=99)
        assert (answer["code"], answer["message"]) == ("VersionMismatch", "Expected version 99 but found version 1")
        assert answer["executionState"] == {"status": "QUEUED", "versionNumber": 1}
        assert report(one, "wrong", "nope", "IN_PROGRESS")["code"] == "ResourceNotFound"
        assert report(one, "wrong", "e1", "PAUSED")["code"] == "InvalidRequest"
        assert report(one, "wrong", "e1", "TIMED_OUT")["code"] == "InvalidStateTransition"
        assert report(one, "wrong", "e1", "IN_PROGRESS", statusDetails={"a b": "c"})["code"] == "InvalidRequest"
        many = {f"k{number}": "v" for number in range(11)}
        assert report(one, "wrong", "e1", "IN_PROGRESS", statusDetails=many)["code"] == "InvalidRequest"
        assert report(one, "wrong", "e1", "IN_PROGRESS", executionNumber=7)["code"] == "ResourceNotFound"
        one.publish("$aws/things/wrong/jobs/e1/update", b"[]")
        assert told(one)[1]["code"] == "InvalidJson"
        assert set(report(one, "wrong", "e1", "IN_PROGRESS", clientToken="t")) == {"clientToken", "timestamp"}
        for _ in range(20):
            last = report(one, "wrong", "e1", "IN_PROGRESS", includeJobExecutionState=True)
        assert last["executionState"]["versionNumber"] == 22


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"schedulingConfig": {"startTime": "2020-01-01T00:00"}}, "ahead"),
        ({"schedulingConfig": {"startTime": "2020-01-01"}}, "must follow the format"),
        ({"schedulingConfig": {"endBehavior": "CANCEL"}}, "needs an endTime"),
        ({"jobExecutionsRolloutConfig": {"maximumPerMinute": 1001}}, "less than or equal to 1000"),
        (
            {"jobExecutionsRetryConfig": {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 11}]}},
            "less than or equal to 10",
        ),
        ({"timeoutConfig": {"inProgressTimeoutInMinutes": 10081}}, "10081"),
    ],
)
def test_what_create_job_refuses(iot: Any, config: dict[str, Any], message: str) -> None:
    iot.create_thing(thingName="refuser")
    with pytest.raises(iot.exceptions.InvalidRequestException, match=message):
        iot.create_job(jobId="refused", targets=[arn("refuser")], document="{}", **config)
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_job(jobId="refused")


def test_pages(iot: Any) -> None:
    names = fleet(iot, "page", 7)
    seen: list[str] = []
    for page in iot.get_paginator("list_things").paginate(PaginationConfig={"PageSize": 3}):
        assert len(page["things"]) <= 3
        seen += [thing["thingName"] for thing in page["things"]]
    assert len(seen) == len(set(seen))
    assert set(names) <= set(seen)
    for number in range(3):
        iot.create_policy(policyName=f"page-{number}", policyDocument='{"Version": "2012-10-17", "Statement": []}')
    pages = iot.get_paginator("list_policies").paginate(PaginationConfig={"PageSize": 2})
    named = [policy["policyName"] for page in pages for policy in page["policies"]]
    assert [name for name in named if name.startswith("page-")] == ["page-0", "page-1", "page-2"]
    with pytest.raises(iot.exceptions.InvalidRequestException, match="nextToken"):
        iot.list_jobs(nextToken=iot.list_things(maxResults=1)["nextToken"])


def test_a_thing_type_waits(iot: Any) -> None:
    for _ in range(2):
        iot.create_thing_type(thingTypeName="Waits", thingTypeProperties={"searchableAttributes": ["a", "b"]})
    with pytest.raises(iot.exceptions.ResourceAlreadyExistsException) as known:
        iot.create_thing_type(thingTypeName="Waits", thingTypeProperties={"searchableAttributes": ["a"]})
    assert known.value.response["resourceArn"].endswith(":thingtype/Waits")
    with pytest.raises(iot.exceptions.InvalidRequestException, match="deprecated"):
        iot.delete_thing_type(thingTypeName="Waits")
    iot.deprecate_thing_type(thingTypeName="Waits")
    with pytest.raises(iot.exceptions.InvalidRequestException, match="5 minutes"):
        iot.delete_thing_type(thingTypeName="Waits")
    with pytest.raises(iot.exceptions.InvalidRequestException, match="deprecated thing type"):
        iot.create_thing(thingName="too-late", thingTypeName="Waits")
    iot.deprecate_thing_type(thingTypeName="Waits", undoDeprecate=True)
    iot.create_thing(thingName="in-time", thingTypeName="Waits")
    assert [one["thingTypeName"] for one in iot.list_thing_types(thingTypeName="Waits")["thingTypes"]] == ["Waits"]


def test_attributes_and_versions_of_things(iot: Any) -> None:
    def thing(**attributes: str) -> dict[str, Any]:
        return {"thingName": "attributed", "attributePayload": {"attributes": attributes}}

    for wrong, message in (({"a": "with space"}, "at most 800"), ({"k k": "v"}, "1 to 128")):
        with pytest.raises(iot.exceptions.InvalidRequestException, match=message):
            iot.create_thing(**thing(**wrong))
    with pytest.raises(iot.exceptions.InvalidRequestException, match="at most 3 attributes"):
        iot.create_thing(**thing(a="1", b="2", c="3", d="4"))
    assert iot.create_thing(**thing(a="1"))["thingId"] == iot.create_thing(**thing(a="1"))["thingId"]
    with pytest.raises(iot.exceptions.ResourceAlreadyExistsException) as known:
        iot.create_thing(**thing(a="2"))
    assert known.value.response["resourceArn"] == arn("attributed")
    iot.update_thing(thingName="attributed", attributePayload={"attributes": {"b": "2", "a": ""}, "merge": True})
    found = iot.describe_thing(thingName="attributed")
    assert (found["attributes"], found["version"]) == ({"b": "2"}, 2)
    with pytest.raises(iot.exceptions.VersionConflictException):
        iot.update_thing(thingName="attributed", expectedVersion=1, attributePayload={"attributes": {}})
    more = {"attributes": {"c": "1", "d": "2", "e": "3"}, "merge": True}
    with pytest.raises(iot.exceptions.InvalidRequestException, match="at most 3 attributes"):
        iot.update_thing(thingName="attributed", attributePayload=more)


def test_a_deadline_is_the_earlier_one() -> None:
    job = {"timeoutConfig": {"inProgressTimeoutInMinutes": 10}}
    running = {"status": "IN_PROGRESS", "startedAt": 0, "stepTimeoutInMinutes": 3, "timeoutStartedAt": 60_000}
    assert rules.deadline_ms(running, job, 60_000) == 240_000
    assert rules.deadline_ms({**running, "timeoutStartedAt": 540_000}, job, 60_000) == 600_000
    assert rules.deadline_ms({**running, "status": "QUEUED"}, job, 60_000) is None
    assert rules.deadline_ms({"status": "IN_PROGRESS", "startedAt": 0}, {}, 60_000) is None
    assert rules.deadline_ms({**running, "jobTimeoutInMinutes": None}, job, 60_000) == 240_000


def test_retries_are_counted_by_type_and_since_the_last_join() -> None:
    def job(*criteria: tuple[str, int]) -> dict[str, Any]:
        listed = [{"failureType": kind, "numberOfRetries": number} for kind, number in criteria]
        return {"status": "IN_PROGRESS", "jobExecutionsRetryConfig": {"criteriaList": listed}}

    tried = {"status": "FAILED", "retried": True}
    old = {"status": "FAILED"}
    failed = {"status": "FAILED", "history": [tried, old, tried]}
    assert rules.retries(failed, job(("FAILED", 2)))
    assert not rules.retries(failed, job(("FAILED", 1)))
    assert not rules.retries(failed, job(("TIMED_OUT", 9)))
    assert rules.retries({**failed, "status": "TIMED_OUT"}, job(("FAILED", 1), ("TIMED_OUT", 1)))
    assert not rules.retries({**failed, "status": "TIMED_OUT"}, job(("ALL", 1)))
    assert not rules.retries(failed, {**job(("FAILED", 2)), "status": "CANCELED"})
    assert not rules.retries({**failed, "status": "REJECTED"}, job(("ALL", 9)))


class Service:
    """What the engine needs of MiniStack for a schedule, whose least start, half an hour ahead, no test awaits."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._jobs = {"scheduled": job}
        self.done: list[str] = []

    def request_scope(self, account_id: str, region: str) -> Any:
        return nullcontext()

    def publishing_events(self) -> Any:
        return nullcontext()

    def _jobs_rollout_release(self, job: dict[str, Any]) -> list[tuple[str, None]]:
        job["rolloutQueue"] = []
        self.done.append("released")
        return [("one", None)]

    def _jobs_cancel(self, job_id: str, payload: Any, force: bool) -> dict[str, None]:
        self._jobs[job_id]["status"] = "CANCELED"
        self.done.append(f"cancelled, force {force}")
        return {"one": None}

    def _jobs_maybe_complete(self, job_id: str) -> None:
        self._jobs[job_id]["status"] = "COMPLETED"
        self.done.append("completed")

    async def jobs_notify_thing(self, account_id: str, region: str, thing: str, previous: None) -> None:
        self.done.append(f"told {thing}")


@pytest.mark.parametrize(
    ("behavior", "end"),
    [
        (None, ["completed"]),
        ("STOP_ROLLOUT", ["completed"]),
        ("CANCEL", ["cancelled, force False", "told one"]),
        ("FORCE_CANCEL", ["cancelled, force True", "told one"]),
    ],
)
def test_a_schedule_starts_and_ends_a_job(behavior: str | None, end: list[str]) -> None:
    schedule = {"startTime": "2020-01-01T00:00", "endTime": "2020-01-01T01:00", "endBehavior": behavior}
    job = {"jobId": "scheduled", "status": "SCHEDULED", "schedulingConfig": schedule, "rolloutQueue": ["one"]}
    service = Service(job)

    async def live(now_ms: list[int]) -> None:
        engine = JobEngine(service, None, 60.0, lambda: now_ms[0] if len(now_ms) == 1 else now_ms.pop(0))  # type: ignore[arg-type]
        await engine._live("account", "region", job)

    began, ended = rules.start_ms(job), rules.end_ms(job)
    assert began is not None
    assert ended is not None
    asyncio.run(live([began, ended]))
    assert service.done == ["released", "told one", *end]


def test_a_job_that_was_deleted_is_let_go_of() -> None:
    job = {"jobId": "other", "status": "SCHEDULED", "schedulingConfig": {"startTime": "2999-01-01T00:00"}}
    engine = JobEngine(Service(job), None, 60.0)  # type: ignore[arg-type]
    asyncio.run(engine._live("account", "region", job))
