"""Shrinking: whatever makes a scenario fail, what is left of it still fails, is smaller, and is valid."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import resolved, scenarios
from simulator.scenarios import Scenario
from simulator.schema import parse
from simulator.shrinking import Data, Shrinking, Shrunk, steps

SHIPPED = Path(scenarios.__file__).parents[1] / "scenarios"


def group(profile: str, count: int) -> Data:
    return {"profile": profile, "count": count, "name": profile + "-{n}"}


def inject(name: str, count: int = 1, *also: str) -> Data:
    found = {"kind": "inject", "name": name, "count": count, "fault": {"kind": "hang", "part": "fan"}}
    return {**found, "also": [{"kind": kind} for kind in also]} if also else found


def hold(for_s: float) -> Data:
    return {"kind": "hold", "for_s": for_s}


CONNECT = {"kind": "connect", "over_s": 3.0}


def scenario(timeline: list[Data], fleet: list[Data] | None = None, **check: Any) -> Data:
    return {
        "scenario": "large",
        "fleet": fleet or [group("sedan", 40), group("suv", 20), group("sensor", 7)],
        "timeline": [CONNECT, *timeline],
        "checks": [{"kind": "unexplained", "equals": 0, **check}],
    }


def named(data: Data) -> set[str]:
    return {step["name"] for _, step in steps(data) if "name" in step}


def size(data: Data) -> tuple[int, int, float]:
    """Devices, values, and the sum of all numbers."""

    def numbers(value: Any) -> list[float]:
        if isinstance(value, dict):
            return [number for below in value.values() for number in numbers(below)]
        if isinstance(value, list):
            return [number for below in value for number in numbers(below)]
        return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []

    return sum(g["count"] for g in data["fleet"]), len(json.dumps(data)), sum(numbers(data))


def shrunk(data: Data, fails: Callable[[Data], bool], **more: Any) -> Shrunk:
    before = deepcopy(data)
    found = Shrinking(fails, **more).shrink(data)
    assert data == before, "it is not touched"
    return found


def test_what_does_not_matter_goes() -> None:
    data = scenario([hold(60), inject("a", 3), hold(300), inject("b"), hold(10), inject("c", 1, "x", "y")])
    found = shrunk(data, lambda small: "b" in named(small))
    assert found.data["timeline"] == [inject("b")]
    assert found.data["fleet"] == [group("sensor", 1)]
    assert found.ended == "nothing smaller fails"


def test_what_matters_together_stays_together() -> None:
    data = scenario([inject(name) if name.isalpha() else hold(5) for name in "a1b2c3d4e5f6g7h8"])
    found = shrunk(data, lambda small: {"b", "e", "h"} <= named(small))
    assert [step.get("name") for step in found.data["timeline"]] == ["b", "e", "h"]
    assert found.tries < 80


@pytest.mark.parametrize("needed", [1, 2, 7, 39, 40])
def test_as_few_devices_as_it_takes(needed: int) -> None:
    found = shrunk(scenario([hold(1)]), lambda small: sum(g["count"] for g in small["fleet"]) >= needed)
    assert sum(g["count"] for g in found.data["fleet"]) == needed


def test_a_hold_is_as_long_as_it_must_be() -> None:
    def fails(small: Data) -> bool:
        return bool(sum(step.get("for_s", 0) for _, step in steps(small)) >= 37)

    found = shrunk(scenario([hold(600), hold(300)]), fails)
    [step] = [step for step in found.data["timeline"] if step["kind"] == "hold"]
    assert 37 <= step["for_s"] <= 37 * 1.12


def test_blocks_are_opened_and_thinned() -> None:
    block = {
        "kind": "parallel",
        "branches": [[hold(5), inject("a")], [{"kind": "repeat", "times": 9, "steps": [inject("b"), hold(2)]}]],
    }
    found = shrunk(scenario([block, hold(9)]), lambda small: {"a", "b"} <= named(small))
    assert found.data["timeline"] == [inject("a"), inject("b")]


def test_a_block_that_matters_stays() -> None:
    block = {"kind": "repeat", "times": 64, "steps": [inject("a"), hold(2), inject("b")]}

    def fails(small: Data) -> bool:
        return any(s["kind"] == "repeat" and s["times"] >= 3 and "b" in named(small) for _, s in steps(small))

    found = shrunk(scenario([block]), fails)
    assert found.data["timeline"] == [{"kind": "repeat", "times": 3, "steps": [inject("b")]}]


def test_faults_that_come_with_another_and_rules_go_too() -> None:
    data = scenario([inject("a", 1, "x", "y", "z")])
    data["sandbox"] = {"rules": [{"ruleId": f"r{n}"} for n in range(9)]}

    def fails(small: Data) -> bool:
        faults = [fault["kind"] for _, step in steps(small) for fault in step.get("also", [])]
        rules = [rule["ruleId"] for rule in small.get("sandbox", {}).get("rules", [])]
        return "y" in faults and "r5" in rules

    found = shrunk(data, fails)
    assert found.data["timeline"] == [inject("a", 1, "y")]
    assert found.data["sandbox"] == {"rules": [{"ruleId": "r5"}]}
    assert "also" not in shrunk(data, lambda small: "a" in named(small)).data["timeline"][-1]


def test_a_bound_that_counts_what_goes_goes_with_it() -> None:
    """Of five broken devices one is not noticed, the one that 'd' broke: one broken device is enough to show it."""

    def fails(small: Data) -> bool:
        broken = [step for _, step in steps(small) if step["kind"] == "inject"]
        noticed = sum(step["count"] for step in broken if step["name"] != "d")
        bound = small["checks"][0]["equals"]
        return bool(0 < bound - noticed <= 1)

    data = scenario([inject("a", 2), inject("b"), hold(5), inject("d"), inject("e")], kind="detected", equals=5)
    found = shrunk(data, fails)
    assert found.data["timeline"] == [inject("d")]
    assert found.data["checks"] == [{"kind": "detected", "equals": 1}]


def test_what_did_not_happen_keeps_its_time_and_its_rules() -> None:
    """Nothing but the broken device and what could have noticed it; no time before it, all the time after it."""
    data = scenario([hold(60), inject("a"), hold(20), inject("b"), hold(300), inject("c")], kind="recall", at_least=0.9)
    data["sandbox"] = {"rules": [{"ruleId": "r1"}, {"ruleId": "r2"}]}
    found = shrunk(data, lambda small: "b" in named(small))
    assert found.data["timeline"] == [inject("b"), hold(300)]
    assert found.data["sandbox"] == data["sandbox"]
    block = {"kind": "repeat", "times": 5, "steps": [hold(9), inject("b"), hold(2)]}
    found = shrunk(scenario([hold(60), block, hold(4)], kind="detected", equals=1), lambda small: "b" in named(small))
    assert found.data["timeline"] == [{**block, "steps": [inject("b"), hold(2)]}, hold(4)]


def test_devices_that_did_not_connect_keep_their_time() -> None:
    data = scenario([hold(60), inject("a")], kind="devices", equals=67)
    found = shrunk(data, lambda small: small["checks"][0]["equals"] > 0)
    assert found.data["timeline"] == [CONNECT, hold(60)]
    assert found.data["checks"][0]["equals"] == sum(g["count"] for g in found.data["fleet"]) == 1


def test_steps_want_no_more_devices_than_are_left() -> None:
    data = scenario([{"kind": "ramp", "to": 60, "over_s": 5}, inject("a", 30)])

    def valid(small: Data) -> bool:
        total = sum(g["count"] for g in small["fleet"])
        return all(step.get(key, 0) <= total for _, step in steps(small) for key in ("to", "count"))

    found = shrunk(data, lambda small: bool(small["timeline"][-1].get("name") == "a"), valid=valid)
    assert valid(found.data)
    assert sum(g["count"] for g in found.data["fleet"]) == 1


def test_what_is_invalid_costs_no_try_and_is_never_taken() -> None:
    tried: list[Data] = []

    def fails(small: Data) -> bool:
        tried.append(small)
        return True

    data = scenario([hold(5), inject("a"), hold(7)])
    found = shrunk(data, fails, valid=lambda small: small["timeline"][0]["kind"] == "connect")
    assert found.data["timeline"] == [{"kind": "connect", "over_s": 0.0}]
    assert all(small["timeline"][0]["kind"] == "connect" for small in tried)
    assert len(tried) == found.tries


# Bounds


def test_tries_are_bounded() -> None:
    told: list[tuple[int, bool]] = []
    data = scenario([inject(f"s{n}") for n in range(100)])
    found = shrunk(
        data,
        lambda small: len(named(small)) >= 50,
        tries_max=17,
        told=lambda so_far, gone, failed: told.append((so_far.tries, failed)),
    )
    assert (found.tries, found.ended) == (17, "17 tries were made")
    assert [number for number, _ in told] == list(range(1, 18))
    assert sum(failed for _, failed in told) == len(found.gone)


def test_it_ends_when_it_is_told_to() -> None:
    asked: list[int] = []

    def enough() -> str:
        asked.append(1)
        return "five minutes were over" if len(asked) > 5 else ""

    found = shrunk(scenario([inject(f"s{n}") for n in range(100)]), lambda small: len(named(small)) > 3, enough=enough)
    assert (found.tries, found.ended) == (5, "five minutes were over")


# Any scenario, any reason

step_names = st.sampled_from("abcdefgh")
leaves = st.one_of(
    st.builds(inject, step_names, st.integers(1, 4)),
    st.floats(0, 900).map(lambda for_s: hold(round(for_s, 1))),
)
timelines = st.lists(
    st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(lambda branches: {"kind": "parallel", "branches": branches},
                      st.lists(st.lists(inner, min_size=1, max_size=3), min_size=1, max_size=3)),
            st.builds(lambda times, steps: {"kind": "repeat", "times": times, "steps": steps},
                      st.integers(1, 50), st.lists(inner, min_size=1, max_size=3)),
        ),
        max_leaves=6,
    ),
    max_size=8,
)  # fmt: skip
fleets = st.lists(st.builds(group, st.sampled_from(["sedan", "suv"]), st.integers(1, 500)), min_size=1, max_size=4)


@settings(deadline=None)
@given(timelines, fleets, st.sets(step_names, max_size=3), st.integers(1, 30))
def test_what_is_left_fails_and_nothing_of_it_can_be_spared(
    timeline: list[Data], fleet: list[Data], wanted: set[str], devices: int
) -> None:
    data = scenario(timeline, fleet)
    wanted &= named(data)
    devices = min(devices, sum(g["count"] for g in fleet))

    def fails(small: Data) -> bool:
        return wanted <= named(small) and sum(g["count"] for g in small["fleet"]) >= devices

    found = shrunk(data, fails, tries_max=5000)
    assert fails(found.data)
    assert all(small <= large for small, large in zip(size(found.data), size(data), strict=True))
    assert sum(g["count"] for g in found.data["fleet"]) == devices
    assert found.ended == "nothing smaller fails"
    left = [step for _, step in steps(found.data)]
    assert len(left) <= max(1, len(wanted)), "nothing but what is wanted, or one step of no use"
    again = shrunk(found.data, fails, tries_max=5000)
    assert (again.data, again.gone) == (found.data, []), "what is smallest stays as it is"


@settings(deadline=None)
@given(timelines, fleets, st.randoms(use_true_random=False))
def test_a_reason_that_follows_no_rule_ends_too(timeline: list[Data], fleet: list[Data], random: Any) -> None:
    data = scenario(timeline, fleet)
    last = [data]

    def fails(small: Data) -> bool:
        if random.random() < 0.5:
            last.append(small)
            return True
        return False

    found = shrunk(data, fails, tries_max=300)
    assert found.data == last[-1]
    assert found.tries <= 300


# As YAML


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_scenario_is_itself_when_it_is_written_again(path: Path) -> None:
    scenario, _ = scenarios.read(path)
    again = parse(resolved.text(resolved.data(scenario, scenario.seed)), "again.yaml", Scenario)
    assert resolved.data(again, again.seed) == resolved.data(scenario, scenario.seed)
    assert again.timeline == scenario.timeline
    assert again.checks == scenario.checks
    assert not again.parameters


odd = st.sampled_from(
    ["1e3", "0o17", "12:30", "NO", "null", "~", "1.0.0", "${a}", "$${a}", "$$${a}b${c}", "x: y", "#", ""]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
    | odd | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="￾￿"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc$-_", min_size=1, max_size=5), inner,
                                                                 max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=6), values, max_size=3))
def test_any_values_are_read_as_they_were_written(desired: dict[str, Any]) -> None:
    from simulator.yaml_marks import read

    text = resolved.text(
        {"scenario": "any", "timeline": [{"kind": "set", "desired": desired}]}, "a heading\nof two lines"
    )
    marks, problems = read(text, "any.yaml")
    problems += scenarios.filled(None, None)(marks)
    assert not problems
    assert marks.root.value["timeline"][0]["desired"] == desired
