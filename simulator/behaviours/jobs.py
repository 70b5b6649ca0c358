"""The job agent: take the next OTA job, download, check, install, reboot, report, finish.

The way of a job:  told → downloading → installing → (power cycle) → reporting → done
                                └─ a wrong artifact ends the job as FAILED and the old version stays.

It survives what happens to real agents: an expired URL (describes the execution again for a fresh one), a
broken download (goes on from the byte it has), an answer that never comes (asks again), a network that is
away (waits for it), a reboot in the middle (`body.flash` says what was installed, the cloud says which job is
open), a job cancelled under way (drops it). Every retry has a limit.

What is in its way (`Body.obstacle`) is asked for at these points, and ends the job with its reason:

    jobs.accept     told of a job: REJECTED             jobs.verify     all of it is there: FAILED
    jobs.download   before a download and with each     jobs.install    the image is written: FAILED
                    piece of it: FAILED                 jobs.boot       back from the reboot: FAILED

The reason HANGS does not end it: the agent stays there and hears no job, until the obstacle or the power is gone.
Then it begins anew.
"""

import hashlib
import re
from typing import Any, Literal

import orjson
from pydantic import Field

from simulator.behaviours import NEVER_MS, Behaviour, Body, Duty, Outputs
from simulator.messages import (
    Booted,
    Chunk,
    Connected,
    Download,
    DownloadEnded,
    Input,
    Note,
    PowerCycle,
    Publish,
    Received,
)
from simulator.wire import artifact
from simulator.wire.artifact import Artifact, Unfit

_ANSWER_MS = 10_000  # The cloud's answer is asked for again after this …
_ASK_MAX = 5  # … at most this often.
_RETRY_MS = 500
_LOOK_MS = 10_000  # An agent that hangs looks so often whether it still does.
_PROGRESS_PERCENT = 25
_PASSING = ("RequestThrottled", "InternalError")  # refusals that say nothing about the job
_JOB_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
HANGS = "hangs"  # an obstacle that is no reason: the agent goes neither on nor back


class Jobs(Behaviour):
    """Executes OTA jobs and keeps the `$package` shadow."""

    through_hub = False
    manages = True

    kind: Literal["jobs"] = "jobs"
    install_s: float = Field(3.0, ge=0, le=86_400, description="How long writing the image takes.")
    reboot_s: float = Field(2.0, ge=0, le=86_400, description="How long the device is away afterwards.")
    retries: int = Field(5, ge=0, le=100, description="How often a broken download or an expired URL is tried again.")

    def duty(self) -> Duty:
        return JobsDuty(self)


class JobsDuty(Duty):
    __slots__ = (
        "artifact", "asked", "attempt", "download", "execution", "hash",
        "percent", "phase", "received", "serial", "update", "what",
    )  # fmt: skip

    def __init__(self, what: Jobs) -> None:
        super().__init__()
        self.what = what
        self.serial = 0  # never the same again, so that late answers and chunks are told from those we wait for
        self._idle()

    def _idle(self) -> None:
        self.phase = "idle"  # idle, downloading, refreshing, waiting, installing, rebooting, finishing; hangs.<point>
        self.execution: dict[str, Any] = {}
        self.artifact: Artifact | None = None
        self.hash: hashlib._Hash | None = None  # only while there is a download: an idle device is small
        self.received = self.percent = self.attempt = self.asked = 0
        self.download = self.update = ""  # tokens of the download and of the update that count
        self.wake_at_ms = NEVER_MS

    @property
    def job_id(self) -> str:
        return str(self.execution.get("jobId", ""))

    def _token(self) -> str:
        self.serial += 1
        return f"{self.job_id}-{self.serial}"[-64:]

    def filters(self, body: Body) -> tuple[str, ...]:
        leaves = ("notify-next", "+/get/accepted", "+/get/rejected", "+/update/accepted", "+/update/rejected")
        return tuple(_topic(body, leaf) for leaf in leaves)

    # What is heard

    def receive(self, body: Body, said: Input, now_ms: int) -> Outputs:
        match said:
            case Connected():
                return self._came_up(body, now_ms)
            case Booted():
                self._idle()
            case Received(topic, payload) if topic.startswith(_topic(body, "")):
                return self._heard(body, topic[len(_topic(body, "")) :].split("/"), payload, now_ms)
            case Chunk(token, data) if token == self.download and self.phase == "downloading":
                return self._chunk(body, data, now_ms)
            case DownloadEnded(token, status, error) if token == self.download and self.phase == "downloading":
                return self._ended(body, status, error, now_ms)
        return []

    def _came_up(self, body: Body, now_ms: int) -> Outputs:
        said: Outputs = []
        if (before := body.flash.get("reported_version")) != body.version:
            body.flash["reported_version"] = body.version
            if before:
                said.append(Note("version_reported", {"package": body.package, "version": body.version}))
            state = {"state": {"reported": {body.package: {"version": body.version, "attributes": {}}}}}
            topic = f"$aws/things/{body.thing}/shadow/name/$package/update"
            said.append(Publish("package_report", topic, orjson.dumps(state)))
        self.asked = 0
        if self.phase == "idle":
            said += self._ask_next(body, now_ms)
        elif self.phase == "waiting":
            self.wake_at_ms = now_ms
        elif self.phase in ("refreshing", "finishing"):  # What was asked may be on its way still.
            self.wake_at_ms = now_ms + _ANSWER_MS
        return said

    def _ask_next(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms = now_ms + _ANSWER_MS if self.asked < _ASK_MAX else NEVER_MS
        self.asked += 1
        return [Publish("job_get", _topic(body, "$next/get"), b'{"includeJobDocument":true}')]

    def _heard(self, body: Body, leaf: list[str], payload: bytes, now_ms: int) -> Outputs:
        if self.phase.startswith(HANGS):
            return []
        try:
            document = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return []
        if not isinstance(document, dict):
            return []
        match leaf:
            case ["notify-next"]:
                return self._next(body, document.get("execution"), now_ms)
            case ["$next", "get", "accepted"]:
                self.wake_at_ms = NEVER_MS if self.phase == "idle" else self.wake_at_ms
                return self._next(body, document.get("execution"), now_ms)
            case [job_id, *_] if self.phase == "idle" or job_id != self.job_id:
                return []
            case [_, "get", "accepted"]:
                return self._described(body, document.get("execution"), now_ms)
            case [_, "get", "rejected"] if self.phase in ("refreshing", "finishing"):
                code = _code(document)
                return [] if code in _PASSING else self._drop(f"the job cannot be described any more: {code}")
            case [_, "update", "accepted"] if self.phase == "finishing" and self._answers(document):
                return self._finished(body, now_ms)
            case [_, "update", "rejected"] if self._answers(document):
                return self._refused(body, document, now_ms)
        return []

    def _answers(self, document: dict[str, Any]) -> bool:
        """Is it about our latest update? Those before it say nothing any more."""
        return document.get("clientToken") == self.update

    def _next(self, body: Body, execution: Any, now_ms: int) -> Outputs:
        """The head of the queue as the cloud tells it; nothing, or another job, means ours was taken away."""
        job_id = execution.get("jobId") if isinstance(execution, dict) else None
        if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
            job_id = None
        if body.flash.get("installed_by") != job_id:
            body.flash.pop("installed_by", None)  # The cloud has done with that job; its name may come again.
        under_way = self.phase in ("downloading", "waiting", "refreshing")
        if job_id is None:
            return self._drop("the job was taken away") if under_way else []
        if job_id == self.job_id or not (under_way or self.phase == "idle"):
            return []  # Known, or too late to turn back: the image is being written.
        dropped = self._drop("another job came first") if under_way else []
        return dropped + self._begin(body, execution, now_ms)

    def _stopped(self, body: Body, point: str, now_ms: int) -> Outputs | None:
        """What it does instead when something is in the way; None when nothing is."""
        why = body.obstacle(f"jobs.{point}", now_ms)
        if why is None:
            return None
        if why == HANGS:
            self.phase, self.wake_at_ms = f"{HANGS}.{point}", now_ms + _LOOK_MS
            return [Note("job_hangs", {"job": self.job_id, "at": point})]
        if point == "accept":
            return self._finish(body, "REJECTED", {"reason": _printable(why)}, now_ms)
        return self._fail(body, why, now_ms)

    # Download

    def _begin(self, body: Body, execution: dict[str, Any], now_ms: int) -> Outputs:
        self._idle()
        self.execution = dict(execution)
        if body.flash.get("installed_by") == self.job_id:  # We rebooted into it: all that is left is to say so.
            stopped = self._stopped(body, "boot", now_ms)
            return stopped or self._finish(body, "SUCCEEDED", {"version": body.version}, now_ms)
        said: Outputs = [Note("job_notified", {"job": self.job_id})]
        if stopped := self._stopped(body, "accept", now_ms):
            return said + stopped
        try:
            self.artifact = artifact.parse(execution.get("jobDocument"))
        except Unfit as why:
            return said + self._fail(body, str(why), now_ms)
        if self.artifact.version == body.version and self.artifact.package == body.package:
            return said + self._finish(
                body, "SUCCEEDED", {"version": body.version, "note": "already installed"}, now_ms
            )
        if stopped := self._stopped(body, "download", now_ms):
            return said + stopped
        self.phase, self.hash = "downloading", hashlib.sha256()
        details = {"step": "downloading", "version": self.artifact.version}
        said.append(self._update(body, "IN_PROGRESS", details))
        said.append(Note("download_started", {"job": self.job_id, "size": self.artifact.size}))
        return [*said, self._download()]

    def _download(self) -> Download:
        assert self.artifact
        self.download = self._token()
        return Download(self.download, self.artifact.url, self.received, self.artifact.size)

    def _chunk(self, body: Body, data: bytes, now_ms: int) -> Outputs:
        if stopped := self._stopped(body, "download", now_ms):
            return stopped
        assert self.artifact
        assert self.hash
        self.hash.update(data)
        self.received += len(data)
        percent = min(100, 100 * self.received // self.artifact.size)
        if percent < 100 and percent >= self.percent + _PROGRESS_PERCENT:
            self.percent = percent - percent % _PROGRESS_PERCENT
            details = {"step": "downloading", "version": self.artifact.version, "percent": str(self.percent)}
            note = Note("download_progress", {"job": self.job_id, "percent": self.percent})
            return [note, self._update(body, "IN_PROGRESS", details)]
        return []

    def _ended(self, body: Body, status: int, error: str, now_ms: int) -> Outputs:
        assert self.artifact
        if (not error and status in (200, 206)) or self.received >= self.artifact.size:
            return self._verify(body, now_ms)
        if self.attempt >= self.what.retries:
            return self._fail(body, f"download failed {self.attempt + 1} times: {error or f'HTTP {status}'}", now_ms)
        self.attempt += 1
        if status in (400, 403):  # The URL, or its token, has expired: a new description brings a fresh one.
            self.phase = "refreshing"
            self.wake_at_ms = now_ms + _ANSWER_MS
            return [self._describe(body)]
        self.phase = "waiting"
        self.wake_at_ms = now_ms + _RETRY_MS * (1 << min(self.attempt, 6))
        return [Note("download_broken", {"job": self.job_id, "at": self.received, "why": error or f"HTTP {status}"})]

    def _describe(self, body: Body) -> Publish:
        return Publish("job_get", _topic(body, f"{self.job_id}/get"), b'{"includeJobDocument":true}')

    def _described(self, body: Body, execution: Any, now_ms: int) -> Outputs:
        if not isinstance(execution, dict):
            return []
        self.execution["versionNumber"] = execution.get("versionNumber")
        if self.phase == "finishing":
            return self._finish(body, self.execution["ending"], self.execution["details"], now_ms)
        if self.phase != "refreshing":
            return []
        try:
            fresh = artifact.parse(execution.get("jobDocument"))
        except Unfit as why:
            return self._fail(body, str(why), now_ms)
        if self.artifact and fresh._replace(url="") != self.artifact._replace(url=""):
            return self._fail(body, "the job's artifact changed during the download", now_ms)
        self.artifact, self.phase, self.wake_at_ms = fresh, "downloading", NEVER_MS
        return [Note("url_refreshed", {"job": self.job_id, "at": self.received}), self._download()]

    # Check, install, report

    def _verify(self, body: Body, now_ms: int) -> Outputs:
        assert self.artifact
        assert self.hash
        said: Outputs = [Note("downloaded", {"job": self.job_id, "size": self.received})]
        if stopped := self._stopped(body, "verify", now_ms):
            return said + stopped
        try:
            artifact.check(self.artifact, body.package, self.received, self.hash.hexdigest(), body.public_key)
        except Unfit as why:
            said.append(Note("verify_failed", {"job": self.job_id, "reason": str(why)}))
            return said + self._fail(body, str(why), now_ms)
        self.phase, self.wake_at_ms = "installing", now_ms + int(self.what.install_s * 1000)
        said.append(Note("verified", {"job": self.job_id, "version": self.artifact.version}))
        return [
            *said,
            self._update(body, "IN_PROGRESS", {"step": "installing", "version": self.artifact.version}),
        ]

    def step(self, body: Body, now_ms: int) -> Outputs:
        phase, self.wake_at_ms = self.phase, NEVER_MS
        if phase == "installing":
            return self._install(body, now_ms)
        if phase.startswith(HANGS):
            return self._hang_on(body, phase, now_ms)
        if not body.online:
            return []  # `_came_up` goes on from here.
        if phase == "waiting":
            self.phase = "downloading"
            return [Note("download_resumed", {"job": self.job_id, "at": self.received}), self._download()]
        if phase == "idle":
            return self._ask_next(body, now_ms)
        self.asked += 1
        if self.asked > _ASK_MAX:
            return self._drop("the cloud does not answer")
        self.wake_at_ms = now_ms + _ANSWER_MS
        return [self._describe(body)]  # refreshing or finishing: the answer did not come

    def _hang_on(self, body: Body, phase: str, now_ms: int) -> Outputs:
        if body.obstacle(f"jobs.{phase.partition('.')[2]}", now_ms) == HANGS:
            self.wake_at_ms = now_ms + _LOOK_MS
            return []
        self._idle()
        return self._ask_next(body, now_ms) if body.online else []

    def _install(self, body: Body, now_ms: int) -> Outputs:
        if stopped := self._stopped(body, "install", now_ms):
            return stopped
        assert self.artifact
        self.phase = "rebooting"
        body.flash |= {"installed_by": self.job_id, "version": self.artifact.version}
        off_ms = int(self.what.reboot_s * 1000)
        installed = Note("installed", {"job": self.job_id, "version": self.artifact.version})
        return [installed, Note("rebooting", {"off_ms": off_ms}), PowerCycle(off_ms)]

    def _finish(self, body: Body, status: str, details: dict[str, str], now_ms: int) -> Outputs:
        token = self.update if self.phase == "finishing" else None  # Whichever try comes through, it is the end.
        self.phase, self.wake_at_ms = "finishing", now_ms + _ANSWER_MS
        self.execution |= {"ending": status, "details": details}
        return [self._update(body, status, details, token)]

    def _fail(self, body: Body, reason: str, now_ms: int) -> Outputs:
        return self._finish(body, "FAILED", {"reason": _printable(reason)}, now_ms)

    def _finished(self, body: Body, now_ms: int) -> Outputs:
        ending, details, job = self.execution["ending"], self.execution["details"], self.job_id
        body.flash.pop("installed_by", None)
        self._idle()
        over = Note("job_succeeded" if ending == "SUCCEEDED" else "job_failed", {"job": job, **details})
        return [over, *self._ask_next(body, now_ms)]  # The news of the next one may have come before its time.

    def _refused(self, body: Body, document: dict[str, Any], now_ms: int) -> Outputs:
        """Our latest update was rejected: a wrong version is put right, otherwise the job is over."""
        code, state = _code(document), document.get("executionState")
        state = state if isinstance(state, dict) else {}
        if self.phase == "finishing" and state.get("status") == self.execution["ending"]:
            return self._finished(body, now_ms)  # It was a repetition: the first one came through.
        if code in _PASSING:
            return []
        if code == "VersionMismatch" and self.asked < _ASK_MAX:
            self.asked += 1
            self.execution["versionNumber"] = state.get("versionNumber")
            if self.phase == "finishing":
                return self._finish(body, self.execution["ending"], self.execution["details"], now_ms)
            return []
        return self._drop(f"the cloud refused an update: {code}")

    def _drop(self, why: str) -> Outputs:
        job = self.job_id
        self._idle()
        return [Note("job_dropped", {"job": job, "why": why})]

    def _update(self, body: Body, status: str, details: dict[str, str], token: str | None = None) -> Publish:
        """An update with the version we believe in; the next update of ours will find it one higher."""
        self.update = token or self._token()
        request: dict[str, Any] = {"status": status, "statusDetails": details, "clientToken": self.update}
        version = self.execution.get("versionNumber")
        if type(version) is int and 0 <= version < 1 << 53:
            request["expectedVersion"] = version
            self.execution["versionNumber"] = version + 1
        return Publish("job_update", _topic(body, f"{self.job_id}/update"), orjson.dumps(request))


def _topic(body: Body, leaf: str) -> str:
    return f"$aws/things/{body.thing}/jobs/{leaf}"


def _printable(reason: str) -> str:
    """All that status details may hold."""
    return "".join(c if c.isprintable() else "?" for c in reason[:1024])


def _code(document: dict[str, Any]) -> str:
    code = document.get("code")
    return code if isinstance(code, str) else "no code"
