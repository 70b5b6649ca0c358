"""Whether a document matches a query: the tree of the query, compiled to closures.

Rules: names of fields are case sensitive, values are not. A text matches as a whole and by each of its words. A JSON
number compares as a number, an attribute of the registry (always a text) as a number too when it is one. A range
whose ends are numbers holds numbers only; any other range holds texts, in the order of their characters. An array
matches when one of its values does; objects in arrays and nulls are not indexed. Of an object alone `field:*` may be
asked.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import reduce
from operator import getitem
from typing import Any

import orjson

from simulator.cloud.indexing.tree import (
    And,
    Everything,
    Node,
    Not,
    Or,
    Pattern,
    Phrase,
    Present,
    Range,
    Term,
    Test,
    Wildcard,
    Word,
    number,
)  # fmt: skip

Document = Mapping[str, Any]
Matcher = Callable[[Document], bool]
Scalar = str | int | float | bool
_Test = Callable[[Any], bool]

_ANYWHERE = (
    "thingName", "thingId", "thingTypeName", "thingGroupNames", "deviceDefender",
    "thingGroupName", "thingGroupId", "description", "parentGroupNames",
)  # fmt: skip
_OF_NUMBERS = frozenset("0123456789+-.e")
_SECTIONS = ("reported", "desired", "delta", "metadata")


def compiled(node: Node) -> Matcher:
    """The function that says whether a document matches."""
    if isinstance(node, Everything):
        return lambda document: True
    if isinstance(node, Not):
        inner = compiled(node.node)
        return lambda document: not inner(document)
    if isinstance(node, Term):
        return _of_field(node.field, node.test) if node.field is not None else _of_any(node.test)
    parts = [compiled(part) for part in node.nodes]
    if isinstance(node, And):
        return _all(parts)
    assert isinstance(node, Or)
    return _any(parts)


def _all(parts: list[Matcher]) -> Matcher:
    def match(document: Document) -> bool:
        for part in parts:  # noqa: SIM110 - a loop is twice as fast as all() over a generator
            if not part(document):
                return False
        return True

    return match


def _any(parts: list[Matcher]) -> Matcher:
    def match(document: Document) -> bool:
        for part in parts:  # noqa: SIM110
            if part(document):
                return True
        return False

    return match


# -- one field ---


def _of_field(name: str, test: Test) -> Matcher:
    read, matches = reader(name), _tested(test, attribute=name.startswith("attributes."))
    if isinstance(test, Present):
        return lambda document: present(read(document))

    def match(document: Document) -> bool:
        value = read(document)
        if value is None:
            return False
        if isinstance(value, list):
            return any(matches(one) for one in value if _is_scalar(one))
        return not isinstance(value, dict) and matches(value)

    return match


def reader(name: str) -> Callable[[Document], Any]:
    """The function that reads a field of a document; it gives None where there is none."""
    top, _, rest = name.partition(".")
    if not rest:
        return lambda document: document.get(top)
    if top == "attributes":

        def attribute(document: Document) -> Any:
            attributes = document.get("attributes")
            return attributes.get(rest) if attributes else None

        return attribute
    parts = name.split(".")

    def path(document: Document) -> Any:
        try:
            return reduce(getitem, parts, document)  # what is no mapping ends it
        except (KeyError, TypeError):
            return _dotted(document, parts)

    return path


def _dotted(node: Any, parts: list[str]) -> Any:
    """The value at a path some of whose names have dots in them, as names of packages may."""
    if not parts:
        return node
    if not isinstance(node, dict):
        return None
    for count in range(1, len(parts) + 1):
        below = node.get(".".join(parts[:count]))
        found = _dotted(below, parts[count:]) if below is not None else None
        if found is not None:
            return found
    return None


def present(value: Any) -> bool:
    """Whether there is anything indexed in a value."""
    if isinstance(value, dict):
        return any(present(below) for below in value.values())
    if isinstance(value, list):
        return any(_is_scalar(one) for one in value)
    return value is not None


# -- any field ---


def _of_any(test: Test) -> Matcher:
    if isinstance(test, Present):
        return lambda document: True
    as_text, as_attribute = _tested(test, attribute=False), _tested(test, attribute=True)
    needle, numeric = _needle(test), isinstance(test, Word) and number(test.text) is not None

    def of_attributes(document: Document) -> bool:
        return any(map(as_attribute, (document.get("attributes") or {}).values()))

    def match(document: Document) -> bool:
        if needle is not None and needle not in _written(document):
            return numeric and of_attributes(document)  # where a number may be written in any way
        return of_attributes(document) or any(map(as_text, leaves(document)))

    return match


def leaves(document: Document) -> list[Scalar]:
    """Every value that is searched when no field is named, but the attributes."""
    found: list[Scalar] = []
    for name in _ANYWHERE:
        if name in document:
            _collect(document[name], found)
    shadow = document.get("shadow") or {}
    for part in (shadow, *(shadow.get("name") or {}).values()):
        for section in _SECTIONS:
            if section in part:
                _collect(part[section], found)
    return found


def _collect(value: Any, found: list[Scalar]) -> None:
    if isinstance(value, dict):
        for below in value.values():
            _collect(below, found)
    elif isinstance(value, list):
        found += [one for one in value if _is_scalar(one)]
    elif value is not None:
        found.append(value)


def _needle(test: Test) -> str | None:
    """What is in the text of every document that matches, as JSON and in small letters; None: nothing for sure."""
    if isinstance(test, Word):
        texts = [part for part in test.pattern if isinstance(part, str)] if test.pattern else [test.text]
    else:
        texts = test.text.split() if isinstance(test, Phrase) else []
    needle = max(texts, key=len, default="").lower()
    if isinstance(test, Word) and not test.pattern and number(needle) is not None:
        return _digits(needle)
    # A part of a number may be written otherwise in JSON, and so are some characters.
    if set(needle) <= _OF_NUMBERS or any(char in '"\\' or not char.isprintable() for char in needle):
        return None
    return needle


def _digits(text: str) -> str | None:
    """What a number and its own text have in common, wherever it stands."""
    value = number(text) or 0.0
    digits = str(int(value)) if value.is_integer() else repr(value)
    return digits if 1e-3 < abs(value) < 1e15 and digits in text else None


def _written(document: Document) -> str:
    """A document as text. This takes a tenth of the time of looking at each of its values."""
    try:
        return orjson.dumps(document).decode().lower()
    except TypeError:  # it has an integer of more than 64 bits
        return json.dumps(document, ensure_ascii=False).lower()


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)  # bool is an int


# -- one value ---


def _tested(test: Test, *, attribute: bool) -> _Test:
    if isinstance(test, Word):
        return _matches_pattern(test.pattern) if test.pattern else _equals(test.text, attribute)
    if isinstance(test, Phrase):
        return _says(test.text, attribute)
    if isinstance(test, Range):
        return _within(test, attribute)
    return lambda value: True


def text_of(value: Scalar) -> str:
    """How a value reads, in small letters."""
    if isinstance(value, str):
        return value.lower()
    return str(value).lower()


def _equals(text: str, attribute: bool) -> _Test:
    wanted, as_number = text.lower(), number(text)

    def match(value: Scalar) -> bool:
        if isinstance(value, str):
            own = value.lower()
            if own == wanted or (wanted in own and wanted in own.split()):
                return True
            return attribute and as_number is not None and number(own) == as_number
        if isinstance(value, bool):
            return ("true" if value else "false") == wanted
        return as_number is not None and value == as_number

    return match


def _says(text: str, attribute: bool) -> _Test:
    words, single = text.lower().split(), _equals(text, attribute)

    def match(value: Scalar) -> bool:
        if len(words) < 2 or not isinstance(value, str):
            return single(value)
        own = value.lower().split()
        return any(own[at : at + len(words)] == words for at in range(len(own) - len(words) + 1))

    return match


def _matches_pattern(pattern: Pattern) -> _Test:
    regex = re.compile(
        "".join({Wildcard.MANY: ".*", Wildcard.ONE: "."}[x] if isinstance(x, Wildcard) else re.escape(x.lower())
                for x in pattern),
        re.DOTALL,
    )  # fmt: skip
    # What nearly every pattern begins with is looked at first: it is four times as fast.
    first = pattern[0].lower() if isinstance(pattern[0], str) else ""
    only_prefix = len(pattern) == 2 and pattern[1] is Wildcard.MANY

    def match(value: Scalar) -> bool:
        own = text_of(value)
        if own.startswith(first) and (only_prefix or regex.fullmatch(own)):
            return True
        words = own.split()
        return len(words) > 1 and any(regex.fullmatch(word) for word in words)

    return match


def _within(test: Range, attribute: bool) -> _Test:
    ends = [end for end in (test.low, test.high) if end is not None]
    numbers = [number(end) for end in ends]
    if not test.quoted and ends and None not in numbers:
        return _within_numbers(test, attribute)
    low = test.low.lower() if test.low is not None else None
    high = test.high.lower() if test.high is not None else None

    def match(value: Scalar) -> bool:
        if not isinstance(value, str):
            return not ends
        own = value.lower()
        if low is not None and not (own > low or (test.with_low and own == low)):
            return False
        return high is None or own < high or (test.with_high and own == high)

    return match


def _within_numbers(test: Range, attribute: bool) -> _Test:
    low = number(test.low) if test.low is not None else None
    high = number(test.high) if test.high is not None else None

    def match(value: Scalar) -> bool:
        own: float | None
        if isinstance(value, str):
            own = number(value) if attribute else None
        else:
            own = None if isinstance(value, bool) else value
        if own is None or (low is not None and not (own > low or (test.with_low and own == low))):
            return False
        return high is None or own < high or (test.with_high and own == high)

    return match
