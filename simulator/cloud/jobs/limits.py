"""What CreateJob demands beyond the shapes of its model, and MiniStack does not look at. Pure.

https://docs.aws.amazon.com/iot/latest/developerguide/job-limits.html
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

TARGETS_MAX = 100
RETRIES_MAX = 10
_MANAGED_TEMPLATE = "::jobtemplate/AWS-"
_LEAD = timedelta(minutes=30)
_START_MAX, _END_MAX = timedelta(days=365), timedelta(days=730)


def problem_of(job: Mapping[str, Any], now_ms: int) -> str | None:
    """Why the parameters of a CreateJob are refused, if they are."""
    if len(job.get("targets", ())) > TARGETS_MAX:
        return f"A job has at most {TARGETS_MAX} targets, not {len(job['targets'])}"
    if sum(job.get(source) is not None for source in ("document", "documentSource", "jobTemplateArn")) == 0:
        return "A job needs a document, a documentSource or a jobTemplateArn"
    if job.get("documentParameters") and _MANAGED_TEMPLATE not in job.get("jobTemplateArn", ""):
        return "documentParameters are for jobs made from a template that AWS manages"
    retries = job.get("jobExecutionsRetryConfig", {}).get("criteriaList", ())
    if sum(criterion.get("numberOfRetries", 0) for criterion in retries) > RETRIES_MAX:
        return f"The retries of all failure types together are at most {RETRIES_MAX}"
    rate = job.get("jobExecutionsRolloutConfig", {}).get("exponentialRate", {})
    factor = rate.get("incrementFactor")
    if factor is not None and round(factor, 1) != factor:
        return f"incrementFactor has at most one decimal digit, not {factor}"
    if rate and len(rate.get("rateIncreaseCriteria", {})) != 1:
        return "rateIncreaseCriteria has either numberOfNotifiedThings or numberOfSucceededThings"
    return _schedule_problem(job, datetime.fromtimestamp(now_ms / 1000, UTC))


def _schedule_problem(job: Mapping[str, Any], now: datetime) -> str | None:
    schedule = job.get("schedulingConfig", {})
    if schedule.get("maintenanceWindows") and job.get("targetSelection", "SNAPSHOT") == "SNAPSHOT":
        return "TargetSelection is invalid. MaintenanceWindow cannot be used with SNAPSHOT job."
    if schedule.get("endBehavior") and not schedule.get("endTime"):
        return "endBehavior needs an endTime"
    try:
        start, end = (_time(schedule.get(name)) for name in ("startTime", "endTime"))
    except ValueError:
        return None  # MiniStack says it in the words of AWS
    if start and not now + _LEAD - timedelta(minutes=1) <= start <= now + _START_MAX:
        return f"startTime {schedule['startTime']} must be between 30 minutes and one year ahead"
    if end and not (start or now) + _LEAD - timedelta(minutes=1) <= end <= now + _END_MAX:
        return f"endTime {schedule['endTime']} must be 30 minutes after the start at least, and two years ahead at most"
    return None


def _time(text: str | None) -> datetime | None:
    """Minutes are the precision of these times, and they are in UTC."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M").replace(tzinfo=UTC) if text else None
