"""Thing groups by our operations and by the command, against the real cloud process."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from simulator.errors import UsageError
from simulator.ops import groups, packages
from simulator.ops.aws import Aws
from tests.ops.conftest import Ended

Fleetsim = Callable[..., Ended]
THINGS = [f"Vehicle-VIN-{n:03}" for n in range(1, 25)]
COUNTRIES = ("US", "CA", "KR")


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def fleet(aws: Aws) -> None:
    """24 sedans in three countries, with batteries of 4 % to 96 %; every other one runs 1.1.0."""
    aws.iot.update_indexing_configuration(
        thingIndexingConfiguration={
            "thingIndexingMode": "REGISTRY_AND_SHADOW",
            "namedShadowIndexingMode": "ON",
            "filter": {"namedShadowNames": ["$package"]},
        },
        thingGroupIndexingConfiguration={"thingGroupIndexingMode": "ON"},
    )
    aws.iot.create_thing_type(thingTypeName="SedanVehicle")
    packages.create(aws, "SedanVehicle")
    for version in ("1.0.0", "1.1.0"):
        packages.add_version(aws, "SedanVehicle", version, None)
    for number, thing in enumerate(THINGS, 1):
        country = {"attributes": {"country": COUNTRIES[number % 3]}}
        aws.iot.create_thing(thingName=thing, thingTypeName="SedanVehicle", attributePayload=country)
        state = {"state": {"reported": {"batteryStatus": 4 * number}}}
        aws.data.update_thing_shadow(thingName=thing, payload=json.dumps(state))
    packages.revert(aws, "SedanVehicle", "1.1.0", THINGS[::2])
    packages.revert(aws, "SedanVehicle", "1.0.0", THINGS[1::2])
    of_all = "shadow.name.$package.reported.SedanVehicle.version:*"
    eventually(lambda: groups.preview(aws, of_all).of == len(THINGS))


@pytest.mark.parametrize(
    ("answers", "query"),
    [
        ({"countries": ["us", "CA"]}, "attributes.country:(US OR CA)"),
        ({"countries": ["US"], "thing_type": "X"}, "thingTypeName:X AND attributes.country:US"),
        (
            {"thing_type": "X", "versions": ["1.0.0", "1.1.0"]},
            "thingTypeName:X AND shadow.name.$package.reported.X.version:(1.0.0 OR 1.1.0)",
        ),
        ({"package": "P", "versions": ["1"]}, "shadow.name.$package.reported.P.version:1"),
        ({"battery": ">50"}, "shadow.reported.batteryStatus>50"),
        ({"battery": "<30"}, "shadow.reported.batteryStatus<30"),
        ({"battery": "=75"}, "shadow.reported.batteryStatus:75"),
        ({"battery": ">=50"}, "shadow.reported.batteryStatus:[50 TO *]"),
        ({"battery": "<= 30.5"}, "shadow.reported.batteryStatus:[* TO 30.5]"),
    ],
)
def test_the_queries_of_a_wizard(answers: dict[str, Any], query: str) -> None:
    assert groups.query(**answers) == query


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({}, "needs a condition"),
        ({"countries": ["USA"]}, "country 'USA': two letters"),
        ({"battery": "half"}, "battery 'half': expected >50"),
        ({"battery": ">101"}, "battery '>101'"),
        ({"versions": ["1"]}, "versions of what"),
        ({"thing_type": "a b"}, "'a b': letters"),
    ],
)
def test_answers_that_make_no_sense(answers: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        groups.query(**answers)


@pytest.mark.parametrize(
    ("answers", "count"),
    [
        ({"countries": ["US", "CA"]}, 16),
        ({"battery": ">48"}, 12), ({"battery": ">=48"}, 13), ({"battery": "<8"}, 1), ({"battery": "=96"}, 1),
        ({"thing_type": "SedanVehicle", "versions": ["1.1.0"]}, 12),
        ({"thing_type": "SedanVehicle", "versions": ["1.0.0", "1.1.0"], "countries": ["KR"], "battery": ">50"}, 4),
    ],
)  # fmt: skip
def test_a_preview_names_the_first_and_counts_all(aws: Aws, fleet: None, answers: dict[str, Any], count: int) -> None:
    found = groups.preview(aws, groups.query(**answers))
    assert found.of == count
    assert len(found.things) == min(10, count)


def test_a_dynamic_group_from_its_preview_to_its_end(aws: Aws, fleet: None) -> None:
    made = groups.create(aws, "FullUS", groups.query(["US"], battery=">=50"), "charged")
    assert made["thingGroupArn"].endswith(":thinggroup/FullUS")
    aws.iot.create_thing_group(thingGroupName="USFleet")
    eventually(lambda: len(groups.members(aws, "FullUS")) == 4)
    shown = {group["thingGroupName"]: group for group in groups.every(aws, count=True)}
    assert (shown["FullUS"]["kind"], shown["USFleet"]["kind"]) == ("dynamic", "static")
    assert (shown["FullUS"]["members"], shown["USFleet"]["members"]) == (4, 0)
    assert shown["FullUS"]["queryString"] == "attributes.country:US AND shadow.reported.batteryStatus:[50 TO *]"
    with pytest.raises(UsageError, match="group 'FullUS' is there already"):
        groups.create(aws, "FullUS", "thingName:*")
    assert groups.delete(aws, "FullUS") == "dynamic"
    assert groups.delete(aws, "USFleet") == "static"
    with pytest.raises(UsageError, match="no group 'FullUS'"):
        groups.delete(aws, "FullUS")


def test_what_matches_nothing_makes_no_group(aws: Aws, fleet: None) -> None:
    with pytest.raises(UsageError, match=r"nothing matches 'attributes\.country:ZZ'"):
        groups.create(aws, "Nowhere", "attributes.country:ZZ")
    with pytest.raises(UsageError, match=r"query 'attributes\.country:\(US': "):
        groups.preview(aws, "attributes.country:(US")
    with pytest.raises(UsageError, match="1000 characters at most"):
        groups.preview(aws, "x" * 1001)


def test_a_fleet_is_set_back(aws: Aws, fleet: None, fleetsim: Fleetsim) -> None:
    query, things = packages.elsewhere(aws, "SedanVehicle", "1.0.0", "attributes.country:US")
    assert "AND NOT" in query
    assert things == [thing for n, thing in enumerate(THINGS, 1) if n % 2 and n % 3 == 0]
    shown = fleetsim("packages", "revert", "SedanVehicle", "1.0.0", "--dry-run", "--json")
    assert shown.json["count"] == 12
    assert "  Vehicle-VIN-001  SedanVehicle 1.1.0 -> 1.0.0\n" in shown.err
    assert "… and 2 more" in shown.err
    done = fleetsim("packages", "revert", "SedanVehicle", "1.0.0", "--yes")
    assert done.out == "12 devices set back to SedanVehicle 1.0.0\n"
    eventually(lambda: not packages.elsewhere(aws, "SedanVehicle", "1.0.0")[1])
    assert fleetsim("packages", "revert", "SedanVehicle", "1.0.0", "--yes").out == (
        "no device runs another version of SedanVehicle than 1.0.0\n"
    )


def test_the_commands_of_groups(fleet: None, fleetsim: Fleetsim) -> None:
    tried = fleetsim("groups", "test", "attributes.country:CA", "--limit", 3)
    assert tried.out.splitlines()[1] == "Vehicle-VIN-001  SedanVehicle  CA"
    assert tried.out.splitlines()[-1] == "8 matches, 3 shown"
    wizard = ["--countries", "US,CA", "--thing-type", "SedanVehicle", "--battery", ">50"]
    dry = fleetsim("groups", "create", "Big", *wizard, "--dry-run", "--json")
    assert (dry.json["matches"], dry.json["dryRun"]) == (8, True)
    assert "query: thingTypeName:SedanVehicle AND attributes.country:(US OR CA)" in dry.err
    assert fleetsim("groups", "create", "Big", *wizard).out == "group Big is created; 8 things match\n"
    assert fleetsim("groups", "create", "Raw", "--query", "thingName:Vehicle*").out.startswith("group Raw is created")
    listed = fleetsim("groups", "list").out.splitlines()
    assert listed[1].startswith("Big    dynamic  ")
    assert listed[-1] == "2 groups, 2 of them dynamic"
    empty = fleetsim("groups", "create", "None", "--countries", "ZZ")
    assert (empty.code, empty.err.splitlines()[-1][:16]) == (2, "nothing matches,")
    both = fleetsim("groups", "create", "None", "--countries", "US", "--query", "x")
    assert "--query stands alone" in both.err
    assert fleetsim("groups", "delete", "Big", "Raw").code == 2, "nobody typed DELETE"
    assert "no group 'Bik' (did you mean 'Big'?)" in fleetsim("groups", "delete", "Bik", "--yes").err
    assert fleetsim("groups", "delete", "Big", "Raw", "--yes").out == "group Big is deleted\ngroup Raw is deleted\n"
    assert fleetsim("groups", "list").out == "0 groups, 0 of them dynamic\n"
