"""Who is provisioned: names, types in turn, countries of continents; the seed decides the rest."""

import re
from collections import Counter

import pytest

from simulator import profiles
from simulator.errors import UsageError
from simulator.ops import countries, explain, members

TYPES = ["SedanVehicle", "SUVVehicle", "TruckVehicle"]


def test_names_are_as_wide_as_the_fleet() -> None:
    assert [one.name for one in members.vehicles(2, TYPES, 1)] == ["Vehicle-VIN-001", "Vehicle-VIN-002"]
    names = [one.name for one in members.vehicles(1000, TYPES, 1)]
    assert (names[0], names[-1]) == ("Vehicle-VIN-0001", "Vehicle-VIN-1000")


def test_types_come_in_turn_and_everything_is_of_the_seed() -> None:
    found = members.vehicles(10, TYPES, 3, version="2.0.0", codes=["DE", "FR"])
    assert Counter(one.type for one in found) == {"SedanVehicle": 4, "SUVVehicle": 3, "TruckVehicle": 3}
    assert found == members.vehicles(10, TYPES, 3, version="2.0.0", codes=["DE", "FR"])
    assert found != members.vehicles(10, TYPES, 4, version="2.0.0", codes=["DE", "FR"])
    assert {one.attributes["country"] for one in found} == {"DE", "FR"}
    assert {one.software for one in found} == {(kind, "2.0.0") for kind in TYPES}
    assert all(0 <= (one.reported or {})["batteryStatus"] <= 100 for one in found)
    assert all(one.attributes["fleetsim"] == "fleet" for one in found)
    assert members.searchable(found) == {name: ["country", "customerId", "manufacturingDate"] for name in TYPES}


def test_a_type_without_a_profile_has_papers_too() -> None:
    (found,) = members.vehicles(1, ["Bike"], 1)
    assert set(found.attributes) == {"customerId", "country", "manufacturingDate", "vin", "fleetsim"}
    assert found.software == ("Bike", "1.0.0")


@pytest.mark.parametrize("count", [0, -1, 100_001])
def test_too_few_or_too_many(count: int) -> None:
    with pytest.raises(UsageError, match=rf"{count} devices: 1 to 100000"):
        members.vehicles(count, TYPES, 1)


def test_the_members_of_a_scenario() -> None:
    sedan = profiles.profile("vehicle-sedan")
    found = members.of_profiles([("a", sedan)], [("b", sedan)], 1, shadows=True)
    assert [(one.name, one.certificate, one.software) for one in found] == [
        ("a", True, ("SedanVehicle", "1.0.0")),
        ("b", False, ("SedanVehicle", "1.0.0")),
    ]
    bare = members.of_profiles([("a", sedan)], [], 1)
    assert (bare[0].reported, bare[0].software) == (None, None)
    assert bare[0].attributes == found[0].attributes


def test_countries() -> None:
    assert countries.chosen(None, None) == []
    assert countries.chosen(3, None) == countries.of(3)
    assert countries.chosen(3, "2") == ["DE", "FR"]
    assert countries.chosen(None, "1") == ["US"]
    assert countries.chosen(None, "us, jp,US") == ["US", "JP"]
    assert countries.chosen(7, "1") == ["AQ"]
    assert countries.group("US") == "USFleet"
    every = [code for continent in countries.COUNTRIES for code in countries.of(continent)]
    assert len(every) == len(set(every)) > 190
    assert all(re.fullmatch("[A-Z]{2}", code) for code in every)
    assert set(countries.COUNTRIES) == set(countries.NAMES) == set(range(1, 8))


@pytest.mark.parametrize(
    ("continent", "wanted", "said"),
    [
        (8, None, r"no continent 8 \(known: 1 North America, .*7 Antarctica\)"),
        (3, "US", "no country 'US' in Europe"),
        (None, "XX", "no country 'XX'"),
        (7, "2", "2 countries: Antarctica has 1 to 1"),
        (None, "0", "0 countries: North America has 1 to 23"),
    ],
)
def test_countries_that_there_are_not(continent: int | None, wanted: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        countries.chosen(continent, wanted)


def test_every_step_is_explained() -> None:
    assert list(explain.STEPS["provision"]) == [
        "thing types", "policies", "roles", "artifacts", "packages", "indexing", "groups", "things",
    ]  # fmt: skip
    assert list(explain.STEPS["cleanup"]) == [
        "jobs", "commands", "groups", "things", "packages", "bucket", "indexing", "policies", "thing types",
    ]  # fmt: skip
