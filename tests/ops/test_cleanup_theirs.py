"""Nothing of anybody else's is touched: not by provisioning, and not by a cleanup of everything."""

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import UsageError
from simulator.ops import cleanup, inventory, mark, provision
from simulator.ops.aws import Aws
from simulator.ops.policies import DEVICE_POLICY
from tests.ops.fleet_state import identities, plan, shadow

COUNT = 6
ALLOW = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]})


def quiet(what: str, done: int, of: int) -> None:
    pass


def test_nothing_of_anybody_elses(aws: Aws, tmp_path: Path) -> None:
    """The same kinds of things, of the same names where that can be, with other marks or none."""
    iot, s3 = aws.iot, aws.s3
    iot.create_thing_type(thingTypeName="Pump")
    iot.create_thing_type(thingTypeName="SUVVehicle", thingTypeProperties={"searchableAttributes": ["color"]})
    for name in ("Vehicle-VIN-901", "Pump-1"):
        iot.create_thing(thingName=name, thingTypeName="Pump", attributePayload={"attributes": {"fleetsim": "other"}})
        aws.data.update_thing_shadow(thingName=name, payload=b'{"state":{"reported":{"batteryStatus":7}}}')
    theirs = iot.create_keys_and_certificate(setAsActive=True)
    iot.create_policy(policyName="theirs", policyDocument=ALLOW)
    iot.attach_policy(policyName="theirs", target=theirs["certificateArn"])
    iot.attach_thing_principal(thingName="Pump-1", principal=theirs["certificateArn"])
    iot.create_thing_group(thingGroupName="FRFleet")
    iot.add_thing_to_thing_group(thingGroupName="FRFleet", thingName="Pump-1")
    iot.create_thing_group(thingGroupName="GBFleet", tags=mark.tags("other"))
    iot.create_package(packageName="FireSensor", tags={"team": "red"})
    iot.create_package(packageName="SUVVehicle")
    iot.create_package_version(packageName="SUVVehicle", versionName="9.0.0")
    s3.create_bucket(Bucket="their-bucket")
    s3.put_object(Bucket="their-bucket", Key="firmware/x", Body=b"x")
    role = {"RoleName": "IoTPackageConfigRole", "AssumeRolePolicyDocument": ALLOW}
    aws.iam.create_role(**role)
    aws.iam.put_role_policy(RoleName="IoTPackageConfigRole", PolicyName="mine", PolicyDocument=ALLOW)
    before = _theirs(aws)

    provision.provision(aws, plan(COUNT, tmp_path), identities(tmp_path), quiet)
    iot.attach_thing_principal(thingName="Vehicle-VIN-001", principal=theirs["certificateArn"])
    ours = iot.list_targets_for_policy(policyName=DEVICE_POLICY)["targets"][0]
    iot.attach_thing_principal(thingName="Pump-1", principal=ours)
    assert set(inventory.read(aws).packages["SUVVehicle"]) == {"1.0.0", "1.1.0"}
    assert cleanup.remove(aws, "all", quiet) == []

    assert inventory.read(aws).empty()
    assert _theirs(aws) == before
    assert shadow(aws, "Pump-1") == {"reported": {"batteryStatus": 7}, "version": 1}
    certificate = iot.describe_certificate(certificateId=theirs["certificateId"])["certificateDescription"]
    assert certificate["status"] == "ACTIVE"


def _theirs(aws: Aws) -> dict[str, Any]:
    """Everything in the account, by name."""
    iot = aws.iot
    return {
        "things": sorted(thing["thingName"] for thing in iot.list_things()["things"]),
        "types": sorted(
            (one["thingTypeName"], one["thingTypeMetadata"]["deprecated"])
            for one in iot.list_thing_types()["thingTypes"]
        ),
        "groups": sorted(group["groupName"] for group in iot.list_thing_groups()["thingGroups"]),
        "members": iot.list_things_in_thing_group(thingGroupName="FRFleet")["things"],
        "certificates": [one["certificateId"] for one in iot.list_certificates()["certificates"]],
        "principals": iot.list_thing_principals(thingName="Pump-1")["principals"],
        "policies": sorted(policy["policyName"] for policy in iot.list_policies()["policies"]),
        "packages": sorted(one["packageName"] for one in iot.list_packages()["packageSummaries"]),
        "versions": [
            one["versionName"] for one in iot.list_package_versions(packageName="SUVVehicle")["packageVersionSummaries"]
        ],
        "buckets": [bucket["Name"] for bucket in aws.s3.list_buckets()["Buckets"]],
        "objects": [one["Key"] for one in aws.s3.list_objects_v2(Bucket="their-bucket")["Contents"]],
        "roles": sorted(role["RoleName"] for role in aws.iam.list_roles()["Roles"]),
        "rights": aws.iam.list_role_policies(RoleName="IoTPackageConfigRole")["PolicyNames"],
    }


def test_names_that_others_have_taken(aws: Aws, tmp_path: Path) -> None:
    """Said, before anything of theirs is touched."""
    aws.iot.create_thing(thingName="Vehicle-VIN-002", attributePayload={"attributes": {"owner": "them"}})
    with pytest.raises(UsageError, match=r"thing 'Vehicle-VIN-002' is there already and is not ours"):
        provision.provision(aws, plan(3, tmp_path), identities(tmp_path), quiet)
    assert aws.iot.list_thing_principals(thingName="Vehicle-VIN-002")["principals"] == []
    aws.iot.delete_thing(thingName="Vehicle-VIN-002")
    cleanup.remove(aws, "all", quiet)
    aws.iot.create_thing_group(thingGroupName="USFleet")
    with pytest.raises(UsageError, match=r"thing group 'USFleet' is there already and is not ours"):
        provision.provision(aws, plan(COUNT, tmp_path), identities(tmp_path), quiet)
    assert aws.iot.list_things_in_thing_group(thingGroupName="USFleet")["things"] == []
    aws.iot.delete_thing_group(thingGroupName="USFleet")
    cleanup.remove(aws, "all", quiet)
    assert inventory.read(aws).empty()


def test_a_thing_of_another_type(aws: Aws, tmp_path: Path) -> None:
    provision.provision(aws, plan(2, tmp_path), identities(tmp_path), quiet)
    wanted = plan(2, tmp_path)
    first = wanted.members[0]._replace(type="SUVVehicle")
    with pytest.raises(UsageError, match=r"'Vehicle-VIN-001' is there already, as a SedanVehicle and not a SUVVehicle"):
        provision.provision(aws, provision.Plan([first], wanted.images), identities(tmp_path), quiet)
    cleanup.remove(aws, "all", quiet)
