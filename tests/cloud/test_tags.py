"""Tags of everything that the fleet's tooling makes, by boto3 at a real cloud."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

ARN = "arn:aws:iot:us-east-1:000000000000:"
TAGS = [{"Key": "fleetsim", "Value": "fleet"}]
MAP = {"fleetsim": "fleet"}
POLICY = json.dumps({"Version": "2012-10-17", "Statement": []})
TEMPLATE = json.dumps({"Parameters": {}, "Resources": {}})


@pytest.fixture(scope="module")
def iot(cloud: Any) -> Any:
    client = cloud.client("iot")
    client.create_thing(thingName="tagged")
    client.create_package(packageName="untagged")
    client.update_indexing_configuration(thingIndexingConfiguration={"thingIndexingMode": "REGISTRY"})
    return client


def tags_of(iot: Any, arn: str) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in iot.list_tags_for_resource(resourceArn=arn)["tags"]}


def code_of(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


Make = Callable[[Any], Any]
Case = tuple[str, Make, Make]
RESOURCES: dict[str, Case] = {
    "package": (
        "package/tagged",
        lambda iot: iot.create_package(packageName="tagged", tags=MAP),
        lambda iot: iot.delete_package(packageName="tagged"),
    ),
    "package version": (
        "package/untagged/version/1.0.0",
        lambda iot: iot.create_package_version(packageName="untagged", versionName="1.0.0", tags=MAP),
        lambda iot: iot.delete_package_version(packageName="untagged", versionName="1.0.0"),
    ),
    "thing group": (
        "thinggroup/tagged",
        lambda iot: iot.create_thing_group(thingGroupName="tagged", tags=TAGS),
        lambda iot: iot.delete_thing_group(thingGroupName="tagged"),
    ),
    "dynamic thing group": (
        "thinggroup/moving",
        lambda iot: iot.create_dynamic_thing_group(
            thingGroupName="moving", queryString="attributes.country:DE", tags=TAGS
        ),
        lambda iot: iot.delete_dynamic_thing_group(thingGroupName="moving"),
    ),
    "command": (
        "command/tagged",
        lambda iot: iot.create_command(
            commandId="tagged", payload={"content": b"{}", "contentType": "application/json"}, tags=TAGS
        ),
        lambda iot: iot.delete_command(commandId="tagged"),
    ),
    "thing type": (
        "thingtype/tagged",
        lambda iot: iot.create_thing_type(thingTypeName="tagged", tags=TAGS),
        lambda iot: iot.deprecate_thing_type(thingTypeName="tagged"),
    ),
    "job": (
        "job/tagged",
        lambda iot: iot.create_job(jobId="tagged", targets=[ARN + "thing/tagged"], document="{}", tags=TAGS),
        lambda iot: iot.delete_job(jobId="tagged", force=True),
    ),
    "job template": (
        "jobtemplate/tagged",
        lambda iot: iot.create_job_template(jobTemplateId="tagged", description="d", document="{}", tags=TAGS),
        lambda iot: iot.delete_job_template(jobTemplateId="tagged"),
    ),
    "policy": (
        "policy/tagged",
        lambda iot: iot.create_policy(policyName="tagged", policyDocument=POLICY, tags=TAGS),
        lambda iot: iot.delete_policy(policyName="tagged"),
    ),
    "topic rule": (
        "rule/tagged",
        lambda iot: iot.create_topic_rule(
            ruleName="tagged",
            topicRulePayload={"sql": "SELECT * FROM 'a'", "actions": []},
            tags="fleetsim=fleet",
        ),
        lambda iot: iot.delete_topic_rule(ruleName="tagged"),
    ),
}


@pytest.mark.parametrize("kind", RESOURCES)
def test_a_resource_keeps_its_tags_until_it_goes(iot: Any, kind: str) -> None:
    name, create, delete = RESOURCES[kind]
    arn = ARN + name
    assert code_of(iot.list_tags_for_resource, resourceArn=arn) == "ResourceNotFoundException"
    assert code_of(iot.tag_resource, resourceArn=arn, tags=TAGS) == "ResourceNotFoundException"
    create(iot)
    assert tags_of(iot, arn) == MAP
    iot.tag_resource(resourceArn=arn, tags=[{"Key": "fleetsim", "Value": "other"}, {"Key": "a b", "Value": ""}])
    assert tags_of(iot, arn) == {"fleetsim": "other", "a b": ""}
    iot.untag_resource(resourceArn=arn, tagKeys=["fleetsim", "never there"])
    assert tags_of(iot, arn) == {"a b": ""}
    delete(iot)
    if kind in ("thing type", "command"):
        return  # it stays for minutes or hours
    assert code_of(iot.untag_resource, resourceArn=arn, tagKeys=["a b"]) == "ResourceNotFoundException"
    if kind == "job":
        return  # its deletion takes a while, and its name is not free at once
    create(iot)
    assert tags_of(iot, arn) == MAP  # nothing is left of the first one's
    delete(iot)


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        (ARN + "thing/tagged", "InvalidRequestException"),
        (ARN + "package/none", "ResourceNotFoundException"),
        (ARN + "package/untagged/version/none", "ResourceNotFoundException"),
        (ARN + "starship/1", "InvalidRequestException"),
        (ARN.replace("0000", "1111") + "package/untagged", "InvalidRequestException"),
        ("arn:aws:s3:::bucket", "InvalidRequestException"),
        ("no ARN", "InvalidRequestException"),
    ],
)
def test_what_has_no_tags(iot: Any, arn: str, code: str) -> None:
    assert code_of(iot.list_tags_for_resource, resourceArn=arn) == code
    assert code_of(iot.tag_resource, resourceArn=arn, tags=TAGS) == code
    assert code_of(iot.untag_resource, resourceArn=arn, tagKeys=["a"]) == code


def test_the_limits_of_tags(iot: Any) -> None:
    arn = ARN + "package/untagged"
    many = {f"k{n}": "v" for n in range(51)}
    assert code_of(iot.create_package, packageName="many", tags=many) == "ValidationException"
    assert code_of(iot.create_package, packageName="many", tags={"aws:x": "v"}) == "ValidationException"
    assert code_of(iot.create_package, packageName="many", tags={"a#": "v"}) == "ValidationException"
    assert code_of(iot.create_package, packageName="many", tags={"a": "v" * 257}) == "ValidationException"
    too_many = [{"Key": key, "Value": value} for key, value in many.items()]
    assert code_of(iot.tag_resource, resourceArn=arn, tags=too_many) == "InvalidRequestException"
    assert tags_of(iot, arn) == {}


def test_roles_and_buckets_have_tags_too(cloud: Any) -> None:
    iam, s3 = cloud.client("iam"), cloud.client("s3")
    trust = {"Effect": "Allow", "Principal": {"Service": "iot.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam.create_role(RoleName="tagged", AssumeRolePolicyDocument=document, Tags=TAGS)
    iam.tag_role(RoleName="tagged", Tags=[{"Key": "b", "Value": "c"}])
    assert iam.list_role_tags(RoleName="tagged")["Tags"] == [*TAGS, {"Key": "b", "Value": "c"}]
    s3.create_bucket(Bucket="tagged")
    s3.put_bucket_tagging(Bucket="tagged", Tagging={"TagSet": TAGS})
    assert s3.get_bucket_tagging(Bucket="tagged")["TagSet"] == TAGS
