"""Groundwork, once an account: policies, the two roles that the service assumes, who writes `$package`, the index.

Rules: what somebody else configured before us is extended where the fleet needs more, and never switched off.
"""

import json
from typing import Any

from botocore.exceptions import ClientError

from simulator.ops import mark, policies
from simulator.ops.aws import Aws, code

JOBS_ROLE = "fleetsim-jobs"
PACKAGES_ROLE = "IoTPackageConfigRole"
PACKAGE_SHADOW = "$package"
INDEX_TAG = "fleetsim-indexing"  # on the device policy: the index was off before us


def groundwork(aws: Aws, owner: str = mark.FLEET) -> None:
    """Policies, roles and the package configuration. The backend's policy is for the sandbox, which has one."""
    policies.put(aws, policies.DEVICE_POLICY, policies.device(aws), owner)
    if owner == mark.SANDBOX:
        policies.put(aws, policies.BACKEND_POLICY, policies.backend(aws), owner)
    roles(aws, owner)


def roles(aws: Aws, owner: str = mark.FLEET) -> None:
    """The role that signs artifact URLs for jobs, and the one that writes `$package`; each may do only that."""
    artifacts = f"arn:aws:s3:::{bucket(aws)}/*"
    _role(aws, JOBS_ROLE, ["s3:GetObject", "s3:GetObjectVersion"], artifacts, owner)
    shadows = mark.arn(aws, f"thing/*/{PACKAGE_SHADOW}")
    _role(aws, PACKAGES_ROLE, ["iot:GetThingShadow", "iot:UpdateThingShadow"], shadows, owner)
    if not aws.iot.get_package_configuration().get("versionUpdateByJobsConfig", {}).get("enabled"):
        role = f"arn:aws:iam::{aws.account}:role/{PACKAGES_ROLE}"
        aws.iot.update_package_configuration(versionUpdateByJobsConfig={"enabled": True, "roleArn": role})


def bucket(aws: Aws) -> str:
    """The bucket of the fleet's artifacts."""
    return f"fleetsim-{aws.account}-{aws.addresses.region}"


def role_tags(aws: Aws, name: str) -> dict[str, str] | None:
    """The tags of a role, or None when there is no such role."""
    try:
        return mark.plain(aws.iam.list_role_tags(RoleName=name)["Tags"])
    except ClientError as error:
        if code(error) == "NoSuchEntity":
            return None
        raise


def _role(aws: Aws, name: str, actions: list[str], resource: str, owner: str) -> None:
    """A role of ours; one of the same name that somebody else made is used as it is."""
    found = role_tags(aws, name)
    if found is None:
        trust = {"Effect": "Allow", "Principal": {"Service": "iot.amazonaws.com"}, "Action": "sts:AssumeRole"}
        assume = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        mark.once(aws.iam.create_role, RoleName=name, AssumeRolePolicyDocument=assume, Tags=mark.tags(owner))
    elif mark.KEY not in found:
        return
    allow = {"Effect": "Allow", "Action": actions, "Resource": resource}
    rights = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    aws.iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=rights)


def indexing(aws: Aws) -> bool:
    """Switch on what queries of a fleet need: registry, shadows, connectivity, `$package`. True when it was needed."""
    found = aws.iot.get_indexing_configuration().get("thingIndexingConfiguration", {})
    wanted = _extended(found)
    if all(found.get(key) == value for key, value in wanted.items()):
        return False
    if found.get("thingIndexingMode", "OFF") == "OFF":
        on = [{"Key": INDEX_TAG, "Value": "on"}]  # first: a run that is killed in between must not leave it on unsaid
        aws.iot.tag_resource(resourceArn=index_mark(aws), tags=on)
    aws.iot.update_indexing_configuration(thingIndexingConfiguration=wanted)
    return True


def index_mark(aws: Aws) -> str:
    """What carries INDEX_TAG, because the index itself takes no tags."""
    return mark.arn(aws, f"policy/{policies.DEVICE_POLICY}")


def _extended(found: dict[str, Any]) -> dict[str, Any]:
    """A configuration with all we need, and all that was there."""
    names = found.get("filter", {}).get("namedShadowNames", [])
    kept = {key: found[key] for key in ("customFields", "deviceDefenderIndexingMode") if found.get(key)}
    named = {**found.get("filter", {}), "namedShadowNames": [*names, *({PACKAGE_SHADOW} - set(names))]}
    return {
        **kept,
        "thingIndexingMode": "REGISTRY_AND_SHADOW",
        "thingConnectivityIndexingMode": "STATUS",
        "namedShadowIndexingMode": "ON",
        "filter": named,
    }
