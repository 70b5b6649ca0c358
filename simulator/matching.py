"""What became of each message: what the fleet said beside what the backend got, one by one.

    delivered    once, in time and in order          duplicate   it arrived more often than it was said
    late         it took longer than it may          refused     by broker, gateway or data contract
    reordered    it arrived after a later one        lost        said, and not there
                 of its device and kind              never_sent  a bound of the device was hit

A message has one fate: what never arrived is nothing else, and of the others the worst counts. Those with the same
kind, thing and stamp are told apart by their order only. For each that was not simply delivered something may
*explain* it (`causes`): what a fault did to this very message, or what was wrong with its device, or with all of the
backend, while it lived. Only what nothing explains is the backend's. Without a backend to ask, a message is delivered
when it was acknowledged.

Rules: pure. Everything is counted; of the unexplained the first `LISTED_MAX` of each fate are kept. What becomes of a
message does not depend on those of other subjects, so a long run is looked through some subjects at a time, and what
that takes does not grow with it.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from simulator.audit import Book, Books, Subject, Wanted
from simulator.pile import Pile

Fate = Literal["delivered", "late", "reordered", "duplicate", "refused", "lost", "never_sent"]
FATES: tuple[Fate, ...] = get_args(Fate)
ODD: tuple[Fate, ...] = FATES[1:]

LATE_AFTER_MS = 5_000  # the minimum that the contracts set for the processing of one message
LISTED_MAX = 100
UNANSWERED_MS = 30_000  # so long after it was said, something may still have happened to what was never answered
REFUSALS_MAX = 100_000
PACK_AT = 4096  # rows
TOGETHER = 400_000  # messages that are matched in one go
_NEVER = -1

Ints = NDArray[np.int64]


class Explains(Protocol):
    """Who knows what was wrong, where and when."""

    def explain(self, fate: Fate, of: Subject, stamp: int, begin_ms: int, end_ms: int) -> str:
        """In a few words, why this became of a message that lived then; empty: nothing explains it."""
        ...


class Odd(NamedTuple):
    """A message whose fate nothing explains."""

    fate: Fate
    kind: str
    thing: str
    stamp: int
    at_ms: int  # when it was said
    hop: str  # where it went astray


@dataclass(slots=True)
class Tally:
    """The messages of one kind, by their fates."""

    kind: str
    said: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)
    unexplained: Counter[Fate] = field(default_factory=Counter)
    causes: dict[Fate, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


class Lives(NamedTuple):
    """When each of some messages was said, answered and stored, in milliseconds; -1: never, or nobody knows."""

    subjects: Sequence[Subject]
    subject: NDArray[np.uint32]
    said_ms: Ints
    answered_ms: Ints
    stored_ms: Ints


@dataclass(slots=True)
class Audited:
    """The outcome of an audit."""

    source: str  # where the far side's half is from
    tallies: list[Tally] = field(default_factory=list)
    unexplained: list[Odd] = field(default_factory=list)
    unaudited: Counter[str] = field(default_factory=Counter)  # said, by kind, and not looked at
    strangers: int = 0  # in the store, of a kind that is audited, and nobody of this fleet said it
    unread: Counter[str] = field(default_factory=Counter)  # dead letters that do not say whose they are, by reason
    refusals: list[tuple[str, int]] = field(default_factory=list)  # (thing, when) of what was refused
    took_ms: dict[str, Ints] = field(default_factory=dict)  # by kind, sorted: from said to stored, nothing in between
    sees_store: bool = True

    def count(self, fates: Iterable[Fate], kinds: Sequence[str] = (), unexplained: bool = False) -> int:
        """How many messages had one of these fates."""
        chosen = [tally for tally in self.tallies if not kinds or tally.kind in kinds]
        return sum((tally.unexplained if unexplained else tally.fates)[fate] for tally in chosen for fate in fates)


class Arrived(NamedTuple):
    """Columns subject, stamp, ingest_ms and seq of what arrived, in the order in which it came."""

    stored: Ints
    repeated: Ints
    dead: Ints
    reasons: Sequence[str]  # of the dead


class Deliveries:
    """What the backend says it got, page by page, of the subjects that the fleet has.

    A stranger is what the fleet did not say, of the kinds that it says, or that are `followed` anyway.
    """

    def __init__(self, source: str, subjects: Sequence[Subject], followed: Iterable[str] = ()) -> None:
        self.source = source
        self._followed = frozenset((*followed, *(subject.kind for subject in subjects)))
        self._ids = {subject: i for i, subject in enumerate(subjects)}
        self._rows = {name: Pile("4<i8") for name in ("stored", "repeated", "dead")}
        self._fresh = {name: array("q") for name in self._rows}
        self.reasons: list[str] = []  # of the dead
        self.strangers = 0
        self.unread: Counter[str] = Counter()
        self.refusals: list[tuple[str, int]] = []

    def anew(self) -> "Deliveries":
        """The same without a row."""
        return Deliveries(self.source, list(self._ids), self._followed)

    @property
    def count(self) -> int:
        """How many messages of the fleet arrived, in whatever way."""
        return sum(pile.count for pile in self._rows.values()) + sum(map(len, self._fresh.values())) // 4

    def stored(self, kind: str, thing: str, stamp: int, ingest_ms: int = _NEVER, seq: int = _NEVER) -> None:
        """It is in the store. `seq` rises with the order of arrival, at least within a kind."""
        self._add("stored", kind, thing, stamp, ingest_ms, seq)

    def all_stored(self, subjects: Sequence[tuple[str, str]], rows: "array[int]") -> None:
        """The same for many, in the order of arrival: which of these kinds and things, its stamp, and when, in turn."""
        ids = np.array([self._ids.get(Subject(*of), -1) for of in subjects] or [-1], np.int64)
        place, stamp, ingest_ms = np.frombuffer(rows, np.int64).reshape(-1, 3).T
        table = np.stack([ids[place], stamp, ingest_ms, np.arange(len(stamp))], axis=1)
        known = table[:, 0] >= 0
        follows = np.array([kind in self._followed for kind, _ in subjects] or [False])
        self.strangers += int(np.count_nonzero(~known & follows[place]))
        self._pack("stored")
        self._rows["stored"].add(table[known])

    def repeated(self, kind: str, thing: str, stamp: int, ingest_ms: int = _NEVER) -> None:
        """It came again."""
        self._add("repeated", kind, thing, stamp, ingest_ms)

    def dead(self, kind: str, thing: str, stamp: int, ingest_ms: int, reason: str) -> None:
        """It was refused; kind, thing and stamp may be unknown."""
        if thing and len(self.refusals) < REFUSALS_MAX:
            self.refusals.append((thing, ingest_ms))
        if not (kind and thing and stamp):
            self.unread[reason] += 1
        elif self._add("dead", kind, thing, stamp, ingest_ms):
            self.reasons.append(reason)

    def _add(self, name: str, kind: str, thing: str, stamp: int, ingest_ms: int, seq: int = _NEVER) -> bool:
        subject = self._ids.get(Subject(kind, thing))
        if subject is None:
            self.strangers += name == "stored" and kind in self._followed
            return False
        self._fresh[name].extend((subject, stamp, ingest_ms, seq))
        if len(self._fresh[name]) >= 4 * PACK_AT:
            self._pack(name)
        return True

    def _pack(self, name: str) -> None:
        if self._fresh[name]:
            self._rows[name].add(np.array(self._fresh[name], np.int64).reshape(-1, 4))
            self._fresh[name] = array("q")

    def page(self, page: Mapping[str, Any]) -> int:
        """Take one page of an audit API; how many rows it had. ValueError, TypeError: it is none."""
        stored, repeated, dead = (page.get(name) or [] for name in ("stored", "repeated", "dead"))
        for kind, thing, stamp, *more in stored:
            ingest_ms, seq = (*more, None, None)[:2]
            numbers = int(stamp), _NEVER if ingest_ms is None else int(ingest_ms), _NEVER if seq is None else int(seq)
            self.stored(str(kind), str(thing), *numbers)
        for kind, thing, stamp, ingest_ms in repeated:
            self.repeated(str(kind), str(thing), int(stamp), int(ingest_ms))
        for kind, thing, stamp, ingest_ms, reason in dead:
            self.dead(str(kind), str(thing), int(stamp), int(ingest_ms), str(reason))
        return len(stored) + len(repeated) + len(dead)

    def pick(self, wanted: Wanted) -> Arrived:
        """What is of those subjects."""
        picked: list[Ints] = []
        for name, pile in self._rows.items():
            self._pack(name)
            parts = [rows if wanted is None else rows[wanted[rows[:, 0]]] for rows in pile.chunks()]
            picked.append(np.concatenate([np.empty((0, 4), np.int64), *parts]).T)
        dead = np.concatenate([np.empty(0, np.int64), *(rows[:, 0] for rows in self._rows["dead"].chunks())])
        reasons = [why for why, of in zip(self.reasons, dead.tolist(), strict=True) if wanted is None or wanted[of]]
        return Arrived(picked[0], picked[1], picked[2], reasons)


class Groups:
    """Rows of several tables that have the same subject and stamp, by one number for each such group."""

    def __init__(self, tables: Sequence[tuple[NDArray[Any], Ints]]) -> None:
        subject = np.concatenate([np.asarray(subjects, np.int64) for subjects, _ in tables])
        stamp = np.concatenate([stamps for _, stamps in tables])
        order = np.lexsort((stamp, subject))
        fresh = np.ones(len(order), bool)
        fresh[1:] = (np.diff(subject[order]) != 0) | (np.diff(stamp[order]) != 0)
        of = np.empty(len(order), np.int64)
        of[order] = np.cumsum(fresh) - 1
        self.many = int(fresh.sum())
        ends = np.cumsum([len(stamps) for _, stamps in tables])
        self.of = np.split(of, ends[:-1])

    def counts(self, table: int) -> Ints:
        """How many rows of a table each group has."""
        return np.bincount(self.of[table], minlength=self.many)

    def places(self, table: int) -> Ints:
        """Of each row of a table: how many of its group came before it."""
        of = self.of[table]
        order = np.argsort(of, kind="stable")
        places = np.empty(len(of), np.int64)
        places[order] = np.arange(len(of)) - self.starts(table)[of[order]]
        return places

    def starts(self, table: int) -> Ints:
        """Where each group begins, when a table's rows stand in the order of their groups."""
        return np.cumsum(self.counts(table)) - self.counts(table)

    def nth(self, table: int, group: Ints, place: Ints) -> Ints:
        """The row of a table that is this one of its group; there must be one."""
        order = np.argsort(self.of[table], kind="stable")
        found: Ints = order[self.starts(table)[group] + place]
        return found


_SAID, _ANSWERED, _REFUSED, _DROPPED, _STORED, _REPEATED, _DEAD = range(7)
_LATE, _REORDERED, _DUPLICATE, _REFUSAL, _LOST, _UNSENT = range(1, 7)  # places in FATES


class Joined:
    """Both halves, joined: of each message in the book its fate, and how long it lived."""

    def __init__(self, book: Book, got: Arrived | None, late_after_ms: int) -> None:
        self._at_ms = said_ms = book.said.at_ms
        refused, dropped = _table(book.refused, 4), _table(book.dropped, 2)
        nobody = np.empty((4, 0), np.int64)
        stored, repeated, dead, self._words = got or Arrived(nobody, nobody, nobody, ())
        if got is None:  # what was acknowledged is as good as stored
            nothing = np.full(len(book.answered.stamp), _NEVER)
            stored = np.stack([book.answered.subject, book.answered.stamp, nothing, nothing])
        groups = Groups(
            [(rows.subject, rows.stamp) for rows in (book.said, book.answered)]
            + [(rows[0], rows[1]) for rows in (refused, dropped, stored, repeated, dead)]
        )
        group, place = groups.of[_SAID], groups.places(_SAID)
        counts = [groups.counts(table)[group] for table in range(7)]
        surplus = (place == 0) & (counts[_STORED] + counts[_REPEATED] > counts[_SAID]) & (got is not None)
        self._copies, self._spoken = counts[_STORED], counts[_SAID]

        arrived = place < counts[_STORED]
        again = ~arrived & (place < counts[_STORED] + counts[_REPEATED])
        buried = ~(arrived | again) & (place < counts[_STORED] + counts[_REPEATED] + counts[_DEAD])
        ingest_ms, seq = np.full(len(place), _NEVER), np.full(len(place), _NEVER)
        rows = groups.nth(_STORED, group[arrived], place[arrived])
        ingest_ms[arrived], seq[arrived] = stored[2][rows], stored[3][rows]
        rows = groups.nth(_DEAD, group[buried], (place - counts[_STORED] - counts[_REPEATED])[buried])
        ingest_ms[buried] = dead[2][rows]
        self._reasons = dict(zip(np.flatnonzero(buried).tolist(), rows.tolist(), strict=True))
        codes = dict(zip(groups.of[_REFUSED].tolist(), refused[3].tolist(), strict=True))
        self._codes = {int(i): codes[int(group[i])] for i in np.flatnonzero(counts[_REFUSED] > place)}

        self.timed = arrived & (ingest_ms >= 0)
        self.stored_ms = np.where(self.timed, ingest_ms, _NEVER)
        self.took_ms = np.maximum(0, ingest_ms - said_ms)
        self.fate = np.full(len(place), _LOST)
        self.fate[counts[_DROPPED] > place] = _UNSENT
        self.fate[buried | (counts[_REFUSED] > place)] = _REFUSAL
        self.fate[again] = _DUPLICATE
        self.fate[arrived] = 0
        self.fate[self.timed & (self.took_ms > late_after_ms)] = _LATE
        self.fate[_overtaken(book.said.subject, seq, arrived & (seq >= 0))] = _REORDERED
        self.fate[surplus] = _DUPLICATE

        self.end_ms = np.maximum(said_ms, ingest_ms)
        self.acknowledged = known = place < counts[_ANSWERED]
        rows = groups.nth(_ANSWERED, group[known], place[known])
        self.answered_ms = np.full(len(place), _NEVER)
        self.answered_ms[known] = book.answered.at_ms[rows]
        self.end_ms[known] = np.maximum(self.end_ms[known], self.answered_ms[known])
        self.end_ms[(self.fate == _LOST) & ~known] += UNANSWERED_MS
        last_ms = np.full(groups.many, _NEVER)
        np.maximum.at(last_ms, groups.of[_REPEATED], repeated[2])
        self.end_ms = np.maximum(self.end_ms, np.where(surplus | again, last_ms[group], _NEVER))

    def hop(self, i: int) -> str:
        """Where a message went astray."""
        match FATES[self.fate[i]]:
            case "never_sent":
                return "the device: there was no room to keep it"
            case "refused" if i in self._reasons:
                return f"the backend refused it: {self._words[self._reasons[i]]}"
            case "refused":
                return f"the broker or gateway refused it: reason code 0x{self._codes[i]:02x}"
            case "lost" if self.acknowledged[i]:
                return "after it was acknowledged, before the store"
            case "lost":
                return "between the device and the broker or gateway: never acknowledged"
            case "duplicate" if self._copies[i] > self._spoken[i]:
                return f"the store has it {self._copies[i]} times"
            case "duplicate":
                return "delivered again, and kept once"
            case "late":
                return f"stored {self.took_ms[i] / 1000:.1f} s after it was said"
        return "arrived after one that was said later"


def match(
    books: Books, got: Deliveries | None, why: Explains, late_after_ms: int = LATE_AFTER_MS,
    follow: Callable[[Lives], None] | None = None,
) -> Audited:  # fmt: skip
    """The fate of every message in the books. `got` None: nobody can be asked what arrived.

    `follow` is told the life of each, some at a time.
    """
    subjects = books.subjects
    outcome = Audited("", unaudited=books.unaudited, sees_store=got is not None)
    if got:
        outcome.source, outcome.strangers, outcome.unread = got.source, got.strangers, got.unread
        outcome.refusals += got.refusals
    tallies = {kind: Tally(kind) for kind in sorted({subject.kind for subject in subjects})}
    many = ceil(max(books.rows, got.count if got else 0) / TOGETHER)
    took_ms: dict[str, list[Ints]] = {kind: [] for kind in tallies}
    for part in range(max(1, many)):
        wanted = np.arange(len(subjects)) % many == part if many > 1 else None
        book = books.pick(wanted)
        joined = Joined(book, got.pick(wanted) if got else None, late_after_ms)
        _judge(book, joined, why, tallies, outcome)
        if follow:
            said = book.said
            follow(Lives(book.subjects, said.subject, said.at_ms, joined.answered_ms, joined.stored_ms))
        kind_of = _kinds(book, tallies)
        for i, took in enumerate(took_ms.values()):
            took.append(joined.took_ms[joined.timed & (kind_of == i)])
        refused = book.refused[: REFUSALS_MAX - len(outcome.refusals) + len(got.refusals if got else ())]
        outcome.refusals += [(subjects[row[0]].thing, row[2]) for row in refused]
    outcome.unexplained = _first(outcome.unexplained)
    outcome.tallies = [tally for tally in tallies.values() if tally.said]
    outcome.took_ms = {kind: np.sort(np.concatenate(took)) for kind, took in took_ms.items()}
    return outcome


def _judge(book: Book, joined: Joined, why: Explains, tallies: Mapping[str, Tally], outcome: Audited) -> None:
    """Count what became of the messages of a book, and explain what can be explained."""
    said, kind_of, listed = book.said, _kinds(book, tallies), Counter[Fate]()
    for i, tally in enumerate(tallies.values()):
        numbers = np.bincount(joined.fate[kind_of == i], minlength=len(FATES)).tolist()
        tally.said += sum(numbers)
        tally.fates.update({fate: n for fate, n in zip(FATES, numbers, strict=True) if n})
    for i in np.flatnonzero(joined.fate).tolist():
        of, fate = book.subjects[said.subject[i]], FATES[joined.fate[i]]
        stamp, at_ms = int(said.stamp[i]), int(said.at_ms[i])
        if words := why.explain(fate, of, stamp, at_ms, int(joined.end_ms[i])):
            tallies[of.kind].causes[fate][words] += 1
            joined.timed[i] = False
            continue
        tallies[of.kind].unexplained[fate] += 1
        listed[fate] += 1
        if listed[fate] <= LISTED_MAX:
            outcome.unexplained.append(Odd(fate, of.kind, of.thing, stamp, at_ms, joined.hop(i)))


def _kinds(book: Book, tallies: Mapping[str, Tally]) -> Ints:
    """Of which kind each message is, by its place among them."""
    places = {kind: i for i, kind in enumerate(tallies)}
    found: Ints = np.array([places[subject.kind] for subject in book.subjects], np.int64)[book.said.subject]
    return found


def _first(odd: list[Odd]) -> list[Odd]:
    """The first of each fate."""
    listed, found = Counter[Fate](), []
    for one in sorted(odd, key=lambda odd: odd.at_ms):
        listed[one.fate] += 1
        if listed[one.fate] <= LISTED_MAX:
            found.append(one)
    return found


def _table(rows: Sequence[Sequence[int]], width: int) -> Ints:
    return np.array(rows, np.int64).reshape(-1, width).T


def _overtaken(subject: NDArray[np.uint32], seq: Ints, among: NDArray[np.bool_]) -> Ints:
    """The rows that arrived after a later one of the same subject. Rows stand in the order in which they were said."""
    rows = np.flatnonzero(among)
    rows = rows[np.lexsort((seq[rows], subject[rows]))]
    place = rows + subject[rows].astype(np.int64) * len(subject)  # so that no subject is above the next one
    found: Ints = rows[place < np.maximum.accumulate(place)]
    return found
