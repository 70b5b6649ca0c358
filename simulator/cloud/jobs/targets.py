"""Jobs and their targets: AssociateTargetsWithJob, and what becomes of the executions of a thing that is deleted.

Rules: a continuous job reaches a thing when it comes into a target group, at once and beside the rollout rate; when
it goes out, its execution becomes REMOVED (MiniStack does both, for dynamic groups as for static ones). New targets
are reached in the same way. A deleted thing's executions stay in its jobs, where MiniStack drops them: those that
were pending become REMOVED.
"""

import time
from collections.abc import Mapping
from typing import Any

from simulator.cloud.groups.registry import InvalidRequestError, LimitExceededError, NotFoundError
from simulator.cloud.rest_json import Answer
from simulator.cloud.service import Request

TARGETS_MAX = 100
_PENDING = ("QUEUED", "IN_PROGRESS")


class GroupJobs:
    """Adds targets to continuous jobs."""

    operations = frozenset({"AssociateTargetsWithJob"})
    invalid = "InvalidRequestException"

    def __init__(self, iot: Any, arn_prefix: str) -> None:
        self._iot = iot
        self._arn_prefix = arn_prefix

    def arn(self, operation: str, in_path: Mapping[str, str]) -> str:
        """What a policy calls the job."""
        return f"{self._arn_prefix}:job/{in_path['jobId']}"

    async def answer(self, request: Request) -> Mapping[str, Any]:
        """Add the targets, and let their things have the job."""
        p, iot = request.parameters, self._iot
        job_id = p["jobId"]
        job = iot._jobs.get(job_id)
        if job is None:
            raise NotFoundError(f"Job {job_id} cannot be found.")
        if job["targetSelection"] != "CONTINUOUS":
            raise InvalidRequestError(f"Targets can be associated with CONTINUOUS jobs only, {job_id} is SNAPSHOT")
        if job["status"] != "IN_PROGRESS":
            raise InvalidRequestError(f"Job {job_id} in status {job['status']} cannot be updated.")
        targets = list(dict.fromkeys([*job["targets"], *p["targets"]]))
        if len(targets) > TARGETS_MAX:
            raise LimitExceededError(f"A job has at most {TARGETS_MAX} targets")
        things: dict[str, None] = {}
        for target in p["targets"]:
            found = iot._job_target_resolve(target)
            if found is None:
                raise NotFoundError(iot._job_target_not_found(target))
            things.update(dict.fromkeys(found))
        job.update(targets=targets, lastUpdatedAt=request.now_ms, comment=p.get("comment", job.get("comment")))
        for thing in things:
            if (thing, job_id) not in iot._job_executions and thing not in (job.get("rolloutQueue") or ()):
                first = iot.jobs_first_pending_job_id(thing)
                iot._jobs_queue_execution(thing, job_id, request.now_ms)
                await iot.jobs_notify_thing(iot.get_account_id(), iot.get_region(), thing, first)
        return {"jobArn": job["jobArn"], "jobId": job_id, "description": job.get("description")}


def install(iot: Any) -> None:
    """Keep the executions of a thing that MiniStack's module `services.iot` deletes."""
    original = iot._delete_thing

    def delete_thing(name: str, expected_version: Any = None) -> Answer:
        kept = {job_id: iot._job_executions.get((name, job_id)) for job_id in iot._jobs}
        answer: Answer = original(name, expected_version)
        if name in iot._things:
            return answer
        for job_id, execution in kept.items():
            if execution is None:
                continue
            iot._job_executions[name, job_id] = execution
            if execution["status"] in _PENDING:
                execution.update(status="REMOVED", lastUpdatedAt=time.time_ns() // 1_000_000)
                iot._job_execution_event(execution)
        return answer

    iot._delete_thing = delete_thing
