"""MiniStack inside our process: its environment, and the few places where we reach into it.

Rules: MiniStack reads its environment when it is imported, so `prepare` runs first and only once; nothing
else in this package imports MiniStack at its top. MiniStack's own start-up is not run: it would remove
containers of a Docker daemon that is not ours, run scripts from fixed folders and start schedulers.
"""

import asyncio
import contextlib
import json
import os
import re
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from simulator.cloud import corrections, missing
from simulator.cloud.authority import KeyPair, new_authority, server_certificate
from simulator.cloud.config import ACCOUNT_ID, CloudConfig

_THREADS_MAX = 16
# What a user may have set for MiniStack, LocalStack or AWS, and what would change this sandbox.
_DROPPED_ENVIRONMENT = (
    "AWS_ENDPOINT_URL",
    "AWS_PROFILE",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "CLOUDTRAIL_RECORDING",
    "EDGE_PORT",
    "IOT_MTLS_ENABLED",
    "IOT_RETRANSMIT_SECONDS",
    "IOT_SESSION_EXPIRY_SECONDS",
    "LOCALSTACK_PERSISTENCE",
    "S3_PERSIST",
    "SERVICES",
)

ASGI = Callable[[Any, Any, Any], Awaitable[None]]
# (thing, job, the job's destinationPackageVersions)
OnSucceeded = Callable[[str, str, list[str]], None]


def prepare(config: CloudConfig, https_port: int, mqtt_port: int) -> None:
    """Set MiniStack's environment."""
    temporary = config.state_dir / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    for name in _DROPPED_ENVIRONMENT:
        os.environ.pop(name, None)
    os.environ.update(
        AUTH="true" if config.auth else "false",
        AWS_ACCESS_KEY_ID=config.access_key_id,
        AWS_SECRET_ACCESS_KEY=config.secret_access_key,
        AWS_DEFAULT_REGION=config.region,
        BIND_HOST="127.0.0.1",
        GATEWAY_PORT=str(https_port),
        IOT_MTLS_PORT=str(mqtt_port),
        LOG_LEVEL=config.log_level,
        MINISTACK_ACCOUNT_ID=ACCOUNT_ID,
        MINISTACK_HOST="localhost",
        MINISTACK_REGION=config.region,
        PERSIST_STATE="0",
        S3_DATA_DIR=str(config.state_dir / "s3"),
        SFTP_ENABLED="0",
        STATE_DIR=str(config.state_dir / "ministack"),
        TMPDIR=str(temporary),
        USE_SSL="1",  # presigned URLs say https
    )
    tempfile.tempdir = str(temporary)


class Emulator:
    """MiniStack, imported and adapted."""

    def __init__(self, config: CloudConfig, https_port: int) -> None:
        from ministack import app
        from ministack.core import iam_evaluator

        if config.auth:
            self._check_every_signature(iam_evaluator, config.access_key_id)
        from ministack.services import iot, s3

        self.app: ASGI = app.app
        self._app = app
        self._iam = iam_evaluator
        self.iot = iot
        self._s3 = s3
        self._auth = config.auth
        self.region = config.region
        self._emissions: set[asyncio.Task[None]] = set()
        self.authority = new_authority()
        self.server = self._certificate()
        self._take_websockets_at_a_name_that_resolves()
        missing.install(iot)
        self._serve_ranges_of_versions()
        corrections.install(iot, config)
        if config.auth:
            self._demand_a_certificate()

    # -- the listener ---

    async def start(self) -> None:
        """Open the MQTT listener on the running loop."""
        loop = asyncio.get_running_loop()
        self._app._MAIN_LOOP = loop
        loop.set_default_executor(ThreadPoolExecutor(_THREADS_MAX, thread_name_prefix="cloud"))
        await self.iot.mtls_start()

    async def stop(self) -> None:
        """Close the MQTT listener and its sessions."""
        await self.iot.mtls_stop()
        for task in list(self._emissions):
            task.cancel()

    # -- what the front asks ---

    def refuse(
        self,
        operation: str,
        resource_arn: str | None,
        method: str,
        raw_path: str,
        query: dict[str, list[str]],
        raw_headers: list[tuple[bytes, bytes]],
        body: bytes,
        request_id: str,
    ) -> tuple[int, dict[str, str], bytes] | None:
        """The error answer to an `iot` request whose signature or policy does not hold, or None.

        Without a resource the signature alone is checked.
        """
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw_headers}
        access_key = self._app.extract_access_key_id(headers, query)
        self._app.set_request_region(self._app.extract_region(headers, query))
        if not self._auth:
            self._app.set_request_account_id(access_key)
            return None
        self._app.set_request_account_id(self._app._request_account_scope(access_key) if access_key else "")
        self._iam.pin_signed_request(method, raw_path, query, raw_headers)
        self._iam.pin_signed_body(body)
        refusal: tuple[int, dict[str, str], bytes] | None
        if resource_arn is None:
            refusal = self._app._authenticate_only("iot", headers, query, request_id)
        else:
            refusal = self._app._enforce_data_plane("iot", f"iot:{operation}", headers, query, request_id, resource_arn)
        return refusal

    def allows(self, operation: str, resource_arn: str) -> bool:
        """Whether the caller of the request that is being answered may do this with a resource that its path names not.

        The signature was checked before, so the key is the caller's.
        """
        key = self._iam._verified_key.get()
        return not self._auth or not self._iam.enforce(key, f"iot:{operation}", "iot", self.region, resource_arn)

    async def unjudged(
        self, service: str, method: str, path: str, body: bytes, query: dict[str, list[str]]
    ) -> tuple[int, dict[str, str], bytes]:
        """What MiniStack's part for a service answers to a request that was judged before (`refuse`)."""
        from ministack.services import iot_data, iot_jobs_data

        handlers = {"iot": self.iot, "iot-data": iot_data, "iot-jobs-data": iot_jobs_data}
        answer: tuple[int, dict[str, str], bytes] = await handlers[service].handle_request(
            method, path, {"content-type": "application/json"}, body, query
        )
        return answer

    def scoped(self) -> "contextlib.AbstractContextManager[None]":
        """Within it MiniStack's tables are those of the sandbox's account and region, as in a request."""
        from ministack.core.responses import request_scope

        scope: contextlib.AbstractContextManager[None] = request_scope(ACCOUNT_ID, self.region)
        return scope

    def role_usable(self, role_arn: str) -> bool:
        """Whether IoT may assume the role: always, when nothing is checked."""
        return bool(self.iot._iot_role_usable(role_arn))

    def on_succeeded(self, heard: OnSucceeded) -> None:
        """Call `heard` for each execution that a device reports as SUCCEEDED.

        `jobs_update_execution` is the one function through which a device's report passes, over MQTT and HTTP
        alike; it runs on the loop, with the account and region of the device set.
        """
        original = self.iot.jobs_update_execution

        def report(thing_name: str, job_id: str, **kwargs: Any) -> tuple[Any, Any]:
            execution, error = original(thing_name, job_id, **kwargs)
            if error is None and execution["status"] == "SUCCEEDED":
                job = self.iot._jobs.get(job_id) or {}
                heard(thing_name, job_id, list(job.get("destinationPackageVersions") or []))
            return execution, error

        self.iot.jobs_update_execution = report

    def update_shadow(self, thing: str, name: str, reported: dict[str, Any]) -> None:
        """Merge into the reported state of a shadow, and tell its subscribers as the service does."""
        iot = self.iot
        account, region = iot.get_account_id(), iot.get_region()
        before_status, before = _snapshot(iot.get_thing_shadow(thing, name))
        status, document = iot.update_thing_shadow(thing, name, {"state": {"reported": reported}})
        if status != 200:
            raise ValueError(f"shadow {name} of {thing}: {document}")
        after_status, after = _snapshot(iot.get_thing_shadow(thing, name))
        emission = asyncio.get_running_loop().create_task(
            iot.shadow_emit_update_responses(
                account,
                region,
                f"$aws/things/{thing}/shadow/name/{name}",
                json.loads(json.dumps(document)),
                before_status,
                before,
                after_status,
                after,
                None,
            )
        )
        self._emissions.add(emission)
        emission.add_done_callback(self._emissions.discard)

    # -- the seams ---

    @staticmethod
    def _check_every_signature(iam_evaluator: Any, access_key_id: str) -> None:
        """Know one root key, and check its signature too.

        MiniStack takes four kinds of key (none, `test`, the configured one, an account number) for root and
        does not look at the signature, so a wrong secret would go unnoticed until the real account.
        """
        iam_evaluator.is_root_access_key = lambda key: key == access_key_id
        iam_evaluator._is_root_key = lambda key: False

    def _certificate(self) -> KeyPair:
        """Give MiniStack our authority, and one server certificate for both ports."""
        iot = self.iot
        iot._ca_cert_pem, iot._ca_key_pem = self.authority
        certificate = server_certificate(self.authority, *iot._mtls_server_cert_sans())
        iot.set_mtls_server_cert(*certificate)
        return certificate

    def _demand_a_certificate(self) -> None:
        """Refuse an MQTT client without a certificate, as AWS does; MiniStack holds it to no policy."""
        original = self.iot._mtls_build_ssl_context

        def build() -> ssl.SSLContext:
            context: ssl.SSLContext = original()
            context.verify_mode = ssl.CERT_REQUIRED
            return context

        self.iot._mtls_build_ssl_context = build

    def _take_websockets_at_a_name_that_resolves(self) -> None:
        """Serve MQTT in a WebSocket at `localhost:PORT`, which is what DescribeEndpoint says (small_operations).

        glibc does not resolve the AWS-like name below `.localhost` that MiniStack would answer. The services of the
        one port are told apart by the scope of the signature, and MQTT in a WebSocket by its subprotocol.
        """
        known = self._app._IOT_DATA_WS_RE.pattern
        self._app._IOT_DATA_WS_RE = re.compile(rf"{known}|^(localhost|127\.0\.0\.1)(:|$)")

    def _serve_ranges_of_versions(self) -> None:
        """Answer 206 for a Range of an object's version too: MiniStack then sends the whole of it."""
        original = self._s3._get_object

        def get(bucket: str, key: str, headers: dict[str, str], query: Any = None) -> Any:
            status, answer_headers, body = original(bucket, key, headers, query)
            wanted = headers.get("range", "")
            if status != 200 or not wanted or "," in wanted or not isinstance(body, bytes):
                return status, answer_headers, body
            found = self._s3._parse_range(wanted, len(body))
            if found is None:
                unsatisfied = self._s3._xml_body(self._s3._range_error_xml(bucket, key))
                return (
                    416,
                    {"Content-Type": "application/xml", "Content-Range": f"bytes */{len(body)}"},
                    unsatisfied,
                )
            start, end = found
            part = {
                "Content-Length": str(end + 1 - start),
                "Content-Range": f"bytes {start}-{end}/{len(body)}",
            }
            return 206, {**answer_headers, **part}, body[start : end + 1]

        self._s3._get_object = get


def _snapshot(answer: tuple[int, dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    """A copy: MiniStack hands out the stored objects themselves and later changes them."""
    return answer[0], json.loads(json.dumps(answer[1]))
