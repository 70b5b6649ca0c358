"""boto3 clients for a target, with its address, credentials and authorities explicit.

A stray AWS_ENDPOINT_URL or profile in the environment must not redirect a write, so the endpoint of every
client comes from the target alone.

Every client of an `Aws`, of whatever service, keeps the rates of `simulator/ops/rates.py` (each attempt of a call
waits for its turn before it is signed), tries throttled calls again, and can be watched: see `trace.py` and `guard`.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from simulator.errors import BackendUnavailable, UsageError
from simulator.ops import limits as limits_of
from simulator.ops import retry
from simulator.ops.limits import Limits
from simulator.ops.trace import Trace
from simulator.targets import Addresses

CONNECTIONS_MAX = 16
ATTEMPTS = 6
ATTEMPTS_TO_REACH = 2  # somebody waits for the answer, and nobody being there is the likeliest one

Guard = Callable[[str, str], None]  # (service, operation), before each call; may raise


class Aws:
    """The AWS APIs of one target."""

    def __init__(
        self, addresses: Addresses, *, limits: Limits | None = None, trace: Trace | None = None,
        guard: Guard | None = None,
    ) -> None:  # fmt: skip
        """UsageError when ~/.aws cannot be read, or has no such profile.

        Without `limits` the sandbox gets what it can take, and every other target the rates of AWS.
        """
        self.addresses = addresses
        if limits is None:
            limits = Limits(limits_of.none) if addresses.kind == "sandbox" else Limits()
        self.limits, self._trace, self._guard = limits, trace, guard
        self.retries: Counter[str] = Counter()  # tries after the first, by operation
        self._clients: list[Any] = []
        self._making = threading.Lock()  # a session is not for several threads, its clients are
        try:
            self._session = boto3.Session(
                aws_access_key_id=addresses.access_key_id,
                aws_secret_access_key=addresses.secret_access_key,
                region_name=addresses.region,
                profile_name=addresses.aws_profile,
            )
        except BotoCoreError as error:
            raise UsageError(f"target '{addresses.name}': {error}") from None
        if trace or guard:
            self._session.events.register("creating-client-class", self._watch)

    def client(self, service: str, attempts: int = ATTEMPTS, **kwargs: Any) -> Any:
        """A client of one service; safe to share between threads. Closed with this."""
        config = Config(  # type: ignore[call-arg]  # the stubs lack ignore_configured_endpoint_urls
            max_pool_connections=CONNECTIONS_MAX,
            retries={"mode": "standard", "total_max_attempts": 1},  # ours are in _register
            signature_version=kwargs.pop("signature_version", None),
            ignore_configured_endpoint_urls=True,
            connect_timeout=5,
            read_timeout=30,
            s3={"addressing_style": "path"} if service == "s3" and self.addresses.endpoint_url else None,
        )
        with self._making:
            made = self._session.client(
                service,  # type: ignore[call-overload]
                endpoint_url=kwargs.pop("endpoint_url", self.addresses.endpoint_url),
                verify=self.addresses.ca_file,
                config=config,
                **kwargs,
            )
            self._clients.append(made)
        self._register(made, service, attempts)
        return made

    @cached_property
    def iot(self) -> Any:
        return self.client("iot")

    @cached_property
    def data(self) -> Any:
        """iot-data at the account's own endpoint."""
        return self.client("iot-data")

    @cached_property
    def jobs_data(self) -> Any:
        """iot-jobs-data at the account's own address: what a device is asked to do, and the start of commands."""
        address = self.iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
        return self.client("iot-jobs-data", endpoint_url=f"https://{address}")

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
        while self._clients:
            self._clients.pop().close()

    # What happens around each call

    def _register(self, client: Any, service: str, attempts: int) -> None:
        def wait(operation_name: str, **_: Any) -> None:
            self.limits.wait(service, operation_name)

        def again(
            response: Any, attempts: int, caught_exception: Exception | None, operation: Any, **_: Any
        ) -> float | None:
            return self._pause(service, operation.name, most, attempts, response, caught_exception)

        most = attempts
        events, name = client.meta.events, client.meta.service_model.service_id.hyphenize()
        events.register_first(f"request-created.{name}", wait)  # before the signer: a signature grows old
        events.register(f"needs-retry.{name}", again)

    def _pause(
        self, service: str, operation: str, most: int, attempt: int, response: Any, error: Exception | None
    ) -> float | None:
        """The seconds until the next attempt of a call, or None when this was the last."""
        status, parsed = (response[0].status_code, response[1]) if response else (0, {})
        throttled = retry.throttled(status, parsed)
        if throttled:
            most = max(most, retry.THROTTLED_ATTEMPTS)
        elif not (retry.passing(status, parsed) or retry.lost(error)):
            return None
        if attempt >= most:
            return None
        pause_s = retry.pause_s(attempt, random.random())  # noqa: S311 - spreads tries, keeps no secret
        if throttled:
            self.limits.throttled(service, operation, pause_s)
        why = parsed.get("Error", {}).get("Code") or (error and type(error).__name__) or status
        self.retries[operation] += 1
        if self._trace:
            self._trace.retry(operation, attempt, str(why), pause_s)
        return pause_s

    def _watch(self, base_classes: list[type], **_: Any) -> None:
        """Puts guard and trace around every call of the clients that are made from now on."""
        guard, trace = self._guard, self._trace

        class Watched:
            meta: Any

            def _make_api_call(self, operation_name: str, api_params: dict[str, Any]) -> Any:
                service = self.meta.service_model.service_name
                call = super()._make_api_call  # type: ignore[misc]
                if guard:
                    guard(service, operation_name)
                if trace:
                    return trace.call(service, operation_name, api_params, call)
                return call(operation_name, api_params)

        base_classes.insert(0, Watched)


def code(error: ClientError) -> str:
    """The error's code, as `ResourceNotFoundException`."""
    return str(error.response.get("Error", {}).get("Code", ""))
