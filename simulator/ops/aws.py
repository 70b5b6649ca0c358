"""boto3 clients for a target, with its address, credentials and authorities explicit.

A stray AWS_ENDPOINT_URL or profile in the environment must not redirect a write, so the endpoint of every
client comes from the target alone.
"""

from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from simulator.errors import BackendUnavailable, UsageError
from simulator.targets import Addresses

CONNECTIONS_MAX = 16
ATTEMPTS = 6
ATTEMPTS_TO_REACH = 2  # somebody waits for the answer, and nobody being there is the likeliest one


class Aws:
    """The AWS APIs of one target."""

    def __init__(self, addresses: Addresses) -> None:
        """UsageError when ~/.aws cannot be read, or has no such profile."""
        self.addresses = addresses
        try:
            self._session = boto3.Session(
                aws_access_key_id=addresses.access_key_id,
                aws_secret_access_key=addresses.secret_access_key,
                region_name=addresses.region,
                profile_name=addresses.aws_profile,
            )
        except BotoCoreError as error:
            raise UsageError(f"target '{addresses.name}': {error}") from None

    def client(self, service: str, attempts: int = ATTEMPTS, **kwargs: Any) -> Any:
        """A client of one service; safe to share between threads."""
        config = Config(  # type: ignore[call-arg]  # the stubs lack ignore_configured_endpoint_urls
            max_pool_connections=CONNECTIONS_MAX,
            retries={"mode": "standard", "total_max_attempts": attempts},
            signature_version=kwargs.pop("signature_version", None),
            ignore_configured_endpoint_urls=True,
            connect_timeout=5,
            read_timeout=30,
            s3={"addressing_style": "path"} if service == "s3" and self.addresses.endpoint_url else None,
        )
        return self._session.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.addresses.endpoint_url,
            verify=self.addresses.ca_file,
            config=config,
            **kwargs,
        )

    @cached_property
    def iot(self) -> Any:
        return self.client("iot")

    @cached_property
    def data(self) -> Any:
        """iot-data at the account's own endpoint."""
        return self.client("iot-data")

    @cached_property
    def s3(self) -> Any:
        return self.client("s3", signature_version="s3v4")

    @cached_property
    def iam(self) -> Any:
        return self.client("iam")

    @cached_property
    def account(self) -> str:
        """The account's number; BackendUnavailable when nobody answers or the credentials are wrong."""
        try:
            sts = self.client("sts", ATTEMPTS_TO_REACH)
            try:
                return str(sts.get_caller_identity()["Account"])
            finally:
                sts.close()
        except (BotoCoreError, ClientError) as error:
            where = self.addresses.endpoint_url or f"AWS in {self.addresses.region}"
            raise BackendUnavailable(f"cannot use {where}: {error}") from None

    def close(self) -> None:
        """Close the connections that were opened."""
        for name in ("iot", "data", "s3", "iam"):
            if name in self.__dict__:
                self.__dict__[name].close()


def code(error: ClientError) -> str:
    """The error's code, as `ResourceNotFoundException`."""
    return str(error.response.get("Error", {}).get("Code", ""))
