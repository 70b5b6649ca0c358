"""What an operator does while a scenario plays: shadows, control requests, firmware, jobs, and the sandbox's parts.

Rules: calls that wait for an answer are made in threads, never on the engine's loop. What the service refuses ends
the run with its words. Each thing done is written to the ledger, with the things it was done to.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulator import firmware
from simulator.errors import BackendUnavailable, UsageError
from simulator.faults._part import PartFault
from simulator.fleet import Fleet
from simulator.ledger import Event, Ledger
from simulator.ops import catalogue, jobs
from simulator.ops.aws import Aws
from simulator.runtime.sandbox import Sandbox, until
from simulator.runtime.timeline import Order
from simulator.steps import Control, Disturb, Job, Part, Publication, Relieve, SetDesired

THREADS = 16
KIB_OF_A_NEW_VERSION = 256


class Operator:
    """Carries orders out against one target."""

    def __init__(
        self, aws: Aws | None, sandbox: Sandbox | None, ledger: Ledger, now_ms: Callable[[], int], key_file: Path
    ) -> None:
        """`key_file` holds the manufacturer's key."""
        self._aws, self._sandbox, self._ledger, self._now_ms = aws, sandbox, ledger, now_ms
        self._key_file = key_file
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="operator")
        self._lasting: dict[asyncio.Task[None], tuple[str, asyncio.Event]] = {}  # kinds of faults, and their ends
        self._told = 0

    async def do(self, order: Order, fleet: Fleet) -> None:
        """One order, to its end; BackendUnavailable when there is nobody to carry it out."""
        try:
            match order:
                case SetDesired(state, things):
                    await self._each(things, lambda aws, thing: _set_desired(aws, thing, dict(state)))
                    self._note("desired_set", things, {"state": dict(state)})
                case Control(name, value, things):
                    topics = {thing: _request_topic(fleet, thing) for thing in things}
                    await self._each(things, lambda aws, thing: _control(aws, topics[thing], name, value))
                    self._note("control_sent", things, {"action": name})
                case Publication(version, packages, signed):
                    wanted = packages or tuple(sorted({device.package for device in fleet.devices}))
                    await self._in_thread(lambda: self._publish(version, wanted, signed))
                    self._note(
                        "firmware_published", (), {"version": version, "packages": list(wanted), "signed": signed}
                    )
                case Job(version, things, options):
                    of = {thing: fleet.devices[fleet.by_thing[thing]].package for thing in things}
                    await self._in_thread(lambda: self._jobs(version, of, dict(options)))
                case Part(part, action, for_s):
                    await self._part(part, action, for_s, asyncio.Event())
                case Disturb(fault):
                    self._disturb(fault)
                case Relieve(kind):
                    await self._relieve(kind)
        except ClientError as error:
            raise BackendUnavailable(f"the account refuses '{type(order).__name__}': {error}") from None
        except BotoCoreError as error:
            raise BackendUnavailable(f"the cloud does not answer: {error}") from None

    async def settle(self) -> None:
        """End the faults of the sandbox's parts: who is away comes back at once, but the dead."""
        await self._relieve(None)

    def close(self) -> None:
        """Wait for what is under way."""
        for task in self._lasting:
            task.cancel()
        self._pool.shutdown(cancel_futures=True)

    # Inside

    def _account(self) -> Aws:
        if self._aws is None:
            raise BackendUnavailable("this step needs an AWS account or the sandbox, and the target has neither")
        return self._aws

    async def _in_thread(self, do: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, do)

    async def _each(self, things: Iterable[str], do: Callable[[Aws, str], object]) -> None:
        aws, loop = self._account(), asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._pool, do, aws, thing) for thing in things))

    def _publish(self, version: str, packages: Iterable[str], signed: bool) -> None:
        key = firmware.signing_key(self._key_file) if signed else Ed25519PrivateKey.generate()
        known = {release.version: release for release in firmware.releases()}
        release = known.get(version) or firmware.Firmware(
            version=version, packages=list(packages), size_kib=KIB_OF_A_NEW_VERSION
        )
        catalogue.catalogue(self._account(), [firmware.build(release, package, key) for package in packages])

    def _jobs(self, version: str, package_of: dict[str, str], options: dict[str, Any]) -> None:
        aws = self._account()
        for package in sorted(set(package_of.values())):
            things = [thing for thing, of in package_of.items() if of == package]
            document, arn = jobs.ota_document(aws, package, version)
            for first in range(0, len(things), jobs.TARGETS_MAX):
                some = things[first : first + jobs.TARGETS_MAX]
                wanted = jobs.parameters(
                    aws, jobs.generated_id(f"scenario-{package}-{first}", datetime.now(UTC)),
                    jobs.targets(aws, [], some), document, destinations=[arn], **_configs(options),
                )  # fmt: skip
                job_id = str(jobs.create(aws, wanted)["jobId"])
                self._note("job_made", some, {"job_id": job_id, "version": version})

    def _the_sandbox(self, what: str) -> Sandbox:
        if self._sandbox is None:
            raise UsageError(f"'{what}' needs the sandbox: it is not ours to touch on another target")
        return self._sandbox

    async def _part(self, part: str, action: str, for_s: float | None, end: asyncio.Event) -> None:
        sandbox = self._the_sandbox(f"{action} of the {part}")
        self._note(f"part_{action}", (), {"part": part, "for_s": for_s})
        await sandbox.disturb(part, action, for_s, end)
        self._note("part_back", (), {"part": part}) if action != "kill" else None

    def _disturb(self, fault: PartFault) -> None:
        """Let a fault befall a part, and go on."""
        kind = str(fault.params["kind"])
        self._the_sandbox(kind)
        self._note("fault_injected", (), {"fault": kind, "params": fault.params})
        end = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._last(fault, kind, end))
        self._lasting[task] = kind, end
        task.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[None]") -> None:
        del self._lasting[task]
        if not task.cancelled():
            task.exception()  # the sandbox tells of it, to whom asks whether it is well

    async def _last(self, fault: PartFault, kind: str, end: asyncio.Event) -> None:
        part, sandbox = fault.befalls, self._the_sandbox(kind)
        if fault.action is not None:
            # A restart without an end is one that comes back at once; a pause lasts until it is cleared.
            for_s = 0.0 if fault.for_s is None and fault.action == "restart" else fault.for_s
            await self._part(part, fault.action, for_s, end)
            if fault.action == "kill":
                return
        else:
            self._told += 1
            name = f"{kind}-{self._told}"
            sandbox.tell(part, {"disturb": {**fault.order, "name": name}})
            await until(end, fault.for_s)
            sandbox.tell(part, {"clear": name})
        self._note("fault_cleared", (), {"fault": kind})

    async def _relieve(self, kind: str | None) -> None:
        tasks = [task for task, (of, _) in self._lasting.items() if kind in (of, None)]
        for task in tasks:
            self._lasting[task][1].set()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _note(self, kind: str, things: Iterable[str], detail: dict[str, Any]) -> None:
        for thing in list(things) or [""]:
            self._ledger.note(Event(self._now_ms(), "run", kind, thing, detail))


def _set_desired(aws: Aws, thing: str, state: dict[str, Any]) -> None:
    aws.data.update_thing_shadow(thingName=thing, payload=orjson.dumps({"state": {"desired": state}}))


def _control(aws: Aws, topic: str, name: str, value: Any) -> None:
    control = {"name": name, "id": uuid.uuid4().hex[:16], **({} if value is None else {"value": value})}
    aws.data.publish(topic=topic, qos=1, payload=orjson.dumps({"data": {"control": control}}))


def _request_topic(fleet: Fleet, thing: str) -> str:
    return fleet.devices[fleet.by_thing[thing]].topic("iotlink/{env}/{hub}/{thing}/event/pub/control_request/json")


def _configs(options: dict[str, Any]) -> dict[str, Any]:
    """The step's options as CreateJob has them."""
    found: dict[str, Any] = {}
    if rate := options.get("rate_per_minute"):
        found["rate"] = {"maximumPerMinute": rate}
    if minutes := options.get("timeout_minutes"):
        found["timeout"] = {"inProgressTimeoutInMinutes": minutes}
    if percent := options.get("abort_percent"):
        criteria = {"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": percent,
                    "minNumberOfExecutedThings": 1}  # fmt: skip
        found["abort"] = {"criteriaList": [criteria]}
    return found
