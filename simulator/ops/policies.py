"""IoT policies: what a device and the backend may do, by the name of the thing a certificate is attached to."""

import json
from typing import Any

from simulator.ops import mark
from simulator.ops.aws import Aws

DEVICE_POLICY = "fleetsim-device"
BACKEND_POLICY = "fleetsim-backend"
BACKEND_CLIENT = "fleetsim-backend"
VERSIONS_MAX = 5  # of AWS


def put(aws: Aws, name: str, statements: list[dict[str, Any]], owner: str = mark.FLEET) -> None:
    """A policy that says this, whatever it said before."""
    wanted = {"Version": "2012-10-17", "Statement": statements}
    document = json.dumps(wanted)
    mark.once(aws.iot.create_policy, policyName=name, policyDocument=document, tags=mark.tags(owner))
    if json.loads(aws.iot.get_policy(policyName=name)["policyDocument"]) == wanted:
        return
    versions = aws.iot.list_policy_versions(policyName=name)["policyVersions"]
    if len(versions) >= VERSIONS_MAX:
        others = [version["versionId"] for version in versions if not version["isDefaultVersion"]]
        aws.iot.delete_policy_version(policyName=name, policyVersionId=min(others, key=int))
    aws.iot.create_policy_version(policyName=name, policyDocument=document, setAsDefault=True)


def device(aws: Aws) -> list[dict[str, Any]]:
    """A device may be itself, and speak and hear on its own topics only; a hub, also on its children's."""
    me = "${iot:Connection.Thing.ThingName}"
    reserved = [f"$aws/things/{me}/*", f"$aws/commands/things/{me}/*"]
    own = [*reserved, f"iotlink/*/*/{me}/*", f"iotlink/*/{me}/*", f"devices/{me}/*"]
    said = [*own, f"fire-prediction/device/{me}/*"]
    return [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": mark.arn(aws, f"client/{me}")},
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": [mark.arn(aws, f"topic/{t}") for t in said]},
        {"Effect": "Allow", "Action": "iot:Receive", "Resource": [mark.arn(aws, f"topic/{t}") for t in own]},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": [mark.arn(aws, f"topicfilter/{t}") for t in own]},
    ]


def backend(aws: Aws) -> list[dict[str, Any]]:
    """The backend hears the fleet and the service's events; by MQTT it answers uploads and says alerts of fire risk."""
    heard = ["iotlink/*", "devices/*", "fire-prediction/*", "$aws/events/*"]
    said = ["iotlink/*", "fire-prediction/alerts/*"]
    return [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": mark.arn(aws, f"client/{BACKEND_CLIENT}*")},
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": [mark.arn(aws, f"topic/{t}") for t in said]},
        {"Effect": "Allow", "Action": "iot:Receive", "Resource": [mark.arn(aws, f"topic/{t}") for t in heard]},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": [mark.arn(aws, f"topicfilter/{t}") for t in heard]},
    ]
