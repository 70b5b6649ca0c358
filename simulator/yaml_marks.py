"""YAML text → plain values that still know where they were written.

Rules: scalars follow YAML 1.2's core schema, so `1e-3` is a number and `12:30`, `NO` and `1.0.0` are text;
whatever two readers could read differently (a repeated key, a key that is no text, `<<`, an unknown tag, NaN)
is refused with its position. The text is read from the parser's events, one by one, so that depth, size
and alias expansion are bounded before anything grows. No I/O, no models: those are in `schema`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NoReturn

import yaml

from simulator.errors import UsageError

MAX_DEPTH = 32
MAX_VALUES = 50_000  # aliases counted as often as they are used
MAX_LISTED = 20
MAX_MESSAGE_CHARS = 400
MAX_QUOTED_CHARS = 60

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Loc = tuple[str | int, ...]  # ("timeline", 3, "fault"): keys and indexes from the root

_UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF_OR_NAN = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, **dict.fromkeys(("null", "Null", "NULL"))}
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "null": (type(None),),
}

# What libyaml (or PyYAML's own parser) says → what it means for the writer of the file; first match counts.
_SYNTAX = (
    ("mapping values are not allowed", "unexpected ':': wrong indentation, or text that needs quotes"),
    ("could not find expected ':'", "expected ':' after the key"),
    ("did not find expected ',' or ']'", "expected ',' or ']'"),
    ("expected ',' or ']'", "expected ',' or ']'"),
    ("did not find expected ',' or '}'", "expected ',' or '}'"),
    ("expected ',' or '}'", "expected ',' or '}'"),
    ("unexpected end of stream", "the closing quote is missing"),
    ("did not find expected key", "wrong indentation: expected a key"),
    ("expected <block end>", "wrong indentation: expected a key"),
    ("did not find expected '-' indicator", "wrong indentation: expected '- '"),
    ("block sequence entries are not allowed", "unexpected '-': a list starts on its own line"),
    ("<document start>", "unexpected text after the end of the document"),
)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong, where it is written (both numbers from 1)."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {one_line(self.message, MAX_MESSAGE_CHARS)}"


class YamlProblems(UsageError):
    """All that is wrong with a file, or with several: a line for each, the first 20 written out."""

    def __init__(self, problems: Sequence[Problem], unlisted: int = 0) -> None:
        self.problems = sorted(set(problems))
        lines = [str(problem) for problem in self.problems[:MAX_LISTED]]
        more = len(self.problems) - len(lines) + unlisted
        super().__init__("\n".join([*lines, f"… and {more} more"] if more else lines))


@dataclass(slots=True)
class Node:
    """A value and the place of its first character; of a mapping also the places of its keys."""

    line: int
    column: int
    value: Any = None
    plain: str | None = None  # a scalar without quotes, as it is written
    entries: "dict[str, tuple[Node, Node]]" = field(default_factory=dict)  # key → (key, value)
    items: "list[Node]" = field(default_factory=list)
    size: int = 1
    height: int = 0

    def adopt(self, child: "Node") -> None:
        self.size += child.size
        self.height = max(self.height, child.height + 1)


@dataclass(frozen=True, slots=True)
class Marks:
    """The places of a file's values."""

    file: str
    root: Node

    def node(self, loc: Loc) -> Node | None:
        """The node exactly at `loc`."""
        _, node, rest = self._walk(loc)
        return None if rest else node

    def problem(self, loc: Loc, message: str, *, at_key: bool = False) -> Problem:
        """A problem at the value of `loc` (or its key); what the file leaves out is placed at its parent."""
        key, node, rest = self._walk(loc)
        spot = key if at_key and not rest else node
        return Problem(self.file, spot.line, spot.column, message)

    def _walk(self, loc: Loc) -> tuple[Node, Node, Loc]:
        """The deepest key and value that exist on the way to `loc`, and what remained of it."""
        key = node = self.root
        for depth, part in enumerate(loc):
            if isinstance(part, str) and part in node.entries:
                key, node = node.entries[part]
            elif isinstance(part, int) and 0 <= part < len(node.items):
                key = node = node.items[part]
            else:
                return key, node, loc[depth:]
        return key, node, ()


def read(text: str, file: str) -> tuple[Marks, list[Problem]]:
    """The one document of a text, and its mistakes of meaning; mistakes of form raise YamlProblems."""
    text = text.removeprefix("\ufeff")
    if bad := _UNPRINTABLE.search(text):
        before = text[: bad.start()]
        line, column = before.count("\n") + 1, bad.start() - before.rfind("\n")
        raise YamlProblems([Problem(file, line, column, f"character U+{ord(bad[0]):04X} is not allowed")])
    reader = _Reader(text, file)
    return Marks(file, reader.document()), reader.problems


def scalar(text: str) -> Any:
    """The value of a scalar without quotes. ValueError for a number that no measurement can be."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        number = int(text, 0) if text[1:2] in ("o", "x") else int(text[:40])
        if len(text) > 40 or abs(number) >= 2**63:
            raise ValueError(f"number out of range: {shortened(text)}")
        return number
    if _FLOAT.fullmatch(text):
        if isfinite(number_ := float(text)):
            return number_
        raise ValueError(f"number out of range: {shortened(text)}")
    if _INF_OR_NAN.fullmatch(text):
        raise ValueError(f"{text} is no usable number")
    return text


def shortened(text: str) -> str:
    return text if len(text) <= MAX_QUOTED_CHARS else text[: MAX_QUOTED_CHARS - 1] + "…"


def one_line(text: str, limit: int) -> str:
    """Text that cannot break a line or steer a terminal."""
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    shown = (c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
    return "".join(shown)


class _Reader:
    """Builds nodes from events. Mistakes of meaning are collected, mistakes of form end the reading."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node | None] = {}  # None: still being written
        self.values = 0
        self.line = self.column = 1  # of the latest event
        self.events = self._events()

    def document(self) -> Node:
        root = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self.stop("a file holds one document: nothing may follow this '---'")
                root = self.node(next(self.events), 0)
        if root is None:
            self.line = self.column = 1
            self.stop("the file is empty")
        return root

    def _at(self, mark: Any) -> None:
        self.line, self.column = mark.line + 1, mark.column + 1

    def note(self, node: Node, message: str) -> None:
        self.problems.append(Problem(self.file, node.line, node.column, message))

    def stop(self, message: str) -> NoReturn:
        raise YamlProblems([*self.problems, Problem(self.file, self.line, self.column, message)])

    def _events(self) -> Iterator[Any]:
        try:
            for event in yaml.parse(self.text, Loader=LOADER):
                self._at(event.start_mark)
                yield event
        except yaml.MarkedYAMLError as error:
            if mark := error.problem_mark or error.context_mark:
                self._at(mark)
            said = self._syntax(error.problem or str(error.context))
            opened = error.context_mark.line + 1 if error.context_mark else self.line
            closes = "' or '" in said or "closing quote" in said
            self.stop(f"{said} (opened on line {opened})" if closes and opened != self.line else said)
        except (yaml.YAMLError, ValueError, OverflowError):  # PyYAML's own parser on "\UFFFFFFFF"
            self.stop("not readable as YAML after this point")

    def _syntax(self, said: str) -> str:
        if "cannot start any token" in said:
            lines = self.text.splitlines()
            rest = lines[self.line - 1][self.column - 1 :] if self.line <= len(lines) else ""
            if rest.startswith("\t"):
                return "a tab cannot indent: use spaces"
            return f"text that starts with '{rest[:1]}' needs quotes"
        if "violate indentation" in said or "tab" in said.split():
            return "a tab cannot indent: use spaces"
        return next((meaning for pattern, meaning in _SYNTAX if pattern in said), said)

    def node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), depth)
        if depth > MAX_DEPTH:
            self.stop(f"nested deeper than {MAX_DEPTH} levels")
        self._count(1)
        node = Node(self.line, self.column)
        if event.anchor:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(node, event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._tagged(node, event.tag, "seq")
            self._sequence(node, depth)
        else:
            self._tagged(node, event.tag, "map")
            self._mapping(node, depth)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _count(self, more: int) -> None:
        self.values += more
        if self.values > MAX_VALUES:
            self.stop(f"more than {MAX_VALUES} values, aliases expanded")

    def _alias(self, anchor: str, depth: int) -> Node:
        if anchor not in self.anchors:
            self.stop(f"'*{anchor}' refers to no '&{anchor}' above it")
        node = self.anchors[anchor]
        if node is None:
            self.stop(f"'*{anchor}' is inside its own '&{anchor}'")
        if depth + node.height > MAX_DEPTH:
            self.stop(f"nested deeper than {MAX_DEPTH} levels")
        self._count(node.size)
        return node

    def _tagged(self, node: Node, tag: str | None, allowed: str) -> None:
        if tag not in (None, "!", _TAG + allowed):
            self.note(node, f"tag {_shown_tag(tag)} is not supported here")

    def _scalar(self, node: Node, event: Any) -> None:
        text, tag = event.value, event.tag
        plain = event.style is None or event.style == ""
        if not text.isprintable() and re.search("[\ud800-\udfff]", text):
            self.note(node, "half a surrogate pair is no character")
        elif tag in ("!", _TAG + "str") or (tag is None and not plain):
            node.value = text
        elif tag is not None and tag.removeprefix(_TAG) not in _SCALAR_TAGS:
            self.note(node, f"tag {_shown_tag(tag)} is not supported here")
        else:
            node.plain = text if tag is None else None
            try:
                node.value = scalar(text)
            except ValueError as error:
                self.note(node, str(error))
            else:
                self._cast(node, tag)

    def _cast(self, node: Node, tag: str | None) -> None:
        if tag is None:
            return
        wanted = tag.removeprefix(_TAG)
        if type(node.value) not in _SCALAR_TAGS[wanted]:
            self.note(node, f"{_shown_tag(tag)} does not fit this value")
        elif wanted == "float":
            node.value = float(node.value)

    def _sequence(self, node: Node, depth: int) -> None:
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            child = self.node(event, depth + 1)
            node.items.append(child)
            node.adopt(child)
        node.value = [child.value for child in node.items]

    def _mapping(self, node: Node, depth: int) -> None:
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            spot = Node(self.line, self.column)  # of an alias: where it is used
            key = self.node(event, depth + 1)
            child = self.node(next(self.events), depth + 1)
            node.adopt(child)
            if self._is_key(spot, key, node):
                node.entries[key.value] = (spot, child)
        node.value = {key: child.value for key, (_, child) in node.entries.items()}

    def _is_key(self, spot: Node, key: Node, mapping: Node) -> bool:
        if key.plain == "<<":
            self.note(spot, "'<<' (merge) is not supported: write the keys out")
        elif not isinstance(key.value, str):
            hint = f": write '{key.plain}' in quotes" if key.plain else ""
            self.note(spot, f"a key must be text{hint}")
        elif key.value in mapping.entries:
            first = mapping.entries[key.value][0]
            where = f"first on line {first.line}, column {first.column}"
            self.note(spot, f"duplicate key '{shortened(key.value)}' ({where})")
        else:
            return True
        return False


def _shown_tag(tag: str | None) -> str:
    return "!!" + tag.removeprefix(_TAG) if tag and tag.startswith(_TAG) else f"'{tag}'"
