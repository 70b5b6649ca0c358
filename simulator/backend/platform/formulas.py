"""Formulas: values that are computed of a product's readings, `clamp(100 - (tempC - 60) * 2 - vibration * 10, 0, 100)`.

Rules: the language is that of expression.py; a metric is written by its name, or metrics.<name>. A formula is computed
of every sample of its product that has all of its metrics; kept is the value of the newest one by the device's time,
so disorder comes to the same. A value has the version of the formula that made it.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from simulator.backend.by_product import by_product, of_product
from simulator.backend.conditions import formula_key
from simulator.backend.platform.expression import FUNCTIONS, Compiled, ExpressionError, Metrics, compile_number
from simulator.backend.rules import shown
from simulator.errors import UsageError, did_you_mean

FORMULAS_MAX = 1000
EACH_MAX = 20  # of a product

Name = Annotated[str, Field(min_length=1, max_length=128)]


class Formula(BaseModel):
    """One formula, as somebody wrote it."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    formulaId: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]  # noqa: N815 (the contract's key)
    productId: Name | Annotated[list[Name], Field(min_length=1, max_length=100)]  # noqa: N815
    expression: str

    _compiled: Compiled | None = PrivateAttr(None)
    _version: int = PrivateAttr(1)

    @field_validator("expression")
    @classmethod
    def _expression_compiles(cls, text: str) -> str:
        compile_formula(text)
        return text

    def model_post_init(self, _context: Any) -> None:
        self._compiled = compile_formula(self.expression)

    @property
    def value(self) -> Callable[[Metrics], float | None]:
        """Computes it; None where a metric is missing, or there is no value."""
        assert self._compiled is not None, "it was checked"
        found: Callable[[Metrics], float | None] = self._compiled.value
        return found

    @property
    def version(self) -> int:
        """Counts the changes of the formula."""
        return self._version

    def as_version(self, version: int) -> "Formula":
        """The same formula with its number."""
        numbered = self.model_copy()
        numbered._version = version
        return numbered

    @property
    def products(self) -> tuple[str, ...]:
        """The products that it is for."""
        return (self.productId,) if isinstance(self.productId, str) else tuple(self.productId)


def compile_formula(text: str) -> Compiled:
    """Compile a formula; ExpressionError when it is not one."""
    compiled = compile_number(text, _name_of)
    if not compiled.metrics:
        raise ExpressionError("it depends on no metric; write for example clamp(100 - tempC, 0, 100)")
    return compiled


def _name_of(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name) if name not in FUNCTIONS and name != "metrics" and not name.startswith("__"):
            return name
        case ast.Attribute(value=ast.Name(id="metrics"), attr=name) if not name.startswith("__"):
            return name
    return None


class Formulas:
    """All formulas, looked up by product."""

    def __init__(self, formulas: Sequence[Formula] = ()) -> None:
        self.by_id = {formula.formulaId: formula for formula in formulas}
        self._by_product = by_product(formulas)

    def of(self, product: str | None) -> tuple[Formula, ...]:
        """The formulas of a product."""
        return of_product(self._by_product, product)

    def check(self) -> None:
        """UsageError when there are too many, or two that rules could not tell apart."""
        if len(self.by_id) > FORMULAS_MAX:
            raise UsageError(f"formulas: {len(self.by_id)} are too many (at most {FORMULAS_MAX})")
        seen: dict[str, str] = {}
        for name in self.by_id:
            if (other := seen.setdefault(formula_key(name), name)) != name:
                raise UsageError(f"formulaId: '{name}' and '{other}' are both {formula_key(name)} in a rule")
        for product, formulas in self._by_product.items():
            if len(formulas) > EACH_MAX:
                raise UsageError(f"formulas: product '{product}' has {len(formulas)} (at most {EACH_MAX})")


class Value(NamedTuple):
    """The latest value of a formula of a device."""

    version: int
    value: float
    at_ms: int  # the device's time


Values = dict[str, Value]


def compute(formulas: Sequence[Formula], values: Values, metrics: Mapping[str, Any], at_ms: int) -> bool:
    """Bring a device's values up to date with a sample; whether one changed."""
    changed = False
    for formula in formulas:
        known = values.get(formula.formulaId)
        if known is not None and (at_ms < known.at_ms or (at_ms == known.at_ms and known.version == formula.version)):
            continue
        value = formula.value(metrics)
        if value is not None:
            values[formula.formulaId] = Value(formula.version, value, at_ms)
            changed = True
    return changed


def document_of(values: Values) -> str:
    """A device's values as JSON for the store."""
    return orjson.dumps([(name, *value) for name, value in values.items()]).decode() if values else ""


def from_document(document: str) -> Values:
    """The values that were kept."""
    return {name: Value(*rest) for name, *rest in orjson.loads(document)} if document else {}


def read_formula(where: str, entry: Any) -> Formula:
    """One formula; UsageError `<where>.expression: …` for its first mistake."""
    try:
        return Formula.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = where + "".join(f".{part}" for part in first["loc"][:1])
        if first["type"] == "extra_forbidden":
            key = shown(first["loc"][-1])
            near = did_you_mean(key, list(Formula.model_fields))
            raise UsageError(f"{where}.{key}: unknown key '{key}'{near}") from None
        raise UsageError(f"{path}: {first['msg'].removeprefix('Value error, ')}") from None


def read_formulas(raw: Sequence[Any]) -> Formulas:
    """The formulas of a configuration; UsageError for the first mistake."""
    formulas: list[Formula] = []
    seen: dict[str, int] = {}
    for i, entry in enumerate(raw):
        formula = read_formula(f"formulas[{i}]", entry)
        if (first := seen.setdefault(formula.formulaId, i)) != i:
            raise UsageError(f"formulas[{i}].formulaId: '{formula.formulaId}' is also the id of formulas[{first}]")
        formulas.append(formula)
    found = Formulas(formulas)
    found.check()
    return found
