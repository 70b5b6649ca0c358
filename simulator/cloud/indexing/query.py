"""The query language of fleet indexing: text in, a small tree out, and whether a document matches it.

Rules: the grammar is that of the service, which is Lucene's: `AND` binds tighter than `OR`, and two terms side by
side are an `AND` that binds loosest of all. A tree has at most as many leaves as a query may have terms, and a pair
of negations or a pair of parentheses leaves no node behind, so a tree is never deep. Whatever the text is, the one
error is InvalidQueryError, and it says what is wrong and at which character. Whether a field exists is not judged
here: that depends on what is indexed (`settings`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.cloud.indexing.match import compiled
from simulator.cloud.indexing.tokens import QUERY_CHARS_MAX, TERMS_MAX, InvalidQueryError, Token, Tokens
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
    Wildcard,
    Word,
)  # fmt: skip

__all__ = ["InvalidQueryError", "Query", "parse"]

LEADING_WILDCARD_CHARS_MAX = 100
_STARS_MAX, _QUESTION_MARKS_MAX, _LEADING_WILDCARDS_MAX = 2, 5, 1


@dataclass(frozen=True)
class Query:
    """A parsed query."""

    text: str
    tree: Node
    fields: frozenset[str]
    matches: Callable[[Mapping[str, Any]], bool] = field(compare=False, repr=False)


def parse(text: str, *, terms_max: int = TERMS_MAX) -> Query:
    """The query that a text says; raises InvalidQueryError."""
    tree = _Parser(text, terms_max).tree()
    return Query(text, tree, frozenset(_fields(tree)), compiled(tree))


def _fields(node: Node) -> Iterator[str]:
    if isinstance(node, Term):
        if node.field is not None:
            yield node.field
    elif isinstance(node, Not):
        yield from _fields(node.node)
    elif isinstance(node, And | Or):
        for part in node.nodes:
            yield from _fields(part)


@dataclass(slots=True)
class _Level:
    """A pair of parentheses, or the whole query: what is collected, from the tightest operator to the loosest."""

    start: int
    name: str | None = None  # the field whose values are within
    negated: bool = False
    ands: list[Node] = field(default_factory=list)
    ors: list[Node] = field(default_factory=list)
    sides: list[Node] = field(default_factory=list)
    operator: Token | None = None  # waits for its right side
    negation: Token | None = None  # waits for what it negates

    def add(self, node: Node) -> None:
        if self.operator is None or self.operator.raw == "OR":
            self._close_ands()
            if self.operator is None:
                self._close_ors()
        self.ands.append(node)
        self.operator = None

    def node(self) -> Node | None:
        """All of it; None: there is nothing."""
        self._close_ands()
        self._close_ors()
        return _joined(And, self.sides) if self.sides else None

    def _close_ands(self) -> None:
        if self.ands:
            self.ors.append(_joined(And, self.ands))
            self.ands = []

    def _close_ors(self) -> None:
        if self.ors:
            self.sides.append(_joined(Or, self.ors))
            self.ors = []


class _Parser:
    """Tokens to a tree, without recursion: a query may be 500 parentheses deep."""

    def __init__(self, text: str, terms_max: int) -> None:
        if len(text) > QUERY_CHARS_MAX:
            raise InvalidQueryError(
                f"Unable to parse query, number of characters cannot exceed {QUERY_CHARS_MAX}, "
                f"characters found: {len(text)}"
            )
        self._text = text
        self._lexer = Tokens(text)
        self._tokens = self._lexer.all()
        self._at = 0
        self._terms_max = terms_max
        self._terms = 0
        self._leading_wildcards = 0

    def tree(self) -> Node:
        levels = [_Level(0)]
        while True:
            token = self._take()
            level = levels[-1]
            if token.kind == "end":
                break
            if token.kind == "operator":
                self._operator(level, token)
            elif token.kind == "not":
                if level.negation is not None:
                    raise self._lexer.syntax(token.start, "two negations in a row")
                level.negation = token
            elif token.kind == "(":
                levels.append(self._open(level, token, level.name))
            elif token.kind == ")":
                self._close(levels, token)
            elif token.kind == "word" and self._peek().kind in (":", "<", "<=", ">", ">="):
                self._of_field(levels, token)
            elif token.test is not None:
                self._leaf(level, level.name, token)
            else:
                raise self._lexer.syntax(token.start, f"a field name is expected before '{token.raw}'")
        return self._end(levels)

    def _end(self, levels: list[_Level]) -> Node:
        if len(levels) > 1:
            raise self._lexer.syntax(levels[-1].start, "the parenthesis is not closed")
        self._complete(levels[0], len(self._text))
        node = levels[0].node()
        if node is None:
            raise self._lexer.syntax(0, "the query is empty")
        if self._terms > self._terms_max:
            raise InvalidQueryError(
                f"Unable to parse query, number of terms cannot exceed {self._terms_max}, "
                f"terms found: {self._terms}, query string: {self._text}"
            )
        if self._leading_wildcards and len(self._text) > LEADING_WILDCARD_CHARS_MAX:
            raise InvalidQueryError(
                f"Unable to parse query, a query with a leading wildcard cannot exceed {LEADING_WILDCARD_CHARS_MAX} "
                f"characters, characters found: {len(self._text)}, query string: {self._text}"
            )
        return node

    def _take(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _operator(self, level: _Level, token: Token) -> None:
        if level.negation is not None or level.operator is not None or not level.ands:
            raise self._lexer.syntax(token.start, f"a term is expected before {token.raw}")
        level.operator = token

    def _open(self, level: _Level, token: Token, name: str | None) -> _Level:
        negated, level.negation = level.negation is not None, None
        return _Level(token.start, name, negated)

    def _close(self, levels: list[_Level], token: Token) -> None:
        if len(levels) == 1:
            raise self._lexer.syntax(token.start, "')' closes no parenthesis")
        level = levels.pop()
        self._complete(level, token.start)
        node = level.node()
        if node is None:
            raise self._lexer.syntax(level.start, "nothing is between the parentheses")
        levels[-1].add(_negated(node) if level.negated else node)

    def _complete(self, level: _Level, at: int) -> None:
        waiting = level.negation or level.operator
        if waiting is not None:
            raise self._lexer.syntax(at, f"a term is expected after {waiting.raw}")

    def _of_field(self, levels: list[_Level], name: Token) -> None:
        level, sign, token = levels[-1], self._take(), self._take()
        if level.name is not None:
            raise self._lexer.syntax(name.start, f"a field within the values of {level.name}")
        assert isinstance(name.test, Word)
        if name.test.pattern:
            raise InvalidQueryError(
                f"Unable to parse query, invalid field name, field name: {name.raw}, query string: {self._text}"
            )
        if token.kind == "(" and sign.kind == ":":
            levels.append(self._open(level, token, name.test.text))
            return
        after = f"{name.raw}{sign.raw}"
        if token.test is None or (sign.kind != ":" and token.kind == "range"):
            raise self._lexer.syntax(token.start, f"a value is expected after {after}")
        if self._peek().kind in (":", "<", "<=", ">", ">="):
            raise self._lexer.syntax(
                self._peek().start, f"unexpected '{self._peek().raw}' in a value; escape it with \\"
            )
        if sign.kind != ":":
            token = self._compared(sign, token)
        self._leaf(level, name.test.text, token)

    def _compared(self, sign: Token, token: Token) -> Token:
        assert isinstance(token.test, Word | Phrase)
        if isinstance(token.test, Word) and token.test.pattern:
            raise self._lexer.wrong(token.start, f"wildcards are not allowed in a comparison, value: {token.raw}")
        quoted, closed = isinstance(token.test, Phrase), sign.kind.endswith("=")
        if sign.kind.startswith("<"):
            test = Range(None, token.test.text, True, closed, quoted)
        else:
            test = Range(token.test.text, None, closed, True, quoted)
        return Token("range", token.start, token.raw, test)

    def _leaf(self, level: _Level, name: str | None, token: Token) -> None:
        assert token.test is not None
        self._terms += 1
        node: Node = Term(name, token.test)
        if isinstance(token.test, Word) and token.test.pattern == (Wildcard.MANY,):
            node = Everything() if name is None else Term(name, Present())
        elif isinstance(token.test, Word) and token.test.pattern:
            self._check_wildcards(name, token, token.test.pattern)
        negated, level.negation = level.negation is not None, None
        level.add(_negated(node) if negated else node)

    def _check_wildcards(self, name: str | None, token: Token, pattern: Pattern) -> None:
        where = f", field name: {name or 'any'}, value: {token.raw}"
        for sign, most in ((Wildcard.MANY, _STARS_MAX), (Wildcard.ONE, _QUESTION_MARKS_MAX)):
            if pattern.count(sign) > most:
                raise self._lexer.wrong(
                    token.start,
                    f"invalid value - too many wildcards ({sign.value}). The maximum allowed per term is {most}{where}",
                )
        if pattern[0] is Wildcard.ONE:
            raise self._lexer.wrong(
                token.start,
                f"invalid value - wildcard character (?) is not allowed at the start of the value{where}",
            )
        if pattern[0] is Wildcard.MANY:
            self._leading_wildcards += 1
            if self._leading_wildcards > _LEADING_WILDCARDS_MAX:
                raise self._lexer.wrong(
                    token.start, f"invalid value - only one term of a query may begin with a wildcard{where}"
                )


def _negated(node: Node) -> Node:
    return node.node if isinstance(node, Not) else Not(node)


def _joined(kind: type[And] | type[Or], nodes: list[Node]) -> Node:
    return nodes[0] if len(nodes) == 1 else kind(tuple(nodes))
