"""Formulas: values of the newest sample, versions that can be rolled back while it runs, and rules that use them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.backend.platform import formulas as formulas_module
from simulator.backend.platform.formulas import Formula, Values, compute, read_formulas
from simulator.backend.platform.queries import HISTORY
from simulator.errors import UsageError
from tests.backend.platform_world import HOT, NOW_MS, Start, World, worlds

HEALTH = {
    "formulaId": "health-score-prod-a", "productId": "prod-a",
    "expression": "clamp(100 - (tempC - 60) * 2 - vibration * 10, 0, 100)",
}  # fmt: skip


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with worlds(tmp_path / "state", {"other": ("prod-b", {})}) as begin:
        yield begin


def put(world: World, name: str = "health-score-prod-a", **changed: Any) -> int:
    return world.changes.put_formula(name, orjson.dumps({**HEALTH, "formulaId": name, **changed}))


def values(world: World, thing: str = "V") -> dict[str, tuple[int, float]]:
    world.pipeline.commit()
    found = world.platform.formula_values(thing)
    return {one["formulaId"]: (one["version"], one["value"]) for one in found}


def test_a_value_is_kept_of_the_newest_sample(start: Start) -> None:
    world = start(formulas=[HEALTH])
    world.say(tempC=70, vibration=1)
    assert world.platform.formula_values("V") == []
    world.pipeline.commit()
    assert world.platform.formula_values("V") == [
        {"formulaId": "health-score-prod-a", "version": 1, "value": 70.0, "device_timestamp": NOW_MS}
    ]
    world.say(at_ms=NOW_MS - 5000, tempC=60, vibration=0)  # late
    assert values(world) == {"health-score-prod-a": (1, 70.0)}
    world.say(at_ms=NOW_MS + 5000, tempC=60)  # without all of its metrics: the last value stays
    assert values(world) == {"health-score-prod-a": (1, 70.0)}
    world.say(at_ms=NOW_MS + 2000, tempC=61, vibration=0)  # late, but newer than the value
    assert values(world) == {"health-score-prod-a": (1, 98.0)}
    world.say("other", tempC=61, vibration=0)
    assert values(world, "other") == {}
    assert values(world, "nobody") == {}


def test_it_changes_rolls_back_and_goes_while_it_runs(start: Start) -> None:
    world = start()
    assert world.queries.current("formula") == []
    assert put(world) == 1
    assert put(world) == 1, "nothing changed"
    world.say(tempC=70, vibration=1)
    assert values(world) == {"health-score-prod-a": (1, 70.0)}
    assert put(world, expression="tempC") == 2
    assert values(world) == {"health-score-prod-a": (1, 70.0)}, "until the next sample"
    world.say(at_ms=NOW_MS + 1, tempC=71, vibration=1)
    assert values(world) == {"health-score-prod-a": (2, 71.0)}
    world.again()
    assert values(world) == {"health-score-prod-a": (2, 71.0)}
    assert world.changes.rollback("formula", "health-score-prod-a", 1) == 3
    world.say(at_ms=NOW_MS + 2, tempC=70, vibration=1)
    assert values(world) == {"health-score-prod-a": (3, 70.0)}
    [rolled] = world.queries.events(0, kinds=HISTORY["rollback"])["events"]
    assert (rolled["kind"], rolled["detail"]) == (
        "formula_rolled_back", {"name": "health-score-prod-a", "to": 1, "version": 3},
    )  # fmt: skip
    found = world.queries.history("formula", "health-score-prod-a")
    assert [(one["version"], one["formula"]["expression"]) for one in found] == [
        (3, HEALTH["expression"]), (2, "tempC"), (1, HEALTH["expression"]),
    ]  # fmt: skip
    assert [one["version"] for one in world.queries.current("formula")] == [3]
    assert world.changes.delete_formula("health-score-prod-a")
    assert not world.changes.delete_formula("health-score-prod-a")
    assert (values(world), world.queries.current("formula")) == ({}, [])
    assert world.changes.rollback("formula", "health-score-prod-a", 2) == 5
    assert world.queries.history("formula", "nothing") == []


def test_a_rule_rolls_back_too(start: Start) -> None:
    world = start()
    world.changes.put_rule("hot", b'{"productId": "*", "condition": "metrics.t > 100"}')
    world.changes.put_rule("hot", b'{"productId": "*", "condition": "metrics.t > 200"}')
    assert world.changes.rollback("rule", "hot", 1) == 3
    assert world.changes.rollback("rule", "hot", 3) == 3, "it is in force"
    world.say(t=150)
    world.pipeline.commit()
    assert world.kinds() == ["rule_rolled_back", "alarm_raised"]
    for kind, name, version in (("rule", "hot", 9), ("rule", "cold", 1), ("formula", "hot", 1)):
        with pytest.raises(UsageError, match="there is no version"):
            world.changes.rollback(kind, name, version)  # type: ignore[arg-type]


def test_what_is_configured_counts_when_it_changed(start: Start) -> None:
    world = start(formulas=[HEALTH])
    put(world, expression="tempC")
    world.again()
    assert world.queries.current("formula")[0]["formula"]["expression"] == "tempC"
    world.again(formulas=[{**HEALTH, "expression": "tempC * 2"}])
    assert [(one["version"], one["source"]) for one in world.queries.current("formula")] == [(3, "config")]
    world.again(formulas=[])
    assert world.queries.current("formula") == []


def test_a_rule_uses_a_formula(start: Start) -> None:
    rule = {"ruleId": "ill", "productId": "prod-a", "condition": "formulas.health_score_prod_a < 50"}
    world = start(formulas=[HEALTH], rules=[rule])
    forged: dict[str, Any] = {"formulas.health_score_prod_a": 1}  # a device cannot say it
    world.say(tempC=70, vibration=1, **forged)
    world.say("other", tempC=70, vibration=1, **forged)
    world.pipeline.commit()
    assert world.kinds() == []
    world.say(at_ms=NOW_MS + 1, tempC=90, vibration=1)
    world.pipeline.commit()
    [event] = world.queries.events(0)["events"]
    assert (event["kind"], event["detail"]["value"]) == ("alarm_raised", 30.0)
    world.again(formulas=[])
    world.say(at_ms=NOW_MS + 2, tempC=60, vibration=1)
    world.pipeline.commit()
    assert world.kinds() == ["alarm_raised"], "unknown is neither bad nor good"


def test_samples_that_waited_for_the_product_count(start: Start) -> None:
    rule = {"ruleId": "ill", "productId": "prod-a", "condition": "formulas.health_score_prod_a < 50"}
    world = start(formulas=[HEALTH], rules=[rule])
    world.answers = False
    world.say(tempC=90, vibration=1)
    assert values(world) == {}
    world.answer("V")
    assert values(world) == {"health-score-prod-a": (1, 30.0)}
    assert world.kinds() == ["alarm_raised"]


def test_values_of_a_formula_that_is_not_configured_any_more_go(start: Start) -> None:
    world = start(formulas=[HEALTH])
    world.say(tempC=70, vibration=1)
    world.pipeline.commit()
    world.again(formulas=[{**HEALTH, "formulaId": "another"}])
    world.say(at_ms=NOW_MS + 1, tempC=70, vibration=1)
    assert values(world) == {"another": (1, 70.0)}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"expression": "os.system('x')"}, "formula.expression: at column 1"),
    ({"expression": "1 + 1"}, "depends on no metric"),
    ({"expression": "tempC > 3"}, "is true or false where a number is needed"),
    ({"expresion": "tempC"}, "unknown key 'expresion' (did you mean 'expression'?)"),
    ({"productId": ""}, "formula.productId"),
    ({"formulaId": "x"}, "but the address says"),
    ({"formulaId": "a b"}, "but the address says"),
]


@pytest.mark.parametrize(("changed", "why"), REFUSED)
def test_a_wrong_formula_is_refused_in_one_line(start: Start, changed: dict[str, Any], why: str) -> None:
    world = start()
    with pytest.raises(UsageError) as caught:
        world.changes.put_formula("health-score-prod-a", orjson.dumps(HEALTH | changed))
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert world.queries.current("formula") == []


def test_how_many_there_may_be(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formulas_module, "EACH_MAX", 2)
    monkeypatch.setattr(formulas_module, "FORMULAS_MAX", 3)
    world = start()
    put(world, "a")
    put(world, "b")
    with pytest.raises(UsageError, match="product 'prod-a' has 3"):
        put(world, "c")
    put(world, "c", productId="prod-b")
    with pytest.raises(UsageError, match="4 are too many"):
        put(world, "d", productId="prod-c")
    with pytest.raises(UsageError, match=r"both formulas\.a_b in a rule"):
        read_formulas([{**HEALTH, "formulaId": name} for name in ("a-b", "a_b")])
    with pytest.raises(UsageError, match=r"formulas\[1\].formulaId: 'a' is also the id of formulas\[0\]"):
        read_formulas([{**HEALTH, "formulaId": "a"}] * 2)


# -- disorder

_FORMULAS = [
    Formula(formulaId="f", productId="p", expression="a + b"), Formula(formulaId="g", productId="p", expression="b"),
]  # fmt: skip


@given(st.data())
def test_disorder_comes_to_the_same_values(data: st.DataObject) -> None:
    metrics = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9))
    said = data.draw(st.lists(st.tuples(st.integers(0, 99), metrics), unique_by=lambda one: one[0], max_size=20))
    again = data.draw(st.lists(st.sampled_from(said), max_size=5)) if said else []
    ends: list[Values] = []
    for samples in (sorted(said, key=lambda one: one[0]), data.draw(st.permutations(said + again))):
        found: Values = {}
        for at_ms, sample in samples:
            compute(_FORMULAS, found, sample, at_ms)
        ends.append(found)
    assert ends[0] == ends[1]


def test_a_rule_may_only_look_at_a_formula_that_there_is(tmp_path: Path) -> None:
    world = World(tmp_path, formulas=[{"formulaId": "health-a", "productId": "*", "expression": "t * 2"}])
    try:
        rule = {**HOT, "ruleId": "worn", "condition": "formulas.helth_a < 20"}
        with pytest.raises(UsageError, match=r"did you mean 'formulas\.health_a'"):
            world.changes.put_rule("worn", orjson.dumps(rule))
        world.changes.put_rule("worn", orjson.dumps(rule | {"condition": "formulas.health_a < 20"}))
        with pytest.raises(UsageError, match="rule 'worn' looks at it"):
            world.changes.delete_formula("health-a")
        world.changes.delete_rule("worn")
        assert world.changes.delete_formula("health-a")
    finally:
        world.stop()
