"""What the fleet said, message by message: the fleet's side of the audit.

A message is known by its kind, its thing and its stamp (`Publish.stamp`): that is what the backend keeps of it too.
Kept for each: when it was said, and when and how the far side answered; 32 bytes a message, at most `AUDIT_MAX` of
them, and but for the latest in a file (`pile`). What came after that, and what cannot be told apart from others, is
counted as not audited. Who looks through a long run takes the messages of some subjects at a time (`pick`).

Rules: `said` and `answered` are on the way of every message, so they only put three numbers on a list; what those
mean is found out when there are some thousands. Times are seconds of the caller's own clock, and become milliseconds
since the Unix epoch by `epoch_ms`. Nothing here knows a fault: what explains what is the business of `matching`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator import pile
from simulator.messages import Publish
from simulator.pile import Pile

AUDIT_MAX = 20_000_000
ODD_MAX = 5_000_000  # that were refused, or dropped
TOGETHER = 3 * 4096  # numbers
WAYS_MAX = 1_000_000
_FAILED = 0x80  # answers from here on are refusals, as MQTT has them

Owner = Callable[[int, str], str]  # (index of a device, topic) → the thing that speaks: itself, or a child of it


class Subject(NamedTuple):
    """Whose messages, and of which kind."""

    kind: str
    thing: str


class Way:
    """One device's mouth: remembers whose the last message was, because the next one is as a rule of the same."""

    __slots__ = ("index", "subject", "topic")

    def __init__(self, index: int) -> None:
        self.index = index
        self.topic: str | None = None
        self.subject = -1


class Columns(NamedTuple):
    """Messages in the order in which it happened."""

    subject: NDArray[np.uint32]
    stamp: NDArray[np.int64]
    at_ms: NDArray[np.int64]


NOTHING = Columns(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.int64))
Wanted = NDArray[np.bool_] | None  # of each subject, are its messages? None: everybody's are
_ROW = np.dtype([("subject", "<u4"), ("after_ms", "<u4"), ("stamp", "<i8")])


class Log:
    """Grows by three numbers at a time: subject, stamp, time in seconds."""

    __slots__ = ("_begin_s", "add", "fresh", "left", "pile", "room")

    def __init__(self, room: int) -> None:
        self.room = room
        self.left: Counter[int] = Counter()  # by subject: for which there was no room, or which have no stamp
        self.fresh: list[float] = []
        self.add = self.fresh.extend
        self.pile = Pile(_ROW)
        self._begin_s = 0.0  # times are kept in milliseconds since then: 49 days

    def pack(self) -> None:
        """Put what came on the pile."""
        if not self.fresh:
            return
        rows = pile.rows(self.fresh, 3)
        if not self.pile.count:
            self._begin_s = float(rows[0, 2])
        named = rows[:, 1] != 0
        kept = np.flatnonzero(named)[: self.room]
        if len(kept) < len(rows):
            self.left.update(Counter(np.delete(rows[:, 0], kept).astype(int).tolist()))
            rows = rows[kept]
        packed = np.empty(len(rows), _ROW)
        packed["subject"], packed["stamp"] = rows[:, 0], rows[:, 1]
        packed["after_ms"] = np.clip((rows[:, 2] - self._begin_s) * 1000, 0, 0xFFFF_FFFF)
        self.pile.add(packed)
        self.room -= len(rows)

    def chunks(self, epoch_ms: float, wanted: Wanted = None) -> Iterator[Columns]:
        """All of it, or what is of those subjects, some at a time."""
        self.pack()
        begin_ms = epoch_ms + self._begin_s * 1000
        for rows in self.pile.chunks():
            if wanted is not None:
                rows = rows[wanted[rows["subject"]]]
            yield Columns(rows["subject"], rows["stamp"], (rows["after_ms"] + begin_ms).astype(np.int64))


def joined(parts: Iterable[Columns]) -> Columns:
    """Columns one behind the other."""
    subject, stamp, at_ms = (np.concatenate(column) for column in zip(NOTHING, *parts, strict=True))
    return Columns(subject, stamp, at_ms)


class Book(NamedTuple):
    """All that was written down of one run."""

    subjects: list[Subject]
    said: Columns
    answered: Columns
    refused: list[tuple[int, int, int, int]]  # subject, stamp, when (ms) and with which reason code
    dropped: list[tuple[int, int]]  # subject and stamp
    unaudited: Counter[str]  # by kind: said, and not in the columns

    @property
    def rows(self) -> int:
        """How many messages were said."""
        return len(self.said.stamp)

    @property
    def taken(self) -> int:
        """How many of them the far side has taken."""
        return len(self.answered.stamp)

    def pick(self, wanted: Wanted) -> "Book":
        """What is of those subjects."""
        if wanted is None:
            return self
        said, answered = (
            Columns(of.subject[of_them], of.stamp[of_them], of.at_ms[of_them])
            for of, of_them in ((of, wanted[of.subject]) for of in (self.said, self.answered))
        )
        refused = [row for row in self.refused if wanted[row[0]]]
        return Book(self.subjects, said, answered, refused, [row for row in self.dropped if wanted[row[0]]], Counter())


class Books(Protocol):
    """What one or several engines wrote down, to be looked through some subjects at a time."""

    @property
    def subjects(self) -> list[Subject]: ...

    @property
    def rows(self) -> int:
        """How many messages were said."""
        ...

    @property
    def taken(self) -> int:
        """How many of them the far side has taken."""
        ...

    @property
    def unaudited(self) -> Counter[str]: ...

    def pick(self, wanted: Wanted) -> Book:
        """What is of those subjects."""
        ...


class Audit:
    """The messages of one engine."""

    __slots__ = (
        "_answered", "_dropped", "_ids", "_kinds", "_owner", "_refused", "_said", "_ways", "epoch_ms",
        "subjects",
    )  # fmt: skip

    def __init__(self, kinds: tuple[str, ...], owner: Owner, rows_max: int = AUDIT_MAX) -> None:
        """Watches messages of these kinds."""
        self._kinds, self._owner = frozenset(kinds), owner
        self.epoch_ms = 0.0  # at second 0 of the caller's clock
        self.subjects: list[Subject] = []
        self._ids: dict[Subject, int] = {}
        self._ways: dict[tuple[int, str, str], int] = {}  # (device, kind, topic) → subject
        self._said, self._answered = Log(rows_max), Log(rows_max)
        self._refused: list[tuple[int, int, float, int]] = []
        self._dropped: list[tuple[int, int]] = []

    # On the way of a message

    def said(self, way: Way, message: Publish, at_s: float) -> None:
        """A device said something, whatever becomes of it."""
        subject = way.subject if message.topic is way.topic else self._find(way, message)
        if subject >= 0:
            self._said.add((subject, message.stamp, at_s))
            if len(self._said.fresh) >= TOGETHER:
                self._said.pack()

    def answered(self, way: Way, message: Publish, reason_code: int, at_s: float) -> None:
        """The far side took it, or refused it."""
        subject = way.subject if message.topic is way.topic else self._find(way, message)
        if subject < 0:
            return
        if reason_code >= _FAILED:
            if len(self._refused) < ODD_MAX:
                self._refused.append((subject, message.stamp, at_s, reason_code))
            return
        self._answered.add((subject, message.stamp, at_s))
        if len(self._answered.fresh) >= TOGETHER:
            self._answered.pack()

    @property
    def logs(self) -> tuple[Log, Log]:
        """What was said, and what was answered, for somebody who writes many; to be packed now and then."""
        return self._said, self._answered

    def dropped(self, way: Way, message: Publish) -> None:
        """A bound was hit: what was said never left the device."""
        subject = self._find(way, message)
        if subject >= 0 and len(self._dropped) < ODD_MAX:
            self._dropped.append((subject, message.stamp))

    def _find(self, way: Way, message: Publish) -> int:
        """Whose it is; -1 when nobody audits it."""
        if message.kind not in self._kinds:
            return -1
        key = (way.index, message.kind, message.topic)
        found = self._ways.get(key)
        if found is None:
            whose = Subject(message.kind, self._owner(way.index, message.topic))
            found = self._ids.setdefault(whose, len(self.subjects))
            if found == len(self.subjects):
                self.subjects.append(whose)
            if len(self._ways) < WAYS_MAX:
                self._ways[key] = found
        way.topic, way.subject = message.topic, found
        return found

    # After

    @property
    def taken(self) -> int:
        """How many messages the far side has taken."""
        self._answered.pack()
        return self._answered.pile.count

    @property
    def rows(self) -> int:
        """How many were said."""
        self._said.pack()
        return self._said.pile.count

    @property
    def unaudited(self) -> Counter[str]:
        """Those that are not in a book, by kind."""
        self._said.pack()
        found: Counter[str] = Counter()
        for subject, count in self._said.left.items():
            found[self.subjects[subject].kind] += count
        return found

    def book(self) -> Book:
        """Everything so far."""
        return self.pick(None)

    def pick(self, wanted: Wanted) -> Book:
        """What is of those subjects."""
        said, answered = (joined(columns) for columns in self.chunks(wanted))
        return Book(
            self.subjects, said, answered, [row for row in self.refused if wanted is None or wanted[row[0]]],
            [row for row in self.dropped_ones if wanted is None or wanted[row[0]]],
            self.unaudited if wanted is None else Counter(),
        )  # fmt: skip

    @property
    def refused(self) -> list[tuple[int, int, int, int]]:
        """As in a book."""
        return [(s, stamp, int(self.epoch_ms + 1000 * at_s), code) for s, stamp, at_s, code in self._refused if stamp]

    @property
    def dropped_ones(self) -> list[tuple[int, int]]:
        """As in a book."""
        return [row for row in self._dropped if row[1]]

    def chunks(self, wanted: Wanted = None) -> tuple[Iterator[Columns], Iterator[Columns]]:
        """What was said, and what was answered, some at a time."""
        return self._said.chunks(self.epoch_ms, wanted), self._answered.chunks(self.epoch_ms, wanted)
