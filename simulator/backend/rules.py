"""Rules: which reading of which product is bad, and what is to be done about it, in which order.

Rules of rules: keys are exactly those of the contract; a condition is compiled when the rules are loaded,
so a wrong one is refused before anything starts; `productId: "*"` stands for every device, also one
whose product is not known. A rule of type `silence` has no condition: it asks whether a device that was heard
was heard again within `after_s`. Nor has one of type `fire`: the fire prediction says when (backend/fire); where
nobody wrote one, FIRE_RULE is it.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from simulator.backend.by_product import ANY_PRODUCT, by_product, of_product
from simulator.backend.conditions import Condition, compile_condition, formula_key
from simulator.errors import UsageError, did_you_mean

RULES_MAX = 1000

Name = Annotated[str, Field(min_length=1, max_length=128)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Rule(BaseModel):
    """One rule, as the scenario or the operator wrote it."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    ruleId: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]  # noqa: N815 (the contract's key)
    productId: Name | Annotated[list[Name], Field(min_length=1, max_length=100)]  # noqa: N815
    type: Literal["threshold", "silence", "fire"] = "threshold"
    condition: str = ""
    after_s: Seconds | None = None
    severity: Literal["info", "low", "medium", "high", "critical"] = "medium"
    alarmClass: Literal["act_now", "watch", "information"] | None = None  # noqa: N815 (absent: by severity)
    autoAction: Name | None = None  # noqa: N815
    thenUpdateTo: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")] | None = None  # noqa: N815
    thenDispatch: bool = False  # noqa: N815
    actionTimeout_s: Seconds = 15  # noqa: N815
    clearFor_s: Seconds = 20  # noqa: N815
    updateTimeout_s: Seconds = 90  # noqa: N815

    _compiled: Condition | None = PrivateAttr(None)
    _version: int = PrivateAttr(1)

    @field_validator("condition")
    @classmethod
    def _condition_compiles(cls, text: str) -> str:
        if text:
            compile_condition(text)
        return text

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> Self:
        for key, has, needed_by in (
            ("condition", bool(self.condition), "threshold"),
            ("after_s", self.after_s is not None, "silence"),
        ):
            if has != (self.type == needed_by):
                raise ValueError(f"{key}: a rule of type {self.type} {'has none' if has else 'needs one'}")
        if self.ruleId == "fire-risk" and self.type != "fire":
            raise ValueError("ruleId: 'fire-risk' is the rule of the fire prediction: give it type fire, or another id")
        return self

    def model_post_init(self, _context: Any) -> None:
        self._compiled = compile_condition(self.condition) if self.condition else None

    @cached_property
    def compiled(self) -> Condition:
        """The condition, ready to be asked."""
        assert self._compiled is not None, "a rule of type silence has none"
        return self._compiled

    @property
    def metric(self) -> str:
        """What it looks at first; nothing, when it listens for silence."""
        if self.type == "fire":
            return "risk"
        return self._compiled.metrics[0] if self._compiled else ""

    @property
    def says(self) -> str:
        """When it raises an alarm, in words."""
        if self.type == "fire":
            return "the fire risk is high"
        return self.condition or f"nothing heard for {self.after_s:g} s"

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


# What every alert of the fire prediction is raised by, unless there is a rule of type `fire` for the product.
FIRE_RULE = Rule(ruleId="fire-risk", productId=ANY_PRODUCT, type="fire", severity="high", clearFor_s=60)


class Rules:
    """All rules, looked up by product."""

    __slots__ = ("_fire", "_silence", "_threshold", "by_id")

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.by_id = {rule.ruleId: rule for rule in rules}
        self._threshold = by_product([rule for rule in rules if rule.type == "threshold"])
        self._silence = by_product([rule for rule in rules if rule.type == "silence"])
        self._fire = by_product([rule for rule in rules if rule.type == "fire"])

    def for_product(self, product: str | None) -> tuple[Rule, ...]:
        """The rules that readings of a product are held against; of an unknown one, the rules of every device."""
        return of_product(self._threshold, product)

    @property
    def any_silence(self) -> bool:
        """Is anybody missed at all?"""
        return bool(self._silence)

    def silence_of(self, product: str | None) -> tuple[Rule, ...]:
        """The rules that miss devices of a product."""
        return of_product(self._silence, product)

    def fire_of(self, product: str | None) -> Rule:
        """The rule that alerts of fire risk are raised by; one that names the product comes first."""
        found = of_product(self._fire, product)
        return next((rule for rule in found if product in rule.products), found[0] if found else FIRE_RULE)

    def find(self, rule_id: str) -> Rule | None:
        """The rule with this id, also the one that nobody wrote."""
        return self.by_id.get(rule_id) or (FIRE_RULE if rule_id == FIRE_RULE.ruleId else None)


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


def check_formulas(where: str, rule: Rule, formulas: Iterable[str]) -> None:
    """UsageError when a rule looks at a formula that there is not; `formulas` are their ids."""
    known = {formula_key(name) for name in formulas}
    for name in rule.compiled.formulas if rule.condition else ():
        if name not in known:
            raise UsageError(f"{where}.condition: there is no formula for '{name}'{did_you_mean(name, sorted(known))}")


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


def shown(key: object) -> str:
    """A key that somebody made up, as it may stand in a line."""
    return "".join(c if c.isprintable() else "?" for c in str(key)[:64])


def _first_mistake(where: str, error: ValidationError) -> str:
    """One line for the first mistake pydantic found."""
    first = error.errors(include_url=False)[0]
    path = where + "".join(f".{part}" for part in first["loc"][:1])
    if not first["loc"]:
        return f"{path}.{first['msg'].removeprefix('Value error, ')}"  # it begins with the key
    if first["type"] == "extra_forbidden":
        key = shown(first["loc"][-1])
        return f"{where}.{key}: unknown key '{key}'{did_you_mean(key, list(Rule.model_fields))}"
    return f"{path}: {first['msg'].removeprefix('Value error, ')}"
