"""The language of formulas: it agrees with a plain interpreter, and there is no way out of it."""

import ast
import math
import operator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.backend.conditions import compile_condition
from simulator.backend.platform import expression
from simulator.backend.platform.expression import DEPTH_MAX, LENGTH_MAX, LIMIT, ExpressionError
from simulator.backend.platform.formulas import compile_formula

EXAMPLE = "clamp(100 - (tempC - 60) * 2 - vibration * 10, 0, 100)"


@pytest.mark.parametrize(
    ("text", "metrics", "expected"),
    [
        (EXAMPLE, {"tempC": 71.5, "vibration": 0.4}, 73.0),
        (EXAMPLE, {"tempC": 200, "vibration": 0}, 0.0),
        (EXAMPLE, {"tempC": 20, "vibration": 0.0}, 100.0),
        (EXAMPLE, {"tempC": 71.5}, None),
        (EXAMPLE, {"tempC": "hot", "vibration": 0}, None),
        (EXAMPLE, {"tempC": True, "vibration": 0}, None),
        (EXAMPLE, {"tempC": math.nan, "vibration": 0}, None),
        (EXAMPLE, {"tempC": math.inf, "vibration": 0}, None),
        (EXAMPLE, {"tempC": 10**400, "vibration": 0}, None),
        ("a + 0", {"a": LIMIT * 2}, None),
        ("metrics.a * 2", {"a": 3}, 6.0),
        ("min(a, 2, 3) + max(a, 2)", {"a": 5}, 7.0),
        ("abs(-a) + round(a) + round(a / 3, 2) + floor(a / 2) + ceil(a / 2)", {"a": 5}, 16.67),
        ("sqrt(a) + log(exp(a)) + a ** 0.5", {"a": 4}, 8.0),
        ("sqrt(-a)", {"a": 4}, None),
        ("log(a)", {"a": 0}, None),
        ("exp(a)", {"a": 1000}, None),
        ("a ** a ** a", {"a": 999}, None),
        ("(0 - a) ** 0.5", {"a": 2}, None),
        ("1 / a", {"a": 0}, None),
        ("clamp(1 / a, 0, 1)", {"a": 0.0}, None),
        ("a ** 15 * a ** 15 - 1", {"a": LIMIT}, None),
        ("0 * (a ** 15 * a ** 15)", {"a": LIMIT}, None),
        ("clamp(a * b * b, 0, 1)", {"a": 1e15, "b": 1e15}, 1.0),
        ("1 if a > 3 else 2", {"a": 4}, 1.0),
        ("1 if a > 3 else b", {"a": 4}, 1.0),
        ("1 if a > 3 or b > 1 else 2", {"a": 4}, 1.0),
        ("1 if a > 3 and b > 1 else 2", {"a": 4}, None),
        ("1 if not 1 < a <= 3 else 2", {"a": 3}, 2.0),
        ("clamp(a, 5, 1)", {"a": 3}, 5.0),
        ("clamp(clamp(a, 0, b), 1, 2)", {"a": 3, "b": 10}, 2.0),
    ],
)
def test_what_a_formula_comes_to(text: str, metrics: dict[str, Any], expected: float | None) -> None:
    found = compile_formula(text).value(metrics)
    assert found is None if expected is None else found == pytest.approx(expected, abs=1e-12)


ATTACKS = [
    "__import__('os').system('true') + a",
    "a.__class__",
    "a.real",
    "metrics.__class__",
    "metrics.a.b",
    "metrics['a']",
    "metrics.get('a')",
    "metrics",
    "().__class__.__bases__[0].__subclasses__()",
    "[].append(a)",
    "{}.get(a)",
    "a[0]",
    "a()",
    "open('/etc/passwd')",
    "eval('1')",
    "exec('a')",
    "compile('a', '', 'eval')",
    "getattr(a, 'real')",
    "globals()",
    "locals()",
    "vars()",
    "type(a)",
    "print(a)",
    "input()",
    "breakpoint()",
    "quit()",
    "clamp.__globals__",
    "max.__self__",
    "max(*a)",
    "max(a, key=abs)",
    "max(a, default=1)",
    "max(a)",
    "clamp(a, 0)",
    "round(a, a)",
    "round(a, 400)",
    "round(a, -400)",
    "round(a, 0.5)",
    "pow(a, 2)",
    "sum([a])",
    "max",
    "power(a, 2)",
    "finite(a)",
    "needed(a)",
    "v0",
    "lambda: a",
    "(lambda: a)()",
    "[a for a in (1, 2)]",
    "{a for a in (1, 2)}",
    "{a: 1 for a in (1, 2)}",
    "(a for a in (1, 2))",
    "(a := 1)",
    "f'{a}'",
    "'a' * 1000000000",
    "b'a'",
    "[a] * 1000000000",
    "(a, a)",
    "{a: 1}",
    "a << 1000000",
    "a >> 1",
    "a | 1",
    "a & 1",
    "a ^ 1",
    "~a",
    "a // 2",
    "a % 2",
    "a @ a",
    "9 ** 9 ** 9 + a",
    "a + 1e999",
    "a + " + "9" * 400,
    "a + 1j",
    "a + None",
    "a + True",
    "a + ...",
    "a if a else a",
    "not a",
    "a and a",
    "a > 1",
    "(a > 1) + 1",
    "a is 1",
    "a in (1, 2)",
    "a; import os",
    "import os",
    "a = 1",
    "a\x00",
    "await a",
    "yield a",
    "(yield)",
    "*a",
    "a if a > 1",
    "__builtins__ + 1",
    "__name__ + 1",
    "1 + 1",
    "",
    "# a",
    "(" * 300 + "a" + ")" * 300,
    "-" * 300 + "a",
    "abs(" * 60 + "a" + ")" * 60,
    "a " + "+ a " * 400,
    "a\n\n\tb",
    "ａ.ｂ",
    "~" * 499 + "a",
    "a" + "@a" * 249,
    "lambda:" * 70 + "a",
    "metrics.ˍˍclassˍˍ.x",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_there_is_no_way_out(text: str) -> None:
    if text == "v0":  # a metric like any other: names of ours cannot be reached by it
        assert compile_formula("v0 + a + needed0").value({"v0": 1, "a": 2, "needed0": 4}) == 7
        return
    with pytest.raises(ExpressionError) as caught:
        compile_formula(text)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_there_are_many_attacks() -> None:
    assert len(set(ATTACKS)) >= 60


@pytest.mark.parametrize("name", ["get", "finite", "needed", "type_", "float_", "t1", "v1", "power", "quick", "ask"])
def test_no_metric_shadows_what_the_function_is_made_of(name: str) -> None:
    found = compile_formula(f"{name} + 1 / b + b ** 2 + clamp({name}, 0, 1)")
    assert found.value({name: 5, "b": 2}) == 10.5
    assert found.value({"b": 2}) is None


@given(st.text(max_size=LENGTH_MAX + 10))
def test_any_text_is_a_formula_or_is_refused(text: str) -> None:
    try:
        found = compile_formula(text)
    except ExpressionError:
        return
    value = found.value(dict.fromkeys(found.metrics, 2.0))
    assert value is None or math.isfinite(value)


# -- a plain interpreter, which walks the tree for every evaluation

_APPLY: dict[type, Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: math.pow,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
_CALLS: dict[str, Any] = {
    "abs": abs, "min": min, "max": max, "sqrt": math.sqrt, "log": math.log, "exp": math.exp,
    "floor": lambda x: float(math.floor(x)), "ceil": lambda x: float(math.ceil(x)),
    "round": lambda x, n=0.0: float(round(x, int(n))),
    "clamp": lambda x, low, high: low if x < low else high if x > high else x,
}  # fmt: skip


def plain(node: ast.AST, metrics: dict[str, Any]) -> Any:
    """What a node means: a float, True or False, or None where it is unknown."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name() | ast.Attribute():
            value: Any = metrics.get(node.id if isinstance(node, ast.Name) else node.attr)
            return float(value) if type(value) in (int, float) and abs(value) <= LIMIT else None
        case ast.UnaryOp(op=ast.Not()):
            found = plain(node.operand, metrics)
            return None if found is None else not found
        case ast.UnaryOp():
            return calculated(operator.neg, [plain(node.operand, metrics)])
        case ast.BinOp():
            return calculated(_APPLY[type(node.op)], [plain(node.left, metrics), plain(node.right, metrics)])
        case ast.Call(func=ast.Name(id=name)):
            return calculated(_CALLS[name], [plain(one, metrics) for one in node.args])
        case ast.IfExp():
            test, yes, no = (plain(part, metrics) for part in (node.test, node.body, node.orelse))
            return None if test is None else yes if test else no
        case ast.Compare():
            terms = [plain(term, metrics) for term in (node.left, *node.comparators)]
            pairs = [
                None if None in pair else _APPLY[type(op)](*pair)
                for op, pair in zip(node.ops, pairwise(terms), strict=True)
            ]
            return False if False in pairs else None if None in pairs else True
        case ast.BoolOp():
            found = [plain(value, metrics) for value in node.values]
            decides = isinstance(node.op, ast.Or)
            return decides if decides in found else None if None in found else not decides
    raise AssertionError(ast.dump(node))


def calculated(apply: Any, values: list[float | None]) -> float | None:
    if None in values:
        return None
    try:
        value: float = apply(*values)
    except (ArithmeticError, ValueError):
        return None
    return value if math.isfinite(value) else None


NUMBERS = st.sampled_from(["a", "b", "c", "absent", "metrics.a", "0", "1", "2.5", "1e15", "3e-300", "1e200"])


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    compared = st.tuples(inner, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), inner).map(" ".join)
    chained = st.tuples(inner, inner, inner).map(lambda p: f"{p[0]} < {p[1]} <= {p[2]}")
    test = compared | chained
    tests = test | st.tuples(test, st.sampled_from(["and", "or"]), test).map(" ".join) | test.map("not {}".format)
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "**"]), inner).map(lambda p: f"({' '.join(p)})"),
        inner.map("(-{})".format),
        st.tuples(st.sampled_from(["abs", "sqrt", "log", "exp", "floor", "ceil", "round"]), inner).map(
            lambda p: f"{p[0]}({p[1]})"
        ),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda p: f"{p[0]}({p[1]}, {p[2]})"),
        st.tuples(inner, inner, inner).map(lambda p: f"clamp({', '.join(p)})"),
        inner.map("clamp({}, -2, 2.5)".format),
        inner.map("round({}, 2)".format),
        st.tuples(inner, tests, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
    )


EXPRESSIONS = st.recursive(NUMBERS, larger, max_leaves=12)
VALUES = st.none() | st.integers(-10, 10) | st.floats(-1e3, 1e3) | st.floats() | st.sampled_from([0, 1e15, "x", True])


@settings(max_examples=600, deadline=None)
@given(EXPRESSIONS, st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=5))
def test_it_agrees_with_a_plain_interpreter(text: str, rows: list[tuple[Any, Any, Any]]) -> None:
    try:
        found = compile_formula(text)
    except ExpressionError as error:
        assert any(why in str(error) for why in ("deeper", "too long", "no metric", "has no value"))  # noqa: PT017
        return
    body = ast.parse(text, mode="eval").body
    for row in rows:
        metrics = dict(zip("abc", row, strict=True))
        ours, theirs = found.value(metrics), plain(body, metrics)
        assert ours == theirs, (text, metrics)
        assert type(ours) in (float, type(None))


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, EXPRESSIONS, st.tuples(VALUES, VALUES, VALUES))
def test_conditions_agree_with_it_too(left: str, right: str, row: tuple[Any, Any, Any]) -> None:
    text = f"{left} < {right} or not {right} == 1 and {left} >= 0".replace("metrics.", "")
    for name in ("a", "b", "c", "absent"):
        text = _dotted(text, name)
    try:
        found = compile_condition(text)
    except ExpressionError as error:
        assert any(why in str(error) for why in ("deeper", "too long", "no metric", "has no value"))  # noqa: PT017
        return
    metrics = dict(zip("abc", row, strict=True))
    assert found.holds(metrics) is plain(ast.parse(text, mode="eval").body, metrics)


def _dotted(text: str, name: str) -> str:
    tree = ast.parse(text, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == name:
            node.id = f"metrics.{name}"
    return ast.unparse(tree)


def test_its_depth_has_a_bound() -> None:
    deep = "abs(" * (DEPTH_MAX - 1) + "a" + ")" * (DEPTH_MAX - 1)
    assert compile_formula(deep).value({"a": -1}) == 1
    with pytest.raises(ExpressionError, match="deeper"):
        compile_formula(f"abs({deep})")


def test_a_condition_says_no_long_names_again() -> None:
    for text in ("q" * 490 + " > 1", "~" * 490 + "q"):
        with pytest.raises(ExpressionError) as caught:
            compile_condition(text)
        assert len(str(caught.value)) < 300


# Each comes to infinity on its way: what is known of the size of a part must not be too little.
ENDLESS = (
    "log(a * 1e-300) * log(a * 1e-300) * log(a * 1e-300) * 1e300",
    "(0 * a ** 2 + 1e200) * (a * a * a * a * a * a * a * a)",
    "(0 * exp(a / 1e14) + 1e200) * (a * a * a * a * a * a * a * a)",
    "log(1e-300) * log(1e-300) * log(1e-300) * 1e285 * a",
    "clamp(log(a * 1e-300), a / a - 2000, 0) * 1e299 * 1e6",
    "(a ** 20 if a > 0 else a ** 20) * a",
    "-(-(a * a * 1e290)) * 1e10",
)


@pytest.mark.parametrize("text", ENDLESS)
@pytest.mark.parametrize("a", [LIMIT, -LIMIT, 1e-20, 1e-7, 1.0])
def test_no_value_is_infinite_whatever_was_thought_of_its_parts(text: str, a: float) -> None:
    value = compile_formula(text).value({"a": a})
    assert value is None or math.isfinite(value)
    assert value == plain(ast.parse(text, mode="eval").body, {"a": a})


def compiled_source(text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is handed to the compiler for a formula."""
    sources: list[str] = []

    def spy(source: str, space: dict[str, Any]) -> None:
        sources.append(source)
        exec(source, space)  # noqa: S102 (as there)

    with monkeypatch.context() as patch:
        patch.setattr(expression, "exec", spy, raising=False)
        compile_formula(text)
    [source] = sources
    return source


def test_what_is_compiled_does_not_grow_beyond_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    low = "1"
    for _ in range(10):  # each of these stands twice in the source of the one around it
        low = f"clamp(1, {low}, 2)"
    text = f"clamp(a, {low}, 2)"
    assert compile_formula(text).value({"a": 0}) == 1
    assert len(compiled_source(text, monkeypatch)) < 500
    high = "a"
    for _ in range(DEPTH_MAX - 2):
        high = f"clamp({high},1e200/3,9**9)"
    assert len(compiled_source(high, monkeypatch)) < 20 * LENGTH_MAX
