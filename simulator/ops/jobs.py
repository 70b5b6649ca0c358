"""Jobs: planned as CreateJob's parameters, created, listed, looked into, cancelled and deleted.

An OTA job names a package version: its document says where the artifact is (a placeholder, for which every device
gets a presigned URL of its own) and what a device checks it by, and its destination is the version itself, so that
the service writes `$package` when an execution succeeds. Any other document is taken as it is.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from simulator.errors import UsageError
from simulator.ops import packages, provision
from simulator.ops.answers import THERE, at_once, named, pages, plain, refused
from simulator.ops.aws import Aws, code

JOB_ID_MAX = 64
DOCUMENT_MAX = 32_768
TARGETS_MAX = 100
URL_SECONDS_MIN, URL_SECONDS_MAX = 60, 3600
STATUSES = ("QUEUED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "CANCELED", "REMOVED")
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def generated_id(what: str, now: datetime) -> str:
    """`<what>-20261201-020304`, of the characters and the length that an id may have."""
    when = now.strftime("%Y%m%d-%H%M%S")
    return f"{re.sub(r'[^a-zA-Z0-9_-]', '-', what)[: JOB_ID_MAX - len(when) - 1]}-{when}"


def targets(aws: Aws, groups: Sequence[str], things: Sequence[str]) -> list[str]:
    """ARNs of groups and things, which must be there; UsageError otherwise."""
    if not 1 <= len(groups) + len(things) <= TARGETS_MAX:
        raise UsageError(f"{len(groups) + len(things)} targets: a job has 1 to {TARGETS_MAX}, groups and things")
    found = []
    for group in groups:
        with named("group", group, lambda: group_names(aws)):
            found.append(str(aws.iot.describe_thing_group(thingGroupName=group)["thingGroupArn"]))
    for thing in things:
        with named("thing", thing):
            found.append(str(aws.iot.describe_thing(thingName=thing)["thingArn"]))
    return found


def group_names(aws: Aws) -> Iterator[str]:
    """Of all thing groups, static and dynamic."""
    return (str(group["groupName"]) for group in pages(aws.iot, "list_thing_groups", "thingGroups"))


def ota_document(aws: Aws, package: str, version: str) -> tuple[dict[str, Any], str]:
    """The document of a package version (or of `$default`), and its ARN. UsageError when no device could use it."""
    found = packages.version(aws, package, version)
    version = str(found["versionName"])
    what = f"package version {package} {version}"
    if found["status"] == "DRAFT":
        raise UsageError(f"{what} is a DRAFT; publish it with `fleetsim packages add-version {package} {version}`")
    place = found.get("artifact", {}).get("s3Location", {})
    if not place.get("bucket") or not place.get("key"):
        raise UsageError(f"{what} has no artifact to download")
    address = f"https://s3.{aws.addresses.region}.amazonaws.com/{place['bucket']}/{place['key']}"
    document: dict[str, Any] = {
        "operation": "ota",
        "package": package,
        "version": version,
        "url": "${aws:iot:s3-presigned-url:" + address + "}",
    }
    attributes = found.get("attributes", {})
    if (size := attributes.get("size", "")).isdigit():
        document["size"] = int(size)
    document |= {name: attributes[name] for name in ("sha256", "signature") if attributes.get(name)}
    return document, str(found["packageVersionArn"])


def read_document(path: Path) -> str:
    """A document of one's own from a file: JSON, an object, as the service wants it."""
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text)
    except OSError as error:
        raise UsageError(f"job document '{path}': {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"job document '{path}' is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise UsageError(f"job document '{path}': a JSON object is expected, not a {type(document).__name__}")
    return text


def parameters(
    aws: Aws,
    job_id: str,
    aims: Sequence[str],
    document: Mapping[str, Any] | str,
    *,
    destinations: Sequence[str] = (),
    continuous: bool = False,
    description: str = "",
    url_seconds: int = URL_SECONDS_MAX,
    role_arn: str = "",
    deployment: str = "fleet",
    rate: Mapping[str, Any] | None = None,
    abort: Mapping[str, Any] | None = None,
    timeout: Mapping[str, Any] | None = None,
    retries: Mapping[str, Any] | None = None,
    schedule: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What CreateJob gets; nothing is written. The limits come from `rollout`."""
    if not _ID.fullmatch(job_id):
        raise UsageError(f"job id '{job_id}': 1 to {JOB_ID_MAX} letters, digits, '_' and '-'")
    text = document if isinstance(document, str) else json.dumps(document, separators=(",", ":"))
    if len(text) > DOCUMENT_MAX:
        raise UsageError(f"the job document has {len(text)} characters; {DOCUMENT_MAX} at most")
    if not URL_SECONDS_MIN <= url_seconds <= URL_SECONDS_MAX:
        raise UsageError(f"presigned URLs of {url_seconds} s: {URL_SECONDS_MIN} to {URL_SECONDS_MAX}")
    wanted: dict[str, Any] = {
        "jobId": job_id,
        "targets": list(aims),
        "document": text,
        "targetSelection": "CONTINUOUS" if continuous else "SNAPSHOT",
        "tags": [{"Key": packages.TAG, "Value": deployment}],
    }
    if "s3-presigned-url" in text:
        role = role_arn or f"arn:aws:iam::{aws.account}:role/{provision.JOBS_ROLE}"
        wanted["presignedUrlConfig"] = {"roleArn": role, "expiresInSec": url_seconds}
    optional = {
        "description": description,
        "destinationPackageVersions": list(destinations),
        "jobExecutionsRolloutConfig": rate,
        "abortConfig": abort,
        "timeoutConfig": timeout,
        "jobExecutionsRetryConfig": retries,
        "schedulingConfig": schedule,
    }
    return wanted | {name: value for name, value in optional.items() if value}


def create(aws: Aws, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The job's id and ARN."""
    try:
        return dict(plain(aws.iot.create_job(**wanted)))
    except ClientError as error:
        if code(error) in THERE:
            raise UsageError(f"job '{wanted['jobId']}' is there already; give another --id, or none") from None
        raise


def revert(aws: Aws, package: str, version: str, things: Sequence[str], now: datetime) -> list[str]:
    """Jobs that install a version on these things, 100 each; their ids."""
    document, arn = ota_document(aws, package, version)
    made = []
    for first in range(0, len(things), TARGETS_MAX):
        what = f"revert-{package}-{version}" + (f"-{first // TARGETS_MAX + 1}" if len(things) > TARGETS_MAX else "")
        aims = [
            f"arn:aws:iot:{aws.addresses.region}:{aws.account}:thing/{t}" for t in things[first : first + TARGETS_MAX]
        ]
        wanted = parameters(aws, generated_id(what, now), aims, document, destinations=[arn])
        made.append(str(create(aws, wanted)["jobId"]))
    return made


def every(aws: Aws, status: str | None = None) -> list[dict[str, Any]]:
    """Jobs of one status or of all, the youngest first."""
    chosen = {"status": status} if status else {}
    found = [plain(job) for job in pages(aws.iot, "list_jobs", "jobs", **chosen)]
    return sorted(found, key=lambda job: (job.get("createdAt", ""), job["jobId"]), reverse=True)


def names(aws: Aws) -> Iterator[str]:
    """Ids of all jobs."""
    return (str(job["jobId"]) for job in pages(aws.iot, "list_jobs", "jobs"))


def show(aws: Aws, job_id: str) -> dict[str, Any]:
    """A job's whole configuration, and its document with the placeholders in it."""
    with named("job", job_id, lambda: names(aws)):
        job: dict[str, Any] = plain(aws.iot.describe_job(jobId=job_id)["job"])
        job["document"] = json.loads(aws.iot.get_job_document(jobId=job_id).get("document") or "{}")
    return job


def executions(aws: Aws, job_id: str, status: str | None = None) -> list[dict[str, Any]]:
    """All executions of a job by thing: thing, status, times, number, and attempt when it was retried."""
    chosen = {"status": status} if status else {}
    with named("job", job_id, lambda: names(aws)):
        found = [
            {"thing": one["thingArn"].rsplit("/", 1)[-1], **plain(one["jobExecutionSummary"])}
            for one in pages(aws.iot, "list_job_executions_for_job", "executionSummaries", jobId=job_id, **chosen)
        ]
    return sorted(found, key=lambda one: str(one["thing"]))


def summary(found: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many executions of each status, in the order of their life; only those there are."""
    counted = Counter(str(one["status"]) for one in found)
    return {status: counted[status] for status in STATUSES if counted[status]}


def execution(aws: Aws, job_id: str, thing: str) -> dict[str, Any]:
    """One device's execution, with its status details."""
    try:
        found = aws.iot.describe_job_execution(jobId=job_id, thingName=thing)["execution"]
    except ClientError as error:
        if code(error) != "ResourceNotFoundException":
            raise
        there = [str(one["thing"]) for one in executions(aws, job_id)]  # says so when it is the job that is unknown
        raise UsageError(
            f"job '{job_id}' has no execution for thing '{thing}' ({len(there)} others have one)"
        ) from None
    shown: dict[str, Any] = plain(found)
    shown["statusDetails"] = shown.get("statusDetails", {}).get("detailsMap", {})
    return shown


def details(aws: Aws, job_id: str, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same executions with their status details: a request for each."""

    def one(summary: Mapping[str, Any]) -> dict[str, Any]:
        return {**summary, "statusDetails": execution(aws, job_id, str(summary["thing"]))["statusDetails"]}

    return at_once(one, found)


def cancel(aws: Aws, job_id: str, *, force: bool = False, comment: str = "", reason_code: str = "") -> dict[str, Any]:
    """Queued executions end as CANCELED; with `force`, those in progress too."""
    why = {name: value for name, value in (("comment", comment), ("reasonCode", reason_code)) if value}
    with named("job", job_id, lambda: names(aws)), refused(f"job '{job_id}' cannot be cancelled"):
        return dict(plain(aws.iot.cancel_job(jobId=job_id, force=force, **why)))


def delete(aws: Aws, job_id: str, *, force: bool = False) -> None:
    """A job and its executions, for ever; one that is under way only with `force`. The service takes its time."""
    with named("job", job_id, lambda: names(aws)):
        try:
            aws.iot.delete_job(jobId=job_id, force=force)
        except ClientError as error:
            if code(error) != "InvalidStateTransitionException":
                raise
            raise UsageError(
                f"job '{job_id}' is under way: cancel it first with `fleetsim jobs cancel {job_id}`, or add --force"
            ) from None
