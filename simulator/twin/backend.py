"""The platform: its pure core with a store in memory and the cloud model in the places of SQLite and boto3.

Rules: what the core decides is stored, then done; a call is answered after the time that calls take. While it is
away (`stop`) the broker keeps what it was told, and its gateways answer nobody; `start` is a new core that takes up
what the store remembers, as after a crash.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from math import ceil
from typing import Any

from simulator.backend.core import Backend as Core
from simulator.backend.decode import frame_topic
from simulator.backend.effects import (
    AbortUpload,
    Call,
    CompleteUpload,
    CreateJob,
    DeadLetter,
    Effect,
    LookUp,
    OpenUpload,
    Record,
    Say,
    SetDesired,
)
from simulator.backend.rest_body import BodyRefused, fire_from_json, telemetry_from_json
from simulator.backend.rules import Rules
from simulator.ledger import Event, Ledger
from simulator.twin.cloud import Cloud
from simulator.twin.refused import Refused
from simulator.twin.store import MemoryStore
from simulator.wire.spec import ProductSpec

CALL_MS = 30  # what a call to the account takes
TICK_MS = 1000
REFUSED, INVALID, NOT_FOUND, AWAY = 0x83, 0x99, 0x90, 0x88  # MQTT's reason codes, which sinks know

MakeCore = Callable[[Rules], Core]


class Backend:
    """One platform."""

    def __init__(
        self, cloud: Cloud, ledger: Ledger, rules: Rules, specs: Mapping[str, ProductSpec], make_core: MakeCore = Core
    ) -> None:
        """What it records goes to `ledger`."""
        self._cloud, self._ledger, self._rules, self._specs, self._make_core = cloud, ledger, rules, specs, make_core
        self._now_ms = cloud.clock.now_ms
        self.store = MemoryStore(self._record)
        self._waiting: list[Callable[[], None]] = []  # what comes while it is away
        self._clock = 0  # which row of ticks counts
        self._counts: tuple[Counter[str], Counter[str]] = Counter(), Counter()  # received and dead, before a restart
        objects = cloud.objects
        calls: dict[type, Callable[[Any], Any]] = {
            LookUp: lambda call: cloud.thing(call.thing),
            SetDesired: self._set_desired,
            CreateJob: self._create_job,
            OpenUpload: lambda call: objects.begin(call.key, call.s3_id, call.parts),
            CompleteUpload: lambda call: objects.complete(call.s3_id, call.key),
            AbortUpload: lambda call: objects.abort(call.s3_id),
            Say: lambda call: cloud.publish(call.thing, call.topic, call.payload),
        }
        self._doing = self.store.writes | {kind: partial(self._begin, make) for kind, make in calls.items()}
        self._started = make_core(rules)  # the core that lives, also while it is paused
        self.core: Core | None = None

    # Its life

    def start(self) -> None:
        """Begin, or begin again where the store says that it was."""
        core = self._make_core(self._rules)
        core.replace_specs(self._specs)
        core.received.update(self._counts[0])
        core.dead.update(self._counts[1])
        saved = self.store.saved()
        resumed = core.resume(saved.pop("devices"), saved.pop("documents"), self._now_ms(), **saved)
        self._started = self.core = core
        self._carry_out(resumed)
        self.go_on()

    def stop(self) -> None:
        """Forget everything that is not stored; what waits for an answer never gets one."""
        self._counts = self._started.received, self._started.dead
        self.core = None
        self._started = self._make_core(self._rules)  # so that late answers find nobody

    def pause(self) -> None:
        """Stand still until `go_on`."""
        self.core = None

    def go_on(self) -> None:
        """Take what came meanwhile, and let time pass."""
        self.core = self._started
        waiting, self._waiting = self._waiting, []
        for do in waiting:
            do()
        self._clock += 1
        self._tick(self._clock)

    def _tick(self, clock: int) -> None:
        if self.core is not None and clock == self._clock:
            self._carry_out(self.core.tick(self._now_ms()))
            self._cloud.after(TICK_MS, partial(self._tick, clock))

    # What comes (cloud.Platform)

    def ingest(self, topic: str, payload: bytes) -> None:
        if self.core is None:
            self._waiting.append(partial(self.ingest, topic, payload))
        else:
            self._carry_out(self.core.ingest(topic, payload, self._now_ms()))

    def frame(self, product: str, body: bytes) -> int:
        if self.core is None:
            return AWAY
        effects = self.core.ingest(frame_topic(product), body, self._now_ms())
        self._carry_out(effects)
        return REFUSED if effects and isinstance(effects[0], DeadLetter) else 0

    def post(self, path: str, body: bytes) -> int:
        if self.core is None:
            return AWAY
        read = _DOORS.get(path)
        if read is None:
            return NOT_FOUND
        now_ms = self._now_ms()
        try:
            samples = read(body, now_ms, self.core.product_of)
        except BodyRefused:
            return INVALID
        for sample in samples:
            self._carry_out(self.core.take(sample, now_ms))
        return 0

    # What it does

    def _carry_out(self, effects: list[Effect]) -> None:
        doing = self._doing
        for effect in effects:
            if do := doing.get(type(effect)):
                do(effect)

    def _begin(self, make: Callable[[Any], Any], call: Call) -> None:
        """A call to the account: it is there after a while, and its answer here after another."""
        core, at_ms = self._started, self._now_ms()

        def arrive() -> None:
            error, result = "", None
            try:
                result = make(call)
            except Refused as why:
                error = str(why)
            self._cloud.after(CALL_MS, partial(self._answered, core, call, at_ms, error, result))

        self._cloud.after(CALL_MS, arrive)

    def _answered(self, core: Core, call: Call, at_ms: int, error: str, result: Any) -> None:
        if core is not self._started:
            return  # the one that asked is gone; the new one asks again
        if self.core is None:
            self._waiting.append(partial(self._answered, core, call, at_ms, error, result))
        elif isinstance(call, LookUp):
            product, attributes = result
            self._carry_out(core.product_answered(call.thing, product, self._now_ms(), attributes))
        else:
            self._carry_out(core.done(call, at_ms, error, self._now_ms(), result))

    def _set_desired(self, call: SetDesired) -> None:
        self._cloud.desire(call.thing, {"action": {"name": call.action, "id": call.action_id}})

    def _create_job(self, call: CreateJob) -> None:
        if not call.package:
            raise Refused(f"{call.thing} has no thing type, so no package is known for it")
        minutes = max(1, ceil(call.timeout_s / 60))
        self._cloud.create_job(call.job_id, call.package, call.version, [call.thing], timeout_minutes=minutes)

    def _record(self, record: Record) -> None:
        detail = {**record.detail, "alarm_id": record.alarm_id}
        self._ledger.note(Event(record.at_ms, "backend", record.kind, record.thing, detail))


_DOORS = {"/ingest/telemetry": telemetry_from_json, "/ingest/fire": fire_from_json}
