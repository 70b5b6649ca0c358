"""What the cloud knows at the end of a run: job executions and `$package` shadows, read only."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

from simulator.ops.aws import Aws, code

THREADS = 8


def executions(aws: Aws, job_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Every execution of these jobs: thing, job, status, version (of the job document) and reason."""
    found: list[dict[str, Any]] = []
    for job_id in job_ids:
        version = json.loads(aws.iot.get_job_document(jobId=job_id)["document"]).get("version", "")
        pages = aws.iot.get_paginator("list_job_executions_for_job").paginate(jobId=job_id)
        for summary in (summary for page in pages for summary in page["executionSummaries"]):
            thing = summary["thingArn"].rsplit("/", 1)[-1]
            execution = aws.iot.describe_job_execution(jobId=job_id, thingName=thing)["execution"]
            details = execution.get("statusDetails", {}).get("detailsMap", {})
            found.append(
                {"thing": thing, "job": job_id, "status": execution["status"], "version": version,
                 "reason": details.get("reason", "")}
            )  # fmt: skip
    return found


def packages(aws: Aws, things: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Thing → version of its package in the `$package` shadow, for (thing, package) pairs that have one."""

    def one(pair: tuple[str, str]) -> tuple[str, str | None]:
        thing, package = pair
        try:
            answer = aws.data.get_thing_shadow(thingName=thing, shadowName="$package")
        except ClientError as error:
            if code(error) == "ResourceNotFoundException":
                return thing, None
            raise
        reported = json.loads(answer["payload"].read()).get("state", {}).get("reported", {})
        return thing, reported.get(package, {}).get("version")

    with ThreadPoolExecutor(THREADS, thread_name_prefix="outcome") as pool:
        return {thing: version for thing, version in pool.map(one, things) if version}
