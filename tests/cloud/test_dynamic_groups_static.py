"""Static thing groups at the cloud: hierarchies, listings, members by hand; by boto3."""

from typing import Any

import pytest
from botocore.exceptions import ClientError


def refused(code: str, call: Any, **parameters: Any) -> str:
    """The message of the error that a call must end in."""
    with pytest.raises(ClientError) as problem:
        call(**parameters)
    assert problem.value.response["Error"]["Code"] == code
    return str(problem.value.response["Error"]["Message"])


@pytest.fixture(scope="module")
def world(cloud: Any) -> Any:
    """Two continents, a country below each of three, a region, and a car in most of them."""
    iot = cloud.client("iot")
    for name, parent in [
        ("Europe", None), ("America", None), ("DE", "Europe"), ("FR", "Europe"), ("US", "America"), ("Bavaria", "DE"),
    ]:  # fmt: skip
        iot.create_thing_group(thingGroupName=name, **({"parentGroupName": parent} if parent else {}))
    for name in ("DE", "FR", "US", "Bavaria"):
        iot.create_thing(thingName=f"car-{name}")
        iot.add_thing_to_thing_group(thingGroupName=name, thingName=f"car-{name}")
    return iot


def names(answer: Any) -> list[str]:
    return [group["groupName"] for group in answer["thingGroups"]]


def test_listings_know_the_hierarchy(world: Any) -> None:
    assert names(world.list_thing_groups()) == ["America", "Bavaria", "DE", "Europe", "FR", "US"]
    assert names(world.list_thing_groups(recursive=False)) == ["America", "Europe"]
    assert names(world.list_thing_groups(parentGroup="Europe")) == ["DE", "FR"]
    assert names(world.list_thing_groups(parentGroup="Europe", recursive=True)) == ["Bavaria", "DE", "FR"]
    assert names(world.list_thing_groups(namePrefixFilter="E")) == ["Europe"]
    refused("ResourceNotFoundException", world.list_thing_groups, parentGroup="Asia")
    assert world.list_things_in_thing_group(thingGroupName="Europe")["things"] == []
    beneath = world.list_things_in_thing_group(thingGroupName="Europe", recursive=True)["things"]
    assert beneath == ["car-Bavaria", "car-DE", "car-FR"]
    refused("ResourceNotFoundException", world.list_things_in_thing_group, thingGroupName="Asia")


def test_listings_come_in_pages(world: Any) -> None:
    def paged(operation: str, **parameters: Any) -> list[Any]:
        pages = world.get_paginator(operation).paginate(PaginationConfig={"PageSize": 2}, **parameters)
        return [list(page.get("thingGroups", page.get("things"))) for page in pages]

    assert [len(page) for page in paged("list_thing_groups")] == [2, 2, 2]
    assert paged("list_things_in_thing_group", thingGroupName="Europe", recursive=True) == [
        ["car-Bavaria", "car-DE"],
        ["car-FR"],
    ]
    assert [len(page) for page in paged("list_thing_groups_for_thing", thingName="car-DE")] == [1]
    refused("InvalidRequestException", world.list_thing_groups, nextToken="x")
    refused("InvalidRequestException", world.list_thing_groups, maxResults=251)


def test_a_description_names_all_parents(world: Any) -> None:
    found = world.describe_thing_group(thingGroupName="Bavaria")
    assert (found["thingGroupName"], found["version"]) == ("Bavaria", 1)
    metadata = found["thingGroupMetadata"]
    assert metadata["parentGroupName"] == "DE"
    assert [group["groupName"] for group in metadata["rootToParentThingGroups"]] == ["Europe", "DE"]
    assert metadata["rootToParentThingGroups"][0]["groupArn"].endswith(":thinggroup/Europe")
    assert "queryString" not in found
    root = world.describe_thing_group(thingGroupName="Europe")["thingGroupMetadata"]
    assert set(root) == {"creationDate"}
    refused("ResourceNotFoundException", world.describe_thing_group, thingGroupName="Asia")


def test_a_thing_is_in_one_group_of_a_hierarchy(world: Any) -> None:
    message = refused(
        "InvalidRequestException", world.add_thing_to_thing_group, thingGroupName="FR", thingName="car-Bavaria"
    )
    assert "Bavaria" in message
    world.update_thing_groups_for_thing(
        thingName="car-Bavaria", thingGroupsToAdd=["FR", "US"], thingGroupsToRemove=["Bavaria"]
    )
    assert names(world.list_thing_groups_for_thing(thingName="car-Bavaria")) == ["FR", "US"]
    world.update_thing_groups_for_thing(
        thingName="car-Bavaria", thingGroupsToAdd=["Bavaria"], thingGroupsToRemove=["FR", "US"]
    )
    assert names(world.list_thing_groups_for_thing(thingName="car-Bavaria")) == ["Bavaria"]
    update = world.update_thing_groups_for_thing
    refused("InvalidRequestException", update, thingName="car-DE", thingGroupsToAdd=["X"], thingGroupsToRemove=["X"])
    refused("ResourceNotFoundException", update, thingName="car-DE", thingGroupsToAdd=["X"])
    refused("ResourceNotFoundException", update, thingName="nobody", thingGroupsToAdd=["DE"])
    refused("ResourceNotFoundException", world.list_thing_groups_for_thing, thingName="nobody")


def test_members_are_named_by_arn_too_and_twice_is_once(world: Any) -> None:
    world.create_thing(thingName="by-arn")
    prefix = "arn:aws:iot:us-east-1:000000000000"
    for _ in range(2):
        world.add_thing_to_thing_group(thingGroupArn=f"{prefix}:thinggroup/America", thingArn=f"{prefix}:thing/by-arn")
    assert "by-arn" in world.list_things_in_thing_group(thingGroupName="America")["things"]
    for _ in range(2):
        world.remove_thing_from_thing_group(thingGroupName="America", thingName="by-arn")
    assert world.list_thing_groups_for_thing(thingName="by-arn")["thingGroups"] == []
    refused("ResourceNotFoundException", world.add_thing_to_thing_group, thingGroupName="X", thingName="by-arn")
    refused("ResourceNotFoundException", world.add_thing_to_thing_group, thingGroupName="US", thingName="nobody")


def test_limits(cloud: Any) -> None:
    iot = cloud.client("iot")
    iot.create_thing(thingName="joiner")
    for number in range(11):
        iot.create_thing_group(thingGroupName=f"club-{number}")
    for number in range(10):
        iot.add_thing_to_thing_group(thingGroupName=f"club-{number}", thingName="joiner")
    add = iot.add_thing_to_thing_group
    refused("InvalidRequestException", add, thingGroupName="club-10", thingName="joiner", overrideDynamicGroups=True)
    for number in range(2, 8):
        iot.create_thing_group(
            thingGroupName=f"level-{number}", parentGroupName=f"level-{number - 1}" if number > 2 else "club-0"
        )
    refused("InvalidRequestException", iot.create_thing_group, thingGroupName="level-8", parentGroupName="level-7")
    for number in range(100):
        iot.create_thing_group(thingGroupName=f"child-{number}", parentGroupName="club-1")
    refused("InvalidRequestException", iot.create_thing_group, thingGroupName="child-100", parentGroupName="club-1")


def test_updates_and_deletions(world: Any) -> None:
    world.create_thing_group(
        thingGroupName="Africa",
        thingGroupProperties={"thingGroupDescription": "d", "attributePayload": {"attributes": {"a": "1", "b": "2"}}},
    )
    update = world.update_thing_group
    merged = {"attributePayload": {"attributes": {"a": "", "c": "3"}, "merge": True}}
    assert update(thingGroupName="Africa", thingGroupProperties=merged, expectedVersion=1)["version"] == 2
    found = world.describe_thing_group(thingGroupName="Africa")
    assert found["thingGroupProperties"] == {
        "thingGroupDescription": "d",
        "attributePayload": {"attributes": {"b": "2", "c": "3"}},
    }
    refused("VersionConflictException", update, thingGroupName="Africa", thingGroupProperties={}, expectedVersion=1)
    refused("ResourceNotFoundException", update, thingGroupName="Asia", thingGroupProperties={})
    refused("VersionConflictException", world.delete_thing_group, thingGroupName="Africa", expectedVersion=1)
    world.delete_thing_group(thingGroupName="Africa", expectedVersion=2)
    world.delete_thing_group(thingGroupName="Africa")
    message = refused("InvalidRequestException", world.delete_thing_group, thingGroupName="DE")
    assert "child" in message
    assert world.list_things_in_thing_group(thingGroupName="DE")["things"] == ["car-DE"]
