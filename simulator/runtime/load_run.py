"""One load test from start to end: the timeline beside the shape, levels, checks, report, verdict.

The devices are switched on and off by users of a load tool, in engines that are somewhere else (`engines`); this is
what a run is without them. It ends when it is told to.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from simulator.checks import Facts, Result
from simulator.checks.disagreements import Disagreements
from simulator.errors import INTERRUPTED, BackendUnavailable, FleetsimError
from simulator.ledger import Event, Ledger
from simulator.ops import outcome
from simulator.ops.aws import Aws
from simulator.report import facts as told
from simulator.report import html, json_report, junit
from simulator.report.facts import Report, Verdict
from simulator.runtime import account, accounts, auditing, loaded, strain
from simulator.runtime.answers import Answers
from simulator.runtime.brief import Brief
from simulator.runtime.claims import Claims
from simulator.runtime.conductor import Conductor, Record
from simulator.runtime.course import Gauges
from simulator.runtime.engines import EngineFailed, Engines, Tell
from simulator.runtime.hops import Hops
from simulator.runtime.live import Snapshot
from simulator.runtime.meter import MQTT, Row
from simulator.runtime.operator import Operator
from simulator.runtime.picture import Pictures
from simulator.runtime.run_folder import RunFolder
from simulator.runtime.sandbox import PartEnded, Sandbox
from simulator.runtime.spans import Spans
from simulator.runtime.watch import Watch
from simulator.shapes import Knee
from simulator.steps import Entry
from simulator.words import number

ACCOUNT_MAX_S = 30.0
LEFT_BEHIND_MAX_S = 2.0
LOOK_S = 0.05
NS_PER_MS = 1e6

End = Literal["stopped", "interrupted"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where tests are made: a target that is ready, and a fleet that is provisioned there."""

    brief: Brief
    sandbox: Sandbox | None
    aws: Aws | None
    key_file: Path
    asked: tuple[str, str]  # scenario and target as the user named them
    out_dir: Path | None = None  # for the report; absent: none is written

    def alive(self) -> None:
        """Raises when a part of the sandbox is gone."""
        if self.sandbox:
            self.sandbox.check()


class LoadConductor(Conductor):
    """Plays the timeline, and goes on until the load is over."""

    def __init__(self, engines: Engines, sampled: Callable[[], None], *rest: Any) -> None:
        super().__init__(*rest)
        self._engines, self.sampled = engines, sampled
        self.over = asyncio.Event()

    def _sample(self) -> None:
        super()._sample()
        self.sampled()

    async def _timeline(self) -> None:
        playing = asyncio.ensure_future(super()._timeline())
        over = asyncio.ensure_future(self.over.wait())
        try:
            await asyncio.wait((playing, over), return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                playing.result()
                self.record.phase = "load"
                await over
        finally:
            for task in (playing, over):
                task.cancel()
            await asyncio.gather(playing, over, return_exceptions=True)

    def roster(self) -> list[Entry]:
        on = self._engines.on()
        return [
            entry._replace(faulted=entry.thing in self._engines.broken, started=index in on)
            for index, entry in enumerate(super().roster())
        ]

    def faults_of(self, index: int) -> list[str]:
        return self._engines.faults_of(index)

    def facts(self) -> Facts:
        facts = super().facts()
        facts.latencies = self._engines.rows.latencies()
        return facts


class LoadRun:
    """One test."""

    def __init__(self, place: Place, number: int, claims: Claims, tell: Tell, show: Callable[[Snapshot], None]) -> None:
        brief = place.brief
        self._place, self._number = place, number
        self.ledger = Ledger()
        now_ms = _now_ms()
        self.record = Record(now_ms)
        # A picture of the fleet: it is never run.
        self.fleet = brief.scenario.build(brief.profiles, brief.seed, now_ms, brief.public_key)
        self.engines = Engines(self.fleet, claims, self.ledger, tell)
        self.record.strain = self.engines.strain
        self.watch = Watch(brief.addresses.api_url, self.ledger, brief.addresses.api_headers)
        self.lost: list[tuple[str, str]] = []  # (worker, how) of those that died
        self.levels: list[told.Level] = []
        self._level_ms = 0  # when it began
        self._base: tuple[dict[str, Counter[str]], Mapping[str, int], int] = ({}, {}, 0)
        self._operator = Operator(place.aws, place.sandbox, self.ledger, self.engines.now_ms, place.key_file)
        self.conductor = LoadConductor(
            self.engines, self._sampled, brief.scenario, brief.seed, self.fleet, self.engines, self.watch, self.record,
            place.alive, show, self._operator,
        )  # fmt: skip
        self._methods = [brief.profiles[device.profile].channel.upper() for device in self.fleet.devices]
        self._hops: Hops | None = None
        self._whole = True  # the audit looked at every message
        self._spans, self._answers, self._pictures = Spans(), Answers(), Pictures()
        self._folder: RunFolder | None = None
        if place.out_dir:
            place.out_dir.mkdir(parents=True, exist_ok=True)
            self._folder = RunFolder(place.out_dir)
            self._folder.begin(brief.scenario, brief.seed)

    @property
    def start_ms(self) -> int:
        """When the physics starts, on all engines."""
        return self.record.started_at_ms

    async def play(self) -> None:
        """Until it is over; FleetsimError when something ends it."""
        try:
            await self.conductor.play()
        except (BotoCoreError, ClientError) as error:
            raise BackendUnavailable(f"the cloud does not answer: {error}") from None

    def note(self, kind: str, **detail: Any) -> None:
        """Write something of the run itself to its ledger."""
        self.ledger.note(Event(self.engines.now_ms(), "run", kind, "", detail))

    # While it goes on

    def picture(self, snapshot: Snapshot) -> dict[str, Any]:
        """The test now, for whoever shows it."""
        engines = self.engines
        return self._pictures.draw(snapshot, engines.rows.total, engines.course, len(engines.on()), self._spans.now())

    def last_picture(self) -> dict[str, Any]:
        """The test as it was at its end."""
        return self.picture(replace(self.conductor.snapshot(), phase="over"))

    def _sampled(self) -> None:
        """Once a second, beside what every run samples."""
        self._spans.read(self.ledger.events)
        if rows := self._answers.read(self.ledger.events):
            self.engines.measured(rows)
        devices, alarms = self.fleet.devices, self.watch.alarms
        connected = Counter(method for method, device in zip(self._methods, devices, strict=True) if device.online)
        is_open = sum(alarm["state"] not in ("closed", "escalated") for alarm in alarms)
        sums = self.ledger.attempted.total(), self.ledger.acknowledged.total()
        gauges = Gauges(*sums, len(self.engines.on()), connected, is_open)
        self.engines.course.gauge(self.engines.now_ms(), gauges)

    # Levels

    def begin_level(self) -> None:
        """What happens from here on is of another level."""
        self.engines.rows.begin_level()
        self._level_ms = _now_ms()
        self._base = (
            {hop: Counter(getattr(self.ledger, hop)) for hop in accounts.HOPS}, dict(self.watch.stored or {}),
            len(self.ledger.events),
        )  # fmt: skip

    def judge(self, devices: int) -> told.Level:
        """Was the level good?"""
        assert self._place.brief.scenario.load
        shape = self._place.brief.scenario.load.shape
        assert isinstance(shape, Knee)
        facts = self._level_facts()
        failed = next((result for check in shape.checks if not (result := check.judge(facts)).passed), None)
        why = "; ".join(filter(None, (_why(failed) if failed else "", self._slow_level())))
        level = told.Level(devices, not why, why)
        self.levels.append(level)
        self.note("level_judged", devices=devices, result="good" if level.passed else "bad", why=level.why)
        return level

    @property
    def knee(self) -> int | None:
        """The last good level before a bad one; None while there is none."""
        good = None
        for level in self.levels:
            if not level.passed:
                return good
            good = level.devices
        return good

    def _slow_level(self) -> str:
        """Why this level says nothing of the backend; the load is inconclusive then."""
        begin_ms, bounds = self._level_ms, account.bounds(self._place.brief.scenario, self.fleet)
        samples = {worker: [s for s in of if s.at_ms > begin_ms] for worker, of in self.engines.strain.items()}
        if slow := strain.bottleneck(samples, bounds):
            self.record.slow = slow
        return slow

    def _level_facts(self) -> Facts:
        before, stored_before, events = self._base
        facts, ledger = self.conductor.facts(), Ledger()
        for hop in accounts.HOPS:
            setattr(ledger, hop, getattr(self.ledger, hop) - before.get(hop, Counter()))
        ledger.events = self.ledger.events[events:]
        facts.ledger = ledger
        facts.latencies = self.engines.rows.latencies(of_level=True)
        if facts.stored is not None:
            facts.stored = {kind: count - stored_before.get(kind, 0) for kind, count in facts.stored.items()}
        return facts

    # The end

    async def end(self, how: End, playing: "asyncio.Task[None]") -> Report:
        """Count, judge, report."""
        try:
            report = await (self._interrupted(playing) if how == "interrupted" else self._stopped(playing))
        finally:
            self._operator.close()
            await self.watch.close()
        self._spans.read(self.ledger.events)
        load = self._load(went_wrong=report.verdict != "passed" and bool(report.checks))
        why = f"where: {load.where}" if load.where else ""
        report = replace(report, load=load, reason=" · ".join(filter(None, (report.reason, self._losses(), why))))
        if self._place.out_dir:
            await asyncio.to_thread(self._write, report)
        return report

    async def _interrupted(self, playing: "asyncio.Task[None]") -> Report:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        return self._report(self.conductor.facts(), "interrupted", INTERRUPTED, "stopped by Ctrl-C or SIGTERM")

    async def _stopped(self, playing: "asyncio.Task[None]") -> Report:
        self.conductor.over.set()
        try:
            await playing
            merged = await self._merged()
            facts = self.conductor.facts()
            if nobody := self._nobody_connected():
                return self._report(facts, "unavailable", BackendUnavailable.exit_code, nobody)
            await self._audit(facts, merged)
            await asyncio.to_thread(self._ask_the_cloud, facts)
        except EngineFailed as error:
            return self._report(self.conductor.facts(), "failed", error.exit_code, str(error), error.log_tail)
        except (BotoCoreError, ClientError, FleetsimError) as error:
            return self._gone(error)
        return self._report(facts, None, 0)

    async def _merged(self) -> accounts.Merged:
        """Everything that any engine said, also those whose worker died."""
        self.engines.account()
        await _until(lambda: not self.engines.accounting, ACCOUNT_MAX_S)
        left_behind = {worker: self._account_of(worker) for worker, _ in self.lost}
        await _until(lambda: all(path.exists() for path in left_behind.values()), LEFT_BEHIND_MAX_S)
        there = {worker: path for worker, path in left_behind.items() if path.exists()}
        return await asyncio.to_thread(self.engines.merged, there)

    def _account_of(self, worker: str) -> Path:
        return self._place.brief.folder / f"account-{self._number}-{worker}.npz"

    async def _audit(self, facts: Facts, merged: accounts.Merged) -> None:
        brief = self._place.brief
        source = auditing.source(brief.target, brief.addresses, self._place.aws, facts.begin_ms)
        patience_s = auditing.PATIENCE_S if facts.stored is None else 0.0  # the conductor has waited already
        hops = self._hops_of()
        try:
            facts.audit = await auditing.audited(
                merged, source, self.ledger.events, facts.end_ms, self.fleet.carriers(), patience_s, hops.add
            )
        except BackendUnavailable as error:
            facts.no_audit = str(error)
        else:
            self._hops, self._whole = hops, not facts.audit.unaudited
            self.engines.rows.add(hops.rows())
            facts.latencies = self.engines.rows.latencies()

    def _hops_of(self) -> Hops:
        """To follow each message over the time that there was."""
        speaks = dict(zip(self.fleet.by_thing, self._methods, strict=True))
        speaks |= {child: speaks[hub] for child, hub in self.fleet.carriers().items()}
        self.engines.course.end()
        return Hops(lambda thing: speaks.get(thing, MQTT), self.engines.course)

    def _ask_the_cloud(self, facts: Facts) -> None:
        aws, sandbox = self._place.aws, self._place.sandbox
        if aws is None or (sandbox and "cloud" in sandbox.dead):
            return
        made = [str(event.detail["job_id"]) for event in self.ledger.events if event.kind == "job_made"]
        facts.executions = outcome.executions(aws, list(dict.fromkeys([*self.watch.jobs(self.ledger.events), *made])))
        if any(isinstance(check, Disagreements) for check in self._place.brief.scenario.checks):
            managed = [(device.thing, device.package) for device in facts.devices if device.managed and device.online]
            facts.packages = outcome.packages(aws, managed)

    def _nobody_connected(self) -> str:
        """Why not a single device came through, if none did."""
        row = self.engines.rows.named("connect")
        if row.latency.count or not row.failed:
            return ""
        (reason, _), *_ = row.failed.most_common(1)
        return f"no device could connect: {reason}"

    def _gone(self, error: Exception) -> Report:
        """The backend does not answer. When a part of the sandbox died, that is the reason, and not what followed."""
        with suppress(BackendUnavailable):
            try:
                self._place.alive()
            except BackendUnavailable as end:
                error = end
        said = str(error) if isinstance(error, FleetsimError) else f"the cloud does not answer: {error}"
        tail = error.log_tail if isinstance(error, PartEnded) else []
        return self._report(self.conductor.facts(), "unavailable", BackendUnavailable.exit_code, said, tail)

    def _report(
        self, facts: Facts, verdict: Verdict | None, exit_code: int, reason: str = "", tail: Sequence[str] = ()
    ) -> Report:
        brief = self._place.brief
        return account.report(
            brief.scenario, brief.seed, self._place.asked, self.fleet, self.record, facts, _now_ms(), verdict,
            exit_code, reason, tail,
        )  # fmt: skip

    def _losses(self) -> str:
        return "; ".join(how for _, how in self.lost)

    def _load(self, went_wrong: bool) -> told.Load:
        load, course = self._place.brief.scenario.load, self.engines.course
        shape = load.shape.model_dump(mode="json", exclude={"checks"}) if load and load.shape else {}
        workers = [self._worker(name, counts) for name, counts in self.engines.counters().items()]
        rows = [_row(row) for _, row in sorted(self.engines.rows.total.items())]
        faults = self._spans.told()
        checks = self._place.brief.scenario.checks
        troubles, where = loaded.trouble(course, self._hops, faults, checks) if went_wrong else ([], "")
        return told.Load(
            shape, self.engines.on_most, workers, rows, list(self.levels), self.knee, course.every_s,
            loaded.courses(course, self._hops, self._whole), faults, self._spans.left_out, where, troubles,
        )  # fmt: skip

    def _worker(self, name: str, counts: Mapping[str, Counter[str]]) -> told.Worker:
        attempted, sent, acknowledged = (counts[hop].total() for hop in ("attempted", "sent", "acknowledged"))
        return told.Worker(name, attempted, sent, acknowledged, dict(self.lost).get(name, ""))

    def _write(self, report: Report) -> None:
        place, out = self._place, self._place.out_dir
        assert out
        assert self._folder
        html.write(report, out / "report.html")
        json_report.write(report, out / "report.json")
        junit.write(report, out / "junit.xml")
        self._folder.end(
            report, place.brief.scenario, self.ledger, self.record.faults, None, self.start_ms, place.brief.target.kind,
            place.brief.public_key,
        )  # fmt: skip


def _why(result: Result) -> str:
    measured = "not measured" if result.measured is None else f"{number(result.measured)} {result.unit}".strip()
    return f"{result.name}: {measured}, wanted {result.bound} {result.unit}".strip() + (
        f" ({result.why})" if result.why else ""
    )


def _row(row: Row) -> told.LoadRow:
    p50, p95, p99 = (round(row.latency.quantile(q) / NS_PER_MS, 3) for q in (0.5, 0.95, 0.99))
    slowest = round(row.latency.high / NS_PER_MS, 3)
    count, failed = row.latency.count + row.untimed, row.failed.total()
    service = [round(row.service.quantile(q) / NS_PER_MS, 3) if row.service.count else None for q in (0.5, 0.99)]
    reasons = dict(row.failed.most_common())
    return told.LoadRow(row.method, row.name, count, failed, p50, p95, p99, slowest, reasons, *service)


async def _until(done: Callable[[], bool], within_s: float) -> None:
    deadline_s = asyncio.get_running_loop().time() + within_s
    while not done() and asyncio.get_running_loop().time() < deadline_s:
        await asyncio.sleep(LOOK_S)


def _now_ms() -> int:
    import time

    return time.time_ns() // 1_000_000
