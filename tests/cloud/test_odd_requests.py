"""Requests that nobody means: other regions and accounts, values that fit no model. The cloud refuses and goes on."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

from tests.cloud.conftest import Cloud
from tests.cloud.test_dynamic_groups import INDEXING, eventually

ARN = "arn:aws:iot:us-east-1:000000000000:"
UNCHECKED = Config(parameter_validation=False, retries={"total_max_attempts": 1})


def refusal(call: Any, **parameters: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    answer: Any = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("iot", "list_things", {}),
        ("iot", "search_index", {"queryString": "thingName:*"}),
        ("iot-data", "get_thing_shadow", {"thingName": "one"}),
        ("iot-jobs-data", "get_pending_job_executions", {"thingName": "one"}),
    ],
)
def test_another_region_is_not_here(cloud: Cloud, service: str, operation: str, parameters: dict[str, str]) -> None:
    elsewhere = cloud.client(service, region_name="eu-west-1")
    text = "Credential should be scoped to a valid region, not 'eu-west-1'."
    assert refusal(getattr(elsewhere, operation), **parameters) == (403, "InvalidSignatureException", text)


def test_a_group_of_another_account_does_not_hold_up_ours(start_cloud: Callable[..., Cloud]) -> None:
    cloud = start_cloud(auth=False)
    ours, theirs = cloud.client("iot"), cloud.client("iot", key_id="123456789012")
    ours.update_indexing_configuration(thingIndexingConfiguration=INDEXING)
    theirs.create_dynamic_thing_group(thingGroupName="theirs", queryString="thingName:*")
    ours.create_thing(thingName="one")
    ours.create_dynamic_thing_group(thingGroupName="ours", queryString="thingName:*")
    eventually(lambda: ours.list_things_in_thing_group(thingGroupName="ours")["things"], ["one"])


def test_names_end_where_they_end(cloud: Cloud) -> None:
    iot = cloud.client("iot")
    assert refusal(iot.create_thing, thingName="one\n")[:2] == (400, "InvalidRequestException")
    assert refusal(iot.create_topic_rule, ruleName="one\n", topicRulePayload={"sql": "x", "actions": []})[0] == 400


def test_a_slash_in_a_name_is_no_missing_operation(cloud: Cloud) -> None:
    assert refusal(cloud.client("iot").create_thing, thingName="a/b") == (
        400, "InvalidRequestException", "POST /things/a/b is no operation of iot; is there a slash in a name?",
    )  # fmt: skip


def test_membership_by_the_arn_of_another_place(cloud: Cloud) -> None:
    iot = cloud.client("iot")
    iot.create_thing(thingName="here")
    iot.create_thing_group(thingGroupName="Here")
    elsewhere = ARN.replace("us-east-1", "eu-west-1")
    for own in ({"thingGroupArn": f"{elsewhere}thinggroup/Here", "thingName": "here"},
                {"thingGroupName": "Here", "thingArn": f"{elsewhere}thing/here"}):  # fmt: skip
        assert refusal(iot.add_thing_to_thing_group, **own)[:2] == (404, "ResourceNotFoundException")
        assert refusal(iot.remove_thing_from_thing_group, **own)[:2] == (404, "ResourceNotFoundException")
    iot.add_thing_to_thing_group(thingGroupArn=f"{ARN}thinggroup/Here", thingArn=f"{ARN}thing/here")
    assert iot.list_things_in_thing_group(thingGroupName="Here")["things"] == ["here"]


def test_a_tag_without_a_value(cloud: Cloud) -> None:
    iot = cloud.client("iot")
    iot.update_indexing_configuration(thingIndexingConfiguration=INDEXING)
    group = {"thingGroupName": "tagged", "queryString": "thingName:none", "tags": [{"Key": "k"}]}
    created = iot.create_dynamic_thing_group(**group)
    assert iot.list_tags_for_resource(resourceArn=created["thingGroupArn"])["tags"] == [{"Key": "k", "Value": ""}]
    assert iot.create_dynamic_thing_group(**group)["thingGroupId"] == created["thingGroupId"]


def test_what_the_model_forbids_is_the_callers_mistake(cloud: Cloud) -> None:
    iot = cloud.client("iot", config=UNCHECKED)
    status, code, text = refusal(iot.create_provisioning_template, templateName=1, templateBody="{}")
    assert (status, code) == (400, "InvalidRequestException")
    assert "Value at 'templateName' failed to satisfy constraint: Member must be a string" in text


def test_a_body_that_is_too_long(cloud: Cloud) -> None:
    iot = cloud.client("iot")
    for _ in range(3):
        found = refusal(iot.create_package, packageName="long", description="x" * 3_000_000)
        assert found == (413, "RequestEntityTooLargeException", "More than 1048576 bytes")


# What is odd about a value of each kind
_TEXT = [
    "",
    "ü",
    "日本語/ x",
    "x" * 3000,
    "%2e",
    "..",
    "$",
    "*",
    "t0\n",
    "null",
    "{}",
    "a:b:c",
    f"{ARN}thing/",
    "((",
    1,
]
ODD: dict[str, list[Any]] = {
    "string": _TEXT,
    "integer": [0, -1, 10**9, 2**63, "x", 1.5, True, []],
    "long": [0, -1, 2**70, "x"],
    "boolean": ["x", 1, {}],
    "double": [-1.0, 1e308, "x"],
    "list": [[], [None], [{}], ["ü" * 200], "x", ["x"] * 300],
    "map": [{}, {"": ""}, {"a": None}, {"a": []}, "x", {str(number): "v" for number in range(300)}],
    "structure": [{}, "x", [], {"unknown": 1}],
    "blob": [b"", b"\xff", b"{", b'{"state":{"reported":[1]}}', b'{"state":{"reported":{"a":NaN}}}', b"1" * 99999],
}  # fmt: skip
KNOWN = {
    "thingName": "one", "thingGroupName": "group", "jobId": "job", "packageName": "package", "versionName": "1",
    "queryString": "thingName:*", "document": "{}", "targets": [f"{ARN}thing/one"], "targetArn": f"{ARN}thing/one",
    "commandId": "command", "policyName": "policy", "thingTypeName": "Type",
}  # fmt: skip


def value(shape: Any, name: str, draw: random.Random, depth: int = 0) -> Any:
    """What a caller would give."""
    if name in KNOWN:
        return KNOWN[name]
    if shape.type_name == "structure":
        wanted = {
            key: member
            for key, member in shape.members.items()
            if key in shape.required_members or (depth < 4 and draw.random() < 0.4)
        }
        return {key: value(member, key, draw, depth + 1) for key, member in wanted.items()}
    if shape.type_name == "list":
        return [value(shape.member, name, draw, depth + 1)]
    if shape.type_name == "map":
        return {"k": value(shape.value, "", draw, depth + 1)}
    if shape.type_name == "string":
        return draw.choice(shape.enum) if shape.enum else f"v{draw.randrange(9)}"
    return {"blob": b"{}", "boolean": True}.get(shape.type_name, max(shape.metadata.get("min", 1), 1))


def places(given: Any, shape: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Each place in a value: its container, the key in it, and its shape."""
    if isinstance(given, dict):
        found = [(key, shape.members[key] if shape.type_name == "structure" else shape.value) for key in given]
    else:
        found = [(0, shape.member)] if isinstance(given, list) and given else []
    for key, member in found:
        yield given, key, member
        yield from places(given[key], member)


@pytest.mark.parametrize("seed", range(3))
def test_no_request_makes_it_stumble(cloud: Cloud, seed: int) -> None:
    """One odd value in each: the answer is an answer. (The fixture looks for tracebacks in the log.)"""
    draw = random.Random(seed)  # noqa: S311
    iot = cloud.client("iot")
    iot.create_thing(thingName="one")
    iot.update_indexing_configuration(thingIndexingConfiguration=INDEXING)
    for service in ("iot", "iot-data", "iot-jobs-data"):
        client = cloud.client(service, config=UNCHECKED)
        model = client.meta.service_model
        for operation in model.operation_names:
            shape = model.operation_model(operation).input_shape
            for _ in range(2 if shape is not None and shape.members else 0):
                parameters = value(shape, "", draw)
                if found := list(places(parameters, shape)):
                    container, key, member = draw.choice(found)
                    container[key] = draw.choice(ODD.get(member.type_name, [None]))
                try:
                    getattr(client, xform_name(operation))(**parameters)
                except ClientError as error:
                    answer: Any = error.response
                    status = answer["ResponseMetadata"]["HTTPStatusCode"]
                    assert status < 500 or status == 501, (operation, json.dumps(parameters, default=repr), answer)
                except (AttributeError, KeyError, TypeError, ValueError):
                    pass  # botocore cannot write it down
                except HTTPClientError as error:
                    if "Invalid header value" not in str(error):
                        raise
    assert iot.describe_endpoint(endpointType="iot:Jobs")["endpointAddress"]
