"""The language of conditions: what it says, and everything it must refuse."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.backend.conditions import DEPTH_MAX, LENGTH_MAX, ConditionError, compile_condition

M: dict[str, Any] = {"t": 111.0, "v": 5, "zero": 0, "gear": "D", "on": True, "big": 1e308}

HOLDS = [
    ("metrics.t > 110", True),
    ("metrics.t > 111", False),
    ("metrics.t >= 111", True),
    ("metrics.t == 111", True),
    ("metrics.t != 111", False),
    ("metrics.t < 112 and metrics.v <= 5", True),
    ("100 < metrics.t < 110", False),
    ("100 < metrics.t <= 111 < 200", True),
    ("not metrics.t > 110", False),
    ("not (metrics.t > 110 or metrics.v > 5)", False),
    ("-metrics.v < -4.5", True),
    ("+metrics.v == 5", True),
    ("(metrics.t - 11) / metrics.v * 2 == 40", True),
    ("  metrics.t\t> 1e2  ", True),
    # unknown: a missing metric, a text, a truth value, a division by zero, an overflow
    ("metrics.absent > 1", None),
    ("metrics.gear > 1", None),
    ("metrics.on == 1", None),
    ("metrics.t / metrics.zero > 1", None),
    ("metrics.big * metrics.big > 1", None),
    ("metrics.big * 10 - metrics.big * 10 == 0", None),
    ("not metrics.absent > 1", None),
    ("1 < metrics.absent < 2", None),
    # three-valued logic: what is known decides when it can
    ("metrics.t > 110 or metrics.absent > 1", True),
    ("metrics.absent > 1 or metrics.t > 110", True),
    ("metrics.t < 110 and metrics.absent > 1", False),
    ("metrics.absent > 1 and metrics.t < 110", False),
    ("metrics.t > 110 and metrics.absent > 1", None),
    ("metrics.t < 110 or metrics.absent > 1", None),
    # functions, powers, choices: the language of formulas
    ("clamp(metrics.t, 0, 100) == 100 and max(metrics.v, 7) == 7", True),
    ("metrics.v ** 2 == 25", True),
    ("(1 if metrics.t > 1 else 2) > 1", False),
    ("metrics.t > 1 if metrics.v > 9 else metrics.t > 200", False),
    ("metrics.t > 1 if metrics.absent > 9 else metrics.t > 2", None),
    ("formulas.health_score < 40", None),
]


@pytest.mark.parametrize(("text", "expected"), HOLDS)
def test_a_condition_means_what_it_says(text: str, expected: bool | None) -> None:
    assert compile_condition(text).holds(M) is expected


REFUSED = [
    ("", "not an expression"),
    ("metrics.t >", "column 12"),
    ("metrics.t > 110; metrics.v", "not an expression"),
    ("metrics.t = 110", "not an expression"),
    ("x = metrics.t > 1", "not an expression"),
    ("metrics.t", "compare it"),
    ("metrics.t + 1", "compare it"),
    ("1 > 0", "depends on no metric"),
    ("True", "not allowed"),
    ("metrics.t > True", "not allowed"),
    ("metrics.t > 'a'", "not allowed"),
    ("metrics.t > 1j", "not allowed"),
    ("metrics.t > None", "not allowed"),
    ("metrics.t > 1e999", "too large"),
    (f"metrics.t > {'9' * 400}", "too large"),
    ("engine_temp_c > 110", "metrics.engine_temp_c"),
    ("metrics > 1", "unknown name"),
    ("(metrics.t > 1) > 0", "is true or false where a number is needed"),
    ("metrics.t and metrics.v > 1", "compare it"),
    ("metrics.t is 1", "only < <= > >= == != compare"),
    ("metrics.t in (1, 2)", "only"),
    ("__import__('os').system('true') > 1", "not allowed"),
    ("metrics.__class__ > 1", "not allowed"),
    ("metrics.t.__class__ > 1", "not allowed"),
    ("metrics.t.real > 1", "not allowed"),
    ("other.t > 1", "not allowed"),
    ("metrics['t'] > 1", "not allowed"),
    ("metrics.t() > 1", "not allowed"),
    ("9 ** 9 ** 9 > metrics.t", "has no value"),
    ("metrics.t % 2 > 0", "not allowed"),
    ("metrics.t // 2 > 0", "not allowed"),
    ("metrics.t << 2 > 0", "not allowed"),
    ("~metrics.t > 0", "not allowed"),
    ("metrics.t @ 2 > 0", "not allowed"),
    ("'a' * 1000000000 > metrics.t", "not allowed"),
    ("[1] * 1000000000 > metrics.t", "not allowed"),
    ("(lambda: 1)() > metrics.t", "not allowed"),
    ("lambda: metrics.t > 1", "not allowed"),
    ("[x for x in metrics.t] > 1", "not allowed"),
    ("{x: 1 for x in (1,)} > metrics.t", "not allowed"),
    ("(x := metrics.t) > 1", "not allowed"),
    ("f'{metrics.t}' > 1", "not allowed"),
    ("await metrics.t > 1", ""),
    ("metrics.t > \x00 1", ""),
    ("-" * 300 + "1 < metrics.t", "deeper than"),
    ("not " * (DEPTH_MAX + 1) + "metrics.t > 1", "deeper than"),
    ("metrics.t > 1 " + "or metrics.t > 1 " * 40, "too long"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_everything_else_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_condition(text)
    assert why in str(caught.value)


def test_a_condition_may_stand_on_two_lines() -> None:
    assert compile_condition("metrics.t > 110\n and metrics.v == 5").holds(M) is True


def test_a_refusal_names_the_column() -> None:
    with pytest.raises(ConditionError, match="at column 17: 'open"):
        compile_condition("metrics.t > 1 + open('f')")


def test_the_metrics_are_listed_in_the_order_of_their_use() -> None:
    assert compile_condition("metrics.b > 1 and metrics.a > metrics.b").metrics == ("b", "a")


@given(st.text(max_size=LENGTH_MAX + 10))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        condition = compile_condition(text)
    except ConditionError:
        return
    assert condition.holds(M) in (True, False, None)


_number = st.sampled_from(["metrics.t", "metrics.absent", "metrics.zero", "3", "0.5"])
_arithmetic = st.recursive(
    _number,
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda p: f"({' '.join(p)})"),
    max_leaves=6,
)
_comparison = st.tuples(_arithmetic, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), _arithmetic)


@given(_comparison.map(" ".join).filter(lambda text: "metrics" in text))
def test_a_comparison_agrees_with_python(text: str) -> None:
    ours = compile_condition(text).holds(M)
    try:
        pythons: bool | None = eval(text, {}, {"metrics": _Metrics()})  # noqa: S307
    except (AttributeError, ZeroDivisionError):
        pythons = None
    assert ours is pythons


class _Metrics:
    t = 111.0
    zero = 0.0
