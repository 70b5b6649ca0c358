"""The limits of CreateJob that its model does not have."""

from datetime import UTC, datetime
from typing import Any

import pytest

from simulator.cloud.jobs.limits import problem_of

NOW_MS = int(datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC).timestamp() * 1000)
RATE = {"baseRatePerMinute": 50, "incrementFactor": 2.5, "rateIncreaseCriteria": {"numberOfNotifiedThings": 1000}}


def rollout(**changed: Any) -> dict[str, Any]:
    return {"jobExecutionsRolloutConfig": {"maximumPerMinute": 100, "exponentialRate": {**RATE, **changed}}}


def schedule(**config: Any) -> dict[str, Any]:
    return {"schedulingConfig": config}


def retries(*numbers: int) -> dict[str, Any]:
    return {
        "jobExecutionsRetryConfig": {"criteriaList": [{"failureType": "ALL", "numberOfRetries": n} for n in numbers]}
    }


WINDOW = schedule(startTime="2026-03-02T00:00", maintenanceWindows=[{"startTime": "x", "durationInMinutes": 60}])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, None),
        ({"targets": ["t"] * 100}, None),
        ({"targets": ["t"] * 101}, "100 targets"),
        ({"document": None}, "needs a document"),
        ({"document": None, "documentSource": "s3://b/k"}, None),
        ({"documentParameters": {"a": "b"}}, "AWS manages"),
        ({"documentParameters": {"a": "b"}, "jobTemplateArn": "arn:aws:iot:r::jobtemplate/AWS-Reboot:1.0"}, None),
        (retries(4, 6), None),
        (retries(5, 6), "at most 10"),
        (rollout(), None),
        ({"jobExecutionsRolloutConfig": {"maximumPerMinute": 5}}, None),
        (rollout(incrementFactor=1.25), "one decimal"),
        (rollout(rateIncreaseCriteria={}), "either"),
        (rollout(rateIncreaseCriteria={"numberOfNotifiedThings": 1, "numberOfSucceededThings": 1}), "either"),
        (schedule(startTime="2026-03-01T12:30"), None),
        (schedule(startTime="2026-03-01T12:29"), "startTime"),
        (schedule(startTime="2027-03-02T12:30"), "startTime"),
        (schedule(endTime="2026-03-01T12:10"), "endTime"),
        (schedule(startTime="2026-03-01T13:00", endTime="2026-03-01T13:10"), "endTime"),
        (schedule(startTime="2026-03-01T13:00", endTime="2026-03-01T13:30", endBehavior="CANCEL"), None),
        (schedule(startTime="2026-03-01T13:00", endTime="2028-03-01T13:30"), "endTime"),
        (schedule(startTime="2026-03-01T13:00", endBehavior="CANCEL"), "endBehavior"),
        (schedule(startTime="soon"), None),
        (WINDOW, "SNAPSHOT"),
        ({**WINDOW, "targetSelection": "CONTINUOUS"}, None),
    ],
)
def test_a_job_is_within_its_limits(more: dict[str, Any], words: str | None) -> None:
    problem = problem_of({"targets": ["t"], "document": "{}", **more}, NOW_MS)
    assert (problem is None) if words is None else words in (problem or "")
