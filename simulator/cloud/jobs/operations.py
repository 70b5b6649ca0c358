"""What the package catalog means to a job: CreateJob, DescribeJob and GetJobDocument, before and after MiniStack.

Rules: MiniStack's record of a job stays as it was sent, which is what `beforeSubstitution` shows; what its names mean
is worked out when it is created and kept in that record. A job made from a template has the template's destinations.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from simulator.cloud.jobs import limits as job_limits
from simulator.cloud.jobs import urls as job_urls
from simulator.cloud.jobs.documents import RefusedError, Resolution, resolve
from simulator.cloud.packages.catalog import Catalog
from simulator.cloud.rest_json import Answer
from simulator.cloud.service import Request, ServiceError, document

_KEPT = "fleetsim:packages"  # a key of MiniStack's record
_LOG = logging.getLogger("fleetsim.cloud")


class PackageJobs:
    """CreateJob refuses what the catalog does not have; the other two show names before or after substitution."""

    operations = frozenset({"CreateJob", "DescribeJob", "GetJobDocument"})
    invalid = "InvalidRequestException"

    def __init__(self, catalog: Catalog, iot: Any) -> None:
        self._catalog = catalog
        self._iot = iot
        _give_destinations_of_templates(iot)
        job_urls.install(iot, self._resolution)

    def arn(self, operation: str, in_path: Mapping[str, str]) -> None:
        """MiniStack itself judges whether the caller may do this."""

    async def answer(self, request: Request) -> Answer:
        """Before or after MiniStack."""
        if request.operation == "CreateJob":
            return await self._create(request)
        raw = request.parameters.get("beforeSubstitution", False)
        answer = await request.forward()
        job = self._iot._jobs.get(request.in_path["jobId"])
        resolution = self._resolution(job) if job and not raw else None
        if answer[0] != 200 or resolution is None:
            return answer
        shown = document(answer)
        if request.operation == "GetJobDocument":
            shown["document"] = resolution.document
        elif resolution.destinations:
            shown["job"]["destinationPackageVersions"] = list(resolution.destinations)
        return answer[0], answer[1], json.dumps(shown).encode()

    def installs(self, job_id: str) -> Mapping[str, str | None]:
        """Package → version (None: uninstalled) that a thing has after this job."""
        job = self._iot._jobs.get(job_id)
        resolution = self._resolution(job) if job else None
        return resolution.installs if resolution else {}

    async def _create(self, request: Request) -> Answer:
        problem = job_limits.problem_of(request.parameters, request.now_ms)
        if problem:
            raise RefusedError(problem)
        payload = self._effective(request.body)
        if payload is not None:
            arns = payload.get("destinationPackageVersions") or []
            resolve(self._catalog, str(payload.get("document") or ""), arns)
        answer = await request.forward()
        job = self._iot._jobs.get(request.in_path["jobId"])
        if answer[0] == 200 and job:
            self._resolution(job)  # now, also when no device has asked yet
        return answer

    def _effective(self, body: bytes) -> dict[str, Any] | None:
        """The request with its template and the document's source read; None: MiniStack says what is wrong."""
        try:
            payload = json.loads(body or b"{}")
        except ValueError:
            return None
        if not isinstance(payload, dict):
            return None
        if payload.get("jobTemplateArn"):
            payload, problem = self._iot._job_payload_from_template(payload)
            if problem:
                return None
        if not payload.get("document") and payload.get("documentSource"):
            text, problem = self._iot._job_document_from_source(payload["documentSource"])
            if problem:
                return None
            payload = {**payload, "document": text}
        return dict(payload)

    def _resolution(self, job: dict[str, Any]) -> Resolution | None:
        """What the names in a job mean, as first worked out."""
        if _KEPT not in job:
            arns = job.get("destinationPackageVersions") or []
            try:
                job[_KEPT] = resolve(self._catalog, job.get("document") or "{}", arns)
            except ServiceError as problem:
                _LOG.warning("job %s: placeholders are left as they are: %s", job.get("jobId"), problem)
                job[_KEPT] = None
        kept: Resolution | None = job[_KEPT]
        return kept


def _give_destinations_of_templates(iot: Any) -> None:
    """MiniStack keeps the destinations of a template, and gives a job made from it everything else."""
    original = iot._job_payload_from_template

    def merged(payload: dict[str, Any]) -> tuple[dict[str, Any] | None, Any]:
        job, problem = original(payload)
        if job is not None and job.get("destinationPackageVersions") is None:
            template = iot._job_templates[payload["jobTemplateArn"].rpartition("/")[2]]
            job["destinationPackageVersions"] = template.get("destinationPackageVersions")
        return job, problem

    iot._job_payload_from_template = merged
