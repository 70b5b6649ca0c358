"""The conductor: plays a scenario's timeline on an engine, watches the backend, and keeps the record of the run.

Rules: steps say what to do (steps.Command); only the conductor does it. While it plays it looks a few times a
second whether the sandbox is still alive, and stops the moment it is not. At the end the fleet falls silent
first, so that what is in flight arrives before anything is counted.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Protocol

from simulator.checks import STORED_KINDS, Check, Facts
from simulator.device import Device
from simulator.errors import BackendUnavailable, FleetsimError
from simulator.faults import Fault
from simulator.fleet import Fleet
from simulator.ledger import Event, Ledger
from simulator.profiles import Profile
from simulator.report.facts import Rate
from simulator.runtime.live import Alarm, Job, Snapshot
from simulator.runtime.operator import Operator
from simulator.runtime.strain import Sample
from simulator.runtime.timeline import Order, Timeline
from simulator.runtime.watch import Watch
from simulator.scenarios import Scenario
from simulator.steps import Clear, Disturb, Entry, Inject, Relieve

LOOK_S = 0.25
QUIET_MAX_S = 15.0
STILL_LOOKS = 12  # nothing new in the store for so many looks: what is missing does not come any more
RATES_MAX = 86_400


@dataclass(slots=True)
class Record:
    """What is kept of a run beside the ledger."""

    started_at_ms: int
    phase: str = "starting"
    rates: list[Rate] = field(default_factory=list)
    series: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=dict)
    faults: list[tuple[int, Inject, str]] = field(default_factory=list)
    strain: dict[str, list[Sample]] = field(default_factory=dict)  # by worker: how well its engine kept pace
    slow: str = ""  # why the generator was the bottleneck, if that is known already


class Driver(Protocol):
    """What runs the devices: one engine, or many."""

    loop: asyncio.AbstractEventLoop

    @property
    def ledger(self) -> Ledger: ...

    @property
    def failure(self) -> FleetsimError | None: ...

    def now_ms(self) -> int: ...

    def start(self, index: int, after_s: float = 0.0) -> None: ...

    def stop(self, index: int, after_s: float = 0.0) -> None: ...

    def inject(self, index: int, fault: Fault) -> None: ...

    def clear(self, index: int, kind: str | None) -> None: ...

    def reading(self, index: int, now_ms: int) -> Mapping[str, float]: ...

    def silence(self) -> None: ...

    def settled(self) -> bool: ...


class Conductor:
    """Plays one scenario once."""

    def __init__(
        self, scenario: Scenario, seed: int, fleet: Fleet, engine: Driver, watch: Watch, record: Record,
        alive: Callable[[], None], show: Callable[[Snapshot], None], operator: Operator | None = None,
    ) -> None:  # fmt: skip
        """`alive` raises when the backend is gone; `show` gets a picture of the run a few times a second.

        `operator` does what needs an account or a sandbox; a scenario that needs neither needs none.
        """
        self.scenario, self.seed, self.fleet, self.engine = scenario, seed, fleet, engine
        self.watch, self.record = watch, record
        self._alive, self._show, self._operator = alive, show, operator
        self.stay: Callable[[], Awaitable[object]] | None = None  # what the run waits for when its timeline is over
        self._subjects = {name: profile.subject for name, profile in fleet.profiles.items()}
        self._carried_by = fleet.carriers()
        self._started: set[str] = set()
        self._member_of = dict(scenario.groups())
        self._jobs: dict[str, Job] = {}
        self._seen = 0

    @property
    def ledger(self) -> Ledger:
        return self.engine.ledger

    # What somebody at the controls sees (control.Conducted)

    @property
    def phase(self) -> str:
        return self.record.phase

    @property
    def elapsed_s(self) -> float:
        return (self.engine.now_ms() - self.record.started_at_ms) / 1000

    @property
    def devices(self) -> Sequence[Device]:
        return self.fleet.devices

    @property
    def profiles(self) -> Mapping[str, Profile]:
        return self.fleet.profiles

    def faults_of(self, index: int) -> list[str]:
        """The kinds of a device's faults."""
        return sorted(fault.kind for fault in self.fleet.devices[index].faults)

    async def play(self) -> None:
        """The whole timeline, then silence. Raises what `alive` raises, and DeviceFailed."""
        try:
            await self.watch.begin()
        except BackendUnavailable:
            self._alive()  # who died is a better reason than who does not answer
            raise
        timeline = asyncio.get_running_loop().create_task(self._timeline())
        looking = asyncio.get_running_loop().create_task(self._look())
        try:
            await asyncio.wait((timeline, looking), return_when=asyncio.FIRST_COMPLETED)
            for task in (looking, timeline):
                if task.done():
                    task.result()
            looking.cancel()  # From here on one asks the backend: two would write down each of its events twice.
            await asyncio.wait((looking,))
            if self._operator:
                await self._operator.settle()  # what is on its way can only arrive where somebody is
            await self._fall_silent()
            self._check()
        finally:
            for task in (timeline, looking):
                task.cancel()
            await asyncio.gather(timeline, looking, return_exceptions=True)

    def _check(self) -> None:
        self._alive()
        if self.engine.failure:
            raise self.engine.failure

    def facts(self) -> Facts:
        """What can be known now, for checks."""
        alarms = self.watch.alarms if self.watch.sees else None
        return Facts(
            self.ledger, self.fleet.facts(), alarms, self.watch.stored, subjects=self._subjects,
            carried_by=self._carried_by,
            begin_ms=self.record.started_at_ms, end_ms=self.engine.now_ms(),
            watched_s=self.watch.watched_s, unanswered_s=self.watch.unanswered_s,
        )  # fmt: skip

    async def _timeline(self) -> None:
        await Timeline(self, self.seed, self._phase).play(self.scenario.timeline)
        if self.stay:
            self.record.phase = "staying"
            await self.stay()

    def _phase(self, title: str) -> None:
        self.record.phase = title

    # What a timeline asks for (timeline.Stage)

    def now_ms(self) -> int:
        return self.engine.now_ms()

    def roster(self) -> list[Entry]:
        """The fleet as it is now."""
        channel = {name: profile.channel for name, profile in self.fleet.profiles.items()}
        return [
            Entry(d.thing, d.profile, bool(d.faults), self._member_of.get(d.thing, ""), d.version, channel[d.profile],
                  d.thing in self._started, d.online)
            for d in self.fleet.devices
        ]  # fmt: skip

    def start(self, thing: str, after_s: float) -> None:
        self._started.add(thing)
        self.engine.start(self.fleet.by_thing[thing], after_s)

    def stop(self, thing: str, after_s: float) -> None:
        self._started.discard(thing)
        self.engine.stop(self.fleet.by_thing[thing], after_s)

    def inject(self, command: Inject, name: str) -> None:
        if command.things:
            self.record.faults.append((self.engine.now_ms(), command, name))
        for thing in command.things:
            self.engine.inject(self.fleet.by_thing[thing], command.fault)

    def clear(self, command: Clear) -> None:
        for thing in command.things:
            self.engine.clear(self.fleet.by_thing[thing], command.fault)

    def passes(self, check: Check) -> bool:
        return check.judge(self.facts()).passed

    async def order(self, order: Order) -> None:
        if isinstance(order, Relieve) and self._operator is None:
            return  # no part of ours has a fault
        if isinstance(order, Disturb):
            self.record.faults.append((self.engine.now_ms(), Inject(order.fault, ()), self.record.phase))
        if self._operator is None:
            raise BackendUnavailable(
                f"'{type(order).__name__}' needs an account or the sandbox, and this target has none"
            )
        await self._operator.do(order, self.fleet)

    async def _look(self) -> None:
        """Runs beside the timeline until something is wrong."""
        looks = 0
        while True:
            self._check()
            await self.watch.poll()
            if looks % int(1 / LOOK_S) == 0:
                self._sample()
            self._show(self.snapshot())
            looks += 1
            await asyncio.sleep(LOOK_S)

    async def _fall_silent(self) -> None:
        """No device speaks any more; wait for acknowledgements and for the store to catch up."""
        self.record.phase = "counting"
        self.engine.silence()
        deadline_s = self.engine.loop.time() + QUIET_MAX_S
        before, still = self.watch.stored, 0  # a message said twice is stored once: then the counts never meet
        while self.engine.loop.time() < deadline_s:
            self._check()
            await self.watch.poll()
            self._show(self.snapshot())
            stored = self.watch.stored
            acknowledged = self.ledger.acknowledged
            arrived = stored is None or all(stored.get(kind, 0) >= acknowledged[kind] for kind in STORED_KINDS)
            before, still = stored, still + 1 if stored == before else 0
            if self.engine.settled() and (arrived or still >= STILL_LOOKS):
                return
            await asyncio.sleep(LOOK_S)

    # Pictures of the run

    def _sample(self) -> None:
        now_ms = self.engine.now_ms()
        if len(self.record.rates) < RATES_MAX:
            online = sum(device.online for device in self.fleet.devices)
            is_open = sum(alarm["state"] not in ("closed", "escalated") for alarm in self.watch.alarms)
            sent, acknowledged = self.ledger.sent.total(), self.ledger.acknowledged.total()
            self.record.rates.append(Rate(now_ms, sent, acknowledged, online, is_open))
        for thing in sorted(self.fleet.faulted)[:50]:
            device = self.fleet.devices[self.fleet.by_thing[thing]]
            reading = self.engine.reading(self.fleet.by_thing[thing], now_ms)
            for metric in device.plant.limits:
                points = self.record.series.setdefault((thing, metric), [])
                if device.powered and isfinite(reading.get(metric, nan)) and len(points) < RATES_MAX:
                    points.append((now_ms, reading[metric]))

    def snapshot(self) -> Snapshot:
        """The run as it is now."""
        events = self.ledger.events
        for event in events[self._seen :]:
            self._follow_job(event)
        self._seen = len(events)
        online = Counter(device.profile for device in self.fleet.devices if device.online)
        totals = Counter(device.profile for device in self.fleet.devices)
        states = Counter(
            "connected" if d.online else "rebooting" if not d.powered else "away" for d in self.fleet.devices
        )
        rates = self.record.rates[-6:]
        span_s = (rates[-1].at_ms - rates[0].at_ms) / 1000 if len(rates) > 1 else 1.0
        alarms = [Alarm(a["thing"], a["rule_id"], a["state"], a.get("value")) for a in self.watch.alarms]
        return Snapshot(
            elapsed_s=(self.engine.now_ms() - self.record.started_at_ms) / 1000,
            phase=self.record.phase,
            started_at_ms=self.record.started_at_ms,
            devices=states,
            profiles={profile: (online[profile], count) for profile, count in totals.items()},
            sent_per_s=(rates[-1].sent - rates[0].sent) / span_s if rates else 0,
            acknowledged_per_s=(rates[-1].acknowledged - rates[0].acknowledged) / span_s if rates else 0,
            sent=self.ledger.sent.total(),
            acknowledged=self.ledger.acknowledged.total(),
            alarms=Counter(alarm.state for alarm in alarms),
            alarms_latest=alarms[-8:],
            jobs=Counter(job.status for job in self._jobs.values()),
            jobs_latest=list(self._jobs.values())[-8:],
            events=events,
        )

    def _follow_job(self, event: Event) -> None:
        if event.source != "fleet":
            return
        job = self._jobs.get(event.thing, Job(event.thing, "", "IN_PROGRESS", 0))
        known = {"download_progress": event.detail.get("percent", 0), "downloaded": 100}
        match event.kind:
            case "job_notified":
                self._jobs[event.thing] = Job(event.thing, "", "IN_PROGRESS", 0)
            case "download_progress" | "downloaded":
                self._jobs[event.thing] = Job(event.thing, job.version, job.status, known[event.kind])
            case "verified":
                self._jobs[event.thing] = Job(event.thing, str(event.detail["version"]), job.status, job.percent)
            case "job_succeeded" | "job_failed":
                status = "SUCCEEDED" if event.kind == "job_succeeded" else "FAILED"
                self._jobs[event.thing] = Job(event.thing, job.version, status, job.percent)
