"""What a scenario will do, before anything runs: its steps in time, whom each one is for, and what should be noticed.

Rules: pure. Times are nominal: from … to, as far as the scenario itself says; what a step waits for is said in words,
and what comes after it counts from there. `at_s` that has passed already does not move a step back.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from simulator.checks import Check
from simulator.profiles import Profile
from simulator.scenarios import Scenario
from simulator.steps import Entry, Step
from simulator.steps._choosing import Choosing
from simulator.steps.expect import Expect
from simulator.steps.inject import Inject
from simulator.steps.repeat import Repeat

_SAID_ELSEWHERE = {
    "kind", "name", "at_s", "after", "delay_s", "fault", "also", "check", "branches", "steps", "for_s", "over_s",
    "within_s", "profiles", "things", "groups", "query", "share", "count",
}  # fmt: skip


class Row(NamedTuple):
    """One step: when it begins and ends at the earliest and at the latest, in seconds since the timeline began."""

    depth: int
    title: str
    kind: str
    begins_s: float
    ends_s: float
    ends_latest_s: float
    waits_for: str
    does: str
    notice: str


def outline(scenario: Scenario, profiles: Mapping[str, Profile], seed: int) -> list[Row]:
    """Every step, blocks before what is in them."""
    members = zip(scenario.things(), scenario.groups(), strict=True)
    roster = [
        Entry(thing, profile, False, group, firmware or profiles[profile].firmware, profiles[profile].channel)
        for (thing, profile, firmware), (_, group) in members
    ]
    return list(_rows(scenario.timeline, 0.0, 0, roster, profiles, seed))


def _rows(
    steps: Sequence[Step], at_s: float, depth: int, roster: list[Entry], profiles: Mapping[str, Profile], seed: int
) -> Iterator[Row]:
    for step in steps:
        begins_s = max(at_s, step.at_s or 0.0) + step.delay_s
        low, high = step.lasts_s()
        waits = f"after {step.after}" if step.after else ""
        kind = str(step.model_dump()["kind"])
        yield Row(
            depth, step.title, kind, begins_s, begins_s + low, begins_s + high, waits, _does(step, roster, seed),
            _notice(step, roster, profiles, seed),
        )  # fmt: skip
        for inner in step.within():
            yield from _rows(inner, begins_s, depth + 1, roster, profiles, seed)
        at_s = begins_s + low


def _does(step: Step, roster: list[Entry], seed: int) -> str:
    said = {
        name: value for name, value in step.model_dump(exclude_defaults=True).items() if name not in _SAID_ELSEWHERE
    }
    parts = [", ".join(f"{name} {_short(value)}" for name, value in said.items())]
    if isinstance(step, Inject):
        parts.insert(0, " + ".join(_fault(fault.params) for fault in (step.fault, *step.also)))
    if isinstance(step, Choosing) and not (isinstance(step, Inject) and not step.for_devices):
        everyone = roster if step.query is None else [entry for entry in roster if step.may_match(entry)]
        parts.append(_people(step, everyone, seed))
    if isinstance(step, Expect):
        parts.append(f"{step.check.title} {bound(step.check)}".strip())
    if isinstance(step, Repeat) and step.times:
        parts[0] = f"{step.times} times"
    return " · ".join(part for part in parts if part)


def bound(check: Check) -> str:
    """`at least 3`, or that it is its own."""
    given = check.model_dump(include={"at_least", "at_most", "equals"}, exclude_none=True)
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in given.items()) or "within its default"


def _fault(params: Mapping[str, object]) -> str:
    """`hang (part fan_level, fixed_in 1.1.0)`."""
    said = ", ".join(f"{name} {_short(value)}" for name, value in params.items() if name != "kind")
    return f"{params['kind']} ({said})" if said else str(params["kind"])


def _people(step: Choosing, roster: list[Entry], seed: int) -> str:
    """How many, and of whom."""
    where = [*step.profiles, *step.things, *step.groups]
    of = ", ".join(word for word in where if word != "*") + (f" where {step.query}" if step.query else "")
    if step.query is not None:
        some = str(step.count) if step.count else f"{step.share:.0%}" if step.share else "all"
        return f"{some} of {of.strip()}"
    things = step.chosen([entry._replace(faulted=False) for entry in roster], seed)
    many = "1 device" if len(things) == 1 else f"{len(things)} devices"
    if len(things) == len(roster):
        many = f"all {many}"
    return f"{many} of {of}" if of else many


def _notice(step: Step, roster: list[Entry], profiles: Mapping[str, Profile], seed: int) -> str:
    """What a good backend should notice of it."""
    if not isinstance(step, Inject):
        return ""
    hit = next((entry.profile for entry in roster if step.may_match(entry)), None)
    if hit is None:
        return ""
    said = [fault.expected(profiles[hit].subject) for fault in (step.fault, *step.also)]
    return "; ".join(f"{one.words} ({one.notice} within {one.within_s:g} s)" for one in said)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
