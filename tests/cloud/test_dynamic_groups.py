"""Dynamic thing groups at the cloud: made and changed by boto3, filled by what devices report."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.cloud.test_cloud_devices import ALL_OF_IT, WAIT_S, connect  # noqa: F401 - a fixture
from tests.cloud.test_dynamic_groups_static import names, refused

ARN = "arn:aws:iot:us-east-1:000000000000:{}"
INDEXING: dict[str, Any] = {
    "thingIndexingMode": "REGISTRY_AND_SHADOW",
    "thingConnectivityIndexingMode": "STATUS",
    "namedShadowIndexingMode": "ON",
    "filter": {"namedShadowNames": ["$package"]},
}


def eventually(found: Callable[[], Any], expected: Any) -> None:
    """Wait until something is as expected."""
    deadline = time.monotonic() + WAIT_S
    while (value := found()) != expected:
        assert time.monotonic() < deadline, f"{value} is still not {expected}"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def iot(cloud: Any) -> Any:
    iot = cloud.client("iot")
    message = refused(
        "InvalidRequestException", iot.create_dynamic_thing_group, thingGroupName="early", queryString="thingName:*"
    )
    assert "AWS_Things" in message
    iot.update_indexing_configuration(thingIndexingConfiguration=INDEXING)
    eventually(lambda: iot.describe_index(indexName="AWS_Things")["indexStatus"], "ACTIVE")
    return iot


@pytest.fixture
def make(iot: Any) -> Any:
    """Make dynamic groups that end with the test."""
    made: list[str] = []

    def create(name: str, query: str, **options: Any) -> Any:
        made.append(name)
        return iot.create_dynamic_thing_group(thingGroupName=name, queryString=query, **options)

    yield create
    for name in made:
        iot.delete_dynamic_thing_group(thingGroupName=name)


def things(iot: Any, group: str) -> list[str]:
    found: list[str] = iot.list_things_in_thing_group(thingGroupName=group)["things"]
    return found


def status(iot: Any, group: str) -> str:
    return str(iot.describe_thing_group(thingGroupName=group)["status"])


def test_the_life_of_a_group(iot: Any) -> None:
    for name, country in [("life-1", "DE"), ("life-2", "FR")]:
        iot.create_thing(thingName=name, attributePayload={"attributes": {"life": country}})
    properties = {"thingGroupDescription": "d", "attributePayload": {"attributes": {"a": "1"}}}
    parameters = {
        "thingGroupName": "life",
        "queryString": "attributes.life:DE",
        "thingGroupProperties": properties,
        "tags": [{"Key": "fleetsim", "Value": "fleet"}],
    }
    created = iot.create_dynamic_thing_group(**parameters)
    assert (created["indexName"], created["queryVersion"]) == ("AWS_Things", "2017-09-30")
    assert created["queryString"] == "attributes.life:DE"
    assert created["thingGroupArn"] == ARN.format("thinggroup/life")
    eventually(lambda: status(iot, "life"), "ACTIVE")
    eventually(lambda: things(iot, "life"), ["life-1"])
    assert iot.create_dynamic_thing_group(**parameters)["thingGroupId"] == created["thingGroupId"]
    other = {**parameters, "queryString": "attributes.life:FR"}
    refused("ResourceAlreadyExistsException", iot.create_dynamic_thing_group, **other)
    refused("ResourceAlreadyExistsException", iot.create_thing_group, thingGroupName="life")
    found = iot.describe_thing_group(thingGroupName="life")
    assert (found["version"], found["indexName"], found["thingGroupProperties"]) == (1, "AWS_Things", properties)
    assert set(found["thingGroupMetadata"]) == {"creationDate"}
    tags = iot.list_tags_for_resource(resourceArn=created["thingGroupArn"])["tags"]
    assert tags == [{"Key": "fleetsim", "Value": "fleet"}]
    assert "life" in names(iot.list_thing_groups())
    assert names(iot.list_thing_groups_for_thing(thingName="life-1")) == ["life"]

    def found_by_group() -> list[str]:
        return [thing["thingName"] for thing in iot.search_index(queryString="thingGroupNames:life")["things"]]

    eventually(found_by_group, ["life-1"])

    update = iot.update_dynamic_thing_group
    changed = update(
        thingGroupName="life", thingGroupProperties={}, queryString="attributes.life:FR", expectedVersion=1
    )
    assert changed["version"] == 2
    eventually(lambda: (status(iot, "life"), things(iot, "life")), ("ACTIVE", ["life-2"]))
    assert iot.describe_thing_group(thingGroupName="life")["queryString"] == "attributes.life:FR"
    assert update(thingGroupName="life", thingGroupProperties={"thingGroupDescription": "e"})["version"] == 3
    assert iot.describe_thing_group(thingGroupName="life")["thingGroupProperties"]["thingGroupDescription"] == "e"
    refused("VersionConflictException", update, thingGroupName="life", thingGroupProperties={}, expectedVersion=1)
    refused("ResourceNotFoundException", update, thingGroupName="no-life", thingGroupProperties={})
    delete = iot.delete_dynamic_thing_group
    refused("VersionConflictException", delete, thingGroupName="life", expectedVersion=1)
    delete(thingGroupName="life", expectedVersion=3)
    delete(thingGroupName="life")
    refused("ResourceNotFoundException", iot.describe_thing_group, thingGroupName="life")
    assert names(iot.list_thing_groups_for_thing(thingName="life-2")) == []


def test_what_cannot_be_created(iot: Any) -> None:
    create = iot.create_dynamic_thing_group
    refused("InvalidQueryException", create, thingGroupName="bad", queryString="attributes.a:(")
    refused("InvalidQueryException", create, thingGroupName="bad", queryString="a OR b OR c OR d OR e OR f")
    refused("InvalidRequestException", create, thingGroupName="bad", queryString="x", indexName="AWS_ThingGroups")
    refused("InvalidRequestException", create, thingGroupName="bad", queryString="x", queryVersion="2000-01-01")
    refused("InvalidRequestException", create, thingGroupName="Own", queryString="NOT thingGroupNames:own")
    iot.create_thing_group(thingGroupName="static")
    refused("ResourceAlreadyExistsException", create, thingGroupName="static", queryString="x")
    dynamic = {"thingGroupName": "static", "thingGroupProperties": {}, "queryString": "x"}
    refused("InvalidRequestException", iot.update_dynamic_thing_group, **dynamic)
    refused("InvalidRequestException", iot.delete_dynamic_thing_group, thingGroupName="static")


def test_nothing_is_done_by_hand(iot: Any, make: Any) -> None:
    make("by-query", "attributes.hand:none")
    iot.create_thing(thingName="hand")
    iot.create_policy(policyName="hand", policyDocument=json.dumps(ALL_OF_IT))
    member = {"thingGroupName": "by-query", "thingName": "hand"}
    policy = {"policyName": "hand", "target": ARN.format("thinggroup/by-query")}
    calls: list[tuple[Any, dict[str, Any]]] = [
        (iot.add_thing_to_thing_group, member),
        (iot.remove_thing_from_thing_group, member),
        (iot.update_thing_groups_for_thing, {"thingName": "hand", "thingGroupsToAdd": ["by-query"]}),
        (iot.update_thing_groups_for_thing, {"thingName": "hand", "thingGroupsToRemove": ["by-query"]}),
        (iot.delete_thing_group, {"thingGroupName": "by-query"}),
        (iot.update_thing_group, {"thingGroupName": "by-query", "thingGroupProperties": {}}),
        (iot.create_thing_group, {"thingGroupName": "child", "parentGroupName": "by-query"}),
        (iot.attach_policy, policy),
    ]
    for call, parameters in calls:
        assert "does not support dynamic thing groups" in refused("InvalidRequestException", call, **parameters)


def test_the_index_stays_as_long_as_a_group_needs_it(iot: Any, make: Any) -> None:
    make("needs", "shadow.reported.level>5")
    for mode in ("OFF", "REGISTRY"):
        without = {"thingIndexingMode": mode}
        refused("InvalidRequestException", iot.update_indexing_configuration, thingIndexingConfiguration=without)
    iot.update_indexing_configuration(thingIndexingConfiguration=INDEXING)


def test_a_thing_is_in_ten_groups_and_the_oldest_dynamic_ones_come_first(iot: Any, make: Any) -> None:
    for number in range(1, 9):
        iot.create_thing_group(thingGroupName=f"s-{number}")
    iot.create_thing(thingName="popular", attributePayload={"attributes": {"popular": "yes"}})
    make("d-old", "attributes.popular:no")
    for number in (1, 2, 3):
        make(f"d-{number}", "attributes.popular:yes")

    def groups() -> list[str]:
        return names(iot.list_thing_groups_for_thing(thingName="popular"))

    eventually(groups, ["d-1", "d-2", "d-3"])
    for number in range(1, 8):
        iot.add_thing_to_thing_group(thingGroupName=f"s-{number}", thingName="popular")
    add = {"thingGroupName": "s-8", "thingName": "popular"}
    refused("InvalidRequestException", iot.add_thing_to_thing_group, **add)
    iot.add_thing_to_thing_group(**add, overrideDynamicGroups=True)
    static = [f"s-{number}" for number in range(1, 9)]
    assert groups() == ["d-1", "d-2", *static]
    iot.update_dynamic_thing_group(
        thingGroupName="d-old", thingGroupProperties={}, queryString="attributes.popular:yes"
    )
    eventually(groups, ["d-1", "d-old", *static])
    iot.remove_thing_from_thing_group(**add)  # makes room for the one that was left last
    eventually(groups, ["d-1", "d-2", "d-old", *static[:-1]])
    iot.delete_dynamic_thing_group(thingGroupName="d-1")
    eventually(groups, ["d-2", "d-3", "d-old", *static[:-1]])


def test_a_device_enters_by_what_it_reports_and_gets_the_job(
    iot: Any,
    make: Any,
    identity: Any,
    connect: Any,  # noqa: F811
) -> None:
    device, consumer = identity("enters"), identity("observer", ALL_OF_IT)
    events = {"THING_GROUP_MEMBERSHIP": {"Enabled": True}, "THING_GROUP": {"Enabled": True}}
    iot.update_event_configurations(eventConfigurations=events)
    jobs, shadow = "$aws/things/enters/jobs", "$aws/things/enters/shadow/update"
    with connect(device) as heard, connect(consumer) as observer:
        observer.subscribe("$aws/events/#")
        arn = make("low", "shadow.reported.batteryStatus<30 AND connectivity.connected:true")["thingGroupArn"]
        assert observer.until("/thingGroup/low/created")["dynamicGroupMappingId"]
        iot.create_job(
            jobId="charge",
            targets=[arn],
            document=json.dumps({"operation": "charge"}),
            targetSelection="CONTINUOUS",
            jobExecutionsRolloutConfig={"maximumPerMinute": 1},
        )
        iot.create_job(jobId="now", targets=[arn], document="{}")
        heard.subscribe(f"{jobs}/notify-next", f"{jobs}/+/update/+")
        heard.publish(shadow, {"state": {"reported": {"batteryStatus": 20}}})
        execution = heard.until("/notify-next")["execution"]
        assert (execution["jobId"], execution["jobDocument"]) == ("charge", {"operation": "charge"})
        added = observer.until("/thingGroup/low/thing/enters/added")
        assert (added["operation"], added["groupArn"]) == ("ADDED", arn)
        assert things(iot, "low") == ["enters"]

        heard.publish(shadow, {"state": {"reported": {"batteryStatus": 80}}})
        assert "execution" not in heard.until("/notify-next")
        assert observer.until("/thing/enters/removed")["operation"] == "REMOVED"
        heard.publish(shadow, {"state": {"reported": {"batteryStatus": 10}}})
        assert heard.until("/notify-next")["execution"]["executionNumber"] == 2
        heard.publish(f"{jobs}/charge/update", {"status": "SUCCEEDED"})
        heard.until("/update/accepted")
        found = iot.list_job_executions_for_thing(thingName="enters")["executionSummaries"]
        assert [one["jobExecutionSummary"]["status"] for one in found] == ["SUCCEEDED", "REMOVED"]
    eventually(lambda: things(iot, "low"), [])  # it is not connected any more
    assert iot.list_job_executions_for_job(jobId="now")["executionSummaries"] == []


def test_a_thing_that_goes_leaves_its_groups(iot: Any, make: Any) -> None:
    make("gone", "thingName:gone-*")
    for number in range(3):
        iot.create_thing(thingName=f"gone-{number}")
    eventually(lambda: things(iot, "gone"), ["gone-0", "gone-1", "gone-2"])
    iot.delete_thing(thingName="gone-1")
    assert things(iot, "gone") == ["gone-0", "gone-2"]


def test_there_are_a_hundred_groups_at_most(iot: Any, make: Any) -> None:
    for number in range(100):
        make(f"many-{number}", "thingName:nobody")
    create = iot.create_dynamic_thing_group
    refused("LimitExceededException", create, thingGroupName="too-many", queryString="thingName:nobody")


def test_the_index_may_go_when_no_group_needs_it(iot: Any) -> None:
    iot.update_indexing_configuration(thingIndexingConfiguration={"thingIndexingMode": "OFF"})
    iot.update_indexing_configuration(thingIndexingConfiguration=INDEXING)
