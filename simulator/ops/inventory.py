"""What is ours in an account, found by its mark, whoever made it and whatever became of that run. Reads only.

Rules: things come from one listing by their attribute, certificates from one of the device policy, so the number of
calls follows what we made and not what others have. Only tags are asked for one by one, where a service lists none.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from botocore.exceptions import ClientError

from simulator import firmware
from simulator.ops import certificates, mark
from simulator.ops.answers import MISSING, at_once, pages
from simulator.ops.aws import Aws, code
from simulator.ops.catalogue import bucket_tags
from simulator.ops.groundwork import INDEX_TAG, JOBS_ROLE, PACKAGES_ROLE, bucket, index_mark, role_tags
from simulator.ops.policies import BACKEND_POLICY, DEVICE_POLICY

Scope = Literal["all", "things", "groups"]
SCOPES: dict[str, Scope] = {"all": "all", "things": "things", "groups": "groups"}


@dataclass
class Inventory:
    """Names of what is ours, by kind."""

    things: list[str] = field(default_factory=list)
    certificates: list[str] = field(default_factory=list)  # ids
    groups: list[str] = field(default_factory=list)  # static ones
    dynamic_groups: list[str] = field(default_factory=list)
    types: dict[str, Any] = field(default_factory=dict)  # name → when it was deprecated, or None
    packages: dict[str, list[str]] = field(default_factory=dict)  # package → our versions
    whole_packages: list[str] = field(default_factory=list)  # those of them that are ours themselves
    jobs: dict[str, str] = field(default_factory=dict)  # id → status
    commands: list[str] = field(default_factory=list)
    objects: int = 0  # versions and delete markers in the bucket
    bucket: str | None = None
    roles: list[str] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)
    indexing: bool = False  # switched on by us
    package_configuration: bool = False  # writes shadows through a role of ours

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return {
            "jobs": len(self.jobs),
            "commands": len(self.commands),
            "dynamic groups": len(self.dynamic_groups),
            "static groups": len(self.groups),
            "things": len(self.things),
            "certificates": len(self.certificates),
            "package versions": sum(map(len, self.packages.values())),
            "packages": len(self.whole_packages),
            "object versions": self.objects,
            "buckets": int(self.bucket is not None),
            "roles": len(self.roles),
            "policies": len(self.policies),
            "thing types": len(self.types),
            "package configuration": int(self.package_configuration),
            "fleet indexing": int(self.indexing),
        }

    def names(self) -> dict[str, list[str]]:
        """What there is, by name, of the kinds that have any (and certificates have ids)."""
        found = {
            "jobs": list(self.jobs),
            "commands": self.commands,
            "dynamic groups": self.dynamic_groups,
            "static groups": self.groups,
            "things": self.things,
            "certificates": self.certificates,
            "package versions": [f"{name} {version}" for name, of in self.packages.items() for version in of],
            "buckets": [self.bucket] if self.bucket else [],
            "roles": self.roles,
            "policies": self.policies,
            "thing types": list(self.types),
        }
        return {kind: names for kind, names in found.items() if names}

    def empty(self) -> bool:
        """Is there nothing of ours?"""
        return not any(self.counts().values())


def read(aws: Aws, scope: Scope = "all") -> Inventory:
    """What is ours, of the things alone, of the groups alone, or of everything."""
    found = Inventory()
    if scope in ("all", "things"):
        found.things = _things(aws)
        found.certificates = _certificates(aws)
    if scope in ("all", "groups"):
        _groups(aws, found)
    if scope == "all":
        _rest(aws, found)
    return found


def _things(aws: Aws) -> list[str]:
    listed = pages(aws.iot, "list_things", "things", attributeName=mark.KEY, attributeValue=mark.FLEET)
    return sorted(str(thing["thingName"]) for thing in listed)


def _certificates(aws: Aws) -> list[str]:
    """Those with the device policy, and those of a run that was killed before it could attach that.

    A policy is made before the first certificate and removed after the last, so without one there is nothing to find,
    and nothing older than it.
    """
    try:
        policy = aws.iot.get_policy(policyName=DEVICE_POLICY)
    except ClientError as error:
        if code(error) in MISSING:
            return []
        raise
    targets = {target.rsplit("/", 1)[-1] for target in _targets(aws, DEVICE_POLICY)}
    others = {target.rsplit("/", 1)[-1] for target in _targets(aws, BACKEND_POLICY)}
    if mark.ours(aws, mark.arn(aws, f"policy/{BACKEND_POLICY}")):
        targets, others = targets | others, set()
    begun = certificates.marked(aws, policy.get("creationDate"), targets | others)
    return sorted([*targets, *begun])


def _targets(aws: Aws, policy: str) -> Iterator[str]:
    """ARNs of the certificates that have a policy."""
    try:
        found = [str(target) for target in pages(aws.iot, "list_targets_for_policy", "targets", policyName=policy)]
    except ClientError as error:
        if code(error) not in MISSING:
            raise
        return
    yield from (target for target in found if ":cert/" in target)


def _groups(aws: Aws, found: Inventory) -> None:
    listed = list(pages(aws.iot, "list_thing_groups", "thingGroups"))
    ours = _ours(aws, [(str(group["groupName"]), str(group["groupArn"])) for group in listed])
    for name, about in zip(ours, at_once(lambda name: _group(aws, name), ours), strict=True):
        if about is not None:
            (found.dynamic_groups if about.get("queryString") else found.groups).append(name)


def _group(aws: Aws, name: str) -> dict[str, Any] | None:
    try:
        return dict(aws.iot.describe_thing_group(thingGroupName=name))
    except ClientError as error:
        if code(error) in MISSING:
            return None
        raise


def _ours(aws: Aws, named: list[tuple[str, str]]) -> list[str]:
    """The names of those whose ARN has our tag."""
    marks = at_once(lambda pair: mark.ours(aws, pair[1]), named)
    return sorted(name for (name, _), ours in zip(named, marks, strict=True) if ours)


def _rest(aws: Aws, found: Inventory) -> None:
    iot = aws.iot
    types = {str(one["thingTypeName"]): one for one in pages(iot, "list_thing_types", "thingTypes")}
    names = _ours(aws, [(name, str(one["thingTypeArn"])) for name, one in types.items()])
    found.types = {name: types[name].get("thingTypeMetadata", {}).get("deprecationDate") for name in names}
    found.roles = [
        name for name in (JOBS_ROLE, PACKAGES_ROLE) if (role_tags(aws, name) or {}).get(mark.KEY) == mark.FLEET
    ]
    _packages(aws, found)
    _jobs(aws, found)
    commands = [one for one in pages(iot, "list_commands", "commands") if not one.get("pendingDeletion")]
    found.commands = _ours(aws, [(str(one["commandId"]), str(one["commandArn"])) for one in commands])
    _bucket(aws, found)
    policies = [(name, mark.arn(aws, f"policy/{name}")) for name in (DEVICE_POLICY, BACKEND_POLICY)]
    found.policies = _ours(aws, policies)
    found.indexing = INDEX_TAG in mark.of(aws, index_mark(aws))
    config = iot.get_package_configuration().get("versionUpdateByJobsConfig", {})
    used = str(config.get("roleArn", "")).rsplit("/", 1)[-1]
    found.package_configuration = bool(config.get("enabled")) and used in found.roles


def _packages(aws: Aws, found: Inventory) -> None:
    """Our packages with all their versions, and our versions of packages that others made."""
    names = [str(one["packageName"]) for one in pages(aws.iot, "list_packages", "packageSummaries")]
    found.whole_packages = _ours(aws, [(name, mark.arn(aws, f"package/{name}")) for name in names])
    usual = {package for release in firmware.releases() for package in release.packages} | set(found.types)
    foreign = [name for name in names if name not in found.whole_packages and name in usual]
    for name in found.whole_packages:
        found.packages[name] = _versions(aws, name)
    for name in foreign:
        versions = [(version, mark.arn(aws, f"package/{name}/version/{version}")) for version in _versions(aws, name)]
        if ours := _ours(aws, versions):
            found.packages[name] = ours


def _versions(aws: Aws, package: str) -> list[str]:
    listed = pages(aws.iot, "list_package_versions", "packageVersionSummaries", packageName=package)
    return sorted(str(one["versionName"]) for one in listed)


def _jobs(aws: Aws, found: Inventory) -> None:
    """Jobs with our tag, and the backend's: OTA jobs that sign their URLs with our role."""
    listed = {str(job["jobId"]): job for job in pages(aws.iot, "list_jobs", "jobs")}
    there = {name: job for name, job in listed.items() if job.get("status") != "DELETION_IN_PROGRESS"}
    ours = set(_ours(aws, [(name, str(job["jobArn"])) for name, job in there.items()]))
    if JOBS_ROLE in found.roles:
        others = [name for name in there if name not in ours and name.startswith("ota-")]
        roles = at_once(lambda name: _job_role(aws, name), others)
        ours |= {name for name, role in zip(others, roles, strict=True) if role == JOBS_ROLE}
    found.jobs = {name: str(there[name]["status"]) for name in sorted(ours)}


def _job_role(aws: Aws, name: str) -> str:
    try:
        job = aws.iot.describe_job(jobId=name)["job"]
    except ClientError as error:
        if code(error) in MISSING:
            return ""
        raise
    return str(job.get("presignedUrlConfig", {}).get("roleArn", "")).rsplit("/", 1)[-1]


def _bucket(aws: Aws, found: Inventory) -> None:
    """The bucket with its mark; without any it is ours when it is empty, because the mark is the first thing done."""
    tags = bucket_tags(aws)
    if tags is None:
        return
    objects = sum(1 for _ in versions(aws))
    if tags.get(mark.KEY) == mark.FLEET or (not tags and not objects):
        found.bucket, found.objects = bucket(aws), objects


def versions(aws: Aws) -> Iterator[dict[str, str]]:
    """Every version and delete marker of every object in the fleet's bucket, as DeleteObjects wants them."""
    for page in aws.s3.get_paginator("list_object_versions").paginate(Bucket=bucket(aws)):
        for one in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
            yield {"Key": one["Key"], "VersionId": one["VersionId"]}


def named_shadows(aws: Aws, thing: str) -> list[str]:
    """The names of a thing's named shadows, whether the thing is there or not."""
    found: list[str] = []
    more: dict[str, str] = {}
    while True:  # botocore has no paginator for it
        answer = aws.data.list_named_shadows_for_thing(thingName=thing, **more)
        found += map(str, answer.get("results", []))
        if not answer.get("nextToken"):
            return found
        more = {"nextToken": str(answer["nextToken"])}
