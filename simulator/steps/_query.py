"""Which devices: a small language of comparisons, read once and without a way out of it.

    firmware == '1.0.0' and not faulted        profile in ['vehicle-suv', 'vehicle-truck'] or thing != 'V-001'

Rules: Python's own parser, and of what it finds only comparisons of a device's facts with constants, joined by
and, or, not.
"""

import ast
from collections.abc import Callable
from functools import cache
from typing import Any

from simulator.errors import did_you_mean
from simulator.steps import Entry

FACTS = ("thing", "profile", "group", "firmware", "channel", "faulted", "started", "online")
Query = Callable[[Entry], bool]

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


class QueryError(ValueError):
    """The query cannot be read."""


@cache
def parse(text: str) -> Query:
    """The query as a function; QueryError."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f" at column {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        raise QueryError(f"cannot read the query{where}: {text!r}") from None
    return _boolean(tree.body)


def _boolean(node: ast.expr) -> Query:
    match node:
        case ast.BoolOp(op, values):
            parts = [_boolean(value) for value in values]
            together = all if isinstance(op, ast.And) else any
            return lambda entry: together(part(entry) for part in parts)
        case ast.UnaryOp(ast.Not(), operand):
            inner = _boolean(operand)
            return lambda entry: not inner(entry)
        case ast.Compare(left, [op], [right]) if type(op) in _COMPARE:
            name, value, compare = _fact(left), _constant(right), _COMPARE[type(op)]
            if isinstance(op, (ast.In, ast.NotIn)) != isinstance(value, tuple):
                raise QueryError(f"'{name}' is compared with a {'list' if isinstance(value, tuple) else 'value'}: use "
                                 f"{'in' if isinstance(value, tuple) else '=='}")  # fmt: skip
            return lambda entry: compare(getattr(entry, name), value)
        case ast.Name():
            name = _fact(node)
            if name not in ("faulted", "started", "online"):
                raise QueryError(f"'{name}' alone says nothing: compare it, {name} == '…'")
            return lambda entry: bool(getattr(entry, name))
    raise QueryError(f"a query compares facts of a device (known: {', '.join(FACTS)}) with == != in, and or not")


def _fact(node: ast.expr) -> str:
    name = node.id if isinstance(node, ast.Name) else ast.unparse(node)
    if name not in FACTS:
        raise QueryError(f"unknown fact '{name}'{did_you_mean(name, FACTS)}")
    return name


def _constant(node: ast.expr) -> Any:
    match node:
        case ast.Constant(str() | bool() as value):
            return value
        case ast.List(items) | ast.Tuple(items):
            return tuple(_constant(item) for item in items)
    raise QueryError(f"expected text in quotes, True or False, or a list of them; got {ast.unparse(node)}")
