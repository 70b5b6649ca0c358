"""The mark of what is ours in an account: the tag `fleetsim`, and on things, which take no tags, the attribute.

Rules: everything is made with its mark in the same call, so that nothing of ours is ever without it; cleanup removes
what has the mark `fleet`. What the sandbox makes for itself has another one and stays as long as it runs.
A certificate takes neither tag nor attribute: it is ours by its policy, or by the organization in its subject.
"""

from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from simulator.ops.answers import MISSING, THERE, pages
from simulator.ops.aws import Aws, code

KEY = "fleetsim"
FLEET = "fleet"
SANDBOX = "sandbox"
ORGANIZATION = "fleetsim"  # in the subject of every certificate


def tags(owner: str = FLEET) -> list[dict[str, str]]:
    """As most of the services take them; the package catalog wants a plain mapping."""
    return [{"Key": KEY, "Value": owner}]


def once(create: Callable[..., Any], **what: Any) -> bool:
    """Create something that may be there already; False when it was, with other settings."""
    try:
        create(**what)
    except ClientError as error:
        if code(error) not in (*THERE, "EntityAlreadyExists"):
            raise
        return False
    return True


def plain(listed: list[dict[str, Any]]) -> dict[str, str]:
    """Tags as a mapping."""
    return {str(tag["Key"]): str(tag["Value"]) for tag in listed}


def of(aws: Aws, arn: str) -> Mapping[str, str]:
    """The tags of something in AWS IoT; none when it is not there."""
    try:
        return plain(list(pages(aws.iot, "list_tags_for_resource", "tags", resourceArn=arn)))
    except ClientError as error:
        if code(error) in MISSING:
            return {}
        raise


def ours(aws: Aws, arn: str) -> bool:
    """Did we make it?"""
    return of(aws, arn).get(KEY) == FLEET


def arn(aws: Aws, resource: str) -> str:
    """The name of something in AWS IoT in the target's account and region: `policy/x`, `package/x`."""
    return f"arn:aws:iot:{aws.addresses.region}:{aws.account}:{resource}"
