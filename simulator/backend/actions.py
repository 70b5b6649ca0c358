"""The platform's hands: calls to AWS by boto3, in a few threads.

Rules: bounded queues; look-ups have their own, so that a fleet that connects cannot delay a command; boto3
itself retries throttling, time-outs and 5xx with backoff; every call is answered exactly once, with an error
text when it failed. boto3 is imported in the first thread, because it is slow and the API need not wait.
Without an AWS in the configuration every device has no product and every action fails with that reason.
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson

from simulator.backend.config import Aws
from simulator.backend.effects import AbortUpload, Call, CompleteUpload, CreateJob, LookUp, OpenUpload, SetDesired, Tell
from simulator.backend.pipeline import Answer

ACTION_THREADS = 4
LOOKUP_THREADS = 2
ACTIONS_WAITING_MAX = 1_000
LOOKUPS_WAITING_MAX = 20_000
ATTEMPTS = 6
URL_EXPIRES_S = 3600
JOBS_ROLE = "fleetsim-jobs"
LOG_EVERY_S = 10.0

log = logging.getLogger("backend.actions")


class MissingError(Exception):
    """AWS holds no such thing as the call needs; the text says what."""


class Actions:
    """Queues of calls and the threads that make them."""

    def __init__(
        self,
        config: Aws | None,
        answer: Callable[[Answer], None],
        now_ms: Callable[[], int],
        uploads_bucket: str | None = None,
    ) -> None:
        """`answer` is called in a thread of ours."""
        self._config = config
        self._answer = answer
        self._now_ms = now_ms
        self._actions: queue.Queue[Call | None] = queue.Queue(ACTIONS_WAITING_MAX)
        self._lookups: queue.Queue[Call | None] = queue.Queue(LOOKUPS_WAITING_MAX)
        self._account = Account(config, uploads_bucket) if config is not None else None
        self._logged_s = -LOG_EVERY_S
        self._stopped = False

    def start(self) -> None:
        """Start the threads. They are daemons: a call that hangs must not keep the process alive."""
        for calls, count in ((self._actions, ACTION_THREADS), (self._lookups, LOOKUP_THREADS)):
            for i in range(count):
                first = calls is self._actions and i == 0
                threading.Thread(target=self._work, args=(calls, first), daemon=True).start()

    def stop(self) -> None:
        """End the threads after the call that each is in; what waits is dropped, a restart asks again."""
        self._stopped = True
        for calls, count in ((self._actions, ACTION_THREADS), (self._lookups, LOOKUP_THREADS)):
            while not calls.empty():
                try:
                    calls.get_nowait()
                except queue.Empty:
                    break
            for _ in range(count):
                calls.put_nowait(None)

    def submit(self, call: Call) -> bool:
        """Queue a call; False when there is no room."""
        try:
            (self._lookups if isinstance(call, LookUp) else self._actions).put_nowait(call)
        except queue.Full:
            return False
        return True

    def _work(self, calls: "queue.Queue[Call | None]", first: bool) -> None:
        if first and self._account is not None:
            try:
                self._account.listen_to_jobs()  # early, so that no end of a job is missed
            except Exception as error:
                if not self._stopped:
                    log.warning("job events could not be switched on yet: %s", error)
        while (call := calls.get()) is not None:
            at_ms = self._now_ms()
            try:
                result, product = self._make(call), None
                if isinstance(call, LookUp) and result is not None:
                    product, result = result
                answer = Answer(call, at_ms, product=product, result=result)
            except Exception as error:  # whatever went wrong, the core must hear of it
                self._log(call, error)
                answer = Answer(call, at_ms, error=str(error) or type(error).__name__)
            self._answer(answer)

    def _log(self, call: Call, error: Exception) -> None:
        if not self._stopped and time.monotonic() - self._logged_s >= LOG_EVERY_S:
            self._logged_s = time.monotonic()
            log.warning("%s for %s failed: %s", type(call).__name__, call.thing, error)

    def _make(self, call: Call) -> Any:
        if self._account is None:
            if isinstance(call, LookUp):
                return None
            raise MissingError("no AWS is configured (aws: null)")
        match call:
            case LookUp():
                return self._account.thing(call.thing)
            case SetDesired():
                self._account.set_desired(call)
            case CreateJob():
                self._account.create_job(call)
            case OpenUpload():
                return self._account.open_upload(call)
            case CompleteUpload():
                return self._account.complete_upload(call)
            case AbortUpload():
                self._account.abort_upload(call)
            case Tell():
                self._account.tell(call)
        return None


class Account:
    """One AWS account: the calls the platform makes, in boto3's terms. Used by several threads."""

    def __init__(self, config: Aws, uploads_bucket: str | None = None) -> None:
        self._config = config
        self._uploads_bucket = uploads_bucket
        self._bucket_made = ""
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}
        self._listening = False
        self._arn_parts: tuple[str, str] | None = None

    def _client(self, service: str) -> Any:
        """The client of a service, made at first use."""
        with self._lock:
            if service not in self._made:
                self._made[service] = self._make_client(service)
            return self._made[service]

    def _make_client(self, service: str) -> Any:
        import boto3
        from botocore.config import Config

        want = self._config
        make: Any = boto3.session.Session(
            aws_access_key_id=want.access_key_id,
            aws_secret_access_key=want.secret_access_key,
            region_name=want.region,
        ).client
        endpoint_url = want.endpoint_url
        if service == "iot-data" and endpoint_url is None:
            found = make("iot").describe_endpoint(endpointType="iot:Data-ATS")
            endpoint_url = f"https://{found['endpointAddress']}"
        return make(
            service,
            endpoint_url=endpoint_url,
            verify=str(want.ca_file) if want.ca_file else None,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                connect_timeout=5,
                read_timeout=15,
                max_pool_connections=ACTION_THREADS + LOOKUP_THREADS,
                signature_version="s3v4" if service == "s3" else None,
                s3={"addressing_style": "path"} if service == "s3" and endpoint_url else None,
            ),
        )

    def listen_to_jobs(self) -> None:
        """Ask AWS to publish the ends of job executions; off by default there."""
        if not self._listening:
            iot = self._client("iot")
            iot.update_event_configurations(eventConfigurations={"JOB_EXECUTION": {"Enabled": True}})
            self._listening = True

    def thing(self, thing: str) -> tuple[str | None, dict[str, str]]:
        """A device's thing type, which is its product, and its attributes; None, {} when it is not registered."""
        iot = self._client("iot")
        try:
            found = iot.describe_thing(thingName=thing)
        except iot.exceptions.ResourceNotFoundException:
            return None, {}
        return found.get("thingTypeName") or None, dict(found.get("attributes") or {})

    def shadow(self, thing: str) -> dict[str, Any] | None:
        """A device's classic shadow and its reported versions; None when it has neither."""
        classic, packages = self._shadow(thing), self._shadow(thing, "$package")
        if classic is None and packages is None:
            return None
        state, reported = (classic or {}).get("state", {}), (packages or {}).get("state", {}).get("reported", {})
        return {
            "desired": state.get("desired", {}), "reported": state.get("reported", {}), "package": reported,
            "version": (classic or {}).get("version", 0),
        }  # fmt: skip

    def _shadow(self, thing: str, name: str | None = None) -> dict[str, Any] | None:
        data = self._client("iot-data")
        try:
            found = data.get_thing_shadow(thingName=thing, **({"shadowName": name} if name else {}))
        except data.exceptions.ResourceNotFoundException:
            return None
        document = orjson.loads(found["payload"].read())
        return document if isinstance(document, dict) else None

    def set_desired(self, call: SetDesired) -> None:
        """Put the action into the classic shadow."""
        desired = {"action": {"name": call.action, "id": call.action_id}}
        payload = orjson.dumps({"state": {"desired": desired}})
        self._client("iot-data").update_thing_shadow(thingName=call.thing, payload=payload)

    def create_job(self, call: CreateJob) -> None:
        """Create the OTA job; one that exists already was ours, made before a crash."""
        self.listen_to_jobs()
        iot = self._client("iot")
        found = self._package_version(iot, call)
        region, (partition, account) = iot.meta.region_name, self._identity()
        try:
            iot.create_job(
                jobId=call.job_id,
                targets=[f"arn:{partition}:iot:{region}:{account}:thing/{call.thing}"],
                document=job_document(call, found, region).decode(),
                description=f"{call.package} {call.version} for {call.thing}",
                presignedUrlConfig={
                    "roleArn": f"arn:{partition}:iam::{account}:role/{JOBS_ROLE}",
                    "expiresInSec": URL_EXPIRES_S,
                },
                destinationPackageVersions=[found["packageVersionArn"]],
                targetSelection="SNAPSHOT",
                timeoutConfig={"inProgressTimeoutInMinutes": max(1, math.ceil(call.timeout_s / 60))},
            )
        except iot.exceptions.ResourceAlreadyExistsException:
            log.info("job %s exists already", call.job_id)

    def tell(self, call: Tell) -> None:
        """Send a notification to its topic."""
        self._client("sns").publish(TopicArn=call.topic, Subject=call.subject, Message=call.message)

    def open_upload(self, call: OpenUpload) -> dict[str, Any]:
        """Begin a multipart upload, or take up the one that a crash left behind; presigns its parts."""
        s3, bucket = self._client("s3"), self._bucket()
        where = {"Bucket": bucket, "Key": call.key}
        s3_id = call.s3_id or self._begun(s3, bucket, call.key)
        if not s3_id:
            s3_id = s3.create_multipart_upload(**where, ContentType=call.content_type)["UploadId"]
        urls = [
            s3.generate_presigned_url(
                "upload_part", Params={**where, "UploadId": s3_id, "PartNumber": part}, ExpiresIn=URL_EXPIRES_S
            )
            for part in range(1, call.parts + 1)
        ]
        return {"bucket": bucket, "s3_id": s3_id, "urls": urls}

    def _begun(self, s3: Any, bucket: str, key: str) -> str:
        found = s3.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", [])
        return next((str(one["UploadId"]) for one in found if one["Key"] == key), "")

    def complete_upload(self, call: CompleteUpload) -> dict[str, Any]:
        """Make one object of the parts; one that is there already was made before a crash."""
        s3 = self._client("s3")
        where = {"Bucket": self._bucket(), "Key": call.key}
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(call.etags, 1)]
        try:
            s3.complete_multipart_upload(**where, UploadId=call.s3_id, MultipartUpload={"Parts": parts})
        except s3.exceptions.NoSuchUpload:
            log.info("upload %s is complete already, or gone", call.upload_id)
        found = s3.head_object(**where)
        return {"etag": str(found["ETag"]).strip('"'), "size": int(found["ContentLength"])}

    def abort_upload(self, call: AbortUpload) -> None:
        """Throw the parts away."""
        s3, bucket = self._client("s3"), self._bucket()
        s3_id = call.s3_id or self._begun(s3, bucket, call.key)
        if not s3_id:
            return
        try:
            s3.abort_multipart_upload(Bucket=bucket, Key=call.key, UploadId=s3_id)
        except s3.exceptions.NoSuchUpload:
            log.info("upload %s is gone already", call.upload_id)

    def _bucket(self) -> str:
        """The bucket for uploads; made when it is missing."""
        if not self._bucket_made:
            s3 = self._client("s3")
            region = s3.meta.region_name
            bucket = self._uploads_bucket or f"fleetsim-{self._identity()[1]}-{region}"
            where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            try:
                s3.head_bucket(Bucket=bucket)
            except s3.exceptions.ClientError:
                try:
                    s3.create_bucket(Bucket=bucket, **where)
                except (s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
                    log.info("bucket %s is there already", bucket)
            self._bucket_made = bucket
        return self._bucket_made

    def _package_version(self, iot: Any, call: CreateJob) -> dict[str, Any]:
        if not call.package:
            raise MissingError(f"{call.thing} has no thing type, so no package is known for it")
        try:
            found: dict[str, Any] = iot.get_package_version(packageName=call.package, versionName=call.version)
        except iot.exceptions.ResourceNotFoundException:
            raise MissingError(f"package version {call.package} {call.version} does not exist") from None
        return found

    def _identity(self) -> tuple[str, str]:
        """The partition (`aws`, `aws-cn`) and the account id."""
        if self._arn_parts is None:
            caller = self._client("sts").get_caller_identity()
            self._arn_parts = (caller["Arn"].split(":")[1], caller["Account"])
        return self._arn_parts


def job_document(call: CreateJob, package_version: dict[str, Any], region: str) -> bytes:
    """The OTA job document of a package version; MissingError when it lacks what a device must check."""
    name = f"package version {call.package} {call.version}"
    place = package_version.get("artifact", {}).get("s3Location", {})
    if not place.get("bucket") or not place.get("key"):
        raise MissingError(f"{name} has no artifact")
    attributes = package_version.get("attributes", {})
    for needed in ("sha256", "size", "signature"):
        if not attributes.get(needed):
            raise MissingError(f"{name} has no attribute '{needed}'")
    if not attributes["size"].isdigit():
        raise MissingError(f"{name}: size '{attributes['size'][:40]}' is not a number")
    address = f"https://s3.{region}.amazonaws.com/{place['bucket']}/{place['key']}"
    return orjson.dumps(
        {
            "operation": "ota",
            "package": call.package,
            "version": call.version,
            "url": "${aws:iot:s3-presigned-url:" + address + "}",
            "size": int(attributes["size"]),
            "sha256": attributes["sha256"],
            "signature": attributes["signature"],
        }
    )
