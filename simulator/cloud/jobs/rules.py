"""When a job starts and ends, when an execution times out, and whether it is tried again. Pure.

Rules: times are milliseconds since the epoch; a minute has `minute_ms`, which a sandbox may shorten. The in-progress
timer runs from the start and cannot be prolonged; the step timer can, but not beyond it. A retry is a new execution
of the same thing; the failed one before it does not count as a thing that failed.
https://docs.aws.amazon.com/iot/latest/developerguide/jobs-configurations-details.html
"""

import re
from calendar import timegm
from collections.abc import Iterator, Mapping
from time import strptime
from typing import Any

STEP_TIMEOUT_MAX = 10_080  # minutes
_DETAILS_MAX, _KEY_MAX, _VALUE_MAX = 10, 128, 1024
_DETAIL_KEY = re.compile(r"[a-zA-Z0-9:_-]+")
RETRYABLE = ("FAILED", "TIMED_OUT")

Job = Mapping[str, Any]
Execution = Mapping[str, Any]


def time_ms(text: str | None) -> int | None:
    """The time of a schedule, in UTC; None when it is not given or not written as one."""
    try:
        return timegm(strptime(text, "%Y-%m-%dT%H:%M")) * 1000 if text else None
    except ValueError:
        return None


def start_ms(job: Job) -> int | None:
    return time_ms((job.get("schedulingConfig") or {}).get("startTime"))


def end_ms(job: Job) -> int | None:
    return time_ms((job.get("schedulingConfig") or {}).get("endTime"))


def rollout_wrong(job: Job) -> str:
    """Why a rollout configuration is refused; empty when it is none or right. (The rest is looked at elsewhere.)"""
    config = job.get("jobExecutionsRolloutConfig") or {}
    rate = config.get("exponentialRate")
    if not rate:
        return ""
    if config.get("maximumPerMinute") is None:
        return "Provide MaximumPerMinute value when ExponentialRate is defined"
    if (rate.get("baseRatePerMinute") or 0) > config["maximumPerMinute"]:
        return "Exponential rollout baseRatePerMinute should be less than maximumPerMinute."
    return ""


def details_wrong(details: Any) -> str:
    """Why the statusDetails of a report are refused; empty when they are right."""
    if details is None:
        return ""
    if not isinstance(details, dict) or len(details) > _DETAILS_MAX:
        return f"statusDetails must be a map of at most {_DETAILS_MAX} pairs"
    for key, value in details.items():
        if not _DETAIL_KEY.fullmatch(key) or len(key) > _KEY_MAX:
            return f"statusDetails: a key has 1 to {_KEY_MAX} of the characters a-zA-Z0-9:_-"
        if not isinstance(value, str) or not 0 < len(value) <= _VALUE_MAX:
            return f"statusDetails: a value is a string of 1 to {_VALUE_MAX} characters"
    return ""


def step_timeout_wrong(minutes: Any) -> str:
    """Why a stepTimeoutInMinutes is refused; empty when it is right."""
    if minutes is None or minutes == -1:
        return ""
    if isinstance(minutes, bool) or not isinstance(minutes, int) or not 1 <= minutes <= STEP_TIMEOUT_MAX:
        return f"stepTimeoutInMinutes must be -1 or between 1 and {STEP_TIMEOUT_MAX}"
    return ""


def deadline_ms(execution: Execution, job: Job, minute_ms: float) -> float | None:
    """When an execution times out; None when it does not."""
    if execution["status"] != "IN_PROGRESS":
        return None
    deadlines = []
    # UpdateJob leaves the earlier time-out with an execution that is running.
    minutes = execution.get("jobTimeoutInMinutes", (job.get("timeoutConfig") or {}).get("inProgressTimeoutInMinutes"))
    if minutes and execution.get("startedAt") is not None:
        deadlines.append(execution["startedAt"] + minutes * minute_ms)
    if execution.get("stepTimeoutInMinutes") and execution.get("timeoutStartedAt") is not None:
        deadlines.append(execution["timeoutStartedAt"] + execution["stepTimeoutInMinutes"] * minute_ms)
    return min(deadlines, default=None)


def attempts(execution: Execution) -> Iterator[Execution]:
    """The retried executions before this one, newest first."""
    for earlier in execution.get("history") or []:
        if not earlier.get("retried"):
            return
        yield earlier


def retries(execution: Execution, job: Job) -> bool:
    """Whether an execution that just failed or timed out is tried again."""
    status = execution["status"]
    if status not in RETRYABLE or job.get("status") != "IN_PROGRESS":
        return False
    for criterion in (job.get("jobExecutionsRetryConfig") or {}).get("criteriaList") or []:
        meant = RETRYABLE if criterion.get("failureType") == "ALL" else (criterion.get("failureType"),)
        if status in meant:
            made = sum(earlier["status"] in meant for earlier in attempts(execution))
            return made < (criterion.get("numberOfRetries") or 0)
    return False
