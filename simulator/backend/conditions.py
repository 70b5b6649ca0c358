"""The language of rule conditions: `metrics.engine_temp_c > 110 and formulas.health_score < 40`.

Rules: it is the language of platform/expression.py, and its value is true or false. A metric is written metrics.<name>;
the value of a formula formulas.<id>, where every `-` of the id is written `_`.
"""

import ast
from typing import NamedTuple

from simulator.backend.platform.expression import (
    DEPTH_MAX,
    LENGTH_MAX,
    ExpressionError,
    Truth,
    compile_truth,
)

__all__ = ["DEPTH_MAX", "LENGTH_MAX", "Condition", "ConditionError", "compile_condition", "formula_key"]

ConditionError = ExpressionError
FORMULAS = "formulas."


class Condition(NamedTuple):
    """A compiled condition: call `holds` with the metrics of one sample."""

    text: str
    holds: Truth
    metrics: tuple[str, ...]  # in the order of their first use; values of formulas among them
    formulas: tuple[str, ...]  # those of them that are values of formulas


def formula_key(formula_id: str) -> str:
    """The name by which a formula's value is among the metrics."""
    return FORMULAS + formula_id.replace("-", "_")


def compile_condition(text: str) -> Condition:
    """Compile a condition; ConditionError when it is not one."""
    holds, metrics = compile_truth(text, _name_of)
    if not metrics:
        raise ConditionError("it depends on no metric; write for example metrics.engine_temp_c > 110")
    return Condition(text, holds, metrics, tuple(name for name in metrics if name.startswith(FORMULAS)))


def _name_of(node: ast.expr) -> str | None:
    match node:
        case ast.Attribute(value=ast.Name(id="metrics"), attr=name) if not name.startswith("__"):
            return name
        case ast.Attribute(value=ast.Name(id="formulas"), attr=name) if not name.startswith("__"):
            return FORMULAS + name
    return None
