"""What a provisioned account holds, in a form in which two accounts, or two runs, can be compared."""

import json
from pathlib import Path
from typing import Any

from simulator import firmware
from simulator.ops import certificates, inventory, mark, members
from simulator.ops.answers import pages
from simulator.ops.aws import Aws
from simulator.ops.groundwork import JOBS_ROLE, PACKAGES_ROLE
from simulator.ops.policies import DEVICE_POLICY
from simulator.ops.provision import Plan
from simulator.ops.things import How

TYPES = ["SedanVehicle", "SUVVehicle"]


def plan(count: int, folder: Path, **how: bool) -> Plan:
    """A small fleet in two countries, with two versions of two small packages."""
    key = firmware.signing_key(folder / "manufacturer.key.pem")
    images = [firmware.build(release, name, key) for release in firmware.releases() for name in TYPES]
    found = members.vehicles(count, TYPES, 5, codes=["DE", "US"])
    return Plan(found, images, How(**how))


def identities(folder: Path) -> Path:
    """Where a plan's certificates are."""
    found = folder / "identities"
    found.mkdir(exist_ok=True)
    return found


def shadow(aws: Aws, thing: str, name: str | None = None) -> dict[str, Any]:
    """What a shadow reports, and its version."""
    where = {"thingName": thing, **({"shadowName": name} if name else {})}
    document = json.loads(aws.data.get_thing_shadow(**where)["payload"].read())
    return {"reported": document["state"]["reported"], "version": document["version"]}


def state(aws: Aws, folder: Path) -> dict[str, Any]:
    """All that provisioning makes; keys and ids, which are new each time, are checked and left out."""
    found = inventory.read(aws)
    things, attached = {}, set()
    for name in found.things:
        about = aws.iot.describe_thing(thingName=name)
        principals = list(pages(aws.iot, "list_thing_principals", "principals", thingName=name))
        ids = [arn.rsplit("/", 1)[-1] for arn in principals]
        attached |= set(ids)
        files = certificates.identity(folder, name)
        mine = certificates.id_of(files.cert_file.read_text()) if files.cert_file.exists() else None
        things[name] = {
            "type": about["thingTypeName"],
            "attributes": about["attributes"],
            "groups": [group["groupName"] for group in pages(
                aws.iot, "list_thing_groups_for_thing", "thingGroups", thingName=name)],
            "shadows": {shadow_name: shadow(aws, name, shadow_name)["reported"] for shadow_name in (None, "$package")},
            "its certificate is the one in its file": ids == [mine],
            "key": files.key_file.exists(),
        }  # fmt: skip
    for one in found.certificates:
        about = aws.iot.describe_certificate(certificateId=one)["certificateDescription"]
        arn = certificates.arn_of(aws, one)
        policies = [policy["policyName"] for policy in pages(aws.iot, "list_attached_policies", "policies", target=arn)]
        assert (about["status"], policies) == ("ACTIVE", [DEVICE_POLICY])
    assert attached == set(found.certificates), "no certificate without its thing"
    return {
        "things": things,
        "counts": found.counts(),
        "indexing": aws.iot.get_indexing_configuration()["thingIndexingConfiguration"],
        "versions": {
            f"{package} {version}": aws.iot.get_package_version(packageName=package, versionName=version)["status"]
            for package, versions in found.packages.items() for version in versions
        },
        "roles": {name: list(pages(aws.iam, "list_role_policies", "PolicyNames", RoleName=name))
                  for name in (JOBS_ROLE, PACKAGES_ROLE)},
        "types": {
            name: {
                "tags": mark.of(aws, about["thingTypeArn"]),
                "searchable": sorted(about["thingTypeProperties"]["searchableAttributes"]),
                "deprecated": about["thingTypeMetadata"]["deprecated"],
            }
            for name in found.types if (about := aws.iot.describe_thing_type(thingTypeName=name))
        },
    }  # fmt: skip


def shadows_left(aws: Aws, names: list[str]) -> list[str]:
    """Things, there or not, that have a shadow."""
    return [name for name in names if inventory.named_shadows(aws, name) or _classic(aws, name)]


def _classic(aws: Aws, name: str) -> bool:
    try:
        aws.data.get_thing_shadow(thingName=name)
    except aws.data.exceptions.ResourceNotFoundException:
        return False
    return True
