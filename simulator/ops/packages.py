"""Software packages: created, given versions with artifacts, read; what devices run, and how they go back.

A version's artifact lies in the fleet's versioned bucket; size and SHA-256 (and, with the manufacturer's key, a
signature) are attributes of the version, because a job's document takes them from there. Adding a version again
does what is left of it; a published version cannot be changed, so other content is refused.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulator.errors import UsageError
from simulator.ops import index, provision
from simulator.ops.answers import MISSING, THERE, at_once, named, pages, plain, refused
from simulator.ops.aws import Aws, code
from simulator.wire.artifact import signed_bytes

TAG = "fleetsim"
SHADOW = "$package"
PART_BYTES = 1 << 20
VERSIONS_MAX = 100  # of a page


def names(aws: Aws) -> Iterator[str]:
    """Of all packages."""
    return (str(one["packageName"]) for one in pages(aws.iot, "list_packages", "packageSummaries"))


def create(aws: Aws, name: str, description: str = "", deployment: str = "fleet") -> dict[str, Any]:
    """A package without versions."""
    about = {"description": description} if description else {}
    try:
        with refused(f"package '{name}'"):
            return dict(plain(aws.iot.create_package(packageName=name, tags={TAG: deployment}, **about)))
    except ClientError as error:
        if code(error) in THERE:
            raise UsageError(
                f"package '{name}' is there already; give it a version with `fleetsim packages add-version {name}`"
            ) from None
        raise


def every(aws: Aws) -> list[dict[str, Any]]:
    """All packages, by name, each with its versions."""
    found = sorted((plain(one) for one in pages(aws.iot, "list_packages", "packageSummaries")), key=_name)
    for package, there in zip(found, at_once(lambda one: versions(aws, _name(one)), found), strict=True):
        package["versions"] = there
    return found


def _name(package: Mapping[str, Any]) -> str:
    return str(package["packageName"])


def versions(aws: Aws, package: str) -> list[dict[str, Any]]:
    """A package's versions, as they are listed: name, status, times."""
    with named("package", package, lambda: names(aws)):
        return [
            plain(one)
            for one in pages(aws.iot, "list_package_versions", "packageVersionSummaries", packageName=package)
        ]


def show(aws: Aws, package: str) -> dict[str, Any]:
    """A package with every version it has."""
    with named("package", package, lambda: names(aws)):
        found = dict(plain(aws.iot.get_package(packageName=package)))
    return {**found, "versions": versions(aws, package)}


def version(aws: Aws, package: str, name: str) -> dict[str, Any]:
    """One version: status, attributes, artifact, recipe; `$default` is the package's own."""
    with named("package", package, lambda: names(aws)):
        default = aws.iot.get_package(packageName=package).get("defaultVersionName")
    if name == "$default":
        if not default:
            raise UsageError(f"package '{package}' has no default version; name one")
        name = str(default)
    with named(f"version of package {package}", name, lambda: (v["versionName"] for v in versions(aws, package))):
        return dict(plain(aws.iot.get_package_version(packageName=package, versionName=name)))


def add_version(
    aws: Aws,
    package: str,
    name: str,
    file: Path | None,
    *,
    description: str = "",
    attributes: Mapping[str, str] | None = None,
    signing_key: Ed25519PrivateKey | None = None,
    publish: bool = True,
    default: bool = False,
    deployment: str = "fleet",
    progress: Callable[[str, int, int], object] = lambda what, done, of: None,
) -> dict[str, Any]:
    """Upload, create, publish, and make it the default, as far as it is wanted and not done yet."""
    with named("package", package, lambda: names(aws)):
        aws.iot.get_package(packageName=package)
    given = dict(attributes or {})
    if file:
        given |= _facts(package, name, file, signing_key)
    try:
        found: Mapping[str, Any] | None = aws.iot.get_package_version(packageName=package, versionName=name)
    except ClientError as error:
        if code(error) not in MISSING:
            raise
        found = None
    if found is None:
        about: dict[str, Any] = {"description": description} if description else {}
        if given:
            about["attributes"] = given
        if file:
            progress("artifact", 0, 1)
            about["artifact"] = {"s3Location": _upload(aws, package, name, file)}
            progress("artifact", 1, 1)
        with refused(f"version {name} of package '{package}'"):
            found = aws.iot.create_package_version(
                packageName=package, versionName=name, tags={TAG: deployment}, **about
            )
    elif file and found.get("attributes", {}).get("sha256") != given["sha256"]:
        raise UsageError(
            f"version {name} of package '{package}' is there already, with other content, and cannot be replaced; "
            "give this one another name"
        )
    if publish and found["status"] == "DRAFT":
        aws.iot.update_package_version(packageName=package, versionName=name, action="PUBLISH")
    if default:
        with refused(f"version {name} of package '{package}' cannot be the default", "ConflictException"):
            aws.iot.update_package(packageName=package, defaultVersionName=name)
    return version(aws, package, name)


def _facts(package: str, name: str, file: Path, key: Ed25519PrivateKey | None) -> dict[str, str]:
    """What a device checks the artifact by; the file is read piece by piece."""
    digest, size = hashlib.sha256(), 0
    try:
        with file.open("rb") as body:
            while part := body.read(PART_BYTES):
                digest.update(part)
                size += len(part)
    except OSError as error:
        raise UsageError(f"artifact '{file}': {error.strerror}") from None
    if not size:
        raise UsageError(f"artifact '{file}' is empty")
    facts = {"size": str(size), "sha256": digest.hexdigest()}
    if key:
        signature = key.sign(signed_bytes(package, name, size, facts["sha256"]))
        facts["signature"] = base64.b64encode(signature).decode()
    return facts


def _upload(aws: Aws, package: str, name: str, file: Path) -> dict[str, str]:
    bucket, key = provision.bucket(aws), f"firmware/{package}/{name}/{file.name}"
    try:
        with file.open("rb") as body:
            stored = aws.s3.put_object(Bucket=bucket, Key=key, Body=body)
    except ClientError as error:
        if code(error) != "NoSuchBucket":
            raise
        raise UsageError(f"no bucket '{bucket}' for artifacts; `fleetsim provision` makes it") from None
    return {"bucket": bucket, "key": key, "version": stored.get("VersionId", "null")}


# Do jobs write `$package`?


def config(aws: Aws) -> dict[str, Any]:
    """`{"enabled", "roleArn"}` of the package configuration."""
    found = plain(aws.iot.get_package_configuration()).get("versionUpdateByJobsConfig", {})
    return {"enabled": bool(found.get("enabled")), "roleArn": found.get("roleArn")}


def configure(aws: Aws, enabled: bool) -> dict[str, Any]:
    """Switch it on, through the role that provisioning makes, or off."""
    wanted: dict[str, Any] = {"enabled": enabled}
    if enabled:
        role = provision.PACKAGES_ROLE
        try:
            wanted["roleArn"] = aws.iam.get_role(RoleName=role)["Role"]["Arn"]
        except ClientError as error:
            if code(error) != "NoSuchEntity":
                raise
            raise UsageError(f"no role '{role}' to write shadows with; `fleetsim provision` makes it") from None
    aws.iot.update_package_configuration(versionUpdateByJobsConfig=wanted)
    return config(aws)


# What devices say they run


def versions_of(
    aws: Aws, things: Sequence[str], progress: Callable[[str, int, int], object] = lambda what, done, of: None
) -> dict[str, dict[str, str] | None]:
    """Thing → package → version, from the reserved shadow; None for one that has never reported any."""

    def one(thing: str) -> dict[str, str] | None:
        try:
            answer = aws.data.get_thing_shadow(thingName=thing, shadowName=SHADOW)
        except ClientError as error:
            if code(error) != "ResourceNotFoundException":
                raise
            with named("thing", thing):
                aws.iot.describe_thing(thingName=thing)
            return None
        reported = json.loads(answer["payload"].read()).get("state", {}).get("reported", {})
        return {package: str(said.get("version", "")) for package, said in sorted(reported.items())}

    found = at_once(one, things, lambda done: progress("shadows", done, len(things)))
    return dict(zip(things, found, strict=True))


def elsewhere(aws: Aws, package: str, name: str, among: str = "") -> tuple[str, list[str]]:
    """Things that run another version of the package, and the query that finds them; `among` narrows it."""
    found = version(aws, package, name)
    if found["status"] == "DRAFT":
        raise UsageError(f"version {name} of package '{package}' is a DRAFT, which no device can have")
    field = f"shadow.name.{SHADOW}.reported.{package}.version"
    query = f"{field}:* AND NOT {field}:{name}" + (f" AND ({among})" if among else "")
    return query, [str(thing["thingName"]) for thing in index.search(aws, query)]


def revert(
    aws: Aws,
    package: str,
    name: str,
    things: Sequence[str],
    progress: Callable[[str, int, int], object] = lambda what, done, of: None,
) -> None:
    """Say in each thing's `$package` shadow that it runs this version. Nothing is installed: a job does that."""
    payload = json.dumps({"state": {"reported": {package: {"version": name}}}})

    def one(thing: str) -> None:
        aws.data.update_thing_shadow(thingName=thing, shadowName=SHADOW, payload=payload)

    at_once(one, things, lambda done: progress("shadows", done, len(things)))
