"""What an engine of several leaves behind at the end: its counters and every message that it said, in a file.

    8 bytes    how long the JSON is
    JSON       counters, subjects, what was refused and dropped, and how many rows follow
    rows       what was said, and behind that what was answered (`_ROW`)

Rules: a file is there whole or not at all. Merging is exact: the counters add up, and the messages of all engines
stand in one book, in the order in which they were said. Nobody holds all the rows at once.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from simulator.audit import Audit, Book, Books, Columns, Subject, Wanted, joined
from simulator.ledger import Ledger

HOPS = ("attempted", "sent", "acknowledged", "refused", "dropped", "missed")
Counts = dict[str, dict[str, int]]  # hop → kind → messages


def counts(ledger: Ledger) -> Counts:
    """The counters of a ledger."""
    return {hop: dict(getattr(ledger, hop)) for hop in HOPS}


def total(all_counts: Sequence[Counts]) -> dict[str, Counter[str]]:
    """The counters of several engines, together."""
    found: dict[str, Counter[str]] = {hop: Counter() for hop in HOPS}
    for of_one in all_counts:
        for hop in HOPS:
            found[hop].update(of_one.get(hop, {}))
    return found


_ROW = np.dtype([("subject", "<u4"), ("stamp", "<i8"), ("at_ms", "<i8")])
_CHUNK = 1 << 16  # rows
_HEAD = 8  # bytes


def write(path: Path, ledger: Ledger, audit: Audit) -> None:
    """The account of one engine."""
    rest: dict[str, Any] = {
        "counts": counts(ledger), "rows": [audit.rows, audit.taken], "unaudited": dict(audit.unaudited),
        "subjects": [list(subject) for subject in audit.subjects],
        "refused": audit.refused, "dropped": audit.dropped_ones,
    }  # fmt: skip
    head = orjson.dumps(rest)
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        file.write(len(head).to_bytes(_HEAD, "little") + head)
        for half in audit.chunks():
            for columns in half:
                rows = np.empty(len(columns.stamp), _ROW)
                rows["subject"], rows["stamp"], rows["at_ms"] = columns
                file.write(rows.data)
    unfinished.rename(path)


def read(path: Path) -> "tuple[Counts, Account]":
    """An account again."""
    account = Account(path)
    return account.counts, account


class Account:
    """What an engine wrote down, in its file (audit.Books)."""

    def __init__(self, path: Path) -> None:
        """OSError, ValueError or LookupError when it is not such a file."""
        self._path = path
        with path.open("rb") as file:
            size = int.from_bytes(file.read(_HEAD), "little")
            rest = orjson.loads(file.read(size))
        self._at = _HEAD + size
        self.counts: Counts = rest["counts"]
        self.subjects = [Subject(*subject) for subject in rest["subjects"]]
        self.unaudited = Counter[str](rest["unaudited"])
        self.rows, self.taken = rest["rows"]
        self._refused = [(int(s), int(stamp), int(at_ms), int(code)) for s, stamp, at_ms, code in rest["refused"]]
        self._dropped = [(int(s), int(stamp)) for s, stamp in rest["dropped"]]

    def book(self) -> Book:
        """All of it."""
        return self.pick(None)

    def pick(self, wanted: Wanted) -> Book:
        """What is of those subjects."""
        said, answered = joined(self._read(0, self.rows, wanted)), joined(self._read(self.rows, self.taken, wanted))
        refused = [row for row in self._refused if wanted is None or wanted[row[0]]]
        dropped = [row for row in self._dropped if wanted is None or wanted[row[0]]]
        unaudited = self.unaudited if wanted is None else Counter[str]()
        return Book(self.subjects, said, answered, refused, dropped, unaudited)

    def _read(self, first: int, count: int, wanted: Wanted) -> Iterator[Columns]:
        with self._path.open("rb") as file:
            file.seek(self._at + first * _ROW.itemsize)
            while count:
                rows = np.frombuffer(file.read(min(count, _CHUNK) * _ROW.itemsize), _ROW)
                count -= len(rows)
                if not len(rows):
                    raise ValueError(f"{self._path} is cut short")
                if wanted is not None:
                    rows = rows[wanted[rows["subject"]]]
                yield Columns(rows["subject"], rows["stamp"], rows["at_ms"])


class Merged:
    """The books of several engines as one (audit.Books)."""

    def __init__(self, books: Sequence[Books]) -> None:
        self.subjects: list[Subject] = []
        self._ids: dict[Subject, int] = {}
        self._books = [(book, self._known(book.subjects)) for book in books]

    @property
    def rows(self) -> int:
        """How many messages were said."""
        return sum(book.rows for book, _ in self._books)

    @property
    def taken(self) -> int:
        """How many of them the far side has taken."""
        return sum(book.taken for book, _ in self._books)

    @property
    def unaudited(self) -> Counter[str]:
        """Those that are not in the books, by kind."""
        return sum((book.unaudited for book, _ in self._books), Counter())

    def book(self) -> Book:
        """All of them."""
        return self.pick(None)

    def pick(self, wanted: Wanted) -> Book:
        """What is of those subjects."""
        picked = [(book.pick(None if wanted is None else wanted[ids]), ids) for book, ids in self._books]
        return Book(
            self.subjects,
            _together([(book.said, ids) for book, ids in picked]),
            _together([(book.answered, ids) for book, ids in picked]),
            [(int(ids[s]), *rest) for book, ids in picked for s, *rest in book.refused],  # type: ignore[misc]
            [(int(ids[s]), stamp) for book, ids in picked for s, stamp in book.dropped],
            sum((book.unaudited for book, _ in picked), Counter()),
        )

    def _known(self, subjects: Sequence[Subject]) -> "np.ndarray[Any, np.dtype[np.uint32]]":
        """The numbers that a book's subjects have here."""
        for subject in subjects:
            if self._ids.setdefault(subject, len(self.subjects)) == len(self.subjects):
                self.subjects.append(subject)
        return np.array([self._ids[subject] for subject in subjects], dtype=np.uint32)


def _together(parts: Sequence[tuple[Columns, Any]]) -> Columns:
    """In the order in which it happened."""
    all_of_it = joined([Columns(ids[part.subject].astype(np.uint32), part.stamp, part.at_ms) for part, ids in parts])
    order = np.argsort(all_of_it.at_ms, kind="stable")
    return Columns(all_of_it.subject[order], all_of_it.stamp[order], all_of_it.at_ms[order])
