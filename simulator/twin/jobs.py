"""Jobs as the cloud keeps them: executions, who is next, rollouts, time-outs, aborts.

Rules: those in progress come before those queued, then by age. A thing is told when another execution is its next.
An execution that has ended stays ended. Time comes in as `after`: do this so many milliseconds later.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from simulator.twin.shadows import Json

MINUTE_MS = 60_000
PENDING = ("IN_PROGRESS", "QUEUED")
REPORTED = frozenset(("IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"))  # what a device may say

After = Callable[[int, Callable[[], None]], None]


@dataclass(slots=True)
class Execution:
    """One job on one thing."""

    job: "Job"
    thing: str
    order: int
    status: str = "QUEUED"
    version: int = 1
    details: Mapping[str, str] = field(default_factory=dict)
    started: bool = False

    def state(self) -> Json:
        """As a refusal tells it."""
        return {"status": self.status, "statusDetails": dict(self.details), "versionNumber": self.version}


@dataclass(slots=True)
class Job:
    """A document for some things."""

    job_id: str
    document: Json
    rate_per_minute: int | None = None
    timeout_minutes: float | None = None
    abort_percent: float | None = None
    waiting: list[str] = field(default_factory=list)  # things that the rollout has not reached
    executions: dict[str, Execution] = field(default_factory=dict)  # by thing


class Jobs:
    """All jobs of the account. `told` hears of a thing's next execution, `ended` of every end."""

    def __init__(
        self, after: After, told: Callable[[str, Execution | None], None], ended: Callable[[Execution], None]
    ) -> None:
        self._after, self._told, self._ended = after, told, ended
        self._jobs: dict[str, Job] = {}
        self._pending: dict[str, list[Execution]] = {}
        self._made = 0

    def create(self, job: Job, things: Sequence[str]) -> None:
        """Roll a job out; one that exists already stays as it is."""
        if job.job_id not in self._jobs:
            self._jobs[job.job_id] = job
            job.waiting = list(things)
            self._roll_out(job)

    def _roll_out(self, job: Job) -> None:
        count = job.rate_per_minute or len(job.waiting)
        batch, job.waiting = job.waiting[:count], job.waiting[count:]
        for thing in batch:
            before = self.head(thing)
            self._made += 1
            execution = job.executions[thing] = Execution(job, thing, self._made)
            self._pending.setdefault(thing, []).append(execution)
            self._news(thing, before)
        if job.waiting:
            self._after(MINUTE_MS, partial(self._roll_out, job))

    def head(self, thing: str) -> Execution | None:
        """A thing's next execution."""
        pending = self._pending.get(thing)
        return min(pending, key=lambda one: (one.status == "QUEUED", one.order)) if pending else None

    def find(self, thing: str, job_id: str) -> Execution | None:
        """A thing's execution of a job."""
        job = self._jobs.get(job_id)
        return job.executions.get(thing) if job else None

    def update(self, execution: Execution, request: Json) -> tuple[str, bool]:
        """What a device reports: ("", False), or the code of a refusal and whether it tells the state."""
        if execution.status not in PENDING:
            return "TerminalStateReached", False
        status, details = request.get("status"), request.get("statusDetails", {})
        if status not in REPORTED or type(details) is not dict:
            return "InvalidRequest", False
        if request.get("expectedVersion", execution.version) != execution.version:
            return "VersionMismatch", True
        self._set(execution, str(status), details)
        return "", False

    def _set(self, execution: Execution, status: str, details: Mapping[str, str]) -> None:
        before = self.head(execution.thing)
        execution.status, execution.details = status, details
        execution.version += 1
        job = execution.job
        if status == "IN_PROGRESS":
            if not execution.started and job.timeout_minutes:
                self._after(int(job.timeout_minutes * MINUTE_MS), partial(self._time_out, execution))
            execution.started = True
        else:
            self._pending[execution.thing].remove(execution)
            self._ended(execution)
            self._abort_if_due(job)
        self._news(execution.thing, before)

    def _time_out(self, execution: Execution) -> None:
        if execution.status == "IN_PROGRESS":
            self._set(execution, "TIMED_OUT", execution.details)

    def _abort_if_due(self, job: Job) -> None:
        """Too many failed: what has not begun is not done any more."""
        if job.abort_percent is None:
            return
        over = [one for one in job.executions.values() if one.status not in PENDING]
        failed = sum(one.status == "FAILED" for one in over)
        if over and 100 * failed >= job.abort_percent * len(over):
            job.abort_percent, job.waiting = None, []
            for one in list(job.executions.values()):
                if one.status == "QUEUED":
                    self._set(one, "CANCELED", {})

    def _news(self, thing: str, before: Execution | None) -> None:
        if (head := self.head(thing)) is not before:
            self._told(thing, head)

    def outcome(self) -> list[dict[str, Any]]:
        """Every execution, as the facts of a run have them."""
        return [
            {"thing": thing, "job": job.job_id, "status": one.status, "version": str(job.document.get("version", "")),
             "reason": str(one.details.get("reason", ""))}
            for job in self._jobs.values() for thing, one in job.executions.items()
        ]  # fmt: skip
