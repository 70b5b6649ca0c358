"""How often each operation of AWS may be called, and the token bucket that keeps it. Pure: the clock comes in.

The quotas are those of an account and a region. Where the contracts name a rate, it is that one; otherwise 80 % of
the quota, so that others in the account have room. An operation of AWS IoT that stands nowhere is taken for one of
the many with a quota of 10 a second. Services that are not listed (S3, IAM, STS) are not held back.
"""

from typing import NamedTuple

SHARE = 0.8  # of a quota


class Rate(NamedTuple):
    """So many calls a second, together with all operations of the same bucket."""

    bucket: str
    per_s: float


# (service, calls a second that AWS allows, operations): each operation has a quota of its own.
_QUOTAS: tuple[tuple[str, float, str], ...] = (
    ("iot", 100, "CreateThing UpdateThing DeleteThing AddThingToThingGroup RemoveThingFromThingGroup"),
    ("iot", 100, "AttachThingPrincipal DetachThingPrincipal"),
    ("iot", 350, "DescribeThing"),
    ("iot", 25, "CreateThingGroup ListThingsInThingGroup"),
    ("iot", 15, "UpdateThingGroup DeleteThingGroup"),
    ("iot", 5, "CreateDynamicThingGroup UpdateDynamicThingGroup DeleteDynamicThingGroup"),  # 4/s in the contracts
    ("iot", 10, "CreateThingType UpdateThingType DeprecateThingType DeleteThingType"),  # 8/s in the contracts
    ("iot", 15, "AttachPolicy DetachPolicy CreateCertificateFromCsr SearchIndex"),
    ("iot", 5, "CreateTopicRule GetPackageConfiguration UpdatePackageConfiguration"),
    ("iot-jobs-data", 100, "StartCommandExecution"),
    ("iot-data", 400, "GetThingShadow UpdateThingShadow DeleteThingShadow ListNamedShadowsForThing"),
)
_OTHER_IOT = 10.0

# (service, bucket, calls a second that we make, operations): these share one quota.
_SHARED: tuple[tuple[str, str, float, str], ...] = (
    ("iot-jobs-data", "job executions, read", 150, "DescribeJobExecution GetPendingJobExecutions"),
    ("iot-jobs-data", "job executions, written", 150, "StartNextPendingJobExecution UpdateJobExecution"),
)

RATES = {
    (service, name): Rate(f"{service} {name}", quota * SHARE)
    for service, quota, names in _QUOTAS
    for name in names.split()
} | {(service, name): Rate(bucket, per_s) for service, bucket, per_s, names in _SHARED for name in names.split()}


def rate(service: str, operation: str) -> Rate | None:
    """The rate of an operation, as ("iot", "CreateThing"); None: as often as one likes."""
    found = RATES.get((service, operation))
    if found is None and service == "iot":
        return Rate(f"iot {operation}", _OTHER_IOT * SHARE)
    return found


class Bucket:
    """Tokens that come at a rate, given out in the order they were asked for.

    A token may be taken before it is there: whoever takes it waits until then. `burst` tokens are there after a
    pause; with one, which is the default, no second ever sees more calls than the rate.
    """

    __slots__ = ("_burst_s", "_next_s", "_step_s")

    def __init__(self, per_s: float, burst: int = 1) -> None:
        if per_s <= 0 or burst < 1:
            raise ValueError(f"a bucket needs a rate above 0 and a burst of at least 1, got {per_s:g}/s and {burst}")
        self._step_s = 1 / per_s
        self._burst_s = (burst - 1) * self._step_s
        self._next_s = float("-inf")

    def take(self, now_s: float) -> float:
        """Takes one token; the seconds until it is there."""
        at_s = max(self._next_s, now_s - self._burst_s)
        self._next_s = at_s + self._step_s
        return max(0.0, at_s - now_s)

    def hold(self, until_s: float) -> None:
        """Gives out nothing more before this moment: the service asked for less. What was taken stays taken."""
        self._next_s = max(self._next_s, until_s)
