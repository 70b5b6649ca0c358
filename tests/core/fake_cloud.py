"""A cloud for devices in virtual time: shadows, jobs and presigned downloads that behave as AWS IoT's do.

It hears what devices say (`hear`, `fetch` are the two ends of `Virtual`) and answers after a while through
`Virtual.tell`. What goes wrong is asked for by a test: `expiries` and `cuts` for downloads, `lose` and
`refusals` for answers.
"""

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from simulator.messages import Chunk, Download, DownloadEnded, Publish, Received
from simulator.runtime.virtual import Virtual

LATENCY_MS = 20  # unless a test asks for more
CHUNK_BYTES = 1000
CHUNK_MS = 10
URL_TTL_MS = 3_600_000
PENDING = ("IN_PROGRESS", "QUEUED")

Json = dict[str, Any]


@dataclass
class Execution:
    """One job on one thing."""

    job: str
    document: Any
    status: str = "QUEUED"
    version: int = 1
    details: dict[str, str] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)


class Shadow:
    """A classic or named shadow: merged, versioned, with its delta."""

    def __init__(self) -> None:
        self.desired: Json = {}
        self.reported: Json = {}
        self.version = 0

    def update(self, state: Json) -> None:
        _merge(self.desired, state.get("desired", {}))
        _merge(self.reported, state.get("reported", {}))
        self.version += 1

    def delta(self) -> Json:
        return _differing(self.desired, self.reported)


class FakeCloud:
    """Everything a device talks to."""

    def __init__(self) -> None:
        self.runtime: Virtual
        self.latency_ms = LATENCY_MS
        self.jobs: dict[str, list[Execution]] = {}
        self.shadows: dict[tuple[str, str], Shadow] = {}
        self.objects: dict[str, bytes] = {}
        self.expiries: deque[int] = deque()  # how long the next URLs are good; after that URL_TTL_MS
        self.cuts: deque[int] = deque()  # after so many bytes the next downloads break off; after that none
        self.terminal_code = "InvalidStateTransition"  # or what MiniStack says: TerminalStateReached
        self.lost: list[str] = []
        self.refusals: dict[str, str] = {}  # operation → the code with which the next one is refused
        self.said: list[tuple[int, str, Publish]] = []
        self.downloads: list[Download] = []

    # What a test does

    def create(self, thing: str, execution: Execution) -> Execution:
        """Queue a job, as CreateJob does."""
        before = self._head(thing)
        self.jobs.setdefault(thing, []).append(execution)
        self._news(thing, before)
        return execution

    def end(self, thing: str, execution: Execution, status: str) -> None:
        """CancelJob or a time-out: the cloud ends an execution by itself."""
        before = self._head(thing)
        self._set(execution, status)
        self._news(thing, before)

    def desire(self, thing: str, state: Json) -> None:
        """UpdateThingShadow with a desired state."""
        self._update_shadow(thing, "", {"desired": state})

    def lose(self, *operations: str) -> None:
        """The next answer to each of these operations, such as "update SUCCEEDED", gets lost."""
        self.lost += operations

    def shadow(self, thing: str, name: str = "") -> Shadow:
        return self.shadows.setdefault((thing, name), Shadow())

    def updates(self, thing: str) -> Iterator[Json]:
        """Every job update a thing asked for, in order."""
        for _, who, message in self.said:
            if who == thing and message.kind == "job_update":
                yield json.loads(message.payload)

    # What a device says

    def hear(self, now_ms: int, thing: str, message: Publish) -> None:
        self.said.append((now_ms, thing, message))
        head, _, rest = message.topic.partition(f"$aws/things/{thing}/")
        if head or not rest:
            return
        request = json.loads(message.payload or b"{}")
        match rest.split("/"):
            case ["jobs", job, "get"]:
                self._describe(thing, job)
            case ["jobs", job, "update"]:
                self._update_job(thing, job, request)
            case ["shadow", "get"]:
                self._get_shadow(thing)
            case ["shadow", "update"]:
                self._update_shadow(thing, "", request["state"])
            case ["shadow", "name", name, "update"]:
                self._update_shadow(thing, name, request["state"])
            case _:
                raise AssertionError(f"no such topic: {message.topic}")

    def _answer(self, thing: str, topic: str, document: Json, operation: str = "") -> None:
        if operation in self.lost:
            self.lost.remove(operation)
        else:
            at_ms = self.runtime.clock.now_ms() + self.latency_ms
            said = Received(f"$aws/things/{thing}/{topic}", json.dumps(document).encode())
            self.runtime.tell(self.runtime.fleet.by_thing[thing], said, at_ms)

    # Jobs

    def _pending(self, thing: str) -> list[Execution]:
        """IN_PROGRESS before QUEUED, then by age."""
        return [e for status in PENDING for e in self.jobs.get(thing, []) if e.status == status]

    def _head(self, thing: str) -> Execution | None:
        return next(iter(self._pending(thing)), None)

    def _told(self, execution: Execution) -> Json:
        document = execution.document
        if isinstance(document, dict) and isinstance(document.get("url"), str):
            ttl_ms = self.expiries.popleft() if self.expiries else URL_TTL_MS
            document = document | {"url": f"{document['url']}?expires={self.runtime.clock.now_ms() + ttl_ms}"}
        return {
            "jobId": execution.job, "status": execution.status, "versionNumber": execution.version,
            "executionNumber": 1, "jobDocument": document,
        }  # fmt: skip

    def _news(self, thing: str, before: Execution | None) -> None:
        head = self._head(thing)
        if head is not before:
            self._answer(thing, "jobs/notify-next", {"execution": self._told(head)} if head else {}, "notify-next")

    def _describe(self, thing: str, job: str) -> None:
        found = self._head(thing) if job == "$next" else self._find(thing, job)
        topic, operation = f"jobs/{job}/get", "get $next" if job == "$next" else "get"
        if found is None and job == "$next":
            self._answer(thing, f"{topic}/accepted", {}, operation)
        elif found is None or found.status not in PENDING:
            code = "TerminalStateReached" if found else "ResourceNotFound"
            self._answer(thing, f"{topic}/rejected", {"code": code}, operation)
        else:
            self._answer(thing, f"{topic}/accepted", {"execution": self._told(found)}, operation)

    def _update_job(self, thing: str, job: str, request: Json) -> None:
        execution, before = self._find(thing, job), self._head(thing)
        operation = f"update {request['status']}"
        token = {key: value for key, value in request.items() if key == "clientToken"}

        def reject(code: str, **more: Any) -> None:
            self._answer(thing, f"jobs/{job}/update/rejected", {"code": code, **token, **more}, operation)

        if code := self.refusals.pop(operation, None):
            return reject(code)
        if execution is None:
            return reject("ResourceNotFound")
        state = {"status": execution.status, "versionNumber": execution.version}
        if execution.status not in PENDING:
            more = {"executionState": state} if self.terminal_code == "InvalidStateTransition" else {}
            return reject(self.terminal_code, **more)
        if request.get("expectedVersion", execution.version) != execution.version:
            return reject("VersionMismatch", executionState=state)
        assert len(request["statusDetails"]) <= 10
        assert all(0 < len(value) <= 1024 and value.isprintable() for value in request["statusDetails"].values())
        self._set(execution, request["status"])
        execution.details = request["statusDetails"]
        self._answer(thing, f"jobs/{job}/update/accepted", token, operation)
        self._news(thing, before)
        return None

    def _set(self, execution: Execution, status: str) -> None:
        execution.status, execution.version = status, execution.version + 1
        execution.history.append(status)

    def _find(self, thing: str, job: str) -> Execution | None:
        return next((e for e in reversed(self.jobs.get(thing, [])) if e.job == job), None)

    # Shadows

    def _get_shadow(self, thing: str) -> None:
        if (thing, "") not in self.shadows:
            document = {"code": 404, "message": f"No shadow exists with name: '{thing}'"}
            return self._answer(thing, "shadow/get/rejected", document, "get shadow")
        shadow = self.shadow(thing)
        state: Json = {"desired": shadow.desired, "reported": shadow.reported}
        if delta := shadow.delta():
            state["delta"] = delta
        return self._answer(thing, "shadow/get/accepted", {"state": state, "version": shadow.version}, "get shadow")

    def _update_shadow(self, thing: str, name: str, state: Json) -> None:
        shadow = self.shadow(thing, name)
        shadow.update(json.loads(json.dumps(state)))
        delta = shadow.delta()
        if delta and not name:
            self._answer(thing, "shadow/update/delta", {"state": delta, "version": shadow.version}, "delta")

    # Downloads

    def fetch(self, now_ms: int, thing: str, wanted: Download) -> None:
        """A GET: 403 when the URL has expired, else the object from the offset on, in pieces."""
        self.downloads.append(wanted)
        index = self.runtime.fleet.by_thing[thing]
        path, _, query = wanted.url.partition("?expires=")

        def end(at_ms: int, status: int, error: str) -> None:
            self.runtime.tell(index, DownloadEnded(wanted.token, status, error), at_ms)

        at_ms = now_ms + self.latency_ms
        if now_ms >= int(query or now_ms + 1):
            return end(at_ms, 403, "HTTP 403")
        if path not in self.objects:
            return end(at_ms, 404, "HTTP 404")
        rest = self.objects[path][wanted.offset :]
        if not rest:
            return end(at_ms, 416, "HTTP 416")
        cut = self.cuts.popleft() if self.cuts else len(rest)
        body = rest[:cut][: wanted.size_max - wanted.offset + 1]
        rate = wanted.rate_kib_per_s
        chunk_ms = max(CHUNK_MS, int(CHUNK_BYTES / 1.024 / rate)) if rate else CHUNK_MS
        for start in range(0, len(body), CHUNK_BYTES):
            at_ms += chunk_ms
            self.runtime.tell(index, Chunk(wanted.token, body[start : start + CHUNK_BYTES]), at_ms)
        return end(at_ms, 206 if wanted.offset else 200, "connection reset" if cut < len(rest) else "")


def _merge(into: Json, news: Json) -> None:
    for name, value in news.items():
        if value is None:
            into.pop(name, None)
        elif isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _differing(desired: Json, reported: Json) -> Json:
    """What is desired and not so reported, down to the leaves."""
    found: Json = {}
    for name, value in desired.items():
        known = reported.get(name)
        if isinstance(value, dict) and isinstance(known, dict):
            if below := _differing(value, known):
                found[name] = below
        elif value != known:
            found[name] = value
    return found
