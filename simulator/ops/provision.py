"""Provisioning: everything a fleet needs in the account before it can connect. Run again, it does what is left.

groundwork   policies, roles            once an account
catalogue    bucket, images, packages   once a firmware
things       types, things, certificates, in parallel
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from simulator import identity
from simulator.errors import UsageError
from simulator.firmware import Image
from simulator.ops import certificates
from simulator.ops.aws import Aws, code
from simulator.profiles import Profile

DEVICE_POLICY = "fleetsim-device"
BACKEND_POLICY = "fleetsim-backend"
BACKEND_CLIENT = "fleetsim-backend"
JOBS_ROLE = "fleetsim-jobs"
PACKAGES_ROLE = "IoTPackageConfigRole"
THREADS = 8
POLICY_VERSIONS_MAX = 5  # of AWS

Progress = Callable[[str, int, int], None]  # (what, done, of)


def groundwork(aws: Aws) -> None:
    """Policies for devices and the backend, and the two roles that the service assumes."""
    _policy(aws, DEVICE_POLICY, _device_statements(aws))
    _policy(aws, BACKEND_POLICY, _backend_statements(aws))
    arn = f"arn:aws:s3:::{bucket(aws)}/*"
    _role(
        aws,
        JOBS_ROLE,
        [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": arn}],
    )
    shadows = f"arn:aws:iot:{aws.addresses.region}:{aws.account}:thing/*"
    update = {
        "Effect": "Allow",
        "Action": ["iot:GetThingShadow", "iot:UpdateThingShadow"],
        "Resource": shadows,
    }
    _role(aws, PACKAGES_ROLE, [update])
    role = f"arn:aws:iam::{aws.account}:role/{PACKAGES_ROLE}"
    aws.iot.update_package_configuration(versionUpdateByJobsConfig={"enabled": True, "roleArn": role})


def bucket(aws: Aws) -> str:
    """The bucket of the fleet's artifacts."""
    return f"fleetsim-{aws.account}-{aws.addresses.region}"


def catalogue(aws: Aws, images: Iterable[Image]) -> None:
    """Uploads images and publishes them as package versions; UsageError when others are in their place."""
    _bucket(aws)
    for image in images:
        _once(aws.iot.create_package, packageName=image.package)
        try:
            found = aws.iot.get_package_version(packageName=image.package, versionName=image.version)
        except ClientError as error:
            if code(error) != "ResourceNotFoundException":
                raise
            _publish(aws, image)
        else:
            _must_be_ours(image, found.get("attributes", {}))
            if found.get("status") == "DRAFT":  # a run ended between the two
                _release(aws, image)


def _must_be_ours(image: Image, attributes: Mapping[str, str]) -> None:
    """A package version cannot be replaced, and a device takes only what its own manufacturer signed."""
    if attributes.get("signature") != image.signature:
        raise UsageError(
            f"package {image.package} {image.version} is there already, from a run with another manufacturer's key; "
            "give that run's folder with --state"
        )


def _publish(aws: Aws, image: Image) -> None:
    stored = aws.s3.put_object(Bucket=bucket(aws), Key=image.key, Body=image.body)
    location = {"bucket": bucket(aws), "key": image.key, "version": stored.get("VersionId", "null")}
    aws.iot.create_package_version(
        packageName=image.package,
        versionName=image.version,
        description=image.notes,
        attributes={"size": str(len(image.body)), "sha256": image.sha256, "signature": image.signature},
        artifact={"s3Location": location},
    )
    _release(aws, image)


def _release(aws: Aws, image: Image) -> None:
    aws.iot.update_package_version(packageName=image.package, versionName=image.version, action="PUBLISH")


def things(
    aws: Aws,
    wanted: Sequence[tuple[str, Profile]],
    children: Sequence[tuple[str, Profile]],
    seed: int,
    folder: Path,
    progress: Progress,
) -> None:
    """Thing types, things and certificates (PEM files in `folder`). The seed says who is whose.

    Children of hubs become things too, so that the backend can look them up, but have no certificate to connect with.
    """
    for name, profile in {profile.thing_type: profile for _, profile in (*wanted, *children)}.items():
        searchable = {"searchableAttributes": sorted(profile.attributes)[:3]}
        _once(aws.iot.create_thing_type, thingTypeName=name, thingTypeProperties=searchable)
    members = [(*pair, folder) for pair in wanted] + [(*pair, None) for pair in children]
    # Made here, while the threads work on those before: `identity` is not for several at a time.
    papers = ((name, of, identity.attributes(of.attributes, seed, name), where) for name, of, where in members)
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="provision")
    try:
        made = pool.map(lambda one: _thing(aws, *one), papers)
        for done, _ in enumerate(made, 1):
            progress("things", done, len(members))
    finally:
        pool.shutdown(cancel_futures=True)  # After Ctrl-C only what is under way is finished.


def _thing(aws: Aws, name: str, profile: Profile, attributes: Mapping[str, str], folder: Path | None) -> None:
    if folder and certificates.identity(folder, name).cert_file.exists():
        return
    payload = {"attributes": attributes}
    _once(aws.iot.create_thing, thingName=name, thingTypeName=profile.thing_type, attributePayload=payload)
    if folder:
        certificates.create(aws, folder, name, DEVICE_POLICY, name)


def _once(create: Callable[..., Any], **what: Any) -> None:
    """Create something that may be there already."""
    try:
        create(**what)
    except ClientError as error:
        if code(error) not in ("ResourceAlreadyExistsException", "ConflictException", "EntityAlreadyExists"):
            raise


def _bucket(aws: Aws) -> None:
    region = aws.addresses.region
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        aws.s3.create_bucket(Bucket=bucket(aws), **where)
    except ClientError as error:
        if code(error) != "BucketAlreadyOwnedByYou":
            raise
    aws.s3.put_bucket_versioning(Bucket=bucket(aws), VersioningConfiguration={"Status": "Enabled"})


def _policy(aws: Aws, name: str, statements: list[dict[str, Any]]) -> None:
    """A policy that says this, whatever it said before."""
    wanted = {"Version": "2012-10-17", "Statement": statements}
    document = json.dumps(wanted)
    _once(aws.iot.create_policy, policyName=name, policyDocument=document)
    if json.loads(aws.iot.get_policy(policyName=name)["policyDocument"]) == wanted:
        return
    versions = aws.iot.list_policy_versions(policyName=name)["policyVersions"]
    if len(versions) >= POLICY_VERSIONS_MAX:
        others = [version["versionId"] for version in versions if not version["isDefaultVersion"]]
        aws.iot.delete_policy_version(policyName=name, policyVersionId=min(others, key=int))
    aws.iot.create_policy_version(policyName=name, policyDocument=document, setAsDefault=True)


def _role(aws: Aws, name: str, statements: list[dict[str, Any]]) -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": "iot.amazonaws.com"}, "Action": "sts:AssumeRole"}
    assume = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    _once(aws.iam.create_role, RoleName=name, AssumeRolePolicyDocument=assume)
    rights = json.dumps({"Version": "2012-10-17", "Statement": statements})
    aws.iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=rights)


def _arn(aws: Aws, resource: str) -> str:
    return f"arn:aws:iot:{aws.addresses.region}:{aws.account}:{resource}"


def _device_statements(aws: Aws) -> list[dict[str, Any]]:
    """A device may be itself, and speak and hear on its own topics only; a hub, also on its children's."""
    me = "${iot:Connection.Thing.ThingName}"
    own = [f"$aws/things/{me}/*", f"iotlink/*/*/{me}/*", f"iotlink/*/{me}/*", f"devices/{me}/*"]
    said = [*own, f"fire-prediction/device/{me}/*"]
    return [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": _arn(aws, f"client/{me}")},
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": [_arn(aws, f"topic/{t}") for t in said]},
        {"Effect": "Allow", "Action": "iot:Receive", "Resource": [_arn(aws, f"topic/{t}") for t in own]},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": [_arn(aws, f"topicfilter/{t}") for t in own]},
    ]


def _backend_statements(aws: Aws) -> list[dict[str, Any]]:
    """The backend hears the fleet and the service's events; it answers uploads by MQTT, and writes through the API."""
    heard = ["iotlink/*", "devices/*", "fire-prediction/*", "$aws/events/*"]
    return [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": _arn(aws, f"client/{BACKEND_CLIENT}*")},
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": _arn(aws, "topic/iotlink/*")},
        {"Effect": "Allow", "Action": "iot:Receive", "Resource": [_arn(aws, f"topic/{t}") for t in heard]},
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": _arn(aws, "topic/iotlink/*")},
        {
            "Effect": "Allow",
            "Action": "iot:Subscribe",
            "Resource": [_arn(aws, f"topicfilter/{t}") for t in heard],
        },
    ]
