"""The tokens of the query language of fleet indexing.

Rules: a field and its value are separate tokens; a range is one. A `-` is a negation, but at the beginning of a value
it is a minus. Every error says at which character it is.
"""

from dataclasses import dataclass
from typing import ClassVar

from simulator.cloud.indexing.tree import Phrase, Range, Test, Wildcard, Word
from simulator.cloud.service import ServiceError

QUERY_CHARS_MAX = 1000
TERMS_MAX = 12

_UNSUPPORTED = frozenset("`@#%\\/';,")
_ENDS_WORD = frozenset('()[]{}":=<>!~^')
_SIGNS = {"&&": "AND", "||": "OR"}
_RANGE_END = {"]": True, "}": False}


class InvalidQueryError(ServiceError):
    """The text is no query."""

    code = "InvalidQueryException"
    status = 400


@dataclass(frozen=True, slots=True)
class Token:
    kind: str  # word, phrase, range, operator, or the sign itself
    start: int
    raw: str
    test: Test | None = None


class Tokens:
    """Cuts a text into tokens."""

    kinds: ClassVar[dict[str, str]] = {"AND": "operator", "OR": "operator", "NOT": "not"}

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def all(self) -> list[Token]:
        """Every token, and one of kind `end`."""
        tokens: list[Token] = []
        while True:
            self._skip_space()
            if self._at >= len(self._text):
                return [*tokens, Token("end", len(self._text), "")]
            value_follows = bool(tokens) and tokens[-1].kind in (":", "<", "<=", ">", ">=")
            tokens.append(self._next(value_follows))

    def _next(self, value_follows: bool) -> Token:
        start, char = self._at, self._text[self._at]
        if char in "()":
            return self._sign(char, 1)
        if char in ":=":
            return self._sign(":", 1)
        if char in "<>":
            return self._sign(char + "=", 2) if self._text[start + 1 : start + 2] == "=" else self._sign(char, 1)
        if char == "!" or (char == "-" and not value_follows):
            return self._sign("not", 1)
        if char == "+" and not value_follows:
            raise self.wrong(start, 'unsupported operator - "+"')
        if char == '"':
            phrase = Phrase(self._quoted())
            return Token("phrase", start, self._text[start : self._at], phrase)
        if char in "[{":
            return self._range()
        if char in "]}":
            raise self.syntax(start, f"'{char}' closes no range")
        if self._text[start : start + 2] in _SIGNS:
            sign = _SIGNS[self._text[start : start + 2]]
            self._at += 2
            return Token("operator", start, sign)
        return self._word()

    def _sign(self, kind: str, length: int) -> Token:
        start = self._at
        self._at += length
        return Token(kind, start, self._text[start : self._at])

    def _word(self) -> Token:
        start = self._at
        literal: list[str] = []
        pattern: list[str | Wildcard] = []
        run: list[str] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "\\":
                char = self._escaped()
                literal.append(char)
                run.append(char)
                continue
            if char.isspace() or char in _ENDS_WORD:
                break
            self._refuse_unsupported(char)
            literal.append(char)
            if char in "*?":
                pattern += ["".join(run), Wildcard(char)]
                run = []
            else:
                run.append(char)
            self._at += 1
        raw = self._text[start : self._at]
        follower = self._text[self._at : self._at + 1]
        if follower and follower in "~^":
            raise self.wrong(self._at, f"unsupported query type - {'fuzzy' if follower == '~' else 'boost'}")
        if follower and follower in '"[{!':
            raise self.syntax(self._at, f"unexpected '{follower}' in a word; escape it with \\")
        if not raw:
            raise self.syntax(start, f"unexpected '{follower}'")
        if raw in self.kinds:
            return Token(self.kinds[raw], start, raw)
        text = "".join(literal)
        parts = tuple(part for part in [*pattern, "".join(run)] if part) if pattern else ()
        return Token("word", start, raw, Word(text, parts))

    def _escaped(self) -> str:
        if self._at + 1 >= len(self._text):
            raise self.syntax(self._at, "nothing follows the \\")
        char = self._text[self._at + 1]
        self._refuse_unsupported(char, at=self._at + 1)
        self._at += 2
        return char

    def _quoted(self) -> str:
        start = self._at
        self._at += 1
        literal: list[str] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == '"':
                self._at += 1
                return "".join(literal)
            if char == "\\":
                literal.append(self._escaped())
                continue
            self._refuse_unsupported(char)
            literal.append(char)
            self._at += 1
        raise self.syntax(start, "the quote is not closed")

    def _range(self) -> Token:
        start = self._at
        with_low = self._text[start] == "["
        self._at += 1
        ends = [self._range_word(start), self._range_word(start)]
        if ends[1] == ("TO", False):
            ends[1] = self._range_word(start)
        self._skip_space()
        close = self._text[self._at : self._at + 1]
        if close not in _RANGE_END or not close:
            raise self.syntax(start, "a range is [low TO high], with [ ] for ends that belong to it and { } for others")
        self._at += 1
        (low, low_quoted), (high, high_quoted) = ends
        test = Range(
            None if low == "*" and not low_quoted else low,
            None if high == "*" and not high_quoted else high,
            with_low,
            _RANGE_END[close],
            low_quoted or high_quoted,
        )
        return Token("range", start, self._text[start : self._at], test)

    def _range_word(self, start: int) -> tuple[str, bool]:
        self._skip_space()
        if self._text[self._at : self._at + 1] == '"':
            return self._quoted(), True
        literal: list[str] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "\\":
                literal.append(self._escaped())
                continue
            if char.isspace() or char in ']}"':
                break
            self._refuse_unsupported(char)
            literal.append(char)
            self._at += 1
        word = "".join(literal)
        if not word:
            raise self.syntax(start, "the range lacks an end; write * for an open one")
        if word != "*" and "*" in word:
            raise self.wrong(start, f"wildcards are not allowed in the ends of a range, value: {word}")
        return word, False

    def _refuse_unsupported(self, char: str, at: int | None = None) -> None:
        if char not in _UNSUPPORTED:
            return
        at = self._at if at is None else at
        if char == "/":
            raise self.wrong(at, "unsupported query type - regular expression (the character / is not supported)")
        raise self.wrong(at, f"the character {char} is not supported")

    def _skip_space(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def syntax(self, at: int, what: str) -> InvalidQueryError:
        """An error of syntax at a character."""
        return self.wrong(at, f"invalid syntax: {what}")

    def wrong(self, at: int, what: str) -> InvalidQueryError:
        """An error at a character."""
        return InvalidQueryError(
            f"Unable to parse query, {what}, at character {at + 1}, query string: {self._text[:QUERY_CHARS_MAX]}"
        )
