"""Removing what is ours from an account, in the order in which the service allows it, and nothing else.

Rules: what is removed is what `inventory.read` found by its mark. At any moment a killed cleanup can be run again:
a thing is deleted after its shadows and certificates, a policy after the certificates that are found by it, so what
is left is still found. Certificates are switched off first: a device that is online would write its shadow anew.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from simulator.ops import certificates, inventory
from simulator.ops.answers import MISSING, at_once, pages, said
from simulator.ops.aws import Aws, code
from simulator.ops.groundwork import INDEX_TAG, bucket, index_mark
from simulator.ops.inventory import Inventory, Scope
from simulator.ops.patience import patiently

Progress = Callable[[str, int, int], object]

DEPRECATED_FOR = timedelta(minutes=5)  # before a thing type can be deleted
OBJECTS_MAX = 1000  # of one DeleteObjects
STILL_S = 10.0  # between two tries to delete a thing type after its time


def remove(
    aws: Aws, scope: Scope, progress: Progress, *, wait: bool = True, found: Inventory | None = None,
    step: Callable[[str], object] = lambda name: None, sleep: Callable[[float], object] = time.sleep,
) -> list[str]:  # fmt: skip
    """Remove it all; what is left and why. `wait` is for the five minutes that thing types need.

    `step` hears the name of each step (as in explain.py) that has anything to do.
    """
    found = found or inventory.read(aws, scope)
    work = _Cleanup(aws, found, progress)
    work.deprecate_types()  # first: their five minutes pass while the rest is done
    for name, does in work.steps():
        step(name)
        does()
    if work.found.types:
        step("thing types")
        work.types(wait, sleep)
    return work.left


class _Cleanup:
    """What was found, and what could not be removed."""

    def __init__(self, aws: Aws, found: Inventory, progress: Progress) -> None:
        self.aws, self.found, self.progress = aws, found, progress
        self.left: list[str] = []
        self._ours = frozenset(found.certificates)
        self._met: Counter[str] = Counter()  # certificate → things it was found on
        self._deleted: set[str] = set()
        self._lock = threading.Lock()

    def steps(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Those that have anything to do, but for the last."""
        found = self.found
        if found.jobs:
            yield "jobs", self.jobs
        if found.commands:
            yield "commands", self.commands
        if found.groups or found.dynamic_groups:
            yield "groups", self.groups
        if found.things or found.certificates:
            yield "things", self.things
        if found.packages or found.package_configuration:
            yield "packages", self.packages
        if found.bucket:
            yield "bucket", self.bucket
        if found.indexing:
            yield "indexing", self.indexing
        if found.roles or found.policies:
            yield "policies", self.permissions

    def each(self, what: str, names: Sequence[str], do: Callable[[str], object]) -> None:
        """`do` for each, several at a time; one that somebody else has removed meanwhile is fine."""

        def one(name: str) -> None:
            try:
                do(name)
            except ClientError as error:
                if code(error) not in MISSING:
                    raise

        at_once(one, names, lambda done: self.progress(what, done, len(names)))

    # Jobs and commands

    def jobs(self) -> None:
        running = [name for name, status in self.found.jobs.items() if status in ("IN_PROGRESS", "SCHEDULED")]
        self.each("jobs cancelled", running, self._cancel)
        self.each("jobs", list(self.found.jobs), self._delete_job)

    def _cancel(self, name: str) -> None:
        try:
            self.aws.iot.cancel_job(jobId=name, force=True, comment="fleetsim cleanup")
        except ClientError as error:
            if code(error) != "InvalidRequestException":  # it has ended by itself meanwhile
                raise

    def _delete_job(self, name: str) -> None:
        """The service works through a few deletions at a time, and refuses more."""
        patiently(
            lambda: self.aws.iot.delete_job(jobId=name, force=True),
            "LimitExceededException", "InvalidStateTransitionException",
        )  # fmt: skip

    def commands(self) -> None:
        self.each("commands", self.found.commands, lambda name: self.aws.iot.delete_command(commandId=name))

    # Groups

    def groups(self) -> None:
        """Dynamic ones, then static ones, children before their parents."""
        iot = self.aws.iot
        dynamic, static = self.found.dynamic_groups, self.found.groups
        self.each("dynamic groups", dynamic, lambda name: iot.delete_dynamic_thing_group(thingGroupName=name))
        left = list(static)
        while left:
            refused: dict[str, str] = {}
            self.each("static groups", left, lambda name, refused=refused: self._delete_group(name, refused))  # type: ignore[misc]
            if len(refused) == len(left):  # somebody else's groups are below
                self.left += [f"thing group {name}: {why}" for name, why in refused.items()]
                return
            left = list(refused)

    def _delete_group(self, name: str, refused: dict[str, str]) -> None:
        try:
            self.aws.iot.delete_thing_group(thingGroupName=name)
        except ClientError as error:
            if code(error) != "InvalidRequestException":
                raise
            refused[name] = said(error)

    # Things

    def things(self) -> None:
        """Each with its certificate, at once: the service allows few certificates a second, and these waits overlap."""
        self.each("things", self.found.things, self._thing)
        # What is left: shared ones, those of no thing, and those on things that are not ours.
        rest = sorted(self._ours - self._deleted)
        self.each("certificates", rest, lambda one: certificates.discard(self.aws, one))

    def _thing(self, name: str) -> None:
        arns = list(pages(self.aws.iot, "list_thing_principals", "principals", thingName=name))
        ours = [one for one in (arn.rsplit("/", 1)[-1] for arn in arns) if one in self._ours]
        for one in ours:
            with self._lock:
                self._met[one] += 1
                first = self._met[one] == 1
            if first:
                certificates.deactivate(self.aws, one)
        for arn in arns:
            certificates.detach(self.aws, name, arn)
        self._shadows(name)
        # Detaching is asynchronous, and this is refused until it is done.
        patiently(lambda: self.aws.iot.delete_thing(thingName=name), "InvalidRequestException")
        for one in ours:
            if self._met[one] == 1:  # else it is shared, and goes when the last thing has gone
                self._try_certificate(one)

    def _try_certificate(self, one: str) -> None:
        try:
            self.aws.iot.delete_certificate(certificateId=one, forceDelete=True)
        except ClientError as error:
            if code(error) not in ("DeleteConflictException", *MISSING):
                raise
        else:
            self._deleted.add(one)

    def _shadows(self, thing: str) -> None:
        """All of them: they outlive their thing, and would greet the next one of this name."""
        for shadow in (None, *inventory.named_shadows(self.aws, thing)):
            try:
                self.aws.data.delete_thing_shadow(thingName=thing, **({"shadowName": shadow} if shadow else {}))
            except ClientError as error:
                if code(error) not in MISSING:
                    raise

    # Firmware

    def packages(self) -> None:
        if self.found.package_configuration:
            off: dict[str, Any] = {"enabled": False}
            self.aws.iot.update_package_configuration(versionUpdateByJobsConfig=off)
        self.each("packages", list(self.found.packages), self._package)

    def _package(self, name: str) -> None:
        iot = self.aws.iot
        versions = self.found.packages[name]
        if iot.get_package(packageName=name).get("defaultVersionName") in versions:
            iot.update_package(packageName=name, unsetDefaultVersion=True)
        for version in versions:
            iot.delete_package_version(packageName=name, versionName=version)
        if name in self.found.whole_packages:
            iot.delete_package(packageName=name)

    def bucket(self) -> None:
        name = self.found.bucket
        if name is None:
            return
        s3, done = self.aws.s3, 0
        for upload in pages(s3, "list_multipart_uploads", "Uploads", Bucket=name):
            s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
        there = inventory.versions(self.aws)
        while batch := list(islice(there, OBJECTS_MAX)):
            answer = s3.delete_objects(Bucket=name, Delete={"Objects": batch, "Quiet": True})
            for error in answer.get("Errors", []):
                self.left.append(f"s3://{name}/{error.get('Key')}: {error.get('Message')}")
            done += len(batch)
            self.progress("object versions", done, max(done, self.found.objects))
        if not any(line.startswith("s3://") for line in self.left):
            s3.delete_bucket(Bucket=bucket(self.aws))

    # What it all stood on

    def indexing(self) -> None:
        """Off, if it was off before us. Groups or metrics of others that need it keep it on."""
        off = {"thingIndexingMode": "OFF"}
        try:
            self.aws.iot.update_indexing_configuration(thingIndexingConfiguration=off)
        except ClientError as error:
            if code(error) != "InvalidRequestException":
                raise
            self.left.append(f"fleet indexing: {said(error)}")
        self.aws.iot.untag_resource(resourceArn=index_mark(self.aws), tagKeys=[INDEX_TAG])

    def permissions(self) -> None:
        self.each("roles", self.found.roles, self._role)
        self.each("policies", self.found.policies, self._policy)

    def _role(self, name: str) -> None:
        iam = self.aws.iam
        for policy in pages(iam, "list_role_policies", "PolicyNames", RoleName=name):
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        for attached in pages(iam, "list_attached_role_policies", "AttachedPolicies", RoleName=name):
            iam.detach_role_policy(RoleName=name, PolicyArn=attached["PolicyArn"])
        iam.delete_role(RoleName=name)

    def _policy(self, name: str) -> None:
        iot = self.aws.iot
        for target in list(pages(iot, "list_targets_for_policy", "targets", policyName=name)):
            iot.detach_policy(policyName=name, target=target)
        for version in iot.list_policy_versions(policyName=name)["policyVersions"]:
            if not version["isDefaultVersion"]:
                iot.delete_policy_version(policyName=name, policyVersionId=version["versionId"])
        patiently(lambda: iot.delete_policy(policyName=name), "DeleteConflictException")

    # Thing types

    def deprecate_types(self) -> None:
        names = [name for name, deprecated_at in self.found.types.items() if deprecated_at is None]
        self.each("thing types deprecated", names, lambda name: self.aws.iot.deprecate_thing_type(thingTypeName=name))

    def types(self, wait: bool, sleep: Callable[[float], object]) -> None:
        """Delete them as soon as the service lets us: five minutes after they were deprecated."""
        whole_s = int(DEPRECATED_FOR.total_seconds())
        left = sorted(self.found.types)
        while left := self._refused(left):
            rest_s = self._rest_s(left)
            if not wait:
                when = f"in {rest_s:.0f} s; run cleanup again" if rest_s > 0 else "later; run cleanup again"
                self.left += [f"thing type {name}: can be deleted {when}" for name in left]
                return
            if rest_s < -whole_s:  # twice the time, and still refused: it is something else
                self.left += [f"thing type {name}: {why}" for name, why in self._why.items() if name in left]
                return
            self.progress("seconds for thing types", max(0, min(whole_s, whole_s - int(rest_s))), whole_s)
            sleep(min(max(rest_s, 1.0), STILL_S))

    def _refused(self, names: Sequence[str]) -> list[str]:
        """Those of them that cannot be deleted yet."""
        self._why: dict[str, str] = {}

        def one(name: str) -> None:
            try:
                self.aws.iot.delete_thing_type(thingTypeName=name)
            except ClientError as error:
                if code(error) != "InvalidRequestException":
                    raise
                self._why[name] = said(error)

        self.each("thing types", names, one)
        return sorted(self._why)

    def _rest_s(self, names: Sequence[str]) -> float:
        """Seconds until the last of them has been deprecated for long enough."""
        dates = [
            self.aws.iot.describe_thing_type(thingTypeName=name)["thingTypeMetadata"]["deprecationDate"]
            for name in names
        ]
        return float((max(dates) + DEPRECATED_FOR - datetime.now(UTC)).total_seconds())
