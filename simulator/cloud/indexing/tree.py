"""The tree of a query of fleet indexing."""

import math
import re
from dataclasses import dataclass
from enum import Enum

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def number(text: str) -> float | None:
    """The number that a text is in a query, or in an attribute."""
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


class Wildcard(Enum):
    """A character of a word that stands for others."""

    MANY = "*"
    ONE = "?"


Pattern = tuple[str | Wildcard, ...]


@dataclass(frozen=True, slots=True)
class Word:
    """One word, as it is or with wildcards."""

    text: str
    pattern: Pattern = ()  # the wildcards and what is between them; empty: there are none


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words in quotes."""

    text: str


@dataclass(frozen=True, slots=True)
class Range:
    """Between two ends, either of them open (None). `quoted` ends are texts, never numbers."""

    low: str | None
    high: str | None
    with_low: bool = True
    with_high: bool = True
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Present:
    """Any value at all."""


Test = Word | Phrase | Range | Present


@dataclass(frozen=True, slots=True)
class Term:
    """A test of a field, or (None) of every field."""

    field: str | None
    test: Test


@dataclass(frozen=True, slots=True)
class Everything:
    """Matches all documents."""


@dataclass(frozen=True, slots=True)
class Not:
    node: "Node"


@dataclass(frozen=True, slots=True)
class And:
    nodes: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    nodes: tuple["Node", ...]


Node = Term | Everything | Not | And | Or
