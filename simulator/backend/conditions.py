"""The language of rule conditions: `metrics.engine_temp_c > 110 and metrics.speed_kmh > 0`.

Rules: only metrics.<name>, numbers, + - * /, comparisons (also chained), and/or/not and parentheses.
Text is parsed by `ast` once, every node is checked against this list, and the result is a closure: nothing
is ever evaluated by Python's own `eval`, so there is nothing to escape to. Length and depth are bounded.
A metric that is missing or not a number makes what depends on it unknown (None), and so do a division by
zero and an overflow; and/or/not follow three-valued logic (`false and unknown` is false).
"""

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, NamedTuple

LENGTH_MAX = 500
DEPTH_MAX = 20

Metrics = Mapping[str, Any]
Number = Callable[[Metrics], float | None]
Truth = Callable[[Metrics], bool | None]

_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class ConditionError(ValueError):
    """A condition is not of the language; the message says where."""


class Condition(NamedTuple):
    """A compiled condition: call `holds` with the metrics of one sample."""

    text: str
    holds: Truth
    metrics: tuple[str, ...]  # in the order of their first use


def compile_condition(text: str) -> Condition:
    """Compile a condition; ConditionError when it is not one."""
    if len(text) > LENGTH_MAX:
        raise ConditionError(f"{len(text)} characters are too long (at most {LENGTH_MAX})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tokenizer warns of `1or 2`, which is legal
            body = ast.parse(text.strip().replace("\n", " "), mode="eval").body
    except SyntaxError as error:
        column = error.offset or len(text) + 1  # without an offset: something is missing at the end
        raise ConditionError(f"at column {column}: not an expression: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise ConditionError("at column 1: not an expression") from None
    names: dict[str, None] = {}
    holds = _truth(body, 1, names)
    if not names:
        raise ConditionError("it depends on no metric; write for example metrics.engine_temp_c > 110")
    return Condition(text, holds, tuple(names))


def _refuse(node: ast.AST, why: str) -> ConditionError:
    return ConditionError(f"at column {getattr(node, 'col_offset', 0) + 1}: {why}")


def _what(node: ast.AST) -> str:
    return f"'{ast.unparse(node)[:40]}' ({type(node).__name__})"


def _deeper(node: ast.AST, depth: int) -> int:
    if depth > DEPTH_MAX:
        raise _refuse(node, f"nested deeper than {DEPTH_MAX}")
    return depth + 1


def _truth(node: ast.expr, depth: int, names: dict[str, None]) -> Truth:
    """A node that must be true or false."""
    depth = _deeper(node, depth)
    match node:
        case ast.BoolOp(op=ast.And()):
            return _all([_truth(value, depth, names) for value in node.values])
        case ast.BoolOp(op=ast.Or()):
            return _any([_truth(value, depth, names) for value in node.values])
        case ast.UnaryOp(op=ast.Not()):
            return _not(_truth(node.operand, depth, names))
        case ast.Compare():
            return _comparison(node, depth, names)
        case ast.Attribute() | ast.Constant() | ast.BinOp() | ast.UnaryOp():
            _number(node, depth, names)  # names the deeper mistake first, when there is one
            raise _refuse(node, f"{_what(node)} is a number where true or false is needed; compare it with something")
    raise _refuse(node, f"{_what(node)} is not allowed in a condition")


def _number(node: ast.expr, depth: int, names: dict[str, None]) -> Number:
    """A node that must be a number."""
    depth = _deeper(node, depth)
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _constant(node, value)
        case ast.Attribute(value=ast.Name(id="metrics"), attr=name) if not name.startswith("__"):
            names[name] = None
            return _metric(name)
        case ast.UnaryOp(op=ast.USub()):
            return _negative(_number(node.operand, depth, names))
        case ast.UnaryOp(op=ast.UAdd()):
            return _number(node.operand, depth, names)
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            left, right = _number(node.left, depth, names), _number(node.right, depth, names)
            return _arithmetic(_ARITHMETIC[type(node.op)], left, right)
        case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
            raise _refuse(node, f"{_what(node)} is true or false where a number is needed")
        case ast.Name():
            raise _refuse(node, f"unknown name '{node.id}'; a metric is written metrics.{node.id}")
    raise _refuse(node, f"{_what(node)} is not allowed in a condition")


def _constant(node: ast.AST, value: float) -> Number:
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number):
        raise _refuse(node, "the number is too large")
    return lambda _metrics: number


def _metric(name: str) -> Number:
    def read(metrics: Metrics) -> float | None:
        value = metrics.get(name)
        return float(value) if type(value) is float or type(value) is int else None

    return read


def _negative(operand: Number) -> Number:
    def negate(metrics: Metrics) -> float | None:
        value = operand(metrics)
        return None if value is None else -value

    return negate


def _arithmetic(apply: Callable[[float, float], float], left: Number, right: Number) -> Number:
    def compute(metrics: Metrics) -> float | None:
        a, b = left(metrics), right(metrics)
        if a is None or b is None:
            return None
        try:
            value = apply(a, b)
        except ZeroDivisionError:
            return None
        return value if isfinite(value) else None

    return compute


def _comparison(node: ast.Compare, depth: int, names: dict[str, None]) -> Truth:
    for op in node.ops:
        if type(op) not in _COMPARE:
            raise _refuse(node, f"{_what(node)}: only < <= > >= == != compare")
    terms = [_number(term, depth, names) for term in (node.left, *node.comparators)]
    pairs = [_pair(_COMPARE[type(op)], terms[i], terms[i + 1]) for i, op in enumerate(node.ops)]
    return pairs[0] if len(pairs) == 1 else _all(pairs)


def _pair(compare: Callable[[float, float], bool], left: Number, right: Number) -> Truth:
    def holds(metrics: Metrics) -> bool | None:
        a, b = left(metrics), right(metrics)
        return None if a is None or b is None else compare(a, b)

    return holds


def _all(parts: list[Truth]) -> Truth:
    def holds(metrics: Metrics) -> bool | None:
        result: bool | None = True
        for part in parts:
            value = part(metrics)
            if value is False:
                return False
            if value is None:
                result = None
        return result

    return holds


def _any(parts: list[Truth]) -> Truth:
    def holds(metrics: Metrics) -> bool | None:
        result: bool | None = False
        for part in parts:
            value = part(metrics)
            if value is True:
                return True
            if value is None:
                result = None
        return result

    return holds


def _not(part: Truth) -> Truth:
    def holds(metrics: Metrics) -> bool | None:
        value = part(metrics)
        return None if value is None else not value

    return holds
