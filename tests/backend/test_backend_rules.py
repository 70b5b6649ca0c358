"""Rules: their keys, their mistakes, their look-up."""

from typing import Any

import pytest

from simulator.backend.by_product import by_product, of_product
from simulator.backend.rules import load_rules
from simulator.errors import UsageError

RULE: dict[str, Any] = {
    "ruleId": "engine-overheat",
    "productId": ["SedanVehicle", "SUVVehicle"],
    "type": "threshold",
    "condition": "metrics.engine_temp_c > 110",
    "severity": "high",
    "autoAction": "restart-fan",
    "thenUpdateTo": "1.1.0",
    "thenDispatch": True,
    "actionTimeout_s": 15,
    "clearFor_s": 20,
    "updateTimeout_s": 90,
}

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"condition": "metrics.t >"}, r"rules\[0\]\.condition: at column 12: not an expression"),
    ({"condition": "temp > 1"}, r"rules\[0\]\.condition: .*a metric is written metrics\.temp"),
    ({"conditon": "x"}, r"rules\[0\]\.conditon: unknown key 'conditon' \(did you mean 'condition'\?\)"),
    ({"ruleId": "a b"}, r"rules\[0\]\.ruleId: "),
    ({"productId": []}, r"rules\[0\]\.productId: "),
    ({"type": "formula"}, r"rules\[0\]\.type: "),
    ({"severity": "awful"}, r"rules\[0\]\.severity: "),
    ({"actionTimeout_s": 0}, r"rules\[0\]\.actionTimeout_s: "),
    ({"thenUpdateTo": "1 1"}, r"rules\[0\]\.thenUpdateTo: "),
    ({"productId": "SedanVehicel"}, r"unknown product 'SedanVehicel' \(did you mean 'SedanVehicle'\?\)"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_a_mistake_is_one_line_that_says_where(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_rules([RULE | change], ["SedanVehicle", "SUVVehicle"])
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(UsageError, match=r"rules\[1\]\.condition: "):
        load_rules([RULE, {"ruleId": "x", "productId": "y"}])


def test_two_rules_do_not_share_an_id() -> None:
    with pytest.raises(UsageError, match=r"rules\[1\]\.ruleId: 'engine-overheat' is also the id of rules\[0\]"):
        load_rules([RULE, RULE])


def test_to_look_up_many_products_costs_as_much_as_they_are() -> None:
    asked = 0

    class Said:
        def __init__(self, *products: str) -> None:
            self._products = products

        @property
        def products(self) -> tuple[str, ...]:
            nonlocal asked
            asked += 1
            return self._products

    said = [Said(*(f"p{i}-{j}" for j in range(100))) for i in range(100)] + [Said("*"), Said("p1-1", "p1-1", "*")]
    found = by_product(said)
    assert asked <= 3 * len(said)
    assert of_product(found, "p1-1") == (said[1], said[100], said[101])
    assert of_product(found, "else") == of_product(found, None) == (said[100], said[101])
    assert of_product(by_product(said[:1]), None) == ()


def test_rules_are_found_by_product() -> None:
    everywhere = {"ruleId": "any", "productId": "*", "condition": "metrics.t > 1"}
    rules = load_rules([RULE, everywhere])
    assert [rule.ruleId for rule in rules.for_product("SedanVehicle")] == ["engine-overheat", "any"]
    assert [rule.ruleId for rule in rules.for_product("FireSensor")] == ["any"]
    assert [rule.ruleId for rule in rules.for_product(None)] == ["any"]
    assert load_rules([RULE]).for_product(None) == ()
