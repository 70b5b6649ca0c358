"""Presigned URLs in job documents, made anew each time a device obtains its document.

Rules: MiniStack's own place for that is `_jobs_presigned_document`; ours takes it, because MiniStack's signs no object
version (`-v2`, package artifacts) and no upload. Role, session, host and expiry are those of MiniStack: a role that
IoT cannot assume leaves the placeholders as they are. An upload's key names the thing and the execution, which
MiniStack does not hand on, so whoever reads an execution leaves it in a context variable on the way.
"""

import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

from simulator.cloud.jobs.documents import Resolution, has_artifacts, with_artifacts

_EXPIRES_S = 3600
# The key of an upload may have ${thingName}, ${jobId} and ${executionNumber} in it.
_PLACEHOLDER = re.compile(r"\$\{aws:iot:s3-presigned-url(?P<form>-v2|-upload)?:(?P<url>(?:\$\{\w+\}|[^}])*)\}")
_ROLE_IS_MISSING = "presignedUrlConfig role ARN is required to generate an S3 presigned url in job document."

_UPLOAD_KEY = "${jobId}/${thingName}/${executionNumber}"  # of an upload to a bucket; AWS does not say its own

_reading: ContextVar[dict[str, Any] | None] = ContextVar("reading", default=None)


def install(iot: Any, resolution_of: Callable[[dict[str, Any]], Resolution | None]) -> None:
    """Put our signing into MiniStack's module `services.iot`; `resolution_of` tells what a job's packages mean."""
    role_error = iot._job_presign_error

    def presign_error(document: str | None, config: Any, job_id: str) -> Any:
        """Also for artifacts and uploads, of which MiniStack's check knows nothing."""
        refused = role_error(document, config, job_id)
        if refused is None and not _role(config) and document and _needs_role(document):
            refused = iot.error_response_json("InvalidRequestException", _ROLE_IS_MISSING, 400)
        return refused

    def presigned_document(job: dict[str, Any]) -> str:
        resolution = resolution_of(job)
        document: str = resolution.document if resolution else job.get("document") or "{}"
        config = job.get("presignedUrlConfig") or {}
        role = _role(config)
        if not role or not _needs_role(document) or not iot._iot_role_usable(role):
            return document
        expires_s = int(config.get("expiresInSec") or _EXPIRES_S)
        access_key, session = iot._jobs_presign_session(role, expires_s)

        def url(bucket: str, key: str, version: str | None = None, method: str = "GET") -> str:
            return presigned(method, _host(iot), bucket, key, version, access_key, session, iot.get_region(), expires_s)

        def put(one: re.Match[str]) -> str:
            place = _place(iot, one["form"], one["url"])
            if place is None:
                return one[0]
            bucket, key, version = place
            return url(bucket, key, version, "PUT" if one["form"] == "-upload" else "GET")

        if resolution:
            document = with_artifacts(document, resolution.artifacts, url)
        return _PLACEHOLDER.sub(put, document)

    iot._job_presign_error, iot._jobs_presigned_document = presign_error, presigned_document
    for name in ("jobs_start_next_execution", "jobs_describe_execution", "jobs_update_execution"):
        setattr(iot, name, _remembering(getattr(iot, name)))


def presigned(
    method: str,
    host: str,
    bucket: str,
    key: str,
    version: str | None,
    access_key: str,
    session: dict[str, Any],
    region: str,
    expires_s: int,
) -> str:
    """A URL of an object that works without credentials, until it expires."""
    from botocore.auth import S3SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    credentials = Credentials(access_key, session["SecretAccessKey"], session["SessionToken"])
    query = f"?versionId={quote(version, safe='')}" if version else ""
    request = AWSRequest(method, f"https://{host}/{bucket}/{quote(key, safe='/~')}{query}")
    S3SigV4QueryAuth(credentials, "s3", region, expires=expires_s).add_auth(request)
    return str(request.url)


def _role(config: Any) -> str:
    return str(config.get("roleArn") or "") if isinstance(config, dict) else ""


def _needs_role(document: str) -> bool:
    return _PLACEHOLDER.search(document) is not None or has_artifacts(document)


def _host(iot: Any) -> str:
    """The host that the device came by, or the sandbox's own."""
    host = str(iot.jobs_device_host.get())
    if not iot._JOB_PRESIGN_HOST_RE.fullmatch(host):
        return f"{iot._MINISTACK_HOST}:{iot._GATEWAY_PORT}"
    labels = iot._JOB_PRESIGN_IOT_LABELS_RE.match(host)
    return host[labels.end() :] if labels else host


def _place(iot: Any, form: str | None, url: str) -> tuple[str, str, str | None] | None:
    """Bucket, key and version that a placeholder names."""
    version: str | None = None
    if form == "-upload":
        url = _upload_url(url)
    bucket, key = iot._job_document_s3_location(url)
    if form == "-v2":  # encoded, so that a version may be part of it
        key, _, version = key.partition("?versionId=")
    elif form == "-upload" and bucket and not key:
        _, key = iot._job_document_s3_location(_upload_url(f"{url.rstrip('/')}/{_UPLOAD_KEY}"))
    return (bucket, key, version or None) if bucket and key and "${" not in key else None


def _upload_url(url: str) -> str:
    """The URL of an upload with the names of the execution that is being read."""
    execution = _reading.get() or {}
    names = {name: execution.get(name) for name in ("thingName", "jobId", "executionNumber")}
    return re.sub(r"\$\{(\w+)\}", lambda one: str(names.get(one[1]) or one[0]), url)


def _remembering(original: Callable[..., Any]) -> Callable[..., Any]:
    """The same, leaving the execution that it gives where the document is made."""

    def read(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        _reading.set(found[0] if isinstance(found, tuple) else found)
        return found

    return read
