"""What an engine of several leaves behind at the end: its counters and every message that it said, in a file.

Rules: a file is there whole or not at all. Merging is exact: the counters add up, and the messages of all engines
stand in one book, in the order in which they were said.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from simulator.audit import Audit, Book, Columns, Subject
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


def write(path: Path, ledger: Ledger, audit: Audit) -> None:
    """The account of one engine."""
    book = audit.book()
    rest: dict[str, Any] = {
        "counts": counts(ledger), "subjects": [list(subject) for subject in book.subjects],
        "refused": book.refused, "dropped": book.dropped,
        "unaudited": dict(book.unaudited),
    }  # fmt: skip
    columns = {
        f"{name}_{column}": values
        for name, of in (("said", book.said), ("answered", book.answered))
        for column, values in of._asdict().items()
    }
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.savez(file, rest=np.frombuffer(orjson.dumps(rest), np.uint8), **columns)
    unfinished.rename(path)


def read(path: Path) -> tuple[Counts, Book]:
    """An account again."""
    with np.load(path) as file:
        rest = orjson.loads(file["rest"].tobytes())
        said, answered = (
            Columns(*(file[f"{name}_{column}"] for column in Columns._fields)) for name in ("said", "answered")
        )
    subjects = [Subject(*subject) for subject in rest["subjects"]]
    refused = [(int(s), int(stamp), int(at_ms), int(code)) for s, stamp, at_ms, code in rest["refused"]]
    dropped = [(int(s), int(stamp)) for s, stamp in rest["dropped"]]
    return rest["counts"], Book(subjects, said, answered, refused, dropped, Counter(rest["unaudited"]))


class Merged:
    """The books of several engines as one (what `auditing.audited` asks of an audit)."""

    def __init__(self, books: Sequence[Book]) -> None:
        self.subjects: list[Subject] = []
        self._ids: dict[Subject, int] = {}
        renamed = [self._known(book.subjects) for book in books]
        self._book = Book(
            self.subjects,
            _together([book.said for book in books], renamed),
            _together([book.answered for book in books], renamed),
            [(int(ids[s]), *rest) for book, ids in zip(books, renamed, strict=True) for s, *rest in book.refused],  # type: ignore[misc]
            [(int(ids[s]), stamp) for book, ids in zip(books, renamed, strict=True) for s, stamp in book.dropped],
            sum((book.unaudited for book in books), Counter()),
        )

    @property
    def taken(self) -> int:
        """How many messages the far side has taken."""
        return len(self._book.answered.subject)

    def book(self) -> Book:
        """All of them."""
        return self._book

    def _known(self, subjects: Sequence[Subject]) -> "np.ndarray[Any, np.dtype[np.uint32]]":
        """The numbers that a book's subjects have here."""
        for subject in subjects:
            if self._ids.setdefault(subject, len(self.subjects)) == len(self.subjects):
                self.subjects.append(subject)
        return np.array([self._ids[subject] for subject in subjects], dtype=np.uint32)


def _together(parts: Sequence[Columns], renamed: Sequence[Any]) -> Columns:
    if not parts:
        return Columns(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.int64))
    at_ms = np.concatenate([part.at_ms for part in parts])
    order = np.argsort(at_ms, kind="stable")
    subject = np.concatenate([ids[part.subject] for part, ids in zip(parts, renamed, strict=True)])
    stamp = np.concatenate([part.stamp for part in parts])
    return Columns(subject[order].astype(np.uint32), stamp[order], at_ms[order])
