"""How a job goes out, from the texts of the command line."""

from datetime import UTC, datetime
from typing import Any

import pytest

from simulator.errors import UsageError
from simulator.ops import rollout

NOW = datetime(2026, 12, 1, 1, 0, 30, tzinfo=UTC)


def test_rates() -> None:
    assert rollout.rate(None) == {}
    assert rollout.rate(50) == {"maximumPerMinute": 50}
    assert rollout.rate(None, 50, 2.0, after_notified=1000) == {
        "maximumPerMinute": 1000,
        "exponentialRate": {
            "baseRatePerMinute": 50,
            "incrementFactor": 2.0,
            "rateIncreaseCriteria": {"numberOfNotifiedThings": 1000},
        },
    }
    grown = rollout.rate(500, 5, 1.5, after_succeeded=7)
    assert grown["maximumPerMinute"] == 500
    assert grown["exponentialRate"]["rateIncreaseCriteria"] == {"numberOfSucceededThings": 7}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0,), "rate per minute 0: 1 to 1000"),
        ((None, 50), "needs a base rate"),
        ((None, 50, 2.0), "either the number of notified"),
        ((None, 50, 2.0, 1, 1), "either the number of notified"),
        ((None, 50, 5.1, 1), "increment factor 5.1: 1.1 to 5"),
        ((None, 50, 1.55, 1), "one decimal"),
        ((10, 50, 2.0, 1), "base rate 50: 1 to 10"),
    ],
)
def test_wrong_rates(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        rollout.rate(*arguments)


def test_abort_and_retries_and_timeout() -> None:
    assert rollout.abort([]) == {} == rollout.retries([]) == rollout.timeout(None)
    assert rollout.abort(["failed:12.5:5", "ALL:50:10"]) == {
        "criteriaList": [
            {
                "failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 12.5,
                "minNumberOfExecutedThings": 5,
            },
            {"failureType": "ALL", "action": "CANCEL", "thresholdPercentage": 50.0, "minNumberOfExecutedThings": 10},
        ]
    }  # fmt: skip
    assert rollout.retries(["FAILED:3"]) == {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 3}]}
    assert rollout.timeout(60) == {"inProgressTimeoutInMinutes": 60}
    for text, says in [
        ("FAILED:20", "expected 3 parts"), ("FAILD:20:5", "did you mean 'FAILED'"),
        ("FAILED:x:5", "'x' is not a number"),
        ("FAILED:0:5", "over 0 to 100"), ("FAILED:1.234:5", "two decimals"),
        ("FAILED:20:0", "'0' is not a whole number"),
        ("FAILED:nan:1", "over 0 to 100"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=says):
            rollout.abort([text])
    with pytest.raises(UsageError, match="failure type of its own"):
        rollout.abort(["FAILED:20:5", "FAILED:30:5"])
    with pytest.raises(UsageError, match="10 retries in all"):
        rollout.retries(["FAILED:6", "TIMED_OUT:5"])
    with pytest.raises(UsageError, match="1 to 10080"):
        rollout.timeout(0)


def schedule(start: str = "", end: str = "", behaviour: str = "", *windows: str, continuous: bool = True) -> Any:
    return rollout.schedule(NOW, start, end, behaviour, windows, continuous=continuous)


def test_schedules() -> None:
    assert schedule() == {}
    assert schedule("+30m") == {"startTime": "2026-12-01T01:31"}
    assert schedule("2026-12-01T03:00+01:00") == {"startTime": "2026-12-01T02:00"}
    assert schedule("2026-12-01T02:00", "+1d", "cancel") == {
        "startTime": "2026-12-01T02:00", "endTime": "2026-12-02T01:01", "endBehavior": "CANCEL",
    }  # fmt: skip
    assert schedule("", "", "", "cron(0 2 * * ? *):60") == {
        "maintenanceWindows": [{"startTime": "cron(0 2 * * ? *)", "durationInMinutes": 60}]
    }
    with pytest.raises(UsageError, match="at least 30 minutes from now, which is 2026-12-01T01:00 UTC"):
        schedule("2026-12-01T01:29")
    with pytest.raises(UsageError, match="an end needs a start"):
        schedule("", "+1d")
    with pytest.raises(UsageError, match="30 minutes after the start"):
        schedule("+1d", "+1d")
    with pytest.raises(UsageError, match="start 'tomorrow': expected 2026"):
        schedule("tomorrow")
    with pytest.raises(UsageError, match="CONTINUOUS jobs only"):
        schedule("", "", "", "cron(0 2 * * ? *):60", continuous=False)
    with pytest.raises(UsageError, match="expected cron and minutes"):
        schedule("", "", "", "daily")
