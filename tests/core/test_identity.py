"""Identities: the same for the same seed and name, fit for AWS, and mistakes with their place."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import identity, profiles
from simulator.profiles import Profile
from simulator.schema import YamlProblems, parse

ALL = {name: f"{{{name}}}" for name in identity.FIELDS}
LEGAL = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{1,800}")
VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
VIN_VALUES = dict(zip("0123456789ABCDEFGHJKLMNPRSTUVWXYZ", map(int, "012345678912345678123457923456789"), strict=True))


def test_is_a_function_of_seed_and_name() -> None:
    names = [f"Vehicle-VIN-{n:03}" for n in range(40)]
    first = {name: identity.attributes(ALL, 7, name) for name in names}
    assert {name: identity.attributes(ALL, 7, name) for name in reversed(names)} == first
    identity._paper.cache_clear()
    assert identity.attributes(ALL, 7, names[20]) == first[names[20]]
    assert identity.attributes(ALL, 8, names[20]) != first[names[20]]
    assert len({one["vin"] for one in first.values()}) == len(names)
    assert len({one["customer"] for one in first.values()}) > 8
    assert len({one["country"] for one in first.values()}) > 5


def test_a_site_is_one_customers_and_in_one_country() -> None:
    found = [identity.attributes(ALL, 3, f"device-{n:04}") for n in range(2000)]
    sites = {one["site"]: (one["customer"], one["country"]) for one in found}
    assert all(sites[one["site"]] == (one["customer"], one["country"]) for one in found)
    assert 50 < len(sites) <= 120


@given(seed=st.integers(0, 2**63 - 1), thing=st.from_regex(r"[a-zA-Z0-9:_-]{1,128}", fullmatch=True))
def test_every_value_is_a_legal_attribute(seed: int, thing: str) -> None:
    found = identity.attributes(ALL, seed, thing)
    assert list(found) == list(ALL)
    assert all(LEGAL.fullmatch(value) for value in found.values())
    assert re.fullmatch(r"202[1-5]-[01]\d-[0-3]\d", found["manufactured"])
    assert re.fullmatch(r"[A-Z]{2}", found["country"])
    total = sum(VIN_VALUES[sign] * weight for sign, weight in zip(found["vin"], VIN_WEIGHTS, strict=True))
    assert found["vin"][8] == "0123456789X"[total % 11], "its check digit"


def test_plain_text_stays_and_fields_may_stand_inside() -> None:
    found = identity.attributes({"a": "plain", "b": "{country}-{thing}"}, 1, "x-1")
    assert found["a"] == "plain"
    assert re.fullmatch(r"[A-Z]{2}-x-1", found["b"])


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ('{site: "{sites}"}', "4:20: unknown field '{sites}' (did you mean 'site'?)"),
        ('{site: "North Pole"}', "4:20: AWS takes letters, digits and _.,@/:#=[]- in an attribute (no spaces)"),
        ('{site: "{site"}', "4:20: AWS takes letters"),
        ('{"my site": "{site}"}', "4:25: an attribute's name has"),
        (f"{{site: {'x' * 401}}}", "4:20: an attribute has at most 400 characters, this one has 401"),
    ],
)
def test_mistakes_are_said_with_their_place(attributes: str, said: str) -> None:
    text = f"""profile: x
thing_type: X
signals: {{a: {{kind: constant, value: 1}}}}
attributes: {attributes}
behaviours: [{{kind: telemetry, every_s: 1, topic: t, metrics: [a]}}]
"""
    with pytest.raises(YamlProblems) as error:
        parse(text, "x.yaml", Profile)
    assert f"x.yaml:{said}" in str(error.value)


@pytest.mark.parametrize("name", profiles.names())
def test_the_shipped_profiles_say_who_they_belong_to(name: str) -> None:
    found = identity.attributes(profiles.profile(name).attributes, 1, "a-1")
    assert {"customerId", "country", "manufacturingDate"} <= set(found)
    assert all(LEGAL.fullmatch(value) for value in found.values())
