"""One run from start to end: sandbox, provisioning, fleet, timeline, checks, report files, verdict.

Rules: everything that can be wrong in the input was found before this starts anything. Whatever ends the run —
its timeline, Ctrl-C, a dead backend — there is a report, and nothing of ours is left running.
"""

import asyncio
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvloop
from botocore.exceptions import BotoCoreError, ClientError

from simulator.audit import Audit
from simulator.checks import STORED_KINDS, Facts
from simulator.errors import INTERRUPTED, BackendUnavailable
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.ops import outcome
from simulator.ops.aws import Aws
from simulator.profiles import Profile
from simulator.recorder import BYTES_MAX, Recorder
from simulator.report import html, json_report, junit
from simulator.report.facts import Report, Verdict
from simulator.runtime import account, auditing, garbage
from simulator.runtime.conductor import Conductor, Record
from simulator.runtime.control import Controls
from simulator.runtime.control_server import ControlServer
from simulator.runtime.downloads import Downloads
from simulator.runtime.engine import DeviceFailed, Engine
from simulator.runtime.entrance import entrance
from simulator.runtime.live import Live
from simulator.runtime.operator import Operator
from simulator.runtime.run_folder import Mode, RunFolder
from simulator.runtime.sandbox import PartEnded
from simulator.runtime.setup import Setup
from simulator.runtime.watch import Watch
from simulator.scenarios import Scenario
from simulator.targets import Addresses, Target

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """A run as it was asked for, checked."""

    scenario: Scenario
    profiles: dict[str, Profile]
    seed: int
    target: Target
    out_dir: Path
    state_dir: Path | None = None  # absent: a temporary one
    asked: tuple[str, str] = ("", "")  # scenario and target as the user named them, to run it again
    record: Mode = "affected"  # whose wire log is kept
    record_bytes_max: int = BYTES_MAX
    stay: bool = False  # when the timeline is over, until somebody says that it is enough


def run(plan: Plan, say: Say) -> tuple[Report, list[Path]]:
    """Runs it; the report and its files. FleetsimError when it could not even start."""
    plan.out_dir.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(plan.out_dir, plan.record)
    folder.begin(plan.scenario, plan.seed)
    with ExitStack() as stack:
        _end_on_sigterm(stack)
        state_dir = plan.state_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleetsim-")))
        live = stack.enter_context(Live())
        stage = _Stage(plan, state_dir, live, say)
        report = stage.perform(stack)
    paths = [plan.out_dir / "report.html", plan.out_dir / "report.json"]
    html.write(report, paths[0])
    json_report.write(report, paths[1])
    paths.append(plan.out_dir / "junit.xml")
    junit.write(report, paths[2])
    stage.write_down(folder, report)
    return report, paths


def _end_on_sigterm(stack: ExitStack) -> None:
    """SIGTERM ends a run as Ctrl-C does: in order, with a report."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    stack.callback(signal.signal, signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _cancelled_by_sigterm() -> Iterator[None]:
    """On a loop, what a handler raises may come up in anybody's callback, and be lost there: the task is cancelled."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, _interrupt)


class _Stage:
    """What one run needs while it lasts."""

    def __init__(self, plan: Plan, state_dir: Path, live: Live, say: Say) -> None:
        self.plan, self.live, self.say = plan, live, say
        self.setup = Setup(plan.scenario, plan.profiles, plan.seed, plan.target, state_dir)
        self.ledger = Ledger()
        self.fleet: Fleet | None = None
        self.conductor: Conductor | None = None
        self.record = Record(0)
        self.recorder: Recorder | None = None
        self.public_key = b""
        self.control = ControlServer() if plan.target.kind == "sandbox" else None

    def perform(self, stack: ExitStack) -> Report:
        plan = self.plan
        try:
            if self.control:
                stack.callback(self.control.close)
                self.say("starting the sandbox")
            addresses = self.setup.addresses(stack, self.control.place if self.control else None)
            if link := entrance(addresses):
                self.say(f"watch it at {link}")
            aws = Aws(addresses)
            stack.callback(aws.close)
            if plan.target.has_account:
                self.say(f"provisioning {len(plan.scenario.things())} things")
            public_key = self.setup.provision(aws)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                facts = runner.run(self._interruptible(addresses, public_key, aws if plan.target.has_account else None))
            self._ask_the_cloud(aws, facts)
        except (KeyboardInterrupt, asyncio.CancelledError):
            return self._ended("interrupted", INTERRUPTED, "stopped by Ctrl-C or SIGTERM")
        except (BotoCoreError, ClientError, BackendUnavailable) as error:
            return self._gone(error)
        except DeviceFailed as error:
            return self._ended("failed", error.exit_code, str(error), error.log_tail)
        return self._report(facts, None, 0)

    # While it plays

    async def _interruptible(self, addresses: Addresses, public_key: bytes, aws: Aws | None) -> Facts:
        with _cancelled_by_sigterm():
            return await self._play(addresses, public_key, aws)

    async def _play(self, addresses: Addresses, public_key: bytes, aws: Aws | None) -> Facts:
        plan = self.plan
        downloads = Downloads(addresses.ca_file)
        # The physics starts with the run, so the fleet is made at its first moment.
        self.record.started_at_ms = _now_ms()
        self.fleet = plan.scenario.build(plan.profiles, plan.seed, self.record.started_at_ms, public_key)
        self.public_key = public_key
        if plan.record != "none":
            self.recorder = Recorder(self.fleet, plan.record_bytes_max)
        make_link = self.setup.links(addresses, asyncio.get_running_loop())
        engine = Engine(self.fleet, make_link, downloads, self.ledger, audit=Audit(STORED_KINDS, self.fleet.speaker))
        garbage.spare()
        self.record.strain = {"": engine.samples}
        watch = Watch(addresses.api_url, self.ledger, addresses.api_headers)
        alive = self.setup.sandbox.check if self.setup.sandbox else _nothing
        operator = Operator(aws, self.setup.sandbox, self.ledger, engine.now_ms, self.setup.key_file)
        self.conductor = Conductor(
            plan.scenario, plan.seed, self.fleet, engine, watch, self.record, alive, self.live.update, operator
        )
        controls = Controls(self.conductor, plan.stay)
        if plan.stay:
            self.conductor.stay = lambda: self._stay(controls)
        if self.control:
            self.control.controls = controls
            await self.control.serve()
        try:
            await self.conductor.play()
            facts = self.conductor.facts()
            await self._audit(facts, engine, addresses, aws)
            return facts
        finally:
            if self.control:
                await self.control.stop()
            operator.close()
            await engine.close()
            await watch.close()

    async def _stay(self, controls: Controls) -> None:
        """Until Ctrl-C, which then is the run's good end, or until somebody at the controls ends it."""
        self.say("the timeline is over; Ctrl-C ends the run, and then it is judged")
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, controls.left.set)
        try:
            await controls.left.wait()
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    # After

    async def _audit(self, facts: Facts, engine: Engine, addresses: Addresses, aws: Aws | None) -> None:
        """Look at every message: what became of it?"""
        assert engine.audit
        assert self.fleet
        source = auditing.source(self.plan.target, addresses, aws, facts.begin_ms)
        patience_s = auditing.PATIENCE_S if facts.stored is None else 0.0  # the conductor has waited already
        try:
            facts.audit = await auditing.audited(
                engine.audit, source, self.ledger.events, facts.end_ms, self.fleet.carriers(), patience_s
            )
        except BackendUnavailable as error:
            facts.no_audit = str(error)

    def write_down(self, folder: RunFolder, report: Report) -> None:
        """Everything that is needed to let it happen again."""
        folder.end(
            report, self.plan.scenario, self.ledger, self.record.faults, self.recorder, self.record.started_at_ms,
            self.plan.target.kind, self.public_key,
        )  # fmt: skip
        if self.recorder and self.recorder.missed:
            size_mb = self.plan.record_bytes_max >> 20
            self.say(f"the last {self.recorder.missed:,} calls of devices were not recorded: {size_mb} MB were full")

    def _ask_the_cloud(self, aws: Aws, facts: Facts) -> None:
        assert self.conductor
        if not self.plan.target.has_account or (self.setup.sandbox and "cloud" in self.setup.sandbox.dead):
            return
        made = [str(event.detail["job_id"]) for event in self.ledger.events if event.kind == "job_made"]
        jobs = list(dict.fromkeys([*self.conductor.watch.jobs(self.ledger.events), *made]))
        facts.executions = outcome.executions(aws, jobs)
        facts.packages = outcome.packages(
            aws, [(device.thing, device.package) for device in facts.devices if device.managed]
        )

    def _gone(self, error: Exception) -> Report:
        """The backend does not answer. When a part of the sandbox died, that is the reason, and not what followed."""
        try:
            if self.setup.sandbox:
                self.setup.sandbox.check()
        except BackendUnavailable as end:
            error = end
        said = str(error) if isinstance(error, BackendUnavailable) else f"the cloud does not answer: {error}"
        tail = error.log_tail if isinstance(error, PartEnded) else []
        return self._ended("unavailable", BackendUnavailable.exit_code, said, tail)

    def _ended(self, verdict: Verdict, exit_code: int, reason: str, log_tail: list[str] | None = None) -> Report:
        facts = self.conductor.facts() if self.conductor else Facts(self.ledger)
        return self._report(facts, verdict, exit_code, reason, log_tail or [])

    def _report(
        self,
        facts: Facts,
        verdict: Verdict | None,
        exit_code: int,
        reason: str = "",
        log_tail: list[str] | None = None,
    ) -> Report:
        plan = self.plan
        now_ms = _now_ms()
        self.record.started_at_ms = self.record.started_at_ms or now_ms
        fleet = self.fleet or plan.scenario.build(plan.profiles, plan.seed, now_ms, b"")
        return account.report(
            plan.scenario, plan.seed, plan.asked, fleet, self.record, facts, now_ms,
            verdict, exit_code, reason, log_tail or [],
        )  # fmt: skip


def _nothing() -> None:
    """A target that is not ours to watch."""


def _now_ms() -> int:
    import time

    return time.time_ns() // 1_000_000
