"""Catalogue, once a firmware: the versioned bucket, signed images in it, packages and their published versions."""

from collections.abc import Callable, Mapping, Sequence

from botocore.exceptions import ClientError

from simulator.errors import UsageError
from simulator.firmware import Image
from simulator.ops import mark
from simulator.ops.answers import MISSING
from simulator.ops.aws import Aws, code
from simulator.ops.groundwork import bucket

Progress = Callable[[str, int, int], object]


def catalogue(aws: Aws, images: Sequence[Image], progress: Progress = lambda what, done, of: None) -> None:
    """Uploads images and publishes them as package versions; UsageError when others are in their place."""
    store(aws)
    for done, image in enumerate(images, 1):
        mark.once(aws.iot.create_package, packageName=image.package, tags={mark.KEY: mark.FLEET})
        try:
            found = aws.iot.get_package_version(packageName=image.package, versionName=image.version)
        except ClientError as error:
            if code(error) not in MISSING:
                raise
            publish(aws, image)
        else:
            _must_be_ours(image, found.get("attributes", {}))
            if found.get("status") == "DRAFT":  # a run ended between the two
                release(aws, image)
        progress("package versions", done, len(images))


def _must_be_ours(image: Image, attributes: Mapping[str, str]) -> None:
    """A package version cannot be replaced, and a device takes only what its own manufacturer signed."""
    if attributes.get("signature") != image.signature:
        raise UsageError(
            f"package {image.package} {image.version} is there already, from a run with another manufacturer's key; "
            "give the folder that run was given with --state, or remove what it made with `fleetsim cleanup all`"
        )


def publish(aws: Aws, image: Image) -> None:
    """Upload an image, if it is not there yet, and make it a version of its package."""
    aws.iot.create_package_version(
        packageName=image.package,
        versionName=image.version,
        **({"description": image.notes} if image.notes else {}),
        attributes={"size": str(len(image.body)), "sha256": image.sha256, "signature": image.signature},
        artifact={"s3Location": {"bucket": bucket(aws), "key": image.key, "version": _uploaded(aws, image)}},
        tags={mark.KEY: mark.FLEET},
    )
    release(aws, image)


def _uploaded(aws: Aws, image: Image) -> str:
    """The version of the object that has this image, uploaded now or by a run that was killed after it."""
    place = {"Bucket": bucket(aws), "Key": image.key}
    try:
        head = aws.s3.head_object(**place)
    except ClientError as error:
        if code(error) not in ("404", "NoSuchKey", "403"):  # 403: without the right to list, S3 does not say
            raise
        head = {}
    if head.get("Metadata", {}).get("signature") != image.signature:
        head = aws.s3.put_object(**place, Body=image.body, Metadata={"signature": image.signature})
    return str(head.get("VersionId", "null"))


def release(aws: Aws, image: Image) -> None:
    """Let jobs install it."""
    aws.iot.update_package_version(packageName=image.package, versionName=image.version, action="PUBLISH")


def store(aws: Aws) -> None:
    """The bucket, with versions; the mark comes first, so that nothing is ever in a bucket without it."""
    region = aws.addresses.region
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        aws.s3.create_bucket(Bucket=bucket(aws), **where)
    except ClientError as error:
        if code(error) != "BucketAlreadyOwnedByYou":
            raise
    tags = bucket_tags(aws) or {}
    if mark.KEY not in tags:
        kept = [{"Key": key, "Value": value} for key, value in tags.items()]
        aws.s3.put_bucket_tagging(Bucket=bucket(aws), Tagging={"TagSet": [*kept, *mark.tags()]})
    aws.s3.put_bucket_versioning(Bucket=bucket(aws), VersioningConfiguration={"Status": "Enabled"})


def bucket_tags(aws: Aws) -> dict[str, str] | None:
    """The tags of the fleet's bucket, or None when there is no bucket."""
    try:
        return mark.plain(aws.s3.get_bucket_tagging(Bucket=bucket(aws))["TagSet"])
    except ClientError as error:
        if code(error) == "NoSuchTagSet":
            return {}
        if code(error) == "NoSuchBucket":
            return None
        raise
