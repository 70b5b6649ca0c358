"""Plays a scenario in virtual time and makes its report. The same scenario and seed give the same bytes anywhere.

Rules: what needs a real process, such as a fault of the sandbox, is refused before anything runs. Times are of the
virtual clock, which starts at a fixed moment; nothing here knows what time it is.
"""

import asyncio
import gc
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulator import firmware, seeds
from simulator.audit import Audit
from simulator.backend.core import Backend as Core
from simulator.backend.decode import FIRE_NAMES
from simulator.backend.rules import load_rules
from simulator.causes import Causes
from simulator.checks import STORED_KINDS, Check, Facts
from simulator.clock import VIRTUAL_START_MS
from simulator.errors import INTERRUPTED, UsageError
from simulator.faults._part import PartFault
from simulator.ledger import Event, Ledger
from simulator.matching import Deliveries, match
from simulator.profiles import Profile
from simulator.recorder import Recorder
from simulator.report import html, json_report, junit
from simulator.report.facts import Rate, Report, Verdict
from simulator.runtime import account
from simulator.runtime.conductor import Record
from simulator.runtime.operator import KIB_OF_A_NEW_VERSION
from simulator.runtime.run_folder import RunFolder
from simulator.runtime.timeline import Order, Timeline
from simulator.scenarios import Scenario
from simulator.steps import Clear, Control, Disturb, Entry, Inject, Job, Part, Publication, SetDesired, Step
from simulator.steps.inject import Inject as InjectStep
from simulator.steps.sandbox import Sandbox
from simulator.twin.backend import Backend, MakeCore
from simulator.twin.cloud import Cloud
from simulator.twin.loop import VirtualLoop
from simulator.twin.refused import Refused

if TYPE_CHECKING:
    from simulator.runtime.run import Plan

TARGET = "virtual"
SAMPLES_MAX = 1200  # of the rates: one of two goes when there are more, and from then on half as many come
WATCHED_MAX = 50  # broken devices whose readings are shown
QUIET_MAX_S, LOOK_S = 15.0, 0.25
TAIL_MAX = 15

Say = Callable[[str], None]


def _nobody(line: str) -> None:
    """What is said is not heard."""


def unfit(scenario: Scenario) -> str | None:
    """Why a scenario cannot be played in virtual time; None when it can."""
    for _, step in scenario.steps():
        why = _needs_sandbox(step)
        if why:
            return f"step '{step.title}': {why} needs the sandbox: run it without --virtual"
    return None


def _needs_sandbox(step: Step) -> str:
    """What of a step only the sandbox has; '' when there is nothing."""
    if isinstance(step, Sandbox) and not _is_modelled(step.part, step.action):
        return f"'{step.action}' of the {step.part}"
    if isinstance(step, InjectStep):
        for fault in (step.fault, *step.also):
            if isinstance(fault, PartFault) and not (fault.action and _is_modelled(fault.befalls, fault.action)):
                return f"the fault '{fault.params['kind']}' of the {fault.befalls}"
    return ""


def _is_modelled(part: str, action: str) -> bool:
    return part == "backend" and action in ("restart", "pause")


def run(plan: "Plan", say: Say = _nobody) -> tuple[Report, list[Path]]:
    """Play a plan and write its report and its folder; the report and its files.

    The wire log is kept with `--record all` only: what a run in virtual time said comes out again by running it again.
    """
    player = _player(plan.scenario, plan.profiles, plan.seed, Core, say)
    plan.out_dir.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(plan.out_dir, plan.record)
    folder.begin(plan.scenario, plan.seed)
    recorder = Recorder(player.fleet, plan.record_bytes_max) if plan.record == "all" else None
    report = _played(player, plan.asked[0])
    paths = [plan.out_dir / name for name in ("report.html", "report.json", "junit.xml")]
    for write, path in zip((html.write, json_report.write, junit.write), paths, strict=True):
        write(report, path)
    folder.end(
        report, plan.scenario, player.ledger, player.record.faults, recorder, VIRTUAL_START_MS, TARGET,
        player.public_key,
    )  # fmt: skip
    return report, paths


def play(
    scenario: Scenario, profiles: dict[str, Profile], seed: int, *, asked: str = "", say: Say = _nobody,
    make_core: MakeCore = Core,
) -> Report:  # fmt: skip
    """Play a scenario from start to end. UsageError when it needs more than there is here."""
    return _played(_player(scenario, profiles, seed, make_core, say), asked)


def _player(
    scenario: Scenario, profiles: dict[str, Profile], seed: int, make_core: MakeCore, say: Say
) -> "Player":  # fmt: skip
    if why := unfit(scenario):
        raise UsageError(why)
    return Player(scenario, profiles, seed, make_core, say)


def _played(player: "Player", asked: str) -> Report:
    verdict: Verdict | None = None
    exit_code, reason, tail = 0, "", list[str]()
    try:
        with _seldom_tidying(), asyncio.Runner(loop_factory=lambda: VirtualLoop(player.virtual)) as runner:
            runner.run(player.play())
    except KeyboardInterrupt:
        verdict, exit_code, reason = "interrupted", INTERRUPTED, "stopped by Ctrl-C or SIGTERM"
    except Refused as error:
        verdict, exit_code, reason = "failed", 1, f"the account refuses a step: {error}"
    except Exception as error:
        verdict, exit_code, reason = "failed", 1, f"{type(error).__name__}: {error}"
        tail = [line.rstrip("\n") for line in traceback.format_exception(error)][-TAIL_MAX:]
    facts = player.facts() if verdict else player.last_facts()
    return account.report(
        player.scenario, player.seed, (asked, TARGET), player.fleet, player.record, facts, player.now_ms(), verdict,
        exit_code, reason, tail,
    )  # fmt: skip


@contextmanager
def _seldom_tidying() -> Iterator[None]:
    """Python looks for garbage often, and a fleet that lives makes none: a twentieth of the time for nothing."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class _Told(Ledger):
    """A ledger that says when it grows."""

    __slots__ = ("stir",)

    def __init__(self) -> None:
        super().__init__()
        self.stir: Callable[[], None] = lambda: None

    def note(self, event: Event) -> None:
        super().note(event)
        self.stir()


class Player:
    """One playing of one scenario (timeline.Stage)."""

    def __init__(
        self, scenario: Scenario, profiles: dict[str, Profile], seed: int, make_core: MakeCore, say: Say
    ) -> None:
        self.scenario, self.seed, self._say = scenario, seed, say
        self.ledger = _Told()
        self._key = Ed25519PrivateKey.from_private_bytes(
            blake2b(f"manufacturer {seed}".encode(), digest_size=32).digest()
        )
        self.public_key = firmware.public_bytes(self._key)
        self.fleet = scenario.build(profiles, seed, VIRTUAL_START_MS, self.public_key)
        self.audit = Audit(STORED_KINDS, self.fleet.speaker)
        self.cloud = Cloud(self.fleet, seed, self.ledger, self.audit, VIRTUAL_START_MS)
        self.virtual = self.cloud.virtual
        self._specs = {p.thing_type: p.payload for p in profiles.values() if p.payload}
        rules = load_rules(scenario.sandbox.rules)
        if make_core is Core and not scenario.sandbox.fire:
            make_core = partial(Core, fire=False)
        self.backend = self.cloud.platform = Backend(self.cloud, self.ledger, rules, self._specs, make_core)
        self.record = Record(VIRTUAL_START_MS)
        self._subjects = {name: profile.subject for name, profile in profiles.items()}
        self._member_of = dict(scenario.groups())
        self._channel = {name: profile.channel for name, profile in profiles.items()}
        self._started: set[str] = set()
        self._watched: list[str] = []
        self._sample_ms = 1000
        self._orders = 0
        used = {profile.software for profile in profiles.values()}
        for release in firmware.releases():
            for package in release.packages:
                if package in used:
                    self.cloud.catalogue(firmware.build(release, package, self._key))

    async def play(self) -> None:
        """The whole timeline, then silence."""
        self.backend.start()
        self._sample()
        timeline = Timeline(self, self.seed, self._phase, stirred=True)
        self.ledger.stir = timeline.stir
        await timeline.play(self.scenario.timeline)
        self.virtual.silence()
        deadline_ms = self.now_ms() + int(1000 * QUIET_MAX_S)
        while self.now_ms() < deadline_ms and not self._settled():
            await asyncio.sleep(LOOK_S)
        self._sample()

    def _settled(self) -> bool:
        """Has everything arrived that was said?"""
        ledger, stored = self.ledger, self.backend.store.stored
        answered = ledger.acknowledged.total() + ledger.refused.total()
        arrived = all(stored[kind] >= ledger.acknowledged[kind] for kind in STORED_KINDS)
        return not self.cloud.in_flight and ledger.sent.total() <= answered and arrived

    def _phase(self, title: str) -> None:
        at_s = (self.now_ms() - VIRTUAL_START_MS) // 1000
        self._say(f"{at_s // 3600:4}:{at_s // 60 % 60:02}:{at_s % 60:02}  {title}")

    # What a timeline asks for (timeline.Stage)

    def now_ms(self) -> int:
        return self.cloud.clock.now_ms()

    def roster(self) -> list[Entry]:
        return [
            Entry(d.thing, d.profile, bool(d.faults), self._member_of.get(d.thing, ""), d.version,
                  self._channel[d.profile], d.thing in self._started, d.online)
            for d in self.fleet.devices
        ]  # fmt: skip

    def start(self, thing: str, after_s: float) -> None:
        self._started.add(thing)
        self.virtual.start(self.fleet.by_thing[thing], self._later_ms(after_s))

    def stop(self, thing: str, after_s: float) -> None:
        self._started.discard(thing)
        self.virtual.stop(self.fleet.by_thing[thing], self._later_ms(after_s))

    def _later_ms(self, after_s: float) -> int:
        return self.now_ms() + int(1000 * after_s)

    def inject(self, command: Inject, name: str) -> None:
        if command.things:
            self.record.faults.append((self.now_ms(), command, name))
        for thing in command.things:
            if thing not in self.fleet.faulted:
                self._watch(thing)
            index = self.fleet.by_thing[thing]
            self.fleet.faulted.add(thing)
            self.virtual.carry_out(index, self.fleet.devices[index].inject(command.fault, self.now_ms()))

    def clear(self, command: Clear) -> None:
        for thing in command.things:
            index = self.fleet.by_thing[thing]
            self.virtual.carry_out(index, self.fleet.devices[index].clear(command.fault, self.now_ms()))

    def passes(self, check: Check) -> bool:
        return check.judge(self.facts()).passed

    async def order(self, order: Order) -> None:
        self._orders += 1
        match order:
            case SetDesired(state, things):
                for thing in things:
                    self.cloud.desire(thing, state)
                self._note("desired_set", things, {"state": dict(state)})
            case Control(name, value, things):
                for thing in things:
                    self._control(thing, name, value)
                self._note("control_sent", things, {"action": name})
            case Publication(version, packages, signed):
                wanted = packages or tuple(sorted({device.package for device in self.fleet.devices}))
                self._publish(version, wanted, signed)
                detail = {"version": version, "packages": list(wanted), "signed": signed}
                self._note("firmware_published", (), detail)
            case Job(version, things, options):
                self._create_jobs(version, things, options)
            case Part(part, action, for_s):
                self._note(f"part_{action}", (), {"part": part, "for_s": for_s})
                await self._disturb(action, for_s)
                self._note("part_back", (), {"part": part})
            case Disturb(fault):
                self._note("fault_injected", (), {"fault": fault.params["kind"], "params": fault.params})
                await self._disturb(str(fault.action), fault.for_s or 0.0)
                self._note("fault_cleared", (), {"fault": fault.params["kind"]})

    # What an operator does

    def _control(self, thing: str, name: str, value: Any) -> None:
        device = self.fleet.devices[self.fleet.by_thing[thing]]
        topic = device.topic("iotlink/{env}/{hub}/{thing}/event/pub/control_request/json")
        control = {"name": name, "id": f"{seeds.key(self.seed, 'control', self._orders, thing):016x}"}
        payload = orjson.dumps({"data": {"control": control if value is None else {**control, "value": value}}})
        self.cloud.publish(thing, topic, payload)
        self.backend.ingest(topic, payload)

    def _publish(self, version: str, packages: Iterable[str], signed: bool) -> None:
        stranger = Ed25519PrivateKey.from_private_bytes(blake2b(b"stranger", digest_size=32).digest())
        known = {release.version: release for release in firmware.releases()}
        for package in packages:
            release = known.get(version) or firmware.Firmware(
                version=version, packages=[package], size_kib=KIB_OF_A_NEW_VERSION
            )
            self.cloud.catalogue(firmware.build(release, package, self._key if signed else stranger))

    def _create_jobs(self, version: str, things: Iterable[str], options: Mapping[str, Any]) -> None:
        of: dict[str, list[str]] = {}
        for thing in things:
            of.setdefault(self.fleet.devices[self.fleet.by_thing[thing]].package, []).append(thing)
        for package, targets in sorted(of.items()):
            job_id = f"scenario-{package}-{self._orders}"
            self.cloud.create_job(job_id, package, version, targets, **options)
            self._note("job_made", targets, {"job_id": job_id, "version": version})

    async def _disturb(self, action: str, for_s: float) -> None:
        """Take the platform away. Who speaks TCP or REST to it has no connection meanwhile."""
        now_ms, away_ms = self.now_ms(), max(1, int(1000 * for_s))
        for index, device in enumerate(self.fleet.devices):
            if self._channel[device.profile] != "mqtt":
                self.virtual.sever(index, now_ms, away_ms)
        if action == "restart":
            self.backend.stop()
        else:
            self.backend.pause()
        await asyncio.sleep(away_ms / 1000)
        if action == "restart":
            self.backend.start()
        else:
            self.backend.go_on()

    def _note(self, kind: str, things: Iterable[str], detail: dict[str, Any]) -> None:
        for thing in list(things) or [""]:
            self.ledger.note(Event(self.now_ms(), "run", kind, thing, detail))

    # What is known of it

    def _sample(self) -> None:
        rates, ledger = self.record.rates, self.ledger
        online = sum(device.online for device in self.fleet.devices)
        sent, acknowledged = ledger.sent.total(), ledger.acknowledged.total()
        if not rates or rates[-1].at_ms < self.now_ms():
            rates.append(Rate(self.now_ms(), sent, acknowledged, online, self.backend.store.open_alarms))
        if len(rates) >= SAMPLES_MAX:
            del rates[1::2]
            self._sample_ms *= 2
        self.cloud.after(self._sample_ms, self._sample)

    def _watch(self, thing: str) -> None:
        """Keep what the platform reads of it from now on."""
        if len(self._watched) < WATCHED_MAX:
            self._watched.append(thing)
            self.backend.store.watched = frozenset(self._watched)

    def facts(self) -> Facts:
        """What can be known now, for checks."""
        store, now_ms = self.backend.store, self.now_ms()
        return Facts(
            self.ledger, self.fleet.facts(), store.alarms(), dict(store.stored), subjects=self._subjects,
            begin_ms=VIRTUAL_START_MS, end_ms=now_ms, watched_s=(now_ms - VIRTUAL_START_MS) / 1000,
        )  # fmt: skip

    def last_facts(self) -> Facts:
        """All that is known at the end."""
        facts = self.facts()
        self._draw_series()
        facts.executions = self.cloud.jobs.outcome()
        facts.packages = self.cloud.packages([(d.thing, d.package) for d in facts.devices if d.managed])
        got = Deliveries("the twin's store", self.audit.subjects, STORED_KINDS)
        self.backend.store.deliver(got, self._specs)
        causes = Causes(self.ledger.events, facts.end_ms, self.fleet.carriers())
        facts.audit = match(self.audit.book(), got, causes)
        return facts

    def _draw_series(self) -> None:
        """The readings of the broken devices, as the platform got them."""
        as_told = {theirs: ours for ours, theirs in FIRE_NAMES.items()}
        for thing, readings in sorted(self.backend.store.readings.items()):
            limits = self.fleet.devices[self.fleet.by_thing[thing]].plant.limits
            for at_ms, metrics in readings:
                for name, value in orjson.loads(metrics).items():
                    name = as_told.get(name, name)
                    if name in limits and type(value) in (int, float):
                        self.record.series.setdefault((thing, name), []).append((at_ms, value))
