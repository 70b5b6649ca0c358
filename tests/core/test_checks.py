"""Checks on hand-made facts: what passes, what does not, and what could not be measured."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from simulator import rooms
from simulator.checks import Check, DeviceFact, Facts, listed
from simulator.checks.alarms import Alarms
from simulator.checks.availability import Availability
from simulator.checks.detected import Detected
from simulator.checks.devices import Devices
from simulator.checks.disagreements import Disagreements
from simulator.checks.duplicates import Duplicates
from simulator.checks.error_rate import ErrorRate
from simulator.checks.false_alarms import FalseAlarms
from simulator.checks.jobs import Jobs
from simulator.checks.latency import Latency
from simulator.checks.lost import Lost
from simulator.checks.precision import Precision
from simulator.checks.processing_time import ProcessingTime
from simulator.checks.recall import Recall
from simulator.checks.time_to_close import TimeToClose
from simulator.checks.time_to_detect import TimeToDetect
from simulator.checks.unexplained import Unexplained
from simulator.ledger import Event, Ledger
from simulator.matching import Audited, Fate, Odd, Tally
from tests.core.fleets import profile


def ledger(*events: tuple[int, str, str], acknowledged: Mapping[str, int] | None = None) -> Ledger:
    found = Ledger()
    for at_ms, kind, thing in events:
        found.note(Event(at_ms, "fleet", kind, thing))
    found.acknowledged.update(acknowledged or {})
    return found


def said(**counts: int) -> Ledger:
    found = Ledger()
    found.attempted.update(counts)
    return found


def alarm(thing: str, raised_at_ms: int, state: str = "open") -> dict[str, Any]:
    return {"thing": thing, "raised_at_ms": raised_at_ms, "state": state}


def device(thing: str, version: str = "1.0.0", online: bool = True) -> DeviceFact:
    return DeviceFact(thing, "pump", "Pump", version, online, False)


def ran(thing: str, status: str, version: str = "1.1.0", **more: str) -> dict[str, Any]:
    return {"thing": thing, "job": "ota-1", "status": status, "version": version} | more


BROKEN = ((1000, "fault_injected", "a"), (2000, "fault_injected", "b"), (9000, "fault_injected", "a"))
BAD = (*BROKEN, (500, "out_of_range", "a"), (4000, "out_of_range", "a"), (5000, "out_of_range", "a"),
       (6000, "out_of_range", "b"), (100, "out_of_range", "c"))  # fmt: skip
ALARMS = [
    alarm("a", 7000, "closed"), alarm("b", 6500, "escalated"), alarm("c", 8000, "open"), alarm("b", 1999, "verifying"),
    alarm("a", 5000, "updating"),
]  # fmt: skip
FACTS = Facts(ledger(*BAD), alarms=ALARMS)
FLEET = [device("a", "1.1.0"), device("b"), device("c", online=False)]

HANG = {"kind": "hang", "part": "fan"}


def scored(alarms: list[dict[str, Any]] | None) -> Facts:
    """`a` hangs at 1 s, `b` at 2 s; both show it 3 s later. `c` is sound."""
    found = Ledger()
    for at_ms, thing in ((1000, "a"), (2000, "b")):
        found.note(Event(at_ms, "fleet", "fault_injected", thing, {"fault": "hang", "params": HANG}))
        found.note(Event(at_ms + 3000, "fleet", "out_of_range", thing, {"metric": "temp_c", "value": 61, "limit": 60}))
    return Facts(found, FLEET, alarms, subjects={"pump": profile().subject}, end_ms=1_000_000)


BOTH = [
    {**alarm("a", 5000, "closed"), "closed_at_ms": 15_000}, {**alarm("b", 9000), "closed_at_ms": None},
]  # fmt: skip
WOLF = [*BOTH, alarm("c", 6000), alarm("c", 7000)]


def audited(**more: Any) -> Facts:
    """1,000 messages of telemetry, 100 alert reports."""
    of = Counter[Fate]({"delivered": 990, "lost": 5, "late": 4, "refused": 1})
    telemetry = Tally("telemetry", 1000, of, Counter[Fate]({"lost": 2, "late": 1}))
    odd = [
        Odd("lost", "telemetry", "a", 7, 1, "before the store"),
        Odd("lost", "telemetry", "b", 8, 1, "before the store"),
        Odd("late", "telemetry", "a", 9, 1, "stored 6.0 s after it was said"),
    ]
    took_ms = {"telemetry": np.arange(1, 101) * 100, "alert_report": np.array([50_000])}
    found = Audited(
        "there",
        [telemetry, Tally("alert_report", 100, Counter[Fate]({"delivered": 100}))],
        odd,
        took_ms=took_ms,
        **more,
    )
    return Facts(said(telemetry=1000), audit=found)


UP, DOWN = (Facts(Ledger(), alarms=[], watched_s=1000, unanswered_s=away) for away in (0.5, 20))

MEASURED: list[tuple[Check, Facts, float | None, str]] = [
    (Devices(equals=0), Facts(ledger()), 0, ""),
    (Devices(equals=2), Facts(ledger(), FLEET), 2, "away: c"),
    (Alarms(which="raised", at_least=5), FACTS, 5, "a, a, b, b, c"),
    (Alarms(which="open", equals=3), FACTS, 3, "a, b, c"),
    (Alarms(which="closed", equals=1), FACTS, 1, "a"),
    (Alarms(which="escalated", equals=1), FACTS, 1, "b"),
    (Alarms(which="settled", equals=2), FACTS, 2, "a, b"),
    (Alarms(which="false", at_most=2), FACTS, 2, "b, c"),  # c was sound; b was sound at that time
    (Detected(equals=2), FACTS, 2, "of 2"),
    (Detected(at_least=1), Facts(ledger(*BROKEN), alarms=[alarm("b", 2000)]), 1, "missed: a"),
    (Detected(equals=0), Facts(ledger(*BROKEN), alarms=[alarm("a", 999)]), 0, "missed: a, b"),
    (TimeToDetect(at_most=1), scored(BOTH), 4, "slowest: b"),
    (TimeToDetect(percentile=50), scored(BOTH[::-1]), 1, "slowest: b"),
    (TimeToDetect(profiles=["other"]), scored(BOTH), None, "no broken device has an alarm"),
    (TimeToDetect(at_most=9), scored([]), None, "no broken device has an alarm"),
    (TimeToDetect(at_most=9), scored([alarm("c", 9000), alarm("a", 900)]), None, "no broken device has an alarm"),
    (TimeToDetect(at_most=9), scored(None), None, "no read API"),
    (TimeToClose(), scored(BOTH), 10, "1 of 2 are still open"),
    (TimeToClose(faults=["hang"]), scored(BOTH[1:]), None, "no alarm with a fault behind it was closed"),
    (TimeToClose(), scored(None), None, "no read API"),
    (Recall(), scored(BOTH), 1, "2 of 2"),
    (Recall(), scored(BOTH[:1]), 0.5, "1 of 2; missed: b (hang, no alarm"),
    (Recall(faults=["bias"]), scored(BOTH), None, "no fault was to be noticed"),
    (Recall(), scored(None), None, "no read API"),
    (Precision(), scored(BOTH), 1, "2 of 2"),
    (Precision(), scored(WOLF), 0.5, "2 of 4; false: c"),
    (Precision(faults=["hang"]), scored(WOLF), 1, "2 of 2"),
    (Precision(), scored([]), None, "no alarm was raised"),
    (Precision(), scored(None), None, "no read API"),
    (FalseAlarms(), scored(WOLF), 100 / 3, "c"),
    (FalseAlarms(per="run"), scored(WOLF), 2, "c"),
    (FalseAlarms(per="device_day"), scored(WOLF), 2 / (3 * 1000 / 86_400), "c"),
    (FalseAlarms(), scored(BOTH), 0, ""),
    (FalseAlarms(profiles=["other"]), scored(WOLF), None, "there are no such devices"),
    (FalseAlarms(), scored(None), None, "no read API"),
    (Unexplained(), audited(), 3, "telemetry of a: lost, before the store; telemetry of b: lost"),
    (Unexplained(fates=["late"]), audited(), 1, "telemetry of a: late, stored 6.0 s after it was said"),
    (Unexplained(fates=["duplicate"]), audited(), 0, "of 1,100 messages"),
    (Unexplained(messages=["alert_report"]), audited(sees_store=False), 0, "of 100 messages, as far as their devices"),
    (Unexplained(messages=["alert_report"]), audited(unaudited=Counter(x=9)), 0, "9 were not looked at"),
    (Unexplained(), Facts(ledger()), None, "when the run has ended"),
    (ErrorRate(), audited(), 600 / 1100, "1 refused, 5 lost of 1100"),
    (ErrorRate(messages=["alert_report"]), audited(), 0, "none of 100"),
    (ErrorRate(), Facts(said(telemetry=9)), 0, "none of 9"),
    (ErrorRate(), Facts(ledger()), None, "nothing was said"),
    (Latency(at_most=1), Facts(ledger()), None, "under load"),
    (Availability(), UP, 99.95, "no answer in 0.5 s of 1000 s"),
    (Availability(), DOWN, 98, "no answer in 20.0 s"),
    (Availability(), Facts(ledger(), alarms=[]), None, "it was not asked yet"),
    (Availability(), Facts(ledger()), None, "no read API"),
    (ProcessingTime(), audited(), 9.6, "of 101 messages; slowest 50 s"),
    (ProcessingTime(messages=["telemetry"], percentile=100), audited(), 10, "of 100 messages"),
    (ProcessingTime(messages=["x"]), audited(), None, "does not say when"),
    (ProcessingTime(), Facts(ledger()), None, "when the run has ended"),
    (Alarms(which="false", equals=0), Facts(ledger(*BAD)), None, "no read API"),
    (Detected(equals=2), Facts(ledger(*BAD)), None, "no read API"),
    (Jobs(status="SUCCEEDED", equals=1),
     Facts(ledger(), executions=[ran("a", "SUCCEEDED"), ran("b", "FAILED", reason="x")]), 1, "others: b FAILED (x)"),
    (Jobs(status="CANCELED", equals=0), Facts(ledger()), 0, ""),
    (Disagreements(equals=0), Facts(ledger(), FLEET), None, "not to be had"),
    (Disagreements(equals=0), Facts(ledger(), FLEET[:2], packages={"a": "1.1.0", "b": "1.0.0"},
                                    executions=[ran("a", "SUCCEEDED"), ran("b", "FAILED")]), 0, ""),
    (Disagreements(at_most=3), Facts(ledger(), FLEET, packages={"a": "1.0.0", "b": "1.0.0"},
                                     executions=[ran("b", "SUCCEEDED")]), 3,
     "a runs 1.1.0, $package 1.0.0, job 1.1.0, b runs 1.0.0, $package 1.0.0, job 1.1.0, c runs 1.0.0, $package empty"),
    (Duplicates(equals=0), Facts(ledger()), None, "no store"),
    (Duplicates(equals=0), Facts(said(telemetry=9, control_result=1), stored={"telemetry": 9}), 0, "9 stored"),
    (Duplicates(equals=0), Facts(said(telemetry=9), stored={"telemetry": 11, "control_result": 1}), 3, "11 stored"),
    (Lost(equals=0), Facts(ledger(acknowledged={"telemetry": 9})), None, "no store"),
    (Lost(equals=0), Facts(ledger(acknowledged={"alert_report": 2}), stored={"telemetry": 9}), 2, "alert_report 2"),
    (Lost(equals=0), Facts(ledger(acknowledged={"telemetry": 9, "shadow_get": 3}), stored={"telemetry": 9}), 0,
     "telemetry 9 acknowledged"),
    (Lost(at_most=5),
     Facts(ledger(acknowledged={"telemetry": 9, "control_result": 2}), stored={"telemetry": 4, "x": 1}), 7, ""),
    (Lost(at_most=5), Facts(ledger(acknowledged={"telemetry": 9, "x": 5}), stored={"telemetry": 99}), 0, ""),
    (Lost(messages=["x"], at_most=5), Facts(ledger(acknowledged={"telemetry": 9, "x": 5}), stored={}), 5, ""),
]  # fmt: skip


@pytest.mark.parametrize(("check", "facts", "value", "why"), MEASURED, ids=lambda value: getattr(value, "kind", ""))
def test_measures(check: Check, facts: Facts, value: float | None, why: str) -> None:
    measured = check.measure(facts)
    assert measured.value == (value if value is None else pytest.approx(value))
    assert why in measured.why if why else measured.why is not None
    result = check.judge(facts)
    assert (result.measured, result.unit, result.why) == (measured.value, check.unit, measured.why)


def test_every_check_is_measured_here() -> None:
    assert {check.model_dump()["kind"] for check, *_ in MEASURED} == set(rooms.kinds("checks"))


class Fixed(Check):
    """A check that measures what it was told."""

    value: float | None

    @property
    def title(self) -> str:
        return "fixed"

    def measure(self, facts: Facts) -> Any:
        return self.value, ""


@pytest.mark.parametrize(
    ("value", "bounds", "passed", "shown"),
    [
        (3, {"at_least": 3}, True, "≥ 3"),
        (2.9, {"at_least": 3}, False, "≥ 3"),
        (3, {"at_most": 3}, True, "≤ 3"),
        (3.1, {"at_most": 3}, False, "≤ 3"),
        (3, {"equals": 3}, True, "= 3"),
        (2, {"equals": 3}, False, "= 3"),
        (0, {"equals": 0}, True, "= 0"),
        (0, {"at_least": 0, "at_most": 0}, True, "≥ 0 and ≤ 0"),
        (5, {"at_least": 1, "at_most": 4}, False, "≥ 1 and ≤ 4"),
        (1_234_567, {"equals": 1_234_567}, True, "= 1234567"),
        (None, {"at_least": -1e9}, False, "≥ -1000000000"),
        (None, {"at_most": 1e-3}, False, "≤ 0.001"),
        (float("nan"), {"at_most": 3}, False, "≤ 3"),
    ],
)
def test_bounds(value: float | None, bounds: dict[str, float], passed: bool, shown: str) -> None:
    result = Fixed.model_validate({"value": value, **bounds}).judge(Facts(ledger()))
    assert (result.passed, result.bound) == (passed, shown)


def test_a_check_needs_a_bound() -> None:
    with pytest.raises(ValueError, match="a check needs a bound"):
        Devices()


USUAL: list[tuple[type[Check], str]] = [
    (Recall, "≥ 0.9"), (Precision, "≥ 0.85"), (FalseAlarms, "≤ 5"), (TimeToDetect, "≤ 300"), (TimeToClose, "≤ 1800"),
    (Unexplained, "= 0"), (ErrorRate, "≤ 5"), (Availability, "≥ 99.9"), (ProcessingTime, "≤ 2"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "bound"), USUAL, ids=lambda value: getattr(value, "__name__", ""))
def test_without_a_bound_the_targets_of_the_contracts_hold(kind: type[Check], bound: str) -> None:
    assert kind().judge(Facts(ledger())).bound == bound
    assert kind.model_validate_json('{"at_least": 7}').judge(Facts(ledger())).bound == "≥ 7", "and nothing but this"
    assert kind.model_validate_json("{}").judge(Facts(ledger())).bound == bound


def test_a_fault_that_there_is_none_of() -> None:
    with pytest.raises(ValueError, match=r"unknown fault 'hangs' \(did you mean 'hang'\?\)"):
        Recall(faults=["hang", "hangs"])


def test_a_broken_device_is_broken_from_its_first_fault_on() -> None:
    assert FACTS.faulted() == {"a": 1000, "b": 2000}


def test_long_lists_are_cut() -> None:
    assert listed([str(n) for n in range(12)]) == "0, 1, 2, 3, 4, 5, 6, 7 … and 4 more"
    assert listed(["a"]) == "a"
