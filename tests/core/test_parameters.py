"""Parameters of a scenario: defaults, settings, draws, and what is said when one is wrong."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import UsageError
from simulator.parameters import fill, settings
from simulator.yaml_marks import read


def filled(text: str, given: dict[str, Any] | None = None, seed: int = 1) -> tuple[Any, list[str]]:
    marks, wrong = read(text, "a.yaml")
    assert not wrong
    problems = fill(marks, given or {}, seed)
    return marks.root.value, [str(problem) for problem in problems]


FLEET = "parameters:\n  devices: 200\n  country: US\n  rate: 0.5\n  loud: true\n"


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ("${devices}", 200), ("'${devices}'", 200), ("V-${country}-{n}", "V-US-{n}"), ("${rate}", 0.5),
        ("${loud}", True), ("is ${loud}", "is true"), ("$${devices}", "${devices}"),
        ("a $${x} ${country}", "a ${x} US"), ("${country}${devices}", "US200"),
    ],
)  # fmt: skip
def test_a_value_is_put_in(written: str, becomes: object) -> None:
    value, problems = filled(f"{FLEET}fleet:\n  - count: {written}\n")
    assert not problems
    [group] = value["fleet"]
    assert group["count"] == becomes
    assert type(group["count"]) is type(becomes)


def test_what_was_set_comes_first() -> None:
    text = f"{FLEET}n: ${{devices}}\nc: ${{country}}\n"
    value, _ = filled(text, settings(["devices=5", "country=12:30"]))
    assert (value["n"], value["c"]) == (5, "12:30")
    assert value["parameters"]["devices"] == 5


def test_a_draw_is_the_seeds() -> None:
    text = "parameters:\n  a: {uniform: [1, 5]}\n  b: {normal: [100, 10], round: 0}\n  c: {choice: [US, DE, JP]}\n"
    drawn = [filled(text, seed=seed)[0]["parameters"] for seed in range(200)]
    assert filled(text, seed=3)[0]["parameters"] == drawn[3]
    assert all(1 <= one["a"] < 5 for one in drawn)
    assert {one["c"] for one in drawn} == {"US", "DE", "JP"}
    assert all(isinstance(one["b"], int) for one in drawn)
    assert 95 < sum(one["b"] for one in drawn) / 200 < 105


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("parameters: {devices: 1}\nx: ${devces}", "a.yaml:2:4: unknown parameter 'devces' (did you mean 'devices'?)"),
        ("x: ${devices}", "a.yaml:1:4: unknown parameter 'devices': the file has no 'parameters'"),
        ("parameters: {a-b: 1}", "a.yaml:1:14: 'a-b' is no name of letters, digits and _"),
        ("parameters: {a: {unifrm: [1, 2]}}", "a.yaml:1:17: expected a value, or one of uniform, normal, choice"),
        ("parameters: {a: {uniform: [1]}}", "a.yaml:1:17: 'uniform' wants [low, high]"),
        ("parameters: {a: {choice: []}}", "a.yaml:1:17: 'choice' wants a list"),
        ("parameters: {a: {normal: [1, 2], round: 77}}", "a.yaml:1:17: 'round' wants a number of digits"),
        ("parameters: [1]", "a.yaml:1:13: expected a mapping of at most 100 parameters"),
        ("parameters: {a: 1, b: '${a}'}\nx: ${b}", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where(text: str, said: str) -> None:
    _, problems = filled(text)
    assert [problem[: len(said)] for problem in problems] == ([said] if said else [])


@pytest.mark.parametrize(
    ("texts", "said"),
    [(["devices"], "name=value"), (["=5"], "name=value"), (["a b=5"], "name=value"), (["x=.nan"], "--set x")],
)
def test_a_wrong_setting_is_a_mistake_of_usage(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        settings(texts)


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(UsageError, match=r"no such parameter.*did you mean 'devices'"):
        filled(FLEET, settings(["devics=5"]))
    with pytest.raises(UsageError, match="expected a number like 200, got 'many'"):
        filled(FLEET, settings(["devices=many"]))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    marks, _ = read('parameters: {a: 1}\nx: "y"\n', "a.yaml")
    marks.root.entries["x"][1].value = text
    fill(marks, {}, 1)
