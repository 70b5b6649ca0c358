"""What should have been noticed, and what was: the ground truth of a run, and the backend's score against it.

Every fault says what a good backend notices of it, and by when (`Fault.expects`). It is noticed by

    alarm, silence   an alarm of the device, raised in time and not open before
    refusal          a message or a connection of the device that was refused
    job              an execution of the device that did not succeed
    version          job, shadow and device disagree, and it can be seen
    nothing          not to be noticed: an alarm would be false

An alarm is *true* when a fault of its device, one that is to be noticed, was there, or had gone not longer ago than it
may take to be noticed; any other is *false*, and counted with the fault that was to be left alone, if there was one.
A child's alarms count as its hub's; that a device is missed which the scenario switched off is neither true nor false.
The time to detect counts from the first sample that shows the fault (from its beginning when none does), the time to
close from the alarm. Rules: pure, and the same for a run that still goes on.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import ceil
from typing import Any, NamedTuple, cast

import orjson
from pydantic import ValidationError

from simulator import rooms
from simulator.causes import EVERYONE, OUR_DOING, absences, spells
from simulator.errors import UsageError
from simulator.faults import Expected, Fault, Notice, Subject
from simulator.ledger import Event

DAY_MS = 86_400_000
MISSED_MAX = 100
_ENDED_BADLY = frozenset(("FAILED", "REJECTED", "TIMED_OUT"))
_TELLING = frozenset(("fault_injected", "fault_cleared", "out_of_range", "connected", "disconnected"))
NO_FAULT = "no fault"


class Expectation(NamedTuple):
    """One fault of one device, and what should be noticed of it."""

    thing: str
    profile: str
    fault: str
    signal: str
    notice: Notice
    begin_ms: int
    end_ms: int  # of the fault, or of the run
    until_ms: int  # by when it should be noticed


class Seen(NamedTuple):
    """One fault, and whether it was noticed."""

    expected: Expectation
    noticed: bool
    detect_ms: int | None = None  # None: noticed, and nobody can tell when
    close_ms: int | None = None
    why: str = ""  # it was missed


class Unfounded(NamedTuple):
    """A false alarm."""

    thing: str
    profile: str
    fault: str  # that was to be left alone, or NO_FAULT
    rule: str
    at_ms: int


@dataclass(slots=True)
class Evidence:
    """What is known of a run, for the score."""

    events: Sequence[Event]
    devices: Mapping[str, str]  # thing → profile
    subjects: Mapping[str, Subject]  # by profile
    alarms: Sequence[Mapping[str, Any]] | None  # None: this backend cannot be asked
    begin_ms: int
    end_ms: int
    refusals: Sequence[tuple[str, int]] = ()  # (thing, when)
    executions: Sequence[Mapping[str, Any]] = ()
    disagreeing: frozenset[str] = frozenset()
    carried_by: Mapping[str, str] = field(default_factory=dict)  # hub of each device that speaks through one


@dataclass(slots=True)
class Score:
    """How well a backend noticed; of all faults, of one kind, or of one profile."""

    of: str
    devices: int = 0
    faults: int = 0  # that were to be noticed
    noticed: int = 0
    left_alone: int = 0  # that were not to be
    alarms: int = 0  # true ones
    false_alarms: int = 0
    device_days: float = 0.0
    detected: list[tuple[str, int]] = field(default_factory=list)  # (thing, how long it took, in ms)
    close_ms: list[int] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    alarmed_falsely: set[str] = field(default_factory=set)

    @property
    def recall(self) -> float | None:
        """Noticed, of those to be noticed."""
        return self.noticed / self.faults if self.faults else None

    @property
    def precision(self) -> float | None:
        """True ones among the alarms."""
        every = self.alarms + self.false_alarms
        return self.alarms / every if every else None

    @property
    def false_per_day(self) -> float | None:
        """False alarms in a day of one device."""
        return self.false_alarms / self.device_days if self.device_days else None


@dataclass(slots=True)
class Truth:
    """Every fault and every false alarm, to be summed up in whatever way."""

    seen: list[Seen] = field(default_factory=list)
    true: list[tuple[Expectation, str]] = field(default_factory=list)  # (the fault behind it, its rule)
    false: list[Unfounded] = field(default_factory=list)
    devices: Mapping[str, str] = field(default_factory=dict)
    lasted_ms: int = 0

    def score(self, of: str = "all", faults: Sequence[str] = (), profiles: Sequence[str] = ()) -> Score:
        """Of some kinds of fault, and of some profiles; by itself of all."""

        def chosen(fault: str, profile: str) -> bool:
            return (not faults or fault in faults) and (not profiles or profile in profiles)

        found = Score(of, sum(not profiles or profile in profiles for profile in self.devices.values()))
        found.device_days = found.devices * self.lasted_ms / DAY_MS
        for one in self.seen:
            expected = one.expected
            if not chosen(expected.fault, expected.profile):
                continue
            if expected.notice == "nothing":
                found.left_alone += 1
                continue
            found.faults += 1
            found.noticed += one.noticed
            if not one.noticed:
                found.missed.append(f"{expected.thing} ({', '.join(filter(None, (expected.fault, one.why)))})")
            if one.detect_ms is not None:
                found.detected.append((expected.thing, one.detect_ms))
            if one.close_ms is not None:
                found.close_ms.append(one.close_ms)
        found.alarms = sum(chosen(behind.fault, behind.profile) for behind, _ in self.true)
        for alarm in self.false:
            if chosen(alarm.fault, alarm.profile):
                found.false_alarms += 1
                found.alarmed_falsely.add(alarm.thing)
        return found

    def table(self) -> tuple[Score, list[Score], list[Score]]:
        """Of all, by kind of fault, and by profile."""
        kinds = {one.expected.fault for one in self.seen} | {alarm.fault for alarm in self.false}
        by_fault = [self.score(kind, faults=[kind]) for kind in sorted(kinds)]
        by_profile = [self.score(profile, profiles=[profile]) for profile in sorted(set(self.devices.values()))]
        return self.score(), by_fault, by_profile


def percentile(values: Iterable[int], percent: float) -> int | None:
    """The smallest value that so many percent do not exceed; None when there are none."""
    rising = sorted(values)
    return rising[max(0, ceil(len(rising) * percent / 100) - 1)] if rising else None


def truth(known: Evidence) -> Truth:
    """What was to be noticed, and what was."""
    known = replace(known, events=[event for event in known.events if event.kind in _TELLING])
    expected = expectations(known)
    shown: defaultdict[str, list[Event]] = defaultdict(list)
    for event in known.events:
        if event.kind == "out_of_range":
            shown[event.thing].append(event)
    alarms: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for alarm in sorted(known.alarms or (), key=lambda alarm: int(alarm["raised_at_ms"])):
        alarms[str(alarm["thing"])].append(alarm)
    found = Truth(devices=known.devices, lasted_ms=max(0, known.end_ms - known.begin_ms))
    refusals = _refusals(known)
    for one in expected:
        found.seen.append(_judged(one, known, alarms[one.thing], shown[one.thing], refusals[one.thing]))
    by_thing: defaultdict[str, list[Expectation]] = defaultdict(list)
    for one in expected:
        by_thing[one.thing].append(one)
    off = absences(known.events, known.end_ms)
    for thing, raised in alarms.items():
        whose = known.carried_by.get(thing, thing)
        for alarm in raised if whose in known.devices else ():
            switched_off = any(
                span.words == "switched off" and span.begin_ms <= alarm["raised_at_ms"] <= span.end_ms
                for span in off.get(whose, ())
            )
            if not (switched_off and is_silence(alarm)):
                _attribute(alarm, by_thing[EVERYONE] + by_thing[whose], known.devices[whose], found)
    return found


def expectations(known: Evidence) -> list[Expectation]:
    """Every fault of every device, and of the sandbox, and what should be noticed of it."""
    found: list[Expectation] = []
    told: dict[tuple[bytes, str], Expected | None] = {}
    for spell in spells(known.events, known.end_ms):
        profile = "" if spell.thing == EVERYONE else known.devices.get(spell.thing)
        if profile is None or not known.subjects:
            continue
        key = (orjson.dumps(spell.params, option=orjson.OPT_SORT_KEYS), profile)
        if key not in told:
            what, subject = (
                _fault(spell.fault, key[0]),
                known.subjects.get(profile, next(iter(known.subjects.values()))),
            )
            told[key] = what.expected(subject) if what and not what.unfit(subject) else None
        due = told[key]
        if due is None:
            continue
        found.append(
            Expectation(
                spell.thing, profile, spell.fault, due.signal, due.notice, spell.begin_ms, spell.end_ms,
                spell.begin_ms + int(1000 * due.within_s),
            )
        )  # fmt: skip
    return found


@cache
def _fault(kind: str, params: bytes) -> Fault | None:
    """A fault from what the ledger says of it; None for one that we do not know."""
    try:
        return cast(Fault, cast(Any, rooms.member("faults", kind)).model_validate_json(params))
    except (UsageError, ValidationError):
        return None


def _judged(
    one: Expectation, known: Evidence, alarms: Sequence[Mapping[str, Any]], shown: Sequence[Event],
    refusals: Sequence[int],
) -> Seen:  # fmt: skip
    """Was it noticed?"""
    match one.notice:
        case "alarm" | "silence":
            return _alarmed(one, alarms, shown)
        case "refusal":
            at_ms = min((at for at in refusals if one.begin_ms <= at <= one.until_ms), default=None)
            return Seen(one, at_ms is not None, None if at_ms is None else at_ms - one.begin_ms)
        case "job":
            ended = [e for e in known.executions if e["thing"] == one.thing and e["status"] in _ENDED_BADLY]
            return Seen(one, bool(ended))
        case "version":
            return Seen(one, one.thing in known.disagreeing)
    return Seen(one, False)


def _alarmed(one: Expectation, alarms: Sequence[Mapping[str, Any]], shown: Sequence[Event]) -> Seen:
    fitting = [alarm for alarm in alarms if is_silence(alarm) in (None, one.notice == "silence")]
    raised = [alarm for alarm in fitting if one.begin_ms <= alarm["raised_at_ms"] <= one.until_ms]
    late = [alarm for alarm in fitting if one.until_ms < alarm["raised_at_ms"] <= one.end_ms]
    first = next((alarm for alarm in raised if alarm.get("metric") == one.signal), next(iter(raised or late), None))
    if first is None:
        still = any(
            alarm["raised_at_ms"] < one.begin_ms < (alarm.get("closed_at_ms") or one.end_ms) for alarm in fitting
        )
        return Seen(one, still, why="" if still else _why_none(one, shown))  # open already, it rightly stays so
    at_ms = int(first["raised_at_ms"])
    bad = [event.at_ms for event in shown if one.begin_ms <= event.at_ms <= at_ms
           and one.signal in ("", event.detail.get("metric"))]  # fmt: skip
    closed_at_ms = first.get("closed_at_ms")
    close_ms = None if closed_at_ms is None else int(closed_at_ms) - at_ms
    why = "" if raised else f"{(at_ms - one.until_ms) / 1000:.0f} s overdue"
    return Seen(one, bool(raised), at_ms - (bad[0] if bad else one.begin_ms), close_ms, why)


def _why_none(one: Expectation, shown: Sequence[Event]) -> str:
    """What there was to be seen of a fault without an alarm."""
    if one.notice == "silence":
        return "never missed"
    seen = {str(event.detail.get("metric")) for event in shown if one.begin_ms <= event.at_ms <= one.until_ms}
    return f"no alarm, with {', '.join(sorted(seen))} out of range" if seen else "no alarm, and nothing out of range"


def is_silence(alarm: Mapping[str, Any]) -> bool | None:
    """Does an alarm say that its device is missed? None: it does not say of what it is."""
    if "rule_type" in alarm:
        return bool(alarm["rule_type"] == "silence")
    metric = alarm.get("metric")
    return None if metric is None else not metric


def _attribute(alarm: Mapping[str, Any], faults: Sequence[Expectation], profile: str, found: Truth) -> None:
    """To the fault behind an alarm, or to none."""
    at_ms = int(alarm["raised_at_ms"])
    there = [one for one in faults if one.begin_ms <= at_ms <= one.end_ms + (one.until_ms - one.begin_ms)]
    rightly = [one for one in there if one.notice != "nothing"]
    rule = str(alarm.get("rule_id", ""))
    if rightly:
        behind = next((one for one in rightly if one.signal == alarm.get("metric")), rightly[-1])
        found.true.append((behind, rule))
    else:
        fault = there[-1].fault if there else NO_FAULT
        found.false.append(Unfounded(str(alarm["thing"]), profile, fault, rule, at_ms))


def _refusals(known: Evidence) -> Mapping[str, list[int]]:
    """When something of each device was refused: a message, or a connection."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for thing, at_ms in known.refusals:
        found[thing].append(at_ms)
    for event in known.events:
        if event.kind == "disconnected" and event.detail.get("reason") not in OUR_DOING:
            found[event.thing].append(event.at_ms)
    return found
