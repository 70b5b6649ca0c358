"""Devices that no scenario runs execute their pending jobs, through the Jobs data plane and nothing else.

    pending    executions that are QUEUED or IN_PROGRESS, of some jobs or of all active ones
    plan       who will succeed: a share of them, chosen by a seed
    execute    describe (a fresh presigned URL) → IN_PROGRESS → download → check → SUCCEEDED or FAILED

A download is read piece by piece and only counted and hashed. What really goes wrong (an expired URL, other bytes
than the document says) fails an execution whatever the plan says; one that ended meanwhile is left as it is.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import requests
from botocore.exceptions import ClientError

from simulator import seeds
from simulator.errors import UsageError
from simulator.ops import jobs
from simulator.ops.answers import at_once, said
from simulator.ops.aws import CONNECTIONS_MAX, Aws, code

PENDING = ("IN_PROGRESS", "QUEUED")
PIECE_BYTES = 64 * 1024
PROGRESS_PERCENT = 50  # between two reports of a download: the service takes 200 updates a second in all
SIZE_MAX = 5 << 30
DOWNLOAD_TIMEOUT_S = (10, 30)  # to connect, and between two pieces
REASON_MAX = 1024
REASONS = (
    "battery too low to install",
    "not enough storage",
    "the image does not boot",
    "rolled back after a watchdog",
)
GONE = (
    "ResourceNotFoundException",
    "TerminalStateException",
    "InvalidStateTransitionException",
)

ABORTED = "ABORT_CANCEL"  # the reason that the service gives

SUCCESS, FAILURE = "SUCCESS", "FAILURE"


class Pending(NamedTuple):
    """An execution that waits for its device."""

    job_id: str
    thing: str
    status: str


class Planned(NamedTuple):
    """What a device is going to do with it."""

    pending: Pending
    outcome: str

    def line(self, number: int, of: int) -> str:
        """`[1/100] Vehicle-VIN-001 -> SUCCESS`."""
        return f"[{number}/{of}] {self.pending.thing} -> {self.outcome}"


class Step(NamedTuple):
    """News of one execution: `received` of `size` bytes (0: the document does not say), and its status."""

    number: int
    thing: str
    job_id: str
    status: str  # as the service has it; SKIPPED when it ended without us
    received: int = 0
    size: int = 0
    reason: str = ""

    @property
    def ended(self) -> bool:
        """Is nothing more to come?"""
        return self.status in ("SUCCEEDED", "FAILED", "SKIPPED")


Hear = Callable[[Step], None]


class _Unfit(Exception):
    """What was downloaded cannot be installed; `str()` is the reason."""


def pending(aws: Aws, job_ids: Sequence[str] = (), things: Sequence[str] = ()) -> list[Pending]:
    """Executions that wait, by job and thing; of these jobs (else of every active one) and things (else of all)."""
    chosen = list(job_ids) or [str(job["jobId"]) for job in jobs.every(aws, "IN_PROGRESS")]
    wanted = set(things)

    def of_job(job_id: str) -> list[Pending]:
        there = [one for status in PENDING for one in jobs.executions(aws, job_id, status)]
        found = (Pending(job_id, str(one["thing"]), str(one["status"])) for one in there)
        return [one for one in found if not wanted or one.thing in wanted]

    return sorted(one for found in at_once(of_job, chosen) for one in found)


def aborted(aws: Aws, job_ids: Collection[str]) -> dict[str, str]:
    """Those of the jobs that their own abort criteria cancelled, and the service's words about it."""
    found = {}
    for job_id in sorted(job_ids):
        try:
            job = aws.iot.describe_job(jobId=job_id)["job"]
        except ClientError as error:
            if code(error) not in GONE:
                raise
        else:
            if job.get("reasonCode") == ABORTED:
                found[job_id] = job.get("comment", "")
    return found


def plan(found: Sequence[Pending], success_percent: float, seed: int) -> list[Planned]:
    """Exactly the share of them, to the nearest whole one, succeeds; which ones, the seed says."""
    if not 0 <= success_percent <= 100:
        raise UsageError(f"success rate {success_percent:g}: 0 to 100 percent")
    drawn = sorted(found, key=lambda one: seeds.key(seed, "jobs simulate", one.job_id, one.thing))
    lucky = set(drawn[: round(len(found) * success_percent / 100)])
    return [Planned(one, SUCCESS if one in lucky else FAILURE) for one in found]


def execute(
    aws: Aws, planned: Sequence[Planned], seed: int, hear: Hear, at_a_time: int = CONNECTIONS_MAX
) -> list[Step]:
    """All of it; the last step of each, in the order of the plan. `hear` is called from several threads, one by one."""
    fleet = _Fleet(aws, seed, hear)
    pool = ThreadPoolExecutor(at_a_time, thread_name_prefix="simulate")
    try:
        return list(pool.map(fleet.one, range(1, len(planned) + 1), planned))
    finally:
        pool.shutdown(cancel_futures=True)  # After Ctrl-C only what is under way is finished.
        fleet.close()


class _Fleet:
    """The devices of one simulation; each call of `one` is a device."""

    def __init__(self, aws: Aws, seed: int, hear: Hear) -> None:
        self._device, self._seed, self._hear = aws.jobs_data, seed, hear
        self._speaks = threading.Lock()
        self._http = requests.Session()
        self._http.trust_env = False  # no proxy and no .netrc of the host's is meant for devices
        self._http.verify = aws.addresses.ca_file or True
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS_MAX)
        self._http.mount("https://", adapter)
        self._http.mount("http://", adapter)

    def close(self) -> None:
        self._http.close()

    def one(self, number: int, planned: Planned) -> Step:
        """Execute a pending execution to its end."""
        job_id, thing, _ = planned.pending
        step = Step(number, thing, job_id, planned.pending.status)
        try:
            described = self._device.describe_job_execution(jobId=job_id, thingName=thing, includeJobDocument=True)
            execution = described.get("execution") or {}
            document = json.loads(execution.get("jobDocument") or "{}")
            step = self._update(step._replace(status="IN_PROGRESS"), {"step": "downloading"})
            try:
                step = self._install(step, document)
            except _Unfit as why:
                return self._fail(step, str(why))
            if planned.outcome == FAILURE:
                drawn = seeds.key(self._seed, "reason", job_id, thing)
                return self._fail(step, f"simulated: {REASONS[drawn % len(REASONS)]}")
            version = document.get("version") if isinstance(document, dict) else None
            details = {"version": version} if isinstance(version, str) and version else {"step": "done"}
            return self._update(step._replace(status="SUCCEEDED"), details)
        except ClientError as error:
            if code(error) not in GONE:
                raise
            return self._tell(step._replace(status="SKIPPED", reason=f"it ended without us: {said(error)}"))

    def _fail(self, step: Step, reason: str) -> Step:
        shown = "".join(c if c.isprintable() else "?" for c in reason[:REASON_MAX])
        return self._update(step._replace(status="FAILED", reason=shown), {"reason": shown})

    def _update(self, step: Step, details: dict[str, str]) -> Step:
        self._device.update_job_execution(
            jobId=step.job_id, thingName=step.thing, status=step.status, statusDetails=details
        )
        return self._tell(step)

    def _tell(self, step: Step) -> Step:
        with self._speaks:
            self._hear(step)
        return step

    def _install(self, step: Step, document: Any) -> Step:
        """Download the artifact, when there is one, and check it by what the document says."""
        url = document.get("url") if isinstance(document, dict) else None
        if not isinstance(url, str):
            return step
        if not url.startswith(("https://", "http://")):
            raise _Unfit("job document: url is neither https nor http")
        size, sha256 = document.get("size"), document.get("sha256")
        size = size if type(size) is int and size > 0 else 0
        digest, told = hashlib.sha256(), 0
        try:
            with self._http.get(
                url,
                stream=True,
                timeout=DOWNLOAD_TIMEOUT_S,
                allow_redirects=False,
                headers={"Accept-Encoding": "identity"},
            ) as answer:
                if answer.status_code != 200:
                    raise _Unfit(f"download failed: HTTP {answer.status_code}")
                length = answer.headers.get("Content-Length", "")
                step = step._replace(size=size or (int(length) if length.isdigit() else 0))
                for piece in answer.iter_content(PIECE_BYTES):
                    digest.update(piece)
                    step = step._replace(received=step.received + len(piece))
                    if step.received > (step.size or SIZE_MAX):
                        break  # one piece too many is enough to know
                    percent = 100 * step.received // step.size if step.size else 0
                    if percent < 100 and percent >= told + PROGRESS_PERCENT:
                        told = percent - percent % PROGRESS_PERCENT
                        step = self._update(step, {"step": "downloading", "percent": str(told)})
        except (requests.RequestException, OSError) as failure:
            raise _Unfit(f"download failed: {type(failure).__name__}") from None
        if size and step.received != size:
            raise _Unfit(f"size mismatch: got {step.received} bytes, the job says {size}")
        if isinstance(sha256, str) and digest.hexdigest() != sha256:
            raise _Unfit(f"sha256 mismatch: got {digest.hexdigest()[:12]}…, the job says {sha256[:12]}…")
        return step
