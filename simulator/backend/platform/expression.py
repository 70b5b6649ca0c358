"""The language of rule conditions and formulas: `clamp(100 - (tempC - 60) * 2 - vibration * 10, 0, 100)`.

    numbers      1, 2.5, a metric, + - * / **, abs ceil clamp exp floor log max min round sqrt,  a if condition else b
    conditions   < <= > >= == !=, also chained, and or not,  condition if condition else condition

Rules: text is parsed by `ast` once, and every node is checked against this list; all else is refused with its column.
Length and depth are bounded. Numbers are floats, and there are no loops, texts or lists, so an evaluation has a bound
in time and memory too. A metric that is missing, no number or beyond ±LIMIT is unknown (None), and so is what depends
on it, a division by zero, a root of -1, an overflow: no value is ever infinite or NaN. and/or/not follow three-valued
logic (`false and unknown` is false).

An expression is compiled twice. The closures mean what is said above. The function is quick and gives the same where
everything is known; it raises where something is not, and then the closures are asked. Its source is put together here
from operators of this file, numbers as `repr` writes them and names made here; of the text nothing gets into it but the
names of metrics, as literals; and it sees no builtins. So there is nothing to escape to.
"""

import ast
import math
import operator
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any, NamedTuple

LENGTH_MAX = 500
DEPTH_MAX = 20
LIMIT = 1e15  # of a metric, as the data contract has it
DIGITS_MAX = 9  # that `round` keeps
_SAFE = 1e300  # what is surely below this needs no look whether it is finite
_MOST = sys.float_info.max  # what is finite is no more
_LOG_MOST = 745.0  # of the smallest number

Metrics = Mapping[str, Any]
Number = Callable[[Metrics], float | None]
Truth = Callable[[Metrics], bool | None]

_COMPARE: dict[type[ast.cmpop], tuple[str, Callable[[float, float], bool]]] = {
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
}
_ARITHMETIC: dict[type[ast.operator], tuple[str, Callable[[float, float], float]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.Pow: ("**", math.pow),
}


class ExpressionError(ValueError):
    """A text is not of the language; the message says where."""


class _UnknownError(Exception):
    """The quick function cannot say."""


def _clamp(value: float, low: float, high: float) -> float:
    return low if value < low else high if value > high else value


def _round(value: float, digits: float = 0.0) -> float:
    return float(round(value, int(digits)))


# name → (fewest arguments, most, what it does)
FUNCTIONS: dict[str, tuple[int, int, Callable[..., float]]] = {
    "abs": (1, 1, abs),
    "ceil": (1, 1, lambda value: float(math.ceil(value))),
    "clamp": (3, 3, _clamp),
    "exp": (1, 1, math.exp),
    "floor": (1, 1, lambda value: float(math.floor(value))),
    "log": (1, 1, math.log),
    "max": (2, 20, max),
    "min": (2, 20, min),
    "round": (1, 2, _round),
    "sqrt": (1, 1, math.sqrt),
}


def _number_of(value: Any) -> float | None:
    """A metric as a number."""
    kind = type(value)
    return float(value) if (kind is float or kind is int) and -LIMIT <= value <= LIMIT else None


def _needed(value: Any) -> float:
    number = _number_of(value)
    if number is None:
        raise _UnknownError
    return number


def _finite(value: float) -> float:
    if not isfinite(value):
        raise _UnknownError
    return value


_NAMES: dict[str, Any] = {name: apply for name, (_, _, apply) in FUNCTIONS.items()} | {
    "__builtins__": {}, "power": math.pow, "needed": _needed, "finite": _finite,
}  # fmt: skip


class Compiled(NamedTuple):
    """A compiled expression."""

    value: Callable[[Metrics], Any]  # a number, or true or false; None: unknown
    metrics: tuple[str, ...]  # in the order of their first use


class _Num(NamedTuple):
    """A part that is a number."""

    ask: Number
    source: str
    most: float  # its magnitude is no more
    constant: bool = False


class _Tru(NamedTuple):
    """A part that is true or false."""

    ask: Truth
    source: str


NameOf = Callable[[ast.expr], str | None]


def compile_number(text: str, name_of: NameOf) -> Compiled:
    """Compile what gives a number; `name_of` says which metric a node names. ExpressionError when it is none."""
    body, build = _parse(text), _Builder(name_of)
    part = build.number(body, 1)
    return build.finish(part.ask, part.source)


def compile_truth(text: str, name_of: NameOf) -> Compiled:
    """Compile what gives true or false."""
    body, build = _parse(text), _Builder(name_of)
    part = build.truth(body, 1)
    return build.finish(part.ask, part.source)


def _parse(text: str) -> ast.expr:
    if len(text) > LENGTH_MAX:
        raise ExpressionError(f"{len(text)} characters are too long (at most {LENGTH_MAX})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tokenizer warns of `1or 2`, which is legal
            return ast.parse(text.strip().replace("\n", " "), mode="eval").body
    except SyntaxError as error:
        column = error.offset or len(text) + 1  # without an offset: something is missing at the end
        raise ExpressionError(f"at column {column}: not an expression: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError("at column 1: not an expression") from None


def refused(node: ast.AST, why: str) -> ExpressionError:
    """What is wrong with a node, and where."""
    return ExpressionError(f"at column {getattr(node, 'col_offset', 0) + 1}: {why}")


def _what(node: ast.AST) -> str:
    try:
        text = ast.unparse(node)[:40]
    except RecursionError:  # nothing bounds the depth of what is not of the language
        text = "…"
    return f"'{text}' ({type(node).__name__})"


class _Builder:
    """Makes closures and source of one expression."""

    def __init__(self, name_of: NameOf) -> None:
        self._name_of = name_of
        self._names: dict[str, str] = {}  # metric → its variable

    def finish(self, ask: Callable[[Metrics], Any], source: str) -> Compiled:
        """The compiled whole."""
        lines = ["def quick(metrics):", " get = metrics.get"]
        for name, variable in self._names.items():
            lines.append(f" {variable} = get({name!r})")
            lines.append(f" if type_({variable}) is not float_ or not -{LIMIT!r} <= {variable} <= {LIMIT!r}:")
            lines.append(f"  {variable} = needed({variable})")
        space: dict[str, Any] = {**_NAMES, "type_": type, "float_": float}
        exec("\n".join([*lines, f" return {source}"]), space)  # noqa: S102 (the source is ours, see above)
        quick = space["quick"]

        def value(metrics: Metrics) -> Any:
            try:
                return quick(metrics)
            except (_UnknownError, ArithmeticError, ValueError):
                return ask(metrics)

        return Compiled(value, tuple(self._names))

    # -- true or false

    def truth(self, node: ast.expr, depth: int) -> _Tru:
        """A node that must be true or false."""
        depth = _deeper(node, depth)
        match node:
            case ast.BoolOp():
                parts = [self.truth(value, depth) for value in node.values]
                word, combine = (" and ", _all) if isinstance(node.op, ast.And) else (" or ", _any)
                return _Tru(combine([part.ask for part in parts]), f"({word.join(part.source for part in parts)})")
            case ast.UnaryOp(op=ast.Not()):
                part = self.truth(node.operand, depth)
                return _Tru(_not(part.ask), f"(not {part.source})")
            case ast.Compare():
                return self._comparison(node, depth)
            case ast.IfExp():
                test, yes, no = (self.truth(part, depth) for part in (node.test, node.body, node.orelse))
                return _Tru(_choice(test.ask, yes.ask, no.ask), f"({yes.source} if {test.source} else {no.source})")
        if self._is_number(node):
            self.number(node, depth)  # names the deeper mistake first, when there is one
            raise refused(node, f"{_what(node)} is a number where true or false is needed; compare it with something")
        raise refused(node, f"{_what(node)} is not allowed")

    def _comparison(self, node: ast.Compare, depth: int) -> _Tru:
        for op in node.ops:
            if type(op) not in _COMPARE:
                raise refused(node, f"{_what(node)}: only < <= > >= == != compare")
        terms = [self.number(term, depth) for term in (node.left, *node.comparators)]
        signs = [_COMPARE[type(op)] for op in node.ops]
        pairs = [_pair(apply, terms[i].ask, terms[i + 1].ask) for i, (_, apply) in enumerate(signs)]
        rest = "".join(f" {sign} {term.source}" for (sign, _), term in zip(signs, terms[1:], strict=True))
        return _Tru(pairs[0] if len(pairs) == 1 else _all(pairs), f"({terms[0].source}{rest})")

    # -- numbers

    def _is_number(self, node: ast.expr) -> bool:
        kinds = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.Call)
        return isinstance(node, kinds) or self._name_of(node) is not None

    def number(self, node: ast.expr, depth: int) -> _Num:
        """A node that must be a number. One without a metric is computed here: else the source could grow by it."""
        part = self._number(node, depth)
        if not part.constant:
            return part
        if (value := part.ask({})) is None:
            raise refused(node, f"{_what(node)} has no value")
        return _known(value)

    def _number(self, node: ast.expr, depth: int) -> _Num:
        depth = _deeper(node, depth)
        if (name := self._name_of(node)) is not None:
            variable = self._names.setdefault(name, f"v{len(self._names)}")
            return _Num(_metric(name), variable, LIMIT)
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return _constant(node, value)
            case ast.UnaryOp(op=ast.USub()):
                part = self.number(node.operand, depth)
                return part._replace(ask=_applied(operator.neg, [part.ask]), source=f"(-{part.source})")
            case ast.UnaryOp(op=ast.UAdd()):
                return self.number(node.operand, depth)
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                left, right = self.number(node.left, depth), self.number(node.right, depth)
                return _arithmetic(type(node.op), left, right)
            case ast.IfExp():
                test = self.truth(node.test, depth)
                yes, no = (self.number(part, depth) for part in (node.body, node.orelse))
                source = f"({yes.source} if {test.source} else {no.source})"
                return _Num(_choice(test.ask, yes.ask, no.ask), source, max(yes.most, no.most))
            case ast.Call():
                return self._call(node, depth)
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                raise refused(node, f"{_what(node)} is true or false where a number is needed")
            case ast.Name():
                name = node.id[:40]
                raise refused(node, f"unknown name '{name}'; a metric is written metrics.{name}")
        raise refused(node, f"{_what(node)} is not allowed")

    def _call(self, node: ast.Call, depth: int) -> _Num:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS or node.keywords or any(isinstance(one, ast.Starred) for one in node.args):
            raise refused(node, f"{_what(node)} is not allowed; the functions are {', '.join(FUNCTIONS)}")
        fewest, most, apply = FUNCTIONS[name]
        if not fewest <= len(node.args) <= most:
            needs = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise refused(node, f"{name} needs {needs} arguments, not {len(node.args)}")
        parts = [self.number(one, depth) for one in node.args]
        if name == "round" and len(parts) == 2:
            digits = parts[1].ask({}) if parts[1].constant else None
            if digits is None or not digits.is_integer() or not 0 <= digits <= DIGITS_MAX:
                raise refused(node, f"round: the digits must be one of 0 to {DIGITS_MAX}")
        ask = _applied(apply, [part.ask for part in parts])
        source = f"{name}({', '.join(part.source for part in parts)})"
        if name == "clamp" and parts[1].constant and parts[2].constant:
            value, low, high = (part.source for part in parts)
            source = f"({low} if (t{depth} := {value}) < {low} else {high} if t{depth} > {high} else t{depth})"
        bound = max(part.most for part in parts) + 1
        limit = _MOST if name == "exp" else _LOG_MOST if name == "log" else min(bound, _MOST)
        return _Num(ask, source, limit, all(part.constant for part in parts))


def _deeper(node: ast.AST, depth: int) -> int:
    if depth > DEPTH_MAX:
        raise refused(node, f"nested deeper than {DEPTH_MAX}")
    return depth + 1


def _constant(node: ast.AST, value: float) -> _Num:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not isfinite(number):
        raise refused(node, "the number is too large")
    return _known(number)


def _known(number: float) -> _Num:
    return _Num(lambda _metrics: number, repr(number), abs(number), True)


def _arithmetic(op: type[ast.operator], left: _Num, right: _Num) -> _Num:
    sign, apply = _ARITHMETIC[op]
    ask, constant = _applied(apply, [left.ask, right.ask]), left.constant and right.constant
    if op is ast.Pow:  # math.pow raises where there is no finite value
        return _Num(ask, f"power({left.source}, {right.source})", _MOST, constant)
    source = f"({left.source} {sign} {right.source})"
    if op is ast.Mult:
        most = left.most * right.most
    elif op is ast.Div:
        by = abs(right.ask({}) or 0.0) if right.constant else 0.0
        most = left.most / by if by else math.inf
    else:
        most = left.most + right.most
    if most > _SAFE:
        return _Num(ask, f"finite{source}", _MOST, constant)
    return _Num(ask, source, most, constant)


# -- closures: what an expression means


def _metric(name: str) -> Number:
    return lambda metrics: _number_of(metrics.get(name))


def _applied(apply: Callable[..., float], parts: Sequence[Number]) -> Number:
    def compute(metrics: Metrics) -> float | None:
        values = [part(metrics) for part in parts]
        if None in values:
            return None
        try:
            value = apply(*values)
        except (ArithmeticError, ValueError):
            return None
        return value if isfinite(value) else None

    return compute


def _choice(test: Truth, yes: Callable[[Metrics], Any], no: Callable[[Metrics], Any]) -> Callable[[Metrics], Any]:
    def choose(metrics: Metrics) -> Any:
        found = test(metrics)
        return None if found is None else yes(metrics) if found else no(metrics)

    return choose


def _pair(compare: Callable[[float, float], bool], left: Number, right: Number) -> Truth:
    def holds(metrics: Metrics) -> bool | None:
        a, b = left(metrics), right(metrics)
        return None if a is None or b is None else compare(a, b)

    return holds


def _decided(by: bool, parts: Sequence[Truth]) -> Truth:
    """Three-valued: one part that is `by` decides; else an unknown one makes it unknown."""

    def holds(metrics: Metrics) -> bool | None:
        result: bool | None = not by
        for part in parts:
            value = part(metrics)
            if value is by:
                return by
            if value is None:
                result = None
        return result

    return holds


_all: Callable[[Sequence[Truth]], Truth] = partial(_decided, False)
_any: Callable[[Sequence[Truth]], Truth] = partial(_decided, True)


def _not(part: Truth) -> Truth:
    def holds(metrics: Metrics) -> bool | None:
        value = part(metrics)
        return None if value is None else not value

    return holds
