"""SigV4 for MQTT over WebSocket: AWS lets a device in by the signature of the URL, not by a certificate."""

from collections.abc import Callable

import boto3
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from simulator.errors import UsageError
from simulator.targets import Addresses

SERVICE = "iotdevicegateway"
VALID_S = 300


def websocket_url(addresses: Addresses) -> Callable[[], str]:
    """A function that signs the target's WebSocket URL anew; it may fetch credentials, so it may take a while."""
    session = boto3.Session(
        aws_access_key_id=addresses.access_key_id,
        aws_secret_access_key=addresses.secret_access_key,
        region_name=addresses.region,
        profile_name=addresses.aws_profile,
    )
    credentials = session.get_credentials()
    if credentials is None:
        raise UsageError(f"target '{addresses.name}': no AWS credentials to sign MQTT over WebSocket with")
    plain = addresses.websocket_url

    def sign() -> str:
        now = credentials.get_frozen_credentials()
        request = AWSRequest("GET", "http" + plain.removeprefix("ws"))
        # The token is not signed, but said: the device gateway alone among the services wants it so.
        keys = Credentials(now.access_key or "", now.secret_key or "")
        SigV4QueryAuth(keys, SERVICE, addresses.region, VALID_S).add_auth(request)
        if now.token:
            request.params = {"X-Amz-Security-Token": now.token}
        return "ws" + str(request.prepare().url).removeprefix("http")

    return sign
