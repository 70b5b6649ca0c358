"""Shapes of a load: how many devices are on, second by second."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from simulator.scenarios import Scenario
from simulator.schema import YamlProblems, parse
from simulator.shapes import Knee, Shape
from simulator.workload import Workload

CHECK = {"kind": "latency", "at_most": 1}


def shape(**said: Any) -> Shape:
    found: Shape = TypeAdapter(Shape).validate_python(said)
    return found


def users(of: Shape, *moments: float) -> list[int | None]:
    return [of.users(now_s) for now_s in moments]


@pytest.mark.parametrize(
    ("said", "moments", "wanted"),
    [
        ({"kind": "ramp", "to": 100, "over_s": 10}, (0, 0.5, 5, 9.99, 10), [0, 5, 50, 100, None]),
        ({"kind": "ramp", "to": 100, "over_s": 10, "hold_s": 5}, (9, 10, 14.9, 15), [90, 100, 100, None]),
        (
            {"kind": "ramp", "to": 100, "over_s": 10, "hold_s": 5, "down_s": 4},
            (12, 15, 17, 18.9, 19),
            [100, 100, 50, 3, None],
        ),
        ({"kind": "ramp", "to": 7, "over_s": 0, "hold_s": 3}, (0, 2.9, 3), [7, 7, None]),
        ({"kind": "steps", "to": 25, "step": 10, "every_s": 5}, (0, 4.9, 5, 10, 14.9, 15), [10, 10, 20, 25, 25, None]),
        ({"kind": "soak", "to": 50, "over_s": 10, "for_s": 100}, (0, 5, 10, 109.9, 110), [0, 25, 50, 50, None]),
        (
            {"kind": "spike", "base": 10, "to": 90, "after_s": 5, "for_s": 2, "times": 2},
            (0, 4.9, 5, 6.9, 7, 11.9, 12, 14, 18.9, 19),
            [10, 10, 90, 90, 10, 10, 90, 10, 10, None],
        ),
        (
            {"kind": "knee", "to": 35, "start": 10, "step": 10, "every_s": 5, "checks": [CHECK]},
            (0, 5, 10, 15, 19.9, 20),
            [10, 20, 30, 35, 35, None],
        ),
    ],
)
def test_users_by_time(said: dict[str, Any], moments: tuple[float, ...], wanted: list[int | None]) -> None:
    of = shape(**said)
    assert users(of, *moments) == wanted
    assert of.most == said["to"]


@pytest.mark.parametrize(
    ("failed_at_s", "moments", "wanted"),
    [
        (15.0, (15, 15.1, 18.9, 19), [20, 20, 20, None]),  # the third level, of 30, was bad
        (10.0, (10, 13.9, 14), [10, 10, None]),
        (5.0, (5,), [None]),  # not even the first was good
    ],
)
def test_a_knee_goes_back_to_the_last_good_level(
    failed_at_s: float, moments: tuple[float, ...], wanted: list[int | None]
) -> None:
    knee = shape(kind="knee", to=50, start=10, step=10, every_s=5, hold_s=4, checks=[CHECK])
    assert [knee.users(now_s, failed_at_s) for now_s in moments] == wanted


def test_a_knee_knows_its_levels() -> None:
    knee = shape(kind="knee", to=35, start=10, step=10, every_s=0.1, checks=[CHECK])
    assert isinstance(knee, Knee)
    assert [knee.at_level(level) for level in range(knee.levels)] == [10, 20, 30, 35]
    assert [knee.users(0, 0.1 * (bad + 1)) for bad in range(1, 4)] == [10, 20, 30], "whatever rounding does to 0.3"


SCENARIO = """\
scenario: x
fleet: [{profile: vehicle-sedan, count: 60, name: "V-{n}"}, {profile: hub-gateway, count: 1}]
checks: [{kind: devices, equals: 1}]
load: """


@pytest.mark.parametrize(
    ("load", "why"),
    [
        ("{shape: {kind: rmap, to: 9}}", "unknown kind 'rmap' (did you mean 'ramp'?)"),
        ("{shape: {kind: ramp, over_s: 9}}", "missing key 'to'"),
        ("{shape: {kind: spike, to: 9, base: 9, after_s: 1, for_s: 1}}", "'base' 9 is not below 'to' 9"),
        ("{shape: {kind: knee, to: 9, start: 10, step: 1, every_s: 1, checks: [{kind: lost, equals: 0}]}}",
         "'start' 10 is above 'to' 9"),
        ("{shape: {kind: knee, to: 9, start: 1, step: 1, every_s: 1, settle_s: 1, checks: [{kind: lost, equals: 0}]}}",
         "nothing of a level of 1 s would be judged"),
        ("{operators: {count: 1, tasks: {serch: 1}}}", "unknown key 'serch' (did you mean 'search'?)"),
        ("{operators: {count: 1, tasks: {search: 0}}}", "at least one of the weights must be more than 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(load: str, why: str) -> None:
    with pytest.raises(YamlProblems) as problems:
        parse(SCENARIO + load, "x.yaml", Scenario)
    assert why in str(problems.value)


def test_a_load_changes_how_often_devices_speak_and_nothing_else() -> None:
    scenario = parse(SCENARIO + "{every_s: 7, uploads: {every_s: 9}}", "x.yaml", Scenario)
    profiles = {name: group.variant() for group in scenario.fleet for name in (group.variant_name,)}
    assert isinstance(scenario.load, Workload)
    paced = scenario.load.paced(profiles)
    for name, profile in profiles.items():
        for before, after in zip(profile.behaviours, paced[name].behaviours, strict=True):
            every = {"telemetry": 7.0, "upload": 9.0}.get(before.model_dump()["kind"])
            assert after == (before if every is None else before.model_copy(update={"every_s": every}))
