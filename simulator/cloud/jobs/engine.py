"""The Jobs service's clock and its order: schedules, rollouts, time-outs, retries, and who is told of what is next.

It stands in the place of MiniStack's functions for that, on MiniStack's jobs and executions. Rules: a thing is told
`notify` when an execution enters or leaves its pending ones, and `notify-next` when another execution is the next.
Those in progress come before those queued. Time-outs and schedules happen by the clock, also when nobody looks.
`rules` decides; here it is only done.
"""

import asyncio
import contextlib
import heapq
import json
import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from simulator.cloud.broker.broker import Broker
from simulator.cloud.jobs import rules
from simulator.cloud.rest_json import Answer

_LISTED_MAX = 15  # executions in a notification and in a list of pending ones
_TICK_S = 1.0
_TERMINAL = ("SUCCEEDED", "FAILED", "TIMED_OUT", "CANCELED", "REJECTED", "REMOVED")
_REPORTED = ("IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED")
_LOG = logging.getLogger("fleetsim.cloud")

Execution = dict[str, Any]
Job = dict[str, Any]
Head = tuple[str, int]  # job, execution number

# The stepTimeoutInMinutes of the request that is being served: MiniStack's handlers do not hand it on.
_step_timeout: ContextVar[int | None] = ContextVar("step_timeout", default=None)


class JobEngine:
    """What happens to jobs and executions."""

    def __init__(self, iot: Any, broker: Broker, minute_s: float, clock: Callable[[], int] | None = None) -> None:
        self._iot = iot
        self._now_ms = clock or _now_ms
        self._broker = broker
        self._minute_ms = 1000 * minute_s
        self._told: dict[tuple[str, str, str], Head] = {}  # account, region, thing → what it was told is next
        self._deadlines: list[tuple[float, str, str, str, str]] = []  # when, account, region, thing, job
        self._timing: asyncio.Task[None] | None = None
        self._schedules: set[asyncio.Task[None]] = set()
        self._scheduled: set[str] = set()  # ids of jobs that a task of ours looks after

    # -- what is pending, and telling of it ---

    def pending(self, thing: str) -> list[Execution]:
        """As MiniStack's: copies of what waits for a thing, the next one first, and no more than are ever listed."""
        self._iot._jobs_materialize_all()
        found = [
            dict(execution)
            for execution in self._iot._job_executions.values()
            if execution["thingName"] == thing and execution["status"] in ("QUEUED", "IN_PROGRESS")
        ]
        found.sort(key=lambda execution: (execution["status"] == "QUEUED", execution["queuedAt"]))
        return found[:_LISTED_MAX]

    async def notify(self, account_id: str, region: str, thing: str, _previous: str | None = None) -> None:
        """As MiniStack's: something entered or left the pending executions of a thing."""
        iot = self._iot
        with iot.request_scope(account_id, region):
            pending = iot.jobs_pending_for_thing(thing)
        topic = f"$aws/things/{thing}/jobs/notify"
        if self._broker.heard(account_id, region, topic):
            by_status: dict[str, list[Any]] = {}
            for execution in pending:
                by_status.setdefault(execution["status"], []).append(iot.jobs_execution_summary(execution))
            payload = iot._jobs_mqtt_json({"timestamp": int(time.time()), "jobs": by_status}).encode()
            await iot.broker_publish(account_id, region, topic, payload, qos=1)
        await self._tell_next(account_id, region, thing, pending)

    async def _tell_next(self, account_id: str, region: str, thing: str, pending: list[Execution]) -> None:
        iot = self._iot
        key = account_id, region, thing
        head = (pending[0]["jobId"], pending[0]["executionNumber"]) if pending else None
        if head == self._told.get(key):
            return
        if head is None:
            del self._told[key]
        else:
            self._told[key] = head
        topic = f"$aws/things/{thing}/jobs/notify-next"
        if not self._broker.heard(account_id, region, topic):
            return
        message: dict[str, Any] = {"timestamp": int(time.time())}
        if pending:
            with iot.request_scope(account_id, region):
                document = iot._jobs_job_document_object(pending[0]["jobId"])
                message["execution"] = iot._jobs_mqtt_execution(pending[0], document)
        await iot.broker_publish(account_id, region, topic, iot._jobs_mqtt_json(message).encode(), qos=1)

    async def tell_next(self, account_id: str, region: str, thing: str) -> None:
        """Something became the next one without entering or leaving: it was started out of order."""
        with self._iot.request_scope(account_id, region):
            pending = self._iot.jobs_pending_for_thing(thing)
        await self._tell_next(account_id, region, thing, pending)

    # -- reports ---

    def start_next(self, thing: str, *, status_details: Any = None, peek: bool = False) -> Execution | None:
        """As MiniStack's: the next execution, started unless it is only looked at."""
        pending = self._iot.jobs_pending_for_thing(thing)
        if not pending:
            return None
        execution: Execution = self._iot._job_executions[thing, pending[0]["jobId"]]
        if not peek:
            now_ms = self._now_ms()
            self._set_step_timer(execution, _step_timeout.get(), now_ms)
            if execution["status"] == "QUEUED":
                execution.update(status="IN_PROGRESS", startedAt=now_ms, lastUpdatedAt=now_ms)
                execution["versionNumber"] += 1
                if isinstance(status_details, dict):
                    execution["statusDetails"] = dict(status_details)
            self._arm(execution)
        return dict(execution)

    def update(
        self,
        thing: str,
        job_id: str,
        *,
        status: Any,
        expected_version: Any = None,
        status_details: Any = None,
        step_timeout_minutes: Any = None,
        execution_number: Any = None,
    ) -> tuple[Execution | None, Answer | None]:
        """As MiniStack's: what a device reports. A copy of the execution, or the refusal."""
        iot = self._iot
        minutes = step_timeout_minutes if step_timeout_minutes is not None else _step_timeout.get()
        wrong = rules.details_wrong(status_details) or rules.step_timeout_wrong(minutes)
        if wrong:
            return None, iot.error_response_json("InvalidRequestException", wrong, 400)
        if not status or status not in (*_TERMINAL, "QUEUED", "IN_PROGRESS"):
            text = f"Invalid job execution status: {status!r}"
            return None, iot.error_response_json("InvalidRequestException", text, 400)
        if status not in _REPORTED:
            text = f"The status of job execution cannot be changed to be {status}"
            return None, iot.error_response_json("InvalidStateTransitionException", text, 409)
        iot._jobs_materialize_executions(job_id)
        latest = iot._job_executions.get((thing, job_id))
        execution = latest
        if latest is not None and execution_number is not None:
            found = [one for one in iot._jobs_with_history(latest) if one["executionNumber"] == execution_number]
            execution = found[0] if found else None
        if execution is None:
            text = f"Job {job_id} not found for {thing}"
            return None, iot.error_response_json("ResourceNotFoundException", text, 404)
        refused: Answer | None = iot._jobs_check_expected_version(
            execution, expected_version, "InvalidRequestException", 400
        ) or iot._jobs_reject_if_terminal(
            execution, f"Job {job_id} for {thing} has already finished with status {execution['status']}"
        )
        if refused:
            return None, refused
        now_ms = self._now_ms()
        execution.update(status=status, lastUpdatedAt=now_ms)
        execution["versionNumber"] += 1
        if status_details is not None:
            execution["statusDetails"] = dict(status_details)
        if status != "REJECTED" and execution.get("startedAt") is None:
            execution["startedAt"] = now_ms
        if status == "IN_PROGRESS":
            self._set_step_timer(execution, minutes, now_ms)
            self._arm(execution)
        else:
            self._finished(execution)
        return dict(execution), None

    @staticmethod
    def _set_step_timer(execution: Execution, minutes: int | None, now_ms: int) -> None:
        if minutes == -1:
            execution.pop("stepTimeoutInMinutes", None)
        elif minutes is not None:
            execution.update(stepTimeoutInMinutes=minutes, timeoutStartedAt=now_ms)

    def _finished(self, execution: Execution) -> None:
        """It reached its end, or is tried again."""
        iot, job_id = self._iot, execution["jobId"]
        iot._job_execution_event(execution)
        job = iot._jobs.get(job_id) or {}
        if rules.retries(execution, job):
            execution["retried"] = True
            iot._jobs_queue_execution(execution["thingName"], job_id, self._now_ms())
            attempt = iot._job_executions[execution["thingName"], job_id]
            attempt["retryAttempt"] = execution.get("retryAttempt", 0) + 1
        else:
            iot._jobs_maybe_complete(job_id)

    def counts(self, job_id: str) -> dict[str, int]:
        """As MiniStack's: executions by status; an attempt that was tried again is not one more."""
        found = dict.fromkeys((*_TERMINAL, "QUEUED", "IN_PROGRESS"), 0)
        for latest in self._iot._job_executions.values():
            if latest["jobId"] == job_id:
                for execution in self._iot._jobs_with_history(latest):
                    if not execution.get("retried"):
                        found[execution["status"]] += 1
        return found

    def maybe_complete(self, job_id: str) -> None:
        """As MiniStack's: a job of which nothing is left to do is COMPLETED; a continuous one only after its end."""
        iot = self._iot
        job = iot._jobs.get(job_id)
        if job is None or job["status"] != "IN_PROGRESS" or job.get("rolloutQueue"):
            return
        if job.get("targetSelection") == "CONTINUOUS" and not job.get("ended"):
            return
        executions = (one for one in iot._job_executions.values() if one["jobId"] == job_id)
        if all(one["status"] in _TERMINAL for one in executions):
            now_ms = self._now_ms()
            job.update(status="COMPLETED", completedAt=now_ms, lastUpdatedAt=now_ms)
            iot._job_event(job, "completed")

    # -- time-outs ---

    def seconds_left(self, execution: Execution) -> int | None:
        """As MiniStack's: until the execution times out."""
        deadline = rules.deadline_ms(execution, self._iot._jobs.get(execution["jobId"]) or {}, self._minute_ms)
        return None if deadline is None else max(0, int((deadline - self._now_ms()) // 1000))

    def _arm(self, execution: Execution) -> None:
        iot = self._iot
        deadline = rules.deadline_ms(execution, iot._jobs.get(execution["jobId"]) or {}, self._minute_ms)
        if deadline is None:
            return
        where = iot.get_account_id(), iot.get_region(), execution["thingName"], execution["jobId"]
        heapq.heappush(self._deadlines, (deadline, *where))
        if self._timing is None or self._timing.done():
            self._timing = asyncio.get_running_loop().create_task(self._time_out())

    async def _time_out(self) -> None:
        """Look after the deadlines, as long as there are any."""
        while self._deadlines:
            await asyncio.sleep(min(_TICK_S, self._minute_ms / 1000))
            while self._deadlines and self._deadlines[0][0] <= self._now_ms():
                _, account_id, region, thing, job_id = heapq.heappop(self._deadlines)
                try:
                    async with self._iot.publishing_events():
                        await self._expire(account_id, region, thing, job_id)
                except Exception:
                    _LOG.exception("the time-out of job %s at %s", job_id, thing)

    async def _expire(self, account_id: str, region: str, thing: str, job_id: str) -> None:
        iot = self._iot
        with iot.request_scope(account_id, region):
            execution = iot._job_executions.get((thing, job_id))
            job = iot._jobs.get(job_id)
            if execution is None or job is None:
                return
            deadline = rules.deadline_ms(execution, job, self._minute_ms)
            if deadline is None or deadline > self._now_ms():
                return  # it ended, or its step timer was set anew: then another deadline is on the heap
            execution.update(status="TIMED_OUT", lastUpdatedAt=self._now_ms())
            execution["versionNumber"] += 1
            self._finished(execution)
        await iot.jobs_notify_thing(account_id, region, thing, None)
        await iot.jobs_abort_if_met(account_id, region, job_id)

    # -- schedules and rollouts ---

    async def create(self, job_id: str, payload: dict[str, Any]) -> Answer:
        """Around MiniStack's: what it does not look at, and a start in the future."""
        iot = self._iot
        refused: Answer
        if violations := iot._job_update_violations(job_id, payload):
            refused = iot._job_validation_error(violations)
            return refused
        wrong = rules.rollout_wrong(payload)
        if wrong:
            refused = iot.error_response_json("InvalidRequestException", wrong, 400)
            return refused
        answer: Answer = await self._create(job_id, payload)
        job = iot._jobs.get(job_id)
        if answer[0] != 200 or job is None:
            return answer
        start, end = rules.start_ms(job), rules.end_ms(job)
        if start is not None and start > self._now_ms():
            job["status"] = "SCHEDULED"
        if start is not None or end is not None:
            self.look_after(iot.get_account_id(), iot.get_region(), job)
        return answer

    def batch_size(self, job: Job, waiting: int) -> int:
        """As MiniStack's: how many things are notified next; none before the start."""
        start = rules.start_ms(job)
        return 0 if start is not None and start > self._now_ms() else int(self._batch_size(job, waiting))

    def look_after(self, account_id: str, region: str, job: Job) -> None:
        """In the place of MiniStack's start of a rollout: a task that knows the job's schedule too."""
        if job["jobId"] in self._scheduled:
            return
        self._scheduled.add(job["jobId"])
        task = asyncio.get_running_loop().create_task(self._live(account_id, region, job))
        self._schedules.add(task)

        def ended(task: "asyncio.Task[None]") -> None:
            self._schedules.discard(task)
            self._scheduled.discard(job["jobId"])
            if not task.cancelled() and task.exception() is not None:
                _LOG.error("the rollout of job %s ended", job["jobId"], exc_info=task.exception())

        task.add_done_callback(ended)

    async def _live(self, account_id: str, region: str, job: Job) -> None:
        """Start a job, release its batches, and end it, each in its time."""
        iot = self._iot
        start, end = rules.start_ms(job), rules.end_ms(job)
        while True:
            with iot.request_scope(account_id, region):
                there = iot._jobs.get(job["jobId"]) is job and job["status"] in ("IN_PROGRESS", "SCHEDULED")
            if not there:
                return
            now_ms = self._now_ms()
            if job["status"] == "SCHEDULED":
                due = start or now_ms
            elif job.get("rolloutQueue"):
                due = job["rolloutBatchAt"] + int(self._minute_ms)
            elif end is not None:
                due = end
            else:
                return
            due = min(due, end) if end is not None else due
            if due > now_ms:
                # In steps, so that a job that was cancelled or deleted is let go of.
                await asyncio.sleep(min((due - now_ms) / 1000, 60.0))
                continue
            async with iot.publishing_events():
                if end is not None and end <= now_ms:
                    await self._end(account_id, region, job)
                    return
                job["status"] = "IN_PROGRESS"
                await self._release(account_id, region, job)

    async def _release(self, account_id: str, region: str, job: Job) -> None:
        iot = self._iot
        with iot.request_scope(account_id, region):
            job.setdefault("rolloutQueue", [])
            released = iot._jobs_rollout_release(job)
        for thing, previous in released:
            await iot.jobs_notify_thing(account_id, region, thing, previous)

    async def _end(self, account_id: str, region: str, job: Job) -> None:
        """The end of its schedule."""
        iot = self._iot
        behavior = (job.get("schedulingConfig") or {}).get("endBehavior") or "STOP_ROLLOUT"
        job["ended"] = True
        job["rolloutQueue"] = []
        canceled: dict[str, Any] = {}
        with iot.request_scope(account_id, region):
            job["status"] = "IN_PROGRESS"  # also if it never started
            if behavior == "STOP_ROLLOUT":
                iot._jobs_maybe_complete(job["jobId"])
            else:
                comment = "The job reached the end time of its schedule"
                canceled = iot._jobs_cancel(job["jobId"], {"comment": comment}, behavior == "FORCE_CANCEL")
        for thing, previous in sorted(canceled.items()):
            await iot.jobs_notify_thing(account_id, region, thing, previous)

    def joined(self, thing: str, group_arn: str) -> bool:
        """As MiniStack's: a thing came into a group. Whether it has a new execution."""
        iot, queued = self._iot, False
        for job_id, job in iot._jobs.items():
            if job.get("targetSelection") != "CONTINUOUS" or group_arn not in (job.get("targets") or []):
                continue
            if job["status"] == "SCHEDULED":
                waiting = job.setdefault("rolloutQueue", [])
                if thing not in waiting:
                    waiting.append(thing)
            elif job["status"] == "IN_PROGRESS" and not job.get("ended"):
                latest = iot._job_executions.get((thing, job_id))
                if latest is None or latest["status"] in _TERMINAL:
                    iot._jobs_queue_execution(thing, job_id, self._now_ms())
                    queued = True
        return queued

    async def cancel(self, job_id: str, payload: dict[str, Any], query: dict[str, str]) -> Answer:
        """Around MiniStack's: a job that has not started can be cancelled too."""
        job = self._iot._jobs.get(job_id)
        if job is not None and job["status"] == "SCHEDULED":
            job["status"] = "IN_PROGRESS"
        answer: Answer = await self._cancel(job_id, payload, query)
        return answer

    async def delete(self, job_id: str, query: dict[str, str]) -> Answer:
        """Around MiniStack's: a job that has not started is not over."""
        job = self._iot._jobs.get(job_id)
        if job is not None and job["status"] == "SCHEDULED" and not self._iot._qp_bool(query, "force"):
            text = f"Job {job_id} is in status SCHEDULED and cannot be deleted without force"
            refused: Answer = self._iot.error_response_json("InvalidStateTransitionException", text, 409)
            return refused
        answer: Answer = await self._delete(job_id, query)
        return answer

    # -- the requests of devices ---

    async def on_publish(
        self, account_id: str, region: str, thing: str, verb: str, job_id: str | None, payload: bytes
    ) -> None:
        """Around MiniStack's: the step timer, and who is next after a report out of order."""
        request: Any = None
        with contextlib.suppress(ValueError):
            request = json.loads(payload) if payload else None
        request = request if isinstance(request, dict) else {}
        minutes = request.get("stepTimeoutInMinutes")
        wrong = rules.step_timeout_wrong(minutes)
        if verb == "start-next":
            wrong = wrong or rules.details_wrong(request.get("statusDetails"))
        if wrong:
            said = self._iot._jobs_rejected("InvalidRequest", wrong, request.get("clientToken"))
            topic = f"$aws/things/{thing}/jobs/" + (f"{job_id}/{verb}" if job_id else verb)
            text = self._iot._jobs_mqtt_json(said).encode()
            await self._iot.broker_publish(account_id, region, f"{topic}/rejected", text, qos=1)
            return
        token = _step_timeout.set(minutes)
        try:
            await self._on_publish(account_id, region, thing, verb, job_id, payload)
        finally:
            _step_timeout.reset(token)
        if verb == "update":
            await self._after_report(account_id, region, thing, job_id or "")

    async def _after_report(self, account_id: str, region: str, thing: str, job_id: str) -> None:
        with self._iot.request_scope(account_id, region):
            execution = self._iot._job_executions.get((thing, job_id))
        if execution is not None and execution["status"] == "IN_PROGRESS":
            await self.tell_next(account_id, region, thing)

    def https(self, iot_jobs_data: Any) -> None:
        """The same for MiniStack's module `services.iot_jobs_data`."""
        start, report, iot = iot_jobs_data._start_next, iot_jobs_data._update_execution, self._iot

        def start_next(thing: str, payload: dict[str, Any], *, peek: bool) -> Answer:
            minutes = payload.get("stepTimeoutInMinutes")
            wrong = rules.step_timeout_wrong(minutes) or rules.details_wrong(payload.get("statusDetails"))
            if wrong:
                refused: Answer = iot.error_response_json("InvalidRequestException", wrong, 400)
                return refused
            token = _step_timeout.set(minutes)
            try:
                answer: Answer = start(thing, payload, peek=peek)
            finally:
                _step_timeout.reset(token)
            return answer

        async def update(thing: str, job_id: str, payload: dict[str, Any]) -> Answer:
            answer: Answer = await report(thing, job_id, payload)
            if answer[0] == 200:
                await self._after_report(iot.get_account_id(), iot.get_region(), thing, job_id)
            return answer

        iot_jobs_data._start_next, iot_jobs_data._update_execution = start_next, update

    def install(self) -> None:
        """Put it in the place of MiniStack's functions."""
        iot = self._iot
        self._create, self._cancel, self._delete = iot._create_job, iot._cancel_job, iot._delete_job
        self._batch_size, self._on_publish = iot._jobs_rollout_batch_size, iot._handle_jobs_publish
        iot._create_job, iot._cancel_job, iot._delete_job = self.create, self.cancel, self.delete
        iot._jobs_rollout_batch_size, iot._handle_jobs_publish = self.batch_size, self.on_publish
        iot._jobs_rollout_start, iot._jobs_thing_joined_group = self.look_after, self.joined
        iot.jobs_pending_for_thing, iot.jobs_notify_thing = self.pending, self.notify
        iot.jobs_start_next_execution, iot.jobs_update_execution = self.start_next, self.update
        iot._jobs_status_counts, iot._jobs_maybe_complete = self.counts, self.maybe_complete
        iot._jobs_seconds_before_timeout = self.seconds_left
        iot._jobs_apply_timeout = lambda execution: execution  # done by the clock


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def install(iot: Any, iot_jobs_data: Any, broker: Broker, minute_s: float) -> None:
    """Put it in the place of MiniStack's in its modules `services.iot` and `services.iot_jobs_data`."""
    engine = JobEngine(iot, broker, minute_s)
    engine.install()
    engine.https(iot_jobs_data)
