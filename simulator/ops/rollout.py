"""How a job goes out: rate, abort, time-out, retries and schedule, as members of CreateJob; pure.

Each has a short text for the command line: an abort criterion is `FAILED:20:5` (at 20 % failed, once 5 have
executed), a retry `FAILED:3`, a window `cron(0 2 * * ? *):60` (60 minutes from 2:00). UsageError says what is wrong.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from simulator.errors import UsageError, did_you_mean

FAILURES = ("FAILED", "REJECTED", "TIMED_OUT", "ALL")
RETRIED = ("FAILED", "TIMED_OUT", "ALL")
ENDS = ("STOP_ROLLOUT", "CANCEL", "FORCE_CANCEL")
RATE_MAX = 1000
FACTOR_MIN, FACTOR_MAX = 1.1, 5.0
TIMEOUT_MAX = 7 * 24 * 60
RETRIES_MAX = 10
WINDOW_MAX = 1430
NOTICE_MIN = timedelta(minutes=30)
_IN = re.compile(r"\+(\d{1,6})([mhd])")
_UNIT = {"m": "minutes", "h": "hours", "d": "days"}


def rate(
    per_minute: int | None,
    base: int | None = None,
    factor: float | None = None,
    after_notified: int | None = None,
    after_succeeded: int | None = None,
) -> dict[str, Any]:
    """Things told of the job per minute: constant, or growing from `base` by `factor` after so many things."""
    if per_minute is not None:
        _between("rate per minute", per_minute, 1, RATE_MAX)
    growing = (base, factor, after_notified, after_succeeded)
    if all(value is None for value in growing):
        return {"maximumPerMinute": per_minute} if per_minute else {}
    if base is None or factor is None or (after_notified is None) == (after_succeeded is None):
        raise UsageError(
            "an exponential rate needs a base rate, an increment factor, and either the number of notified things or "
            "that of succeeded things after which it grows"
        )
    most = per_minute or RATE_MAX
    _between("base rate", base, 1, most)
    _between("increment factor", factor, FACTOR_MIN, FACTOR_MAX)
    if round(factor, 1) != factor:
        raise UsageError(f"increment factor {factor}: one decimal at most, as 1.5")
    _between("number of things after which the rate grows", after_notified or after_succeeded or 0, 1, 1_000_000)
    told, count = ("Notified", after_notified) if after_notified else ("Succeeded", after_succeeded)
    return {
        "maximumPerMinute": most,
        "exponentialRate": {
            "baseRatePerMinute": base,
            "incrementFactor": factor,
            "rateIncreaseCriteria": {f"numberOf{told}Things": count},
        },
    }


def abort(criteria: Sequence[str]) -> dict[str, Any]:
    """Abort criteria, each `FAILED|REJECTED|TIMED_OUT|ALL:<percent>:<executed things at least>`."""
    found: list[dict[str, Any]] = []
    for text in criteria:
        kind, percent, least = _parts(text, "abort criterion", 3, "FAILED:20:5")
        threshold = _number(percent, text)
        if not 0 < threshold <= 100 or round(threshold, 2) != threshold:
            raise UsageError(f"abort criterion '{text}': the percentage is over 0 to 100, with two decimals at most")
        found.append(
            {
                "failureType": _one_of(kind, FAILURES, text),
                "action": "CANCEL",
                "thresholdPercentage": threshold,
                "minNumberOfExecutedThings": _whole(least, text, 1, 1_000_000),
            }
        )
    _once_each(found, "abort criterion")
    return {"criteriaList": found} if found else {}


def retries(criteria: Sequence[str]) -> dict[str, Any]:
    """Retry criteria, each `FAILED|TIMED_OUT|ALL:<number>`; at most 10 in all."""
    found: list[dict[str, Any]] = []
    for text in criteria:
        kind, number = _parts(text, "retry criterion", 2, "FAILED:3")
        again = _whole(number, text, 0, RETRIES_MAX)
        found.append({"failureType": _one_of(kind, RETRIED, text), "numberOfRetries": again})
    _once_each(found, "retry criterion")
    if len(found) > 2 or sum(one["numberOfRetries"] for one in found) > RETRIES_MAX:
        raise UsageError(f"retries: at most 2 criteria, and {RETRIES_MAX} retries in all")
    return {"criteriaList": found} if found else {}


def timeout(minutes: int | None) -> dict[str, Any]:
    """How long an execution may be IN_PROGRESS."""
    if minutes is None:
        return {}
    _between("time-out in minutes", minutes, 1, TIMEOUT_MAX)
    return {"inProgressTimeoutInMinutes": minutes}


def schedule(
    now: datetime,
    start: str | None,
    end: str | None,
    end_behaviour: str | None,
    windows: Sequence[str],
    *,
    continuous: bool,
) -> dict[str, Any]:
    """Start and end (`2026-12-01T02:00` in UTC, or `+45m`, `+2h`, `+1d` from now), and maintenance windows."""
    found: dict[str, Any] = {}
    begins, ends = _time(now, start, "start"), _time(now, end, "end")
    if ends and not begins:
        raise UsageError("an end needs a start; give both")
    if begins and begins < now + NOTICE_MIN:
        raise UsageError(f"start {_minutes(begins)} UTC: at least 30 minutes from now, which is {_minutes(now)} UTC")
    if begins and ends and ends < begins + NOTICE_MIN:
        raise UsageError(f"end {_minutes(ends)} UTC: at least 30 minutes after the start, {_minutes(begins)} UTC")
    if end_behaviour and not ends:
        raise UsageError("an end behaviour needs an end")
    if windows and not continuous:
        raise UsageError("maintenance windows are for CONTINUOUS jobs only")
    if begins:
        found["startTime"] = _minutes(begins)
    if ends:
        found["endTime"] = _minutes(ends)
        found["endBehavior"] = _one_of(end_behaviour or ENDS[0], ENDS, "end behaviour")
    for text in windows:
        cron, colon, length = text.rpartition(":")
        if not colon or not cron.startswith("cron("):
            raise UsageError(f"window '{text}': expected cron and minutes, as 'cron(0 2 * * ? *):60'")
        window = {"startTime": cron, "durationInMinutes": _whole(length, text, 1, WINDOW_MAX)}
        found.setdefault("maintenanceWindows", []).append(window)
    return found


def _time(now: datetime, text: str | None, what: str) -> datetime | None:
    if not text:
        return None
    if ahead := _IN.fullmatch(text):
        # Up to the next whole minute, so that +30m is never 29 and some seconds.
        return now + timedelta(**{_UNIT[ahead[2]]: int(ahead[1])}) + timedelta(seconds=(60 - now.second) % 60)
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{what} '{text}': expected 2026-12-01T02:00 (UTC), or +45m, +2h, +1d from now") from None
    return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)


def _minutes(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M")  # the service refuses seconds and a zone


def _parts(text: str, what: str, count: int, example: str) -> list[str]:
    parts = text.split(":")
    if len(parts) != count or not all(parts):
        raise UsageError(f"{what} '{text}': expected {count} parts with colons, as '{example}'")
    return parts


def _one_of(word: str, known: tuple[str, ...], text: str) -> str:
    if word.upper() not in known:
        raise UsageError(f"'{text}': unknown '{word}'{did_you_mean(word.upper(), known)}")
    return word.upper()


def _whole(word: str, text: str, low: int, high: int) -> int:
    if not word.isascii() or not word.isdigit() or not low <= int(word[:9]) <= high:
        raise UsageError(f"'{text}': '{word}' is not a whole number of {low} to {high}")
    return int(word)


def _number(word: str, text: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise UsageError(f"'{text}': '{word}' is not a number") from None


def _between(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{what} {value:g}: {low:g} to {high:g}")


def _once_each(found: Sequence[dict[str, Any]], what: str) -> None:
    kinds = [one["failureType"] for one in found]
    if len(kinds) != len(set(kinds)):
        raise UsageError(f"each {what} needs a failure type of its own: {', '.join(kinds)}")
