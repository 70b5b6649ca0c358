"""Registration by a template: of one thing (RegisterThing), and of many from a file in S3 (bulk registration).

Rules: how one thing is registered says `registrar`. Bulk registration acts with the rights of the role that it was
given, one task at a time; its lines that fail are reported, and the others are registered. A task lives as long as the
process.
"""

import asyncio
import json
import re
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.cloud.config import ACCOUNT_ID, CloudConfig
from simulator.cloud.emulator import Emulator
from simulator.cloud.objects import Objects
from simulator.cloud.registration.registrar import Allows, Registrar
from simulator.cloud.registration.reports import Reports
from simulator.cloud.registration.template import Template, TemplateError
from simulator.cloud.service import Request, ServiceError

_TASKS_MAX = 1000
_FILE_BYTES_MAX = 64 * 1024 * 1024
_PAGE = 25
_IN_PROGRESS, _CANCELLING, _CANCELLED = "InProgress", "Cancelling", "Cancelled"

Json = dict[str, Any]


class _InvalidError(ServiceError):
    code, status = "InvalidRequestException", 400


class _NotFoundError(ServiceError):
    code, status = "ResourceNotFoundException", 404


@dataclass(slots=True)
class _Task:
    id: str
    created_ms: int
    modified_ms: int
    asked: Json
    status: str = _IN_PROGRESS
    message: str | None = None
    succeeded: int = 0
    failed: int = 0
    percent: int = 0
    results: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    reported: set[str] = field(default_factory=set)


class Registration:
    """Answers requests about registration."""

    operations = frozenset(
        {
            "DescribeThingRegistrationTask",
            "ListThingRegistrationTaskReports",
            "ListThingRegistrationTasks",
            "RegisterThing",
            "StartThingRegistrationTask",
            "StopThingRegistrationTask",
        }
    )
    invalid = "InvalidRequestException"

    def __init__(self, emulator: Emulator, config: CloudConfig) -> None:
        self._emulator = emulator
        self._registrar = Registrar(emulator, f"arn:aws:iot:{config.region}:{ACCOUNT_ID}:")
        self._objects = Objects()
        self._reports = Reports(emulator, config)
        self._tasks: dict[str, _Task] = {}
        self._running: asyncio.Task[None] | None = None

    def arn(self, operation: str, in_path: Mapping[str, str]) -> str:
        """These operations have no resource."""
        return "*"

    async def answer(self, request: Request) -> Mapping[str, Any] | None:
        """Do one operation."""
        handler = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", request.operation).lower())
        result: Mapping[str, Any] | None = await handler(request.parameters, request.now_ms)
        return result

    # -- one thing ---

    async def _register_thing(self, p: Json, now_ms: int) -> Json:
        try:
            plan = Template(p["templateBody"]).plan(p.get("parameters", {}))
        except TemplateError as problem:
            raise _InvalidError(str(problem)) from None
        with self._emulator.scoped():
            # Whoever may register a thing may do what the template says: the caller's policy was asked for that.
            return await self._registrar.register(plan, lambda action, resource: True)

    # -- many things ---

    async def _start_thing_registration_task(self, p: Json, now_ms: int) -> Json:
        try:
            template = Template(p["templateBody"])
        except TemplateError as problem:
            raise _InvalidError(str(problem)) from None
        if self._running is not None and not self._running.done():
            raise _InvalidError("Another thing registration task is running; there can be one at a time")
        task = _Task(str(uuid.uuid4()), now_ms, now_ms, dict(p))
        self._tasks[task.id] = task
        if len(self._tasks) > _TASKS_MAX:
            del self._tasks[next(iter(self._tasks))]
        self._running = asyncio.get_running_loop().create_task(self._run(task, template))
        return {"taskId": task.id}

    async def _run(self, task: _Task, template: Template) -> None:
        with self._emulator.scoped():
            try:
                lines = self._lines(task)
            except ServiceError as problem:
                task.status, task.message = "Failed", str(problem)
                return
            offset = 0
            for number, line in enumerate(lines, 1):
                if task.status == _CANCELLING:
                    break
                if line.strip():
                    await self._line(task, template, number, offset, line)
                offset += len(line)
                task.percent = 100 * number // len(lines)
                await asyncio.sleep(0)  # requests are answered meanwhile
        for kind, report in (("RESULTS", task.results), ("ERRORS", task.errors)):
            if report:
                self._reports.put(f"{task.id}/{kind.lower()}.json", report)
                task.reported.add(kind)
                report.clear()
        task.status = _CANCELLED if task.status == _CANCELLING else "Completed"

    def _lines(self, task: _Task) -> list[bytes]:
        """The lines of the input file, read with the rights of the role."""
        bucket, key, role = (task.asked[name] for name in ("inputFileBucket", "inputFileKey", "roleArn"))
        if not self._allows(role)("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}"):
            raise _InvalidError(f"IoT cannot assume role {role}, or the role may not read s3://{bucket}/{key}")
        content = self._objects.read(bucket, key, None)
        if content is None:
            raise _InvalidError(f"There is no s3://{bucket}/{key}")
        if len(content) > _FILE_BYTES_MAX:
            raise _InvalidError(f"s3://{bucket}/{key} has more than {_FILE_BYTES_MAX} bytes")
        return content.splitlines(keepends=True)

    def _allows(self, role: str) -> Allows:
        iot = self._emulator.iot
        return lambda action, resource: bool(iot._provisioning_role_allows(role, [(action, resource)]))

    async def _line(self, task: _Task, template: Template, number: int, offset: int, line: bytes) -> None:
        where = {"lineNumber": number, "offset": offset}
        try:
            try:
                parameters = json.loads(line)
            except (ValueError, RecursionError):
                parameters = None
            if not isinstance(parameters, dict):
                raise _InvalidError("The line is not a JSON object")
            try:
                plan = template.plan(parameters)
            except TemplateError as problem:
                raise _InvalidError(str(problem)) from None
            made = await self._registrar.register(plan, self._allows(task.asked["roleArn"]))
        except ServiceError as problem:
            task.failed += 1
            response = {"errorCode": problem.code, "errorMessage": str(problem)}
            task.errors.append(json.dumps({**where, "response": response}) + "\n")
            return
        task.succeeded += 1
        response = {"CertificatePem": made["certificatePem"], "ResourceArns": made["resourceArns"]}
        task.results.append(json.dumps({**where, "response": response}) + "\n")

    async def _stop_thing_registration_task(self, p: Json, now_ms: int) -> None:
        task = self._task(p["taskId"])
        if task.status == _IN_PROGRESS:
            task.status, task.modified_ms = _CANCELLING, now_ms

    async def _describe_thing_registration_task(self, p: Json, now_ms: int) -> Json:
        task = self._task(p["taskId"])
        return {
            "taskId": task.id,
            "creationDate": task.created_ms / 1000,
            "lastModifiedDate": task.modified_ms / 1000,
            **task.asked,
            "status": task.status,
            "message": task.message,
            "successCount": task.succeeded,
            "failureCount": task.failed,
            "percentageProgress": task.percent,
        }

    async def _list_thing_registration_tasks(self, p: Json, now_ms: int) -> Json:
        found = [task.id for task in self._tasks.values() if task.status == p.get("status", task.status)]
        part, token = _page(found, p)
        return {"taskIds": part, "nextToken": token}

    async def _list_thing_registration_task_reports(self, p: Json, now_ms: int) -> Json:
        task, kind = self._tasks.get(p["taskId"]), p["reportType"]
        if task is None:
            raise _InvalidError(f"Thing registration task {p['taskId']} not found")
        names = [f"{task.id}/{kind.lower()}.json"] if kind in task.reported else []
        part, token = _page(names, p)
        return {"resourceLinks": [self._reports.url(name) for name in part], "reportType": kind, "nextToken": token}

    def _task(self, task_id: str) -> _Task:
        try:
            return self._tasks[task_id]
        except KeyError:
            raise _NotFoundError(f"Thing registration task {task_id} not found") from None


def _page(names: list[str], p: Json) -> tuple[list[str], str | None]:
    """A page of names in their order, and the token for the rest."""
    start = 0
    if token := p.get("nextToken"):
        try:
            start = int(urlsafe_b64decode(token.encode()))
        except ValueError:
            raise _InvalidError("The nextToken is not valid") from None
    end = start + p.get("maxResults", _PAGE)
    return names[start:end], urlsafe_b64encode(str(end).encode()).decode() if end < len(names) else None
