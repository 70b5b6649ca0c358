"""The operations on software bills of materials of package versions.

Rules: the archive lies in a versioned bucket and is read when it is associated; what is in it is judged afterwards,
and the answer says IN_PROGRESS. A second archive waits until the first is judged.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from simulator.cloud.once import Once
from simulator.cloud.packages import sbom as bills
from simulator.cloud.packages.catalog import PAGE_MAX, Catalog, ConflictError, InvalidError, Version, page
from simulator.cloud.service import Request


class Objects(Protocol):
    """What is needed of S3."""

    def versioned(self, bucket: str) -> bool | None:
        """Whether a bucket keeps versions; None: there is no such bucket."""

    def read(self, bucket: str, key: str, version: str | None) -> bytes | None:
        """The content of an object; None: there is no such object."""


class Sboms:
    """Answers requests for the bills in a catalog."""

    operations = frozenset(
        {"AssociateSbomWithPackageVersion", "DisassociateSbomFromPackageVersion", "ListSbomValidationResults"}
    )
    invalid = "ValidationException"

    def __init__(self, catalog: Catalog, objects: Objects) -> None:
        self._catalog = catalog
        self._objects = objects
        self._once = Once(ConflictError)
        self._validations: set[asyncio.Task[None]] = set()

    def arn(self, operation: str, in_path: Mapping[str, str]) -> str:
        """What a policy calls the version."""
        return self._catalog.arn(**in_path)

    async def answer(self, request: Request) -> Mapping[str, Any]:
        """Do one operation."""
        p, now_ms = request.parameters, request.now_ms
        if request.operation == "AssociateSbomWithPackageVersion":
            return self._once(request.operation, p, lambda asked: self._associate(asked, now_ms))
        if request.operation == "DisassociateSbomFromPackageVersion":
            return self._once(request.operation, p, lambda asked: self._disassociate(asked, now_ms))
        return self._list(p)

    def _associate(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        sbom = p["sbom"]
        self._catalog.version(p["packageName"], p["versionName"])
        name, archive = self._archive(sbom.get("s3Location") or {})
        version = self._catalog.associate_sbom(p["packageName"], p["versionName"], now_ms, sbom)
        validation = asyncio.get_running_loop().create_task(self._validate(version, sbom, name, archive))
        self._validations.add(validation)
        validation.add_done_callback(self._validations.discard)
        return {
            "packageName": p["packageName"],
            "versionName": p["versionName"],
            "sbom": sbom,
            "sbomValidationStatus": bills.IN_PROGRESS,
        }

    def _archive(self, location: Mapping[str, str]) -> tuple[str, bytes]:
        """Name and content of the archive at a place."""
        bucket, key = location.get("bucket"), location.get("key")
        if not bucket or not key:
            raise InvalidError("sbom.s3Location needs bucket and key")
        versioned = self._objects.versioned(bucket)
        if not versioned:
            problem = "does not exist" if versioned is None else "does not keep versions; enable versioning"
            raise InvalidError(f"Bucket {bucket} {problem}")
        archive = self._objects.read(bucket, key, location.get("version"))
        if archive is None:
            raise InvalidError(f"No object {key} {location.get('version', '')} in bucket {bucket}")
        return key.rpartition("/")[2], archive

    async def _validate(self, version: Version, sbom: dict[str, Any], name: str, archive: bytes) -> None:
        verdicts = await asyncio.to_thread(bills.verdicts, name, archive)
        self._catalog.sbom_validated(version, sbom, verdicts)

    def _disassociate(self, p: dict[str, Any], now_ms: int) -> None:
        self._catalog.disassociate_sbom(p["packageName"], p["versionName"], now_ms)

    def _list(self, p: Mapping[str, Any]) -> dict[str, Any]:
        version = self._catalog.version(p["packageName"], p["versionName"])
        summaries = [_summary(verdict) for verdict in version.sbom_verdicts]
        wanted = [one for one in summaries if p.get("validationResult") in (None, one["validationResult"])]
        names = [one["fileName"] for one in wanted]
        part, token = page(names, p.get("nextToken"), p.get("maxResults", PAGE_MAX))
        return {"validationResultSummaries": wanted[part], "nextToken": token}


def _summary(verdict: bills.Verdict) -> dict[str, str]:
    if verdict.error is None:
        return {"fileName": verdict.file, "validationResult": bills.SUCCEEDED}
    return {
        "fileName": verdict.file,
        "validationResult": bills.FAILED,
        "errorCode": verdict.error,
        "errorMessage": verdict.message or "",
    }
