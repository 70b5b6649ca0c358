"""A smaller scenario that still fails: fewer devices, fewer steps and faults, shorter holds, by delta debugging.

Rules: works on a scenario's plain values (resolved.data), and on nothing else; whether a smaller one still fails is
the business of whoever asks. Every candidate is smaller than what it is made of, so it ends; it tries large steps
first. What was asked once is not asked again. Pure, and the same for the same answers.

A scenario that fails because something did *not* happen would fail all the more with less time for it, and without the
rules that ask for it; so for such a check both stay as they are from the first step on that does anything to the fleet.
What takes away something that a bound counts (a broken device of `detected equals 3`) lowers the bound by as much: or
the scenario would fail for what is not in it any more.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Data = dict[str, Any]
Loc = tuple[str | int, ...]

TRIES_MAX = 200
# Numbers of a step that make it shorter, and the least that they may be.
SPANS = {"for_s": 0.1, "over_s": 0.0, "within_s": 0.1, "delay_s": 0.0, "at_s": 0.0, "times": 1, "patience_s": 0.1}
QUIET = ("connect", "ramp", "hold", "expect", "publish_firmware")  # steps that do nothing which could be noticed
COUNT_BROKEN = ("detected", "alarms", "jobs")  # checks that may count broken devices
FINE = 0.1  # a number is small enough when a tenth less is too small


class Candidate(NamedTuple):
    """Something smaller, and in words what is gone."""

    data: Data
    gone: str


@dataclass(slots=True)
class Shrunk:
    """What came of it."""

    data: Data
    gone: list[str] = field(default_factory=list)
    tries: int = 0
    ended: str = "nothing smaller fails"


class Enough(Exception):
    """No more tries."""


class Shrinking:
    """One search."""

    def __init__(
        self,
        fails: Callable[[Data], bool],
        valid: Callable[[Data], bool] = lambda data: True,
        told: Callable[[Shrunk, str, bool], None] = lambda so_far, gone, failed: None,
        tries_max: int = TRIES_MAX,
        enough: Callable[[], str] = lambda: "",
    ) -> None:
        """`valid` is asked first and costs no try; `enough` gives a reason to end; `told` hears of each try."""
        self._fails, self._valid, self._told = fails, valid, told
        self._tries_max, self._enough = tries_max, enough
        self._known: dict[str, bool] = {}
        self.found = Shrunk({})

    def shrink(self, data: Data) -> Shrunk:
        """The smallest that was found; `data` itself must fail, and is not tried."""
        self.found = Shrunk(deepcopy(data))
        try:
            while self._round():
                pass
        except Enough as end:
            self.found.ended = str(end)
        return self.found

    def _round(self) -> bool:
        before = len(self.found.gone)
        for reduce in (self._fleet, self._lists, self._blocks, self._numbers):
            reduce()
        return len(self.found.gone) > before

    def _try(self, candidate: Candidate) -> bool:
        """Take it, if it still fails."""
        key = json.dumps(candidate.data, sort_keys=True)
        if key not in self._known:
            self._known[key] = self._valid(candidate.data) and self._ask(candidate)
        if self._known[key]:
            self.found.data = candidate.data
            self.found.gone.append(candidate.gone)
        return self._known[key]

    def _ask(self, candidate: Candidate) -> bool:
        if why := self._enough():
            raise Enough(why)
        if self.found.tries >= self._tries_max:
            raise Enough(f"{self._tries_max} tries were made")
        self.found.tries += 1
        fails = self._fails(candidate.data)
        self._told(self.found, candidate.gone, fails)
        return fails

    # What can be smaller

    def _fleet(self) -> None:
        self._thin(("fleet",), least=1)
        for i in range(len(self.found.data["fleet"])):
            self._lower(("fleet", i, "count"), 1, _label(self.found.data["fleet"][i]) + " count")

    def _lists(self) -> None:
        for loc in list(_lists(self.found.data)):
            if loc[0] == "sandbox" and _waits(self.found.data) is not None:
                continue
            if _exists(self.found.data, loc):  # it may have gone with another
                self._thin(loc, least=0 if loc[-1] in ("also", "rules") else 1)

    def _blocks(self) -> None:
        """Put what is in a block in the place of the block."""
        for loc, step in list(steps(self.found.data)):
            if not _exists(self.found.data, loc) or at(self.found.data, loc) != step:
                continue
            inner = [one for branch in _within(step) for one in branch]
            if inner and not (step["kind"] == "repeat" and self._needs_time(loc)):
                smaller = deepcopy(self.found.data)
                among, i = at(smaller, loc[:-1]), loc[-1]
                among[i : int(i) + 1] = inner
                self._try(Candidate(smaller, f"{step['kind']} around {len(inner)} steps"))

    def _numbers(self) -> None:
        for loc, step in list(steps(self.found.data)):
            for name, least in SPANS.items():
                if isinstance(step.get(name), (int, float)) and _exists(self.found.data, (*loc, name)):
                    if self._needs_time(loc):
                        continue
                    self._lower((*loc, name), least, f"{_label(step)} {name}")
            for name in ("count", "to"):
                if isinstance(step.get(name), int) and _exists(self.found.data, (*loc, name)):
                    self._lower((*loc, name), 0 if name == "to" else 1, f"{_label(step)} {name}")

    def _needs_time(self, loc: Loc) -> bool:
        """Does what the check waits for in vain happen in this step or before it?"""
        first = _waits(self.found.data)
        return first is not None and loc[0] == "timeline" and loc[: len(first)] >= first[: len(loc)]

    # How

    def _thin(self, loc: Loc, least: int) -> None:
        """Take away as much of a list as can be: halves first, then quarters, down to one at a time."""
        size = max(1, len(at(self.found.data, loc)) // 2)  # the list itself goes with its last item
        while True:
            start = 0
            while start < (length := len(at(self.found.data, loc)) if _exists(self.found.data, loc) else 0):
                if length - min(size, length - start) < least or not self._without(loc, start, size):
                    start += size
            if size == 1:
                return
            size //= 2

    def _without(self, loc: Loc, start: int, size: int) -> bool:
        smaller = deepcopy(self.found.data)
        items = at(smaller, loc)
        taken = items[start : start + size]
        acting = _waits(self.found.data)
        for i, one in enumerate(taken):
            place = (*loc, start + i)
            if _takes_time(one) and self._needs_time(place) and acting and acting[: len(place)] != place:
                return False
        del items[start : start + size]
        if not items and loc[-1] in ("also", "rules"):
            del at(smaller, loc[:-1])[loc[-1]]
        gone = f"{loc[-1] if isinstance(loc[-1], str) else 'branch'}: {', '.join(map(_label, taken))}"
        devices = sum(one.get("count", 1) for one in taken) if loc == ("fleet",) else 0
        broken = [step for one in taken for step in (one if isinstance(one, list) else [one])]
        return self._try(_fitted(smaller, gone, devices, _broken(broken)))

    def _lower(self, loc: Loc, least: float, label: str) -> None:
        """Make a number as small as can be: the least, then half as much less, and so on."""
        was = value = at(self.found.data, loc)
        before = len(self.found.gone)
        step = value - least
        while step > 0 and value > least:
            to = max(least, value - step)
            to = int(to) if isinstance(was, int) else round(to, 3)
            if to >= value:
                return
            if self._try(self._with(loc, to, value, label)):
                value = to
                step = value - least
                self.found.gone[before:] = [f"{label} {was:g} → {value:g}"]
            elif step <= (1 if isinstance(was, int) else FINE * value):
                return
            else:
                step = max(1, step // 2) if isinstance(was, int) else step / 2

    def _with(self, loc: Loc, to: float, value: float, label: str) -> Candidate:
        smaller = deepcopy(self.found.data)
        at(smaller, loc[:-1])[loc[-1]] = to
        by = int(value - to) if loc[-1] in ("count", "to") else 0
        is_fleet = loc[0] == "fleet"
        is_fault = not is_fleet and at(smaller, loc[:-1]).get("kind") == "inject"
        return _fitted(smaller, f"{label} {value:g} → {to:g}", by if is_fleet else 0, by if is_fault else 0)


# What goes with it


def _fitted(data: Data, gone: str, devices: int, broken: int) -> Candidate:
    """With steps that want no more devices than there are, and bounds that count no more than is left."""
    _clamp(data)
    for check in data["checks"]:
        by = devices if check["kind"] == "devices" else broken if check["kind"] in COUNT_BROKEN else 0
        for bound in ("equals", "at_least"):
            if by and check.get(bound):
                check[bound] = max(0, check[bound] - by)
    return Candidate(data, gone)


def _clamp(data: Data) -> None:
    total = sum(group["count"] for group in data["fleet"])
    for _, step in steps(data):
        for name in ("count", "to"):
            if isinstance(step.get(name), int):
                step[name] = min(step[name], total)


def _broken(steps: Sequence[Data]) -> int:
    """How many devices these steps break, as far as they say it."""
    own = sum(int(step.get("count", 1)) for step in steps if step.get("kind") == "inject")
    return own + sum(_broken(branch) for step in steps for branch in _within(step))


def _waits(data: Data) -> Loc | None:
    """From which step on a check waits for what does not happen: all, or one; None: it is no such check."""
    if not any(check.get("at_least") or check.get("equals") for check in data["checks"]):
        return None
    if any(check["kind"] == "devices" for check in data["checks"]):
        return ("timeline",)
    acting = (loc for loc, step in steps(data) if step["kind"] not in (*QUIET, "parallel", "repeat"))
    return next(acting, ("timeline",))


def _takes_time(step: Any) -> bool:
    """Does it, or anything in it, take time?"""
    if isinstance(step, list):
        return any(map(_takes_time, step))
    own = any(step.get(name) for name in SPANS) and step["kind"] != "inject"
    return own or any(_takes_time(branch) for branch in _within(step))


# Where it is


def at(data: Any, loc: Loc) -> Any:
    """The value at a place."""
    for part in loc:
        data = data[part]
    return data


def _exists(data: Any, loc: Loc) -> bool:
    try:
        at(data, loc)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _within(step: Data) -> list[list[Data]]:
    """The timelines inside a step."""
    if not isinstance(step, dict):
        return []
    branches: list[list[Data]] = step.get("branches", [])
    return [*branches, step["steps"]] if "steps" in step else branches


def steps(data: Data) -> Iterator[tuple[Loc, Data]]:
    """Every step and its place, blocks before what is in them."""

    def below(loc: Loc, steps: list[Data]) -> Iterator[tuple[Loc, Data]]:
        for i, step in enumerate(steps):
            yield (*loc, i), step
            for j, branch in enumerate(step.get("branches", [])):
                yield from below((*loc, i, "branches", j), branch)
            yield from below((*loc, i, "steps"), step.get("steps", []))

    yield from below(("timeline",), data["timeline"])


def _lists(data: Data) -> Iterator[Loc]:
    """Every list of which something can go, the outer ones first."""
    yield ("timeline",)
    for loc, step in steps(data):
        for j in range(len(step.get("branches", []))):
            yield (*loc, "branches", j)
        for name in ("branches", "steps", "also"):
            if step.get(name):
                yield (*loc, name)
    if data.get("sandbox", {}).get("rules"):
        yield ("sandbox", "rules")


def _label(thing: Any) -> str:
    """What a person would call it."""
    if isinstance(thing, list):
        return f"{len(thing)} steps"
    fault = thing.get("fault")
    kind = f"{thing['kind']} {fault['kind']}" if isinstance(fault, dict) else thing.get("kind")
    return str(thing.get("profile") or thing.get("name") or kind or thing.get("ruleId") or "one")
