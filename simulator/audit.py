"""What the fleet said, message by message: the fleet's side of the audit.

A message is known by its kind, its thing and its stamp (`Publish.stamp`): that is what the backend keeps of it too.
Kept for each: when it was said, and when and how the far side answered; in columns of 32 bytes a message, at most
`AUDIT_MAX` of them. What came after that, and what cannot be told apart from others, is counted as not audited.

Rules: `said` and `answered` are on the way of every message, so they only put three numbers on a list; what those
mean is found out when there are some thousands. Times are seconds of the caller's own clock, and become milliseconds
since the Unix epoch by `epoch_ms`. Nothing here knows a fault: what explains what is the business of `matching`.
"""

from array import array
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.messages import Publish

AUDIT_MAX = 5_000_000
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


class Log:
    """Grows by three numbers at a time: subject, stamp, time in seconds."""

    __slots__ = ("_begin_s", "_parts", "add", "count", "fresh", "left", "room")

    def __init__(self, room: int) -> None:
        self.room = room
        self.count = 0
        self.left: Counter[int] = Counter()  # by subject: for which there was no room, or which have no stamp
        self.fresh: list[float] = []
        self.add = self.fresh.extend
        self._parts: list[tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.uint32]]] = []
        self._begin_s = 0.0  # times are kept in milliseconds since then: 49 days

    def pack(self) -> None:
        """Put what came on its columns."""
        if not self.fresh:
            return
        numbers = array("d")
        numbers.fromlist(self.fresh)
        self.fresh.clear()
        rows = np.frombuffer(numbers).reshape(-1, 3)
        if not self._parts:
            self._begin_s = float(rows[0, 2])
        named = rows[:, 1] != 0
        kept = np.flatnonzero(named)[: self.room]
        if len(kept) < len(rows):
            self.left.update(Counter(np.delete(rows[:, 0], kept).astype(int).tolist()))
            rows = rows[kept]
        after_ms = np.clip((rows[:, 2] - self._begin_s) * 1000, 0, 0xFFFF_FFFF)
        self._parts.append((rows[:, 0].astype(np.uint32), rows[:, 1].astype(np.int64), after_ms.astype(np.uint32)))
        self.count += len(rows)
        self.room -= len(rows)

    def columns(self, epoch_ms: float) -> Columns:
        """All of it."""
        self.pack()
        if not self._parts:
            return Columns(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.int64))
        subject, stamp, after_ms = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        begin_ms = epoch_ms + self._begin_s * 1000
        return Columns(subject, stamp, (after_ms + begin_ms).astype(np.int64))


class Book(NamedTuple):
    """All that was written down of one run."""

    subjects: list[Subject]
    said: Columns
    answered: Columns
    refused: list[tuple[int, int, int, int]]  # subject, stamp, when (ms) and with which reason code
    dropped: list[tuple[int, int]]  # subject and stamp
    unaudited: Counter[str]  # by kind: said, and not in the columns


class Audit:
    """The messages of one engine."""

    __slots__ = (
        "_answered", "_dropped", "_ids", "_kinds", "_owner", "_refused", "_rows_max", "_said", "_ways", "epoch_ms",
        "subjects",
    )  # fmt: skip

    def __init__(self, kinds: tuple[str, ...], owner: Owner, rows_max: int = AUDIT_MAX) -> None:
        """Watches messages of these kinds."""
        self._kinds, self._owner, self._rows_max = frozenset(kinds), owner, rows_max
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
            if len(self._refused) < self._rows_max:
                self._refused.append((subject, message.stamp, at_s, reason_code))
            return
        self._answered.add((subject, message.stamp, at_s))
        if len(self._answered.fresh) >= TOGETHER:
            self._answered.pack()

    def dropped(self, way: Way, message: Publish) -> None:
        """A bound was hit: what was said never left the device."""
        subject = self._find(way, message)
        if subject >= 0 and len(self._dropped) < self._rows_max:
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
        return self._answered.count

    def book(self) -> Book:
        """Everything so far."""
        said, answered = self._said.columns(self.epoch_ms), self._answered.columns(self.epoch_ms)
        unaudited: Counter[str] = Counter()
        for subject, count in (self._said.left).items():
            unaudited[self.subjects[subject].kind] += count
        refused = [
            (s, stamp, int(self.epoch_ms + 1000 * at_s), code) for s, stamp, at_s, code in self._refused if stamp
        ]
        return Book(self.subjects, said, answered, refused, [row for row in self._dropped if row[1]], unaudited)
