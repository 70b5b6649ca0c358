"""Rules: which reading of which product is bad, and what is to be done about it, in which order.

Rules of rules: keys are exactly those of the contract; a condition is compiled when the rules are loaded,
so a wrong one is refused before anything starts; `productId: "*"` stands for every device, also one
whose product is not known.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from simulator.backend.conditions import Condition, compile_condition
from simulator.errors import UsageError, did_you_mean

RULES_MAX = 1000
ANY_PRODUCT = "*"

Name = Annotated[str, Field(min_length=1, max_length=128)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Rule(BaseModel):
    """One rule, as the scenario or the operator wrote it."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    ruleId: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]  # noqa: N815 (the contract's key)
    productId: Name | Annotated[list[Name], Field(min_length=1, max_length=100)]  # noqa: N815
    type: Literal["threshold"] = "threshold"
    condition: str
    severity: Literal["info", "low", "medium", "high", "critical"] = "medium"
    autoAction: Name | None = None  # noqa: N815
    thenUpdateTo: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")] | None = None  # noqa: N815
    thenDispatch: bool = False  # noqa: N815
    actionTimeout_s: Seconds = 15  # noqa: N815
    clearFor_s: Seconds = 20  # noqa: N815
    updateTimeout_s: Seconds = 90  # noqa: N815

    _compiled: Condition = PrivateAttr()
    _version: int = PrivateAttr(1)

    @field_validator("condition")
    @classmethod
    def _condition_compiles(cls, text: str) -> str:
        compile_condition(text)
        return text

    def model_post_init(self, _context: Any) -> None:
        self._compiled = compile_condition(self.condition)

    @property
    def compiled(self) -> Condition:
        """The condition, ready to be asked."""
        return self._compiled

    @property
    def version(self) -> int:
        """Counts the changes of the rule."""
        return self._version

    def as_version(self, version: int) -> "Rule":
        """The same rule with its number."""
        numbered = self.model_copy()
        numbered._version = version
        return numbered

    def is_for(self, product: str | None) -> bool:
        """Does it speak of this product?"""
        return ANY_PRODUCT in self.products or (product is not None and product in self.products)

    @property
    def products(self) -> tuple[str, ...]:
        """The products the rule speaks of."""
        return (self.productId,) if isinstance(self.productId, str) else tuple(self.productId)


class Rules:
    """All rules, looked up by product."""

    __slots__ = ("_by_product", "by_id")

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.by_id = {rule.ruleId: rule for rule in rules}
        self._by_product: dict[str, tuple[Rule, ...]] = {}
        for product in {name for rule in rules for name in rule.products}:
            self._by_product[product] = tuple(
                rule for rule in rules if product in rule.products or ANY_PRODUCT in rule.products
            )

    def for_product(self, product: str | None) -> tuple[Rule, ...]:
        """The rules of a product; of an unknown one, the rules of every device."""
        found = self._by_product.get(product or ANY_PRODUCT)
        return self._by_product.get(ANY_PRODUCT, ()) if found is None else found


def load_rules(raw: Sequence[Mapping[str, Any]], products: Sequence[str] = ()) -> Rules:
    """Read rules; UsageError `rules[0].condition: …` for the first mistake.

    When `products` names the known products, a rule for another one is refused.
    """
    if len(raw) > RULES_MAX:
        raise UsageError(f"rules: {len(raw)} are too many (at most {RULES_MAX})")
    rules: list[Rule] = []
    seen: dict[str, int] = {}
    for i, entry in enumerate(raw):
        rule = read_rule(f"rules[{i}]", entry, products)
        if rule.ruleId in seen:
            raise UsageError(f"rules[{i}].ruleId: '{rule.ruleId}' is also the id of rules[{seen[rule.ruleId]}]")
        seen[rule.ruleId] = i
        rules.append(rule)
    return Rules(rules)


def read_rule(where: str, entry: Any, products: Sequence[str] = ()) -> Rule:
    """One rule; UsageError `<where>.condition: …` for its first mistake."""
    try:
        rule = Rule.model_validate(entry)
    except ValidationError as error:
        raise UsageError(_first_mistake(where, error)) from None
    for product in rule.products:
        if products and product not in products and product != ANY_PRODUCT:
            near = did_you_mean(product, list(products))
            raise UsageError(f"{where}.productId: unknown product '{product}'{near}")
    return rule


def _first_mistake(where: str, error: ValidationError) -> str:
    """One line for the first mistake pydantic found."""
    first = error.errors(include_url=False)[0]
    path = where + "".join(f".{part}" for part in first["loc"][:1])
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        return f"{path}: unknown key '{key}'{did_you_mean(key, list(Rule.model_fields))}"
    return f"{path}: {first['msg'].removeprefix('Value error, ')}"
