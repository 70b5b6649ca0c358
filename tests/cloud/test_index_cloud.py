"""Fleet indexing by boto3, against a real cloud process."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.cloud.conftest import Cloud, Identity

pytestmark = pytest.mark.e2e

PACKAGE = "SedanVehicle"
CONFIGURATION = {
    "thingIndexingMode": "REGISTRY_AND_SHADOW",
    "thingConnectivityIndexingMode": "STATUS",
    "namedShadowIndexingMode": "ON",
    "filter": {"namedShadowNames": ["$package"]},
    "customFields": [
        {"name": "shadow.reported.batteryStatus", "type": "Number"},
        {"name": "attributes.country", "type": "String"},
    ],
}


@pytest.fixture(scope="module")
def iot(cloud: Cloud) -> Any:
    return cloud.client("iot")


@pytest.fixture(scope="module")
def fleet(cloud: Cloud, iot: Any) -> list[str]:
    """Twelve vehicles: countries DE, FR, US; batteries 5, 15, … 115 %; versions 1.0.0 and, the last four, 1.1.0."""
    data = cloud.client("iot-data")
    iot.update_indexing_configuration(
        thingIndexingConfiguration=CONFIGURATION, thingGroupIndexingConfiguration={"thingGroupIndexingMode": "ON"}
    )
    iot.create_thing_type(thingTypeName=PACKAGE)
    iot.create_thing_group(thingGroupName="Fleets")
    iot.create_thing_group(
        thingGroupName="DEFleet",
        parentGroupName="Fleets",
        thingGroupProperties={"thingGroupDescription": "Cars", "attributePayload": {"attributes": {"level": "3"}}},
    )
    names = [f"Vehicle-VIN-{number:03}" for number in range(1, 13)]
    for number, name in enumerate(names):
        country = ("DE", "FR", "US")[number % 3]
        iot.create_thing(thingName=name, thingTypeName=PACKAGE, attributePayload={"attributes": {"country": country}})
        if country == "DE":
            iot.add_thing_to_thing_group(thingGroupName="DEFleet", thingName=name)
        state = {"state": {"reported": {"batteryStatus": number * 10 + 5}}}
        data.update_thing_shadow(thingName=name, payload=json.dumps(state))
        version = "1.1.0" if number >= 8 else "1.0.0"
        package = {"state": {"reported": {PACKAGE: {"version": version, "attributes": {}}}}}
        data.update_thing_shadow(thingName=name, shadowName="$package", payload=json.dumps(package))
    data.update_thing_shadow(thingName="not-registered", payload=b'{"state": {"reported": {"batteryStatus": 77}}}')
    until(lambda: len(found(iot, "*")) == 12 and len(found(iot, "shadow.name.$package.reported:*")) == 12)
    return names


def until(holds: Callable[[], bool], within_s: float = 10) -> None:
    """Return when something holds; the index follows what it is told."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it never held"


def found(iot: Any, query: str, **options: Any) -> list[str]:
    """The numbers of the vehicles that a query finds; none while the index is being built."""
    try:
        things = iot.search_index(queryString=query, **options)["things"]
    except iot.exceptions.IndexNotReadyException:
        return []
    return [thing["thingName"].removeprefix("Vehicle-VIN-") for thing in things]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("thingName:*", range(1, 13)),
        ("thingName:Vehicle-VIN-00?", range(1, 10)),
        ("thingName:VEHICLE-vin-012", [12]),
        (f"thingTypeName:{PACKAGE} AND shadow.name.$package.reported.{PACKAGE}.version:* AND NOT "
         f"shadow.name.$package.reported.{PACKAGE}.version:1.1.0", range(1, 9)),
        (f"shadow.name.\\$package.reported.{PACKAGE}.version:(1.1.0 OR 2.0.0)", range(9, 13)),
        ("attributes.country:(DE OR FR)", [1, 2, 4, 5, 7, 8, 10, 11]),
        ("shadow.reported.batteryStatus:[50 TO *]", range(6, 13)),
        ("shadow.reported.batteryStatus:[* TO 20]", [1, 2]),
        ("shadow.reported.batteryStatus:[15 TO 35}", [2, 3]),
        ("shadow.reported.batteryStatus>100 -attributes.country:US", [11]),
        ("shadow.reported.batteryStatus:75", [8]),
        ("thingGroupNames:DEFleet", [1, 4, 7, 10]),
        ("connectivity.connected:false", range(1, 13)),
        ("connectivity.timestamp:*", []),
        ("US 115", [12]),
        ("shadow.hasDelta:true", []),
    ],
)  # fmt: skip
def test_what_a_fleet_is_asked(iot: Any, fleet: list[str], query: str, numbers: Any) -> None:
    assert found(iot, query, maxResults=250) == [f"{number:03}" for number in numbers]


def test_a_hit_has_what_is_known_of_the_thing(iot: Any, fleet: list[str]) -> None:
    (hit,) = iot.search_index(queryString=f"thingName:{fleet[0]}")["things"]
    assert hit["thingTypeName"] == PACKAGE
    assert hit["thingGroupNames"] == ["DEFleet"]
    assert hit["attributes"] == {"country": "DE"}
    assert hit["connectivity"] == {"connected": False}
    shadow = json.loads(hit["shadow"])
    assert shadow["reported"] == {"batteryStatus": 5}
    assert shadow["metadata"]["reported"]["batteryStatus"]["timestamp"] > 1_600_000_000
    assert (shadow["hasDelta"], shadow["version"]) == (False, 1)
    package = shadow["name"]["$package"]
    assert package["reported"] == {PACKAGE: {"version": "1.0.0", "attributes": {}}}
    assert {"metadata", "hasDelta", "version"} < set(package)


def test_pages(iot: Any, fleet: list[str]) -> None:
    names: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = iot.search_index(queryString="thingTypeName:*", maxResults=5, **token)
        names += [thing["thingName"] for thing in page["things"]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert names == fleet
    with pytest.raises(iot.exceptions.InvalidRequestException, match="different parameters"):
        iot.search_index(queryString="*", **token)
    with pytest.raises(iot.exceptions.InvalidRequestException, match="Invalid nextToken"):
        iot.search_index(queryString="*", nextToken="x")


def test_aggregations(iot: Any, fleet: list[str]) -> None:
    battery = {"queryString": "attributes.country:DE", "aggregationField": "shadow.reported.batteryStatus"}
    assert iot.get_statistics(**battery)["statistics"] == {
        "count": 4, "average": 50.0, "sum": 200.0, "minimum": 5.0, "maximum": 95.0, "sumOfSquares": 14500.0,
        "variance": 1125.0, "stdDeviation": pytest.approx(33.541, abs=0.001),
    }  # fmt: skip
    assert iot.get_statistics(queryString="*")["statistics"]["count"] == 12
    assert iot.get_cardinality(queryString="*", aggregationField="attributes.country")["cardinality"] == 3
    assert iot.get_percentiles(**battery, percents=[50])["percentiles"] == [{"percent": 50.0, "value": 50.0}]
    assert iot.get_buckets_aggregation(
        queryString="*",
        aggregationField="attributes.country",
        bucketsAggregationType={"termsAggregation": {"maxBuckets": 2}},
    )["buckets"] == [{"keyValue": "DE", "count": 4}, {"keyValue": "FR", "count": 4}]
    with pytest.raises(iot.exceptions.InvalidAggregationException, match=r"shadow\.reported\.speed"):
        iot.get_statistics(queryString="*", aggregationField="shadow.reported.speed")
    with pytest.raises(iot.exceptions.InvalidAggregationException, match="type Number"):
        iot.get_percentiles(queryString="*", aggregationField="attributes.country")


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("thingName:(a", "InvalidQueryException", "not closed, at character 11"),
        ("vin:1", "InvalidQueryException", "invalid field name, field name: vin"),
        ("shadow.name.other.reported.x:1", "InvalidQueryException", "field name: shadow.name.other.reported.x"),
        ("deviceDefender.violationCount:1", "InvalidRequestException", "indexing is not enabled"),
        (" OR ".join(["a"] * 13), "InvalidQueryException", "cannot exceed 12, terms found: 13"),
        ("a" * 1001, "InvalidQueryException", "cannot exceed 1000, characters found: 1001"),
    ],
)
def test_wrong_queries(iot: Any, fleet: list[str], query: str, error: str, message: str) -> None:
    with pytest.raises(ClientError) as caught:
        iot.search_index(queryString=query)
    assert caught.value.response["Error"]["Code"] == error
    assert message in caught.value.response["Error"]["Message"]


def test_indices(iot: Any, fleet: list[str]) -> None:
    assert iot.list_indices()["indexNames"] == ["AWS_ThingGroups", "AWS_Things"]
    described = iot.describe_index(indexName="AWS_Things")
    assert (described["indexStatus"], described["schema"]) == ("ACTIVE", "MULTI_INDEXING_MODE")
    assert iot.describe_index(indexName="AWS_ThingGroups")["schema"] == "THING_GROUPS"
    with pytest.raises(iot.exceptions.InvalidRequestException, match="Unrecognized indexName Things"):
        iot.describe_index(indexName="Things")
    with pytest.raises(iot.exceptions.InvalidRequestException, match="2017-09-30"):
        iot.search_index(queryString="*", queryVersion="2")
    configuration = iot.get_indexing_configuration()["thingIndexingConfiguration"]
    assert {key: configuration[key] for key in CONFIGURATION} == CONFIGURATION
    assert {"name": "connectivity.connected", "type": "Boolean"} in configuration["managedFields"]


def test_groups(iot: Any, fleet: list[str]) -> None:
    (group,) = iot.search_index(
        indexName="AWS_ThingGroups", queryString="parentGroupNames:fleets AND attributes.level>2 AND description:cars"
    )["thingGroups"]
    assert group["thingGroupName"] == "DEFleet"
    assert group["thingGroupDescription"] == "Cars"
    assert group["parentGroupNames"] == ["Fleets"]
    assert group["attributes"] == {"level": "3"}


def test_a_change_is_seen_within_a_second(cloud: Cloud, iot: Any, fleet: list[str]) -> None:
    iot.create_thing(thingName="late")
    until(lambda: found(iot, "thingName:late") == ["late"], 1)
    iot.update_thing(thingName="late", attributePayload={"attributes": {"colour": "red"}})
    until(lambda: found(iot, "attributes.colour:RED") == ["late"], 1)
    iot.add_thing_to_thing_group(thingGroupName="Fleets", thingName="late")
    until(lambda: found(iot, "thingGroupNames:fleets") == ["late"], 1)
    data = cloud.client("iot-data")
    state = {"state": {"desired": {"fan": {"speed": 3}}}}
    data.update_thing_shadow(thingName="late", payload=json.dumps(state))
    until(lambda: found(iot, "shadow.hasDelta:true shadow.delta.fan.speed:3") == ["late"], 1)
    data.delete_thing_shadow(thingName="late")
    until(lambda: found(iot, "shadow.hasDelta:true") == [], 1)
    iot.delete_thing(thingName="late")
    until(lambda: found(iot, "thingName:late") == [], 1)


def test_connectivity(cloud: Cloud, iot: Any, fleet: list[str], identity: Callable[..., Identity]) -> None:
    device = identity("online")
    never = iot.get_thing_connectivity_data(thingName="online")
    assert (never["connected"], "timestamp" in never) == (False, False)
    client = Client(CallbackAPIVersion.VERSION2, client_id="online", reconnect_on_failure=False)
    client.tls_set(cloud.ready["ca_file"], device.cert_file, device.key_file)
    client.connect(cloud.ready["mqtt_host"], cloud.ready["mqtt_port"])
    client.loop_start()
    until(lambda: found(iot, "connectivity.connected:true") == ["online"])
    (hit,) = iot.search_index(queryString="connectivity.connected:true")["things"]
    assert set(hit["connectivity"]) == {"connected", "timestamp"}
    now = iot.get_thing_connectivity_data(thingName="online")
    assert (now["connected"], now["disconnectReason"]) == (True, "NONE")
    assert abs(now["timestamp"].timestamp() - time.time()) < 60
    client.disconnect()
    client.loop_stop()
    until(lambda: found(iot, "connectivity.disconnectReason:CLIENT_INITIATED_DISCONNECT") == ["online"])
    assert iot.get_thing_connectivity_data(thingName="online")["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.get_thing_connectivity_data(thingName="nobody")


def test_an_index_is_built_before_it_answers(start_cloud: Callable[..., Cloud]) -> None:
    iot = start_cloud().client("iot")
    with pytest.raises(iot.exceptions.ResourceNotFoundException, match="UpdateIndexingConfiguration"):
        iot.search_index(queryString="*")
    assert iot.get_indexing_configuration()["thingIndexingConfiguration"]["thingIndexingMode"] == "OFF"
    iot.create_thing(thingName="first")
    iot.update_indexing_configuration(thingIndexingConfiguration={"thingIndexingMode": "REGISTRY"})
    until(lambda: iot.describe_index(indexName="AWS_Things")["indexStatus"] == "ACTIVE")
    assert found(iot, "*") == ["first"]
    with pytest.raises(iot.exceptions.InvalidRequestException, match="Shadow indexing is not enabled"):
        iot.search_index(queryString="shadow.reported.x:1")
    iot.update_indexing_configuration(thingIndexingConfiguration={"thingIndexingMode": "OFF"})
    assert iot.list_indices()["indexNames"] == []


def test_what_a_dynamic_group_asks_for_stays_indexed(start_cloud: Callable[..., Cloud]) -> None:
    iot = start_cloud().client("iot")
    shadows = {"thingIndexingMode": "REGISTRY_AND_SHADOW"}
    iot.update_indexing_configuration(thingIndexingConfiguration=shadows)
    iot.create_dynamic_thing_group(thingGroupName="empty", queryString="shadow.reported.battery<20")
    for mode in ("OFF", "REGISTRY"):
        with pytest.raises(
            iot.exceptions.InvalidRequestException, match=r"whose query is shadow\.reported\.battery<20"
        ):
            iot.update_indexing_configuration(thingIndexingConfiguration={"thingIndexingMode": mode})
    iot.update_indexing_configuration(
        thingIndexingConfiguration={**shadows, "thingConnectivityIndexingMode": "STATUS"},
        thingGroupIndexingConfiguration={"thingGroupIndexingMode": "ON"},
    )
    iot.delete_dynamic_thing_group(thingGroupName="empty")
    iot.update_indexing_configuration(thingIndexingConfiguration={"thingIndexingMode": "OFF"})


def test_policies_name_the_index(cloud: Cloud, fleet: list[str]) -> None:
    iam = cloud.client("iam")
    iam.create_user(UserName="reader")
    index = "arn:aws:iot:us-east-1:000000000000:index/AWS_Things"
    allowed = {"Effect": "Allow", "Action": ["iot:SearchIndex", "iot:DescribeIndex"], "Resource": index}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    reader = cloud.client("iot", secret=key["SecretAccessKey"], key_id=key["AccessKeyId"])
    assert reader.describe_index(indexName="AWS_Things")["indexStatus"] == "ACTIVE"
    assert len(reader.search_index(queryString="thingTypeName:*")["things"]) == 12
    for call, arguments in (
        (reader.describe_index, {"indexName": "AWS_ThingGroups"}),
        (reader.get_statistics, {"queryString": "*"}),
        (reader.get_indexing_configuration, {}),
    ):
        with pytest.raises(ClientError, match="not authorized"):
            call(**arguments)
