"""What the package catalog means to a job: what CreateJob may name, and what a success reports.

Rules: a job names versions that exist and are not drafts; `$null` stands for "uninstall". When an execution
succeeds and the configuration says so, the service itself writes the thing's reserved shadow `$package`.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from simulator.cloud.catalog import DRAFT, Catalog, CatalogError, InvalidError, NotFoundError
from simulator.cloud.rest_json import Answer, error
from simulator.cloud.service import Request

_DESTINATIONS_MAX = 25
_UNINSTALL = "$null"
_LOG = logging.getLogger("fleetsim.cloud")


class PackageJobs:
    """CreateJob, before MiniStack: what it says about packages."""

    operations = frozenset({"CreateJob"})
    invalid = "InvalidRequestException"

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def arn(self, operation: str, in_path: Mapping[str, str]) -> None:
        """MiniStack itself judges whether the caller may create this job."""

    async def answer(self, request: Request) -> Answer:
        """Refuse it, or leave it to MiniStack."""
        return refuse_job(self._catalog, request.body) or await request.forward()


class Shadows(Protocol):
    """What the reporter needs of the emulator."""

    def role_usable(self, role_arn: str) -> bool: ...

    def update_shadow(self, thing: str, name: str, reported: dict[str, Any]) -> None: ...


def refuse_job(catalog: Catalog, body: bytes) -> Answer | None:
    """The error answer to a CreateJob whose packages are wrong; None leaves the rest to MiniStack."""
    try:
        payload = json.loads(body or b"{}")
    except ValueError:
        return None
    if not isinstance(payload, dict):
        return None
    document, arns = payload.get("document"), payload.get("destinationPackageVersions") or []
    if isinstance(document, str) and "${aws:iot:package:" in document:
        # Devices would receive the placeholder itself; better to say so here.
        return error(
            400,
            "InvalidRequestException",
            "The sandbox does not substitute ${aws:iot:package:…} in job documents; write the values into it",
        )
    if not isinstance(arns, list) or len(arns) > _DESTINATIONS_MAX:
        return error(
            400,
            "InvalidRequestException",
            f"destinationPackageVersions must be a list of at most {_DESTINATIONS_MAX} package version ARNs",
        )
    try:
        for arn in arns:
            _check_destination(catalog, str(arn))
    except NotFoundError as problem:
        return error(problem.status, problem.code, str(problem))
    except CatalogError as problem:
        return error(400, "InvalidRequestException", str(problem))
    return None


def _check_destination(catalog: Catalog, arn: str) -> None:
    package, version = catalog.names_in(arn)
    catalog.package(package)
    if version == _UNINSTALL:
        return
    if version == "$default":
        raise InvalidError(f"The sandbox does not resolve $default; name the version itself: {arn}")
    if catalog.version(package, version).status == DRAFT:
        raise InvalidError(f"Package version {package} {version} is a DRAFT; publish it before creating a job for it")


class PackageReporter:
    """Writes `$package` shadows; called for each execution that succeeded."""

    def __init__(self, catalog: Catalog, shadows: Shadows) -> None:
        self._catalog = catalog
        self._shadows = shadows

    def __call__(self, thing: str, job_id: str, destinations: list[str]) -> None:
        if not destinations or not self._catalog.update_by_jobs:
            return
        role = self._catalog.update_role_arn or ""
        if not self._shadows.role_usable(role):
            _LOG.warning("job %s: $package of %s not written: IoT cannot assume role %s", job_id, thing, role)
            return
        reported: dict[str, Any] = {}
        for arn in destinations:
            package, version = self._catalog.names_in(arn)  # CreateJob let no other ARN in
            reported[package] = None if version == _UNINSTALL else {"version": version, "attributes": {}}
        self._shadows.update_shadow(thing, "$package", reported)
