"""Quotas and costs from a scenario's text, held against what its devices say in virtual time."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from simulator import scenarios
from simulator.clock import VirtualClock
from simulator.ledger import Ledger
from simulator.messages import Publish
from simulator.ops import quotas
from simulator.ops.quotas import Once, Saying, Use
from simulator.profiles import family
from simulator.runtime.forecast import Load, forecast, load, longest_s, mean_rate
from simulator.runtime.virtual import Virtual
from simulator.scenarios import Scenario
from simulator.schema import parse
from simulator.shapes import Shape
from simulator.signals import Range
from tests.core.fleets import PUBLIC_KEY, START_MS

SHIPPED = Path(scenarios.__file__).parents[1] / "scenarios"

USE = Use(
    duration_s=600,
    connections=1000,
    connects_per_s=50,
    things=1000,
    certificates=1000,
    thing_types=3,
    managed=1000,
    sayings=[Saying("car: telemetry", 1000, 0.2), Saying("car: shadow", 1000, 1 / 60, 2, shadow=True)],
    onces=[Once("CONNECT and SUBSCRIBE", 1000, 2)],
    busiest_per_s=0.22,
)


def scenario(fleet: str, timeline: str) -> Scenario:
    return parse(
        f"scenario: s\nfleet: [{fleet}]\ntimeline: [{timeline}]\nchecks: [{{kind: lost, equals: 0}}]\n",
        "s.yaml",
        Scenario,
    )


def amounts(use: Use) -> dict[str, int]:
    return {item.what: item.amount for item in quotas.items(use)}


def test_the_arithmetic() -> None:
    assert amounts(USE) == {
        "connection minutes": 10_000,
        "messages": 120_000 + 20_000 + 2000,
        "shadow operations": 10_000,
        "registry operations": 2003,
        "job executions": 1000,
        "index updates": 1000 + 2000 + 10_000,
    }
    dollars = {item.what: item.dollars for item in quotas.items(USE)}
    assert dollars["messages"] == pytest.approx(0.142)
    assert dollars["job executions"] == pytest.approx(3.0)
    assert sum(dollars.values()) == pytest.approx(0.0008 + 0.142 + 0.0125 + 0.00250375 + 3.0 + 0.02925)


def test_the_terms_of_an_item_add_up_to_it() -> None:
    read, used = scenarios.read(SHIPPED / "all-channels.yaml")
    for item in quotas.items(forecast(read, used, 1)):
        terms = [float(re.findall(r"[\d,]+$", term)[0].replace(",", "")) for term in item.terms if "= " in term]
        if len(terms) == len(item.terms):
            assert sum(terms) == item.amount


def test_the_lines_say_prices_and_where_they_are_from() -> None:
    lines = quotas.lines(USE)
    assert "cost at most about $3.19 (us-east-1 list prices, January 2025, without free tier):" in lines
    assert "      car: telemetry, 1,000 × 600 s × 1 every 5 s = 120,000" in lines
    assert any("1,000 × $0.003" in line and "$3.0000" in line for line in lines)
    assert "  provisioning from nothing takes at least 83 s: CreateCertificateFromCsr at 12/s" in lines
    assert not any("MORE" in line for line in lines)


def test_what_an_account_does_not_allow_is_said() -> None:
    over = replace(USE, connects_per_s=5000, busiest_per_s=200)
    said = [line for line in quotas.lines(over) if "MORE THAN ALLOWED" in line]
    assert [line.split("  ")[1] for line in said] == ["connects", "publishes of one connection"]
    assert "5,000/s of 3,000/s" in said[0]
    # A shadow update counts as four publishes: 1000 × (0.2 + 4/60).
    assert quotas.quotas(USE)[2].needed == pytest.approx(1000 * (0.2 + 4 / 60))


def test_steps_are_taken_at_their_longest() -> None:
    read = scenario(
        '{profile: vehicle-sedan, count: 12, name: "c-{n}"}',
        "{kind: connect, over_s: 4}, {kind: hold, for_s: 10}, "
        "{kind: expect, within_s: 46, check: {kind: lost, equals: 0}}",
    )
    use = forecast(read, {"vehicle-sedan": read.fleet[0].variant()}, 1)
    assert use.duration_s == 60
    assert use.connects_per_s == 3
    assert (use.connections, use.things, use.certificates, use.managed, use.thing_types) == (12, 12, 12, 12, 1)


def test_blocks_and_moments_are_taken_at_their_longest_too() -> None:
    read = scenario(
        '{profile: vehicle-sedan, count: 12, name: "c-{n}"}',
        "{kind: connect, over_s: 4}, {kind: hold, for_s: 1, at_s: 30}, {kind: hold, for_s: 5, delay_s: 2}, "
        "{kind: repeat, times: 3, steps: [{kind: hold, for_s: 4}]}, "
        "{kind: hold, for_s: 1, after: alarm raised, patience_s: 100}",
    )
    assert longest_s(read.timeline) == 30 + 1 + 2 + 5 + 12 + 100 + 1


def test_devices_on_other_channels_need_no_account() -> None:
    read = scenario(
        '{profile: vehicle-sedan, count: 3, channel: tcp, name: "t-{n}"}', "{kind: connect}, {kind: hold, for_s: 5}"
    )
    use = forecast(read, {"vehicle-sedan-over-tcp": read.fleet[0].variant()}, 1)
    assert (use.connections, use.things, list(use.sayings)) == (0, 0, [])
    assert sum(amounts(use).values()) == 0


def test_the_mean_rate_of_drawn_periods() -> None:
    draws = [1 + 4 * (n + 0.5) / 10_000 for n in range(10_000)]
    assert mean_rate(Range(1, 5)) == pytest.approx(sum(1 / period for period in draws) / len(draws), rel=1e-6)
    assert mean_rate(Range(30, 30)) == pytest.approx(1 / 30)


@pytest.mark.parametrize("name", ["vehicle-sedan", "fire-sensor", "machine-a", "hub-gateway"])
def test_devices_say_about_as_much_as_forecast(name: str) -> None:
    """Thirty of a profile in virtual time: their telemetry and shadow reports are those of the forecast."""
    count, for_s = 30, 600
    read = scenario(
        f'{{profile: {name}, count: {count}, name: "d-{{n}}"}}',
        f"{{kind: connect}}, {{kind: hold, for_s: {for_s - 1}}}",
    )
    used = family(read.fleet[0].variant())
    use = forecast(read, used, 1)
    assert use.duration_s == for_s
    expected: Counter[str] = Counter()
    for saying in use.sayings:
        expected[saying.what.split(", ")[0].split(": ")[-1]] += round(saying.devices * saying.per_s * for_s)
    said: Counter[str] = Counter()

    def record(now_ms: int, thing: str, message: Publish) -> None:
        said["shadow" if "/shadow/update" in message.topic else message.kind] += 1

    fleet = read.build(used, 1, START_MS, PUBLIC_KEY)
    virtual = Virtual(fleet, VirtualClock(), Ledger(), record)
    for index in range(len(fleet.devices)):
        virtual.start(index, START_MS)
    virtual.run_until(START_MS + for_s * 1000)
    assert expected["telemetry"] > 500
    assert said["telemetry"] == pytest.approx(expected["telemetry"], rel=0.15)
    assert said["shadow"] <= expected["shadow"] + count * 2


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ({"kind": "ramp", "to": 2000, "over_s": 40, "hold_s": 80}, Load(2000, 50, 120)),
        ({"kind": "steps", "to": 1000, "step": 250, "every_s": 60}, Load(1000, 250, 240)),
        ({"kind": "soak", "to": 1000, "over_s": 100, "for_s": 28_800}, Load(1000, 10, 28_900)),
    ],
)
def test_what_a_shape_makes_of_a_fleet(shape: dict[str, Any], found: Load) -> None:
    made = load(TypeAdapter(Shape).validate_python(shape))
    assert made.devices == found.devices
    assert made.lasts_s == pytest.approx(found.lasts_s, abs=0.01)
    assert made.per_s == pytest.approx(found.per_s, rel=0.05)


def test_a_load_has_a_part_of_the_fleet() -> None:
    what = scenario("{profile: vehicle-sedan, count: 1000}", "{kind: connect}")
    profiles = family(what.fleet[0].variant())
    whole, half = (forecast(what, profiles, 1, Load(n, 20, 600)) for n in (1000, 500))
    assert (whole.connections, half.connections) == (1000, 500)
    assert (whole.things, half.things) == (1000, 1000)  # all of them are there
    assert (half.duration_s, half.connects_per_s) == (600, 20)
    assert [saying.devices for saying in half.sayings] == [saying.devices // 2 for saying in whole.sayings]
    over = forecast(what, profiles, 1, Load(1000, 5000, 600))
    assert any("connects" in line and "MORE THAN ALLOWED" not in line for line in quotas.lines(over))
