"""The rates of AWS are kept, in virtual time: no second sees more, nobody is overtaken, nothing sleeps under a lock."""

import heapq
import threading
from itertools import pairwise

import pytest
from botocore.loaders import Loader

from simulator.ops import limits, rates, retry
from simulator.ops.limits import Limits
from simulator.ops.rates import Bucket, Rate

THINGS = ("iot", "CreateThing")


def calls(bucket: Bucket, count: int, threads: int, latency_s: float) -> list[float]:
    """When each of so many calls is made, by threads that take turns; each call takes a while."""
    free = [(0.0, thread) for thread in range(threads)]
    made: list[float] = []
    while len(made) < count:
        now_s, thread = heapq.heappop(free)
        at_s = now_s + bucket.take(now_s)
        made.append(at_s)
        heapq.heappush(free, (at_s + latency_s, thread))
    return sorted(made)


def most_in_a_second(times: list[float]) -> int:
    """The most calls that any second saw, wherever it begins."""
    most, first = 0, 0
    for last, at_s in enumerate(times):
        while times[first] <= at_s - 1 + 1e-9:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize(("threads", "latency_s"), [(1, 0.0), (8, 0.02), (64, 0.3)])
def test_a_thousand_things_keep_80_a_second(threads: int, latency_s: float) -> None:
    rate = rates.rate(*THINGS)
    assert rate is not None
    made = calls(Bucket(rate.per_s), 1000, threads, latency_s)
    assert most_in_a_second(made) == 80
    assert made[-1] == pytest.approx(999 / 80)


def test_slow_calls_are_not_held_back_more() -> None:
    made = calls(Bucket(80), 100, 1, 0.1)
    assert made[-1] == pytest.approx(9.9)


def test_what_was_not_used_is_not_saved_up() -> None:
    bucket = Bucket(10)
    assert bucket.take(0) == 0
    assert bucket.take(100) == 0
    assert bucket.take(100) == pytest.approx(0.1)
    assert bucket.take(100) == pytest.approx(0.2)


def test_a_burst_is_saved_up_and_no_more() -> None:
    bucket = Bucket(10, burst=3)
    assert [bucket.take(100) for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]


def test_a_pause_holds_everybody_back_but_who_has_a_token() -> None:
    bucket = Bucket(10)
    bucket.take(0)
    bucket.hold(5)
    assert bucket.take(0) == 5
    bucket.hold(1)
    assert bucket.take(0) == pytest.approx(5.1)


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_bucket_without_tokens_is_a_mistake(per_s: float, burst: int) -> None:
    with pytest.raises(ValueError, match="a bucket needs"):
        Bucket(per_s, burst)


@pytest.mark.parametrize(
    ("service", "operation", "per_s"),
    [
        ("iot", "CreateThing", 80),
        ("iot", "CreateThingType", 8),
        ("iot", "CreateDynamicThingGroup", 4),
        ("iot", "CreatePackage", 8),
        ("iot", "CreatePackageVersion", 8),
        ("iot-jobs-data", "UpdateJobExecution", 150),
        ("iot-jobs-data", "GetPendingJobExecutions", 150),
        ("iot", "DescribeThing", 280),
        ("iot", "AttachPolicy", 12),
        ("iot", "CreateJob", 8),
        ("iot", "SomethingNew", 8),
    ],
)
def test_the_rates_of_the_contracts_and_four_fifths_of_the_quotas(service: str, operation: str, per_s: float) -> None:
    rate = rates.rate(service, operation)
    assert rate is not None
    assert rate.per_s == pytest.approx(per_s)


def test_what_shares_a_quota_shares_a_bucket() -> None:
    described, pending = (rates.rate("iot-jobs-data", f"{name}JobExecution{s}") for name, s in
                          (("Describe", ""), ("GetPending", "s")))  # fmt: skip
    assert described == pending
    assert described != rates.rate("iot-jobs-data", "UpdateJobExecution")
    assert rates.rate("iot", "CreateThing") != rates.rate("iot", "DeleteThing")


def test_other_services_are_not_held_back() -> None:
    assert rates.rate("s3", "PutObject") is None
    assert rates.rate("iam", "CreateRole") is None


def test_every_operation_of_the_table_is_one_of_aws() -> None:
    loader = Loader()
    for service, operation in rates.RATES:
        assert operation in loader.load_service_model(service, "service-2")["operations"], (service, operation)


class Time:
    """A clock that only sleeping moves, and a look at the lock while it does."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []
        self.limits: Limits | None = None

    def sleep(self, seconds: float) -> None:
        assert self.limits is not None
        assert not self.limits._lock.locked(), "slept under the lock"
        self.slept.append(seconds)
        self.now_s += seconds


def paced(rate: Rate) -> tuple[Limits, Time]:
    time = Time()
    time.limits = Limits(lambda service, operation: rate, lambda: time.now_s, time.sleep)
    return time.limits, time


def test_a_thousand_calls_wait_without_the_lock() -> None:
    kept, time = paced(Rate("things", 80))
    for _ in range(1000):
        kept.wait(*THINGS)
    assert time.now_s - 1000 == pytest.approx(999 / 80)
    assert len(time.slept) == 999


def test_after_throttling_the_next_ones_wait() -> None:
    kept, time = paced(Rate("things", 80))
    kept.throttled(*THINGS, 2.0)
    assert kept.wait(*THINGS) == pytest.approx(2.0)
    assert time.slept == [pytest.approx(2.0)]


def test_threads_get_different_turns() -> None:
    now_s = 1000.0
    turns: list[float] = []
    kept = Limits(lambda service, operation: Rate("things", 80), lambda: now_s, turns.append)
    threads = [threading.Thread(target=lambda: [kept.wait(*THINGS) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(turns) == 399  # the first did not wait
    gaps = [b - a for a, b in pairwise([0.0, *sorted(turns)])]
    assert gaps == [pytest.approx(1 / 80)] * 399


def test_the_sandbox_is_not_held_back() -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError("slept")

    kept = Limits(limits.none, lambda: 0.0, sleep)
    assert [kept.wait(*THINGS) for _ in range(3)] == [0, 0, 0]
    kept.throttled(*THINGS, 1.0)
    assert kept.wait(*THINGS) == 0


def test_pauses_grow_up_to_a_limit() -> None:
    assert [retry.pause_s(attempt, 0.0) for attempt in (1, 2, 3)] == [0.125, 0.25, 0.5]
    assert retry.pause_s(3, 0.999) < 1.0
    assert retry.pause_s(40, 1.0) == retry.MAX_S


@pytest.mark.parametrize(
    ("status", "code", "throttled"),
    [
        (400, "ThrottlingException", True),
        (429, "Whatever", True),
        (503, "SlowDown", True),
        (410, "LimitExceededException", False),  # a quota of AWS IoT, not a rate
        (402, "ServiceQuotaExceededException", False),
        (404, "ResourceNotFoundException", False),
    ],
)
def test_what_is_throttling(status: int, code: str, throttled: bool) -> None:
    assert retry.throttled(status, {"Error": {"Code": code}}) is throttled
    assert not retry.passing(status, {"Error": {"Code": code}}) or status >= 500
