"""What may explain that a message went astray: faults, power, connections, parts of the sandbox. Out of the ledger.

    a note of the message itself     a fault dropped it, doubled it, mangled it …
    a fault of its device            one that stands on the way of messages, while it lasted
    its device was away              switched off, rebooted, cut off; or with any fault, or with the sandbox in trouble
    the sandbox was in trouble       a part of it killed, paused, made slow

all of them with `GRACE_MS` before and after. What is refused is explained by any fault of its device: a wrong reading
may break the data contract. A child's messages are explained by what was wrong with its hub, too. A connection that
was lost for no reason of ours explains nothing.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from itertools import accumulate
from typing import Any, NamedTuple

from simulator import rooms
from simulator.audit import Subject
from simulator.errors import UsageError
from simulator.faults import Active
from simulator.ledger import Event
from simulator.matching import Fate

GRACE_MS = 5_000
RECOVERS_MS = 15_000  # so long after a part of the sandbox is back there may be a backlog
EVERYONE = ""

_ON_THE_WAY = frozenset(("network", "protocol", "sandbox"))
_DOORS = ("mqtt", "iot-data", "iot-data:Publish", "rest", "tcp", "store")  # of the sandbox, for messages
_POINTS = ("say", "carry", "reach", "disguise", "clock_ms")
OUR_DOING = frozenset(("switched off", "severed", "made anew"))  # reasons to be disconnected
_PARTS = {"part_kill": "killed", "part_restart": "restarted", "part_pause": "paused"}


class Spell(NamedTuple):
    """One fault of one device, or of all of the sandbox, from its beginning to its end."""

    thing: str
    fault: str
    params: Mapping[str, Any]
    begin_ms: int
    end_ms: int


class Span(NamedTuple):
    """Something that explains, while it lasted."""

    begin_ms: int
    end_ms: int
    words: str


def spells(events: Iterable[Event], end_ms: int) -> list[Spell]:
    """Every fault there was; what was never cleared lasted to the end."""
    found: list[Spell] = []
    open_ones: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for event in events:
        key = (event.thing, str(event.detail.get("fault", "")))
        if event.kind == "fault_injected":
            open_ones[key].append(len(found))
            found.append(Spell(*key, dict(event.detail.get("params") or {}), event.at_ms, end_ms))
        elif event.kind == "fault_cleared" and open_ones[key]:
            i = open_ones[key].pop(0)
            found[i] = found[i]._replace(end_ms=event.at_ms)
    return found


@cache
def stands_on_the_way(kind: str) -> bool:
    """Can a fault of this kind change what becomes of a message, or who hears it?"""
    try:
        fault = rooms.member("faults", kind)
    except UsageError:
        return True  # from a newer version, or somebody's own
    if getattr(fault, "family", "") in _ON_THE_WAY:
        return True
    module = import_module(fault.__module__)
    states = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Active)]
    return any(getattr(state, point) is not getattr(Active, point) for state in states for point in _POINTS)


class Lasting:
    """Spans of one device, to be asked which of them a stretch of time meets."""

    __slots__ = ("_begins", "_reach", "_spans")

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = sorted(spans)
        self._begins = [span.begin_ms for span in self._spans]
        self._reach = list(accumulate((span.end_ms for span in self._spans), max))

    def met(self, begin_ms: int, end_ms: int) -> str:
        """The words of the latest one; empty when there is none."""
        last = bisect_right(self._begins, end_ms) - 1
        if last < 0 or self._reach[last] < begin_ms:
            return ""
        while self._spans[last].end_ms < begin_ms:
            last -= 1
        return self._spans[last].words


class Causes:
    """All that may explain something (matching.Explains)."""

    def __init__(
        self, events: Iterable[Event], end_ms: int, carried_by: Mapping[str, str] | None = None,
        grace_ms: int = GRACE_MS,
    ) -> None:  # fmt: skip
        """`carried_by`: hub of each device that speaks through one."""
        told = sorted(events, key=lambda event: event.at_ms)
        self._carried_by, self._grace_ms = carried_by or {}, grace_ms
        every = spells(told, end_ms)
        every += [Spell(EVERYONE, words, {}, begin_ms, until_ms) for begin_ms, until_ms, words in _parts(told, end_ms)]
        self._notes = {
            (event.thing, str(event.detail.get("kind")), int(event.detail["stamp"])): _words(event.detail)
            for event in told
            if event.kind == "disturbed" and event.detail.get("stamp")
        }
        found: defaultdict[str, list[Span]] = defaultdict(list)
        faults: defaultdict[str, list[Span]] = defaultdict(list)
        for thing, fault, params, begin_ms, until_ms in every:
            if thing == EVERYONE and not _meets_messages(params):
                continue
            span = Span(begin_ms, until_ms + (RECOVERS_MS if thing == EVERYONE else 0), fault)
            faults[thing].append(span)
            if thing == EVERYONE or stands_on_the_way(fault):
                found[thing].append(span)
        self._any = {thing: Lasting(spans) for thing, spans in faults.items()}
        for thing, away in absences(told, end_ms).items():
            for span in away:
                words = self._meets(self._any, thing, span.begin_ms, span.end_ms)
                if words := words or (f"device {span.words}" if span.words in OUR_DOING else ""):
                    found[thing].append(span._replace(words=words))
        self._spans = {thing: Lasting(spans) for thing, spans in found.items()}

    def explain(self, fate: Fate, of: Subject, stamp: int, begin_ms: int, end_ms: int) -> str:
        """In a few words, why this became of a message that lived then; empty: nothing explains it."""
        for thing in (of.thing, self._carried_by.get(of.thing, of.thing)):
            if words := self._notes.get((thing, of.kind, stamp)):
                return words
            if words := self._meets(self._spans, thing, begin_ms, end_ms):
                return words
            if fate == "refused" and (words := self._meets(self._any, thing, begin_ms, end_ms)):
                return words
        return ""

    def _meets(self, among: Mapping[str, Lasting], thing: str, begin_ms: int, end_ms: int) -> str:
        """What met a device, or all of them, between two moments."""
        for whose in (thing, EVERYONE):
            if lasting := among.get(whose):
                words = lasting.met(begin_ms - self._grace_ms, end_ms + self._grace_ms)
                if words:
                    return words
        return ""


def _meets_messages(params: Mapping[str, Any]) -> bool:
    """Is it the way of messages that a fault of the sandbox hits, and not, say, its S3?"""
    return any(fnmatchcase(door, str(pattern)) for pattern in params.get("of", ["*"]) for door in _DOORS)


def _words(detail: Mapping[str, Any]) -> str:
    return f"{detail.get('fault')} {detail.get('what')} it"


def absences(events: Iterable[Event], end_ms: int) -> dict[str, list[Span]]:
    """When each device was away, and why."""
    found: defaultdict[str, list[Span]] = defaultdict(list)
    away: dict[str, tuple[int, str]] = {}
    for event in events:
        if event.source != "fleet" or event.kind not in ("connected", "disconnected"):
            continue
        reason = str(event.detail.get("reason", ""))
        if event.kind == "disconnected":
            since_ms, first = away.get(event.thing, (event.at_ms, reason))
            away[event.thing] = since_ms, first if first in OUR_DOING else reason
        elif event.thing in away:
            since_ms, reason = away.pop(event.thing)
            found[event.thing].append(Span(since_ms, event.at_ms, reason))
    for thing, (since_ms, reason) in away.items():
        found[thing].append(Span(since_ms, end_ms, reason))
    return found


def _parts(events: Iterable[Event], end_ms: int) -> list[Span]:
    """When parts of the sandbox were in trouble."""
    found: list[Span] = []
    open_ones: dict[str, tuple[int, str]] = {}
    for event in events:
        part = str(event.detail.get("part", ""))
        if event.kind in _PARTS:
            open_ones.setdefault(part, (event.at_ms, f"{part} {_PARTS[event.kind]}"))
        elif event.kind == "part_back" and part in open_ones:
            since_ms, words = open_ones.pop(part)
            found.append(Span(since_ms, event.at_ms, words))
    return found + [Span(since_ms, end_ms, words) for since_ms, words in open_ones.values()]
