"""Which answers are worth another try, and after how long. Pure: randomness comes in.

botocore's own retries are off: it shares one small budget between all calls of a client, so a thousand devices that
are throttled at the same time would use it up, and it takes LimitExceededException, which in AWS IoT is a quota that
no waiting helps against, for throttling.
"""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ConnectionError as NotConnected
from botocore.exceptions import HTTPClientError

THROTTLED_ATTEMPTS = 12  # of one call; the last waits are MAX_S, so it gives up after about a minute
FIRST_S = 0.25
MAX_S = 10.0

_THROTTLED = frozenset(
    {
        "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "RequestThrottled",
        "RequestThrottledException", "RequestLimitExceeded", "BandwidthLimitExceeded", "SlowDown",
        "PriorRequestNotComplete",
    }
)  # fmt: skip
_PASSING = frozenset({"RequestTimeout", "RequestTimeoutException", "InternalFailure", "ServiceUnavailable"})
_PASSING_STATUS = frozenset({500, 502, 503, 504})


def throttled(status: int, parsed: Mapping[str, Any]) -> bool:
    """Was the call one too many?"""
    return status == 429 or parsed.get("Error", {}).get("Code") in _THROTTLED


def passing(status: int, parsed: Mapping[str, Any]) -> bool:
    """Is it the service that has a moment of weakness?"""
    return status in _PASSING_STATUS or parsed.get("Error", {}).get("Code") in _PASSING


def lost(error: Exception | None) -> bool:
    """Did the connection fail, so that nobody knows whether the call was heard?"""
    return isinstance(error, NotConnected | HTTPClientError)


def pause_s(attempt: int, drawn: float) -> float:
    """Before the attempt after this one; `drawn` is in [0, 1). Half of it is fixed, so that pauses do grow."""
    whole_s = min(MAX_S, FIRST_S * 2.0 ** min(attempt - 1, 30))
    return whole_s * (1 + drawn) / 2
