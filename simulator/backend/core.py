"""The pure core of the platform: a message or a moment in, effects out.

Rules: no I/O, no clock, no randomness; the same inputs give the same effects. Every sample is kept, but
only one that is newer (by device time) than the last moves an alarm. What is remembered for a device is
bounded, and so is the number of devices. A device whose product is not known yet is looked up, and its
latest samples wait for the answer, and so do, in the store, messages that only the product's spec can read.
At most one alarm is open for a device and a rule; it keeps the version of the rule that it was raised by, and
is closed when the rule is deleted or is not for the product any more. What a device says of its own product
(provisioning_complete) counts only where the registry knows nothing, as for a hub's children. Silence is measured by
our clock, and only while the platform itself can hear: who was heard before is given its time again when that begins.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from simulator.backend import contract
from simulator.backend.alarms import Alarm, open_alarm
from simulator.backend.conditions import formula_key
from simulator.backend.decode import (
    TAKEN_TOPIC,
    Binary,
    ControlResult,
    Decoded,
    Decoder,
    JobEnded,
    Refused,
    Report,
    Telemetry,
    taken_payload,
)
from simulator.backend.effects import (
    AbortUpload,
    Call,
    CompleteUpload,
    CreateJob,
    DeadLetter,
    DropWaiting,
    Effect,
    KeepWaiting,
    LookUp,
    OpenUpload,
    ReplayEnded,
    SaveDevice,
    SaveNodes,
    Say,
    SetDesired,
    StoreReport,
    StoreTelemetry,
    Tell,
)
from simulator.backend.fire.alerts import Alert, document_of
from simulator.backend.fire.analysis import Fire, Restored, Taken
from simulator.backend.fire.realtime import HIGH, ONE, level_of
from simulator.backend.platform.classes import class_of
from simulator.backend.platform.deployments import rolled_back
from simulator.backend.platform.formulas import Formula, Formulas, Values, compute, from_document
from simulator.backend.platform.formulas import document_of as values_document
from simulator.backend.platform.outcomes import Placed, SaveMaster
from simulator.backend.platform.service import Platform
from simulator.backend.platform.service import Restored as PlatformRestored
from simulator.backend.platform.settings import Master, Settings
from simulator.backend.rules import FIRE_RULE, Rule, Rules
from simulator.backend.silence import Moments
from simulator.backend.uploads import Uploads, answer_topic, say
from simulator.wire.spec import ProductSpec

DEVICES_MAX = 200_000
WAITING_MAX = 50  # samples of one device that wait for its product
UNREAD_BYTES_MAX = 64 * 1024 * 1024  # of binary messages that wait for it, of all devices
LOOKUP_AGAIN_MS = 30_000  # after a failed look-up
NO_PRODUCT_AGAIN_MS = 600_000  # a device without a product may be given one

# A fire sensor's index that falls back by so many, to so few, after so long, began again. What a broker or a device
# repeats is nearer: a device has fewer in flight, and what came as one burst was never acknowledged.
INDEX_BACK = 10
INDEX_FIRST = 10
INDEX_BURST_MS = 10_000

_ALARM_FIELDS = frozenset(f.name for f in fields(Alarm))


class Course(NamedTuple):
    """How far a fire sensor's running index is."""

    idx: int
    begins: int  # how often it began again
    began_ms: int  # when the first of this course came
    last_ms: int  # when the last one came

    def then(self, idx: int, now_ms: int) -> "Course":
        """The course with one more record."""
        if now_ms < self.last_ms:
            return self  # of old: a dead letter that is tried again
        back = self.idx - idx
        if back >= INDEX_BACK and idx <= INDEX_FIRST and self.last_ms - self.began_ms >= INDEX_BURST_MS:
            return Course(idx, self.begins + 1, now_ms, now_ms)
        return Course(idx, self.begins, self.began_ms, now_ms) if idx > self.idx else self

    def key(self, digest: int) -> int:
        """What makes a record unique: its bytes, and in which course they came."""
        mixed = (digest ^ self.begins * 0x9E37_79B9_7F4A_7C15) & (1 << 64) - 1
        return mixed - (1 << 64) if mixed >> 63 else mixed


class Device:
    """What the core remembers of one device."""

    __slots__ = (
        "alarms",
        "claim",
        "course",
        "fire_rule",
        "formulas",
        "heard_ms",
        "last_key",
        "last_timestamp",
        "lookup_at_ms",
        "nodes",
        "nodes_at_ms",
        "product",
        "rules",
        "silence_rules",
        "thing",
        "unread",
        "values",
        "waiting",
    )

    def __init__(self, thing: str) -> None:
        self.thing = thing
        self.product: str | None = None
        self.rules: tuple[Rule, ...] = ()
        self.silence_rules: tuple[Rule, ...] = ()
        self.fire_rule = FIRE_RULE
        self.formulas: tuple[Formula, ...] = ()
        self.values: Values | None = None  # of formulas
        self.heard_ms = 0  # our clock
        self.last_timestamp = 0
        self.last_key = 0
        self.lookup_at_ms = 0  # when to ask for the product (again)
        self.waiting: deque[Telemetry] | None = deque(maxlen=WAITING_MAX)  # None once the product was answered
        self.alarms: dict[str, Alarm] = {}  # open ones, by rule
        self.claim: str | None = None  # the product as the device says it
        self.course: Course | None = None
        self.nodes = b""  # a digest of who is there, of a hub
        self.nodes_at_ms = 0
        self.unread: list[tuple[int, str, bytes]] = []  # messages that wait for the product, see KeepWaiting

    def save(self) -> SaveDevice:
        """The effect that remembers it as it is now."""
        course = orjson.dumps(list(self.course)).decode() if self.course else ""
        values = values_document(self.values) if self.values else ""
        return SaveDevice(self.thing, self.product, self.last_timestamp, self.last_key, course, values)


class Backend:
    """Decode → contract → rules → alarms, for all devices; what fire sensors say is analysed besides."""

    def __init__(
        self,
        rules: Rules,
        devices_max: int = DEVICES_MAX,
        fire: bool = True,
        settings: Settings | None = None,
        formulas: Formulas | None = None,
    ) -> None:
        self.rules = rules
        self.formulas = formulas or Formulas()
        self.platform = Platform(settings)
        self.fire = Fire(devices_max) if fire else None
        self.received: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()  # by reason, without those that were replayed
        self.refused: Counter[str] = Counter()  # as often as it happened since the start
        self._devices_max = devices_max
        self._decode = Decoder()
        self._devices: dict[str, Device] = {}
        self._by_job: dict[str, Alarm] = {}
        self._open: dict[str, Alarm] = {}
        self._raised_by: dict[str, Rule] = {}  # of each open alarm, as the rule was then
        self._unread: set[str] = set()  # devices with messages that wait
        self._unread_bytes = 0
        self._moments = Moments()
        self.deaf = False  # nothing can come in now, so nobody is missed
        self.uploads = Uploads()

    def replace_rules(self, rules: Rules, now_ms: int) -> list[Effect]:
        """Judge by these rules from now on. What no rule stands behind any more is closed."""
        self.rules = rules
        for device in self._devices.values():
            self._judge_by_product(device)
        effects: list[Effect] = []
        for alarm in list(self._open.values()):
            if not self._stands(alarm):
                alarm.alarm_class = alarm.alarm_class or class_of(alarm.severity)  # of an older file
                effects += self._after(alarm, alarm.close(now_ms, "the rule does not exist any more"))
        return effects

    def replace_formulas(self, formulas: Formulas) -> list[Effect]:
        """Compute these from now on. Values of what is not computed any more go."""
        self.formulas = formulas
        effects: list[Effect] = []
        for device in self._devices.values():
            device.formulas = formulas.of(device.product) if device.waiting is None else ()
            gone = [name for name in device.values or () if name not in formulas.by_id]
            for name in gone:
                del device.values[name]  # type: ignore[union-attr]
            if gone:
                effects.append(device.save())
        return effects

    def put_master(self, said: Master) -> list[Effect]:
        """Take master data."""
        return self._placed(self.platform.master.put(said))

    def _placed(self, effects: Sequence[Effect]) -> list[Effect]:
        """The fire prediction hears where its sensors stand."""
        for effect in effects:
            if self.fire is not None and isinstance(effect, SaveMaster):
                self.fire.place(effect.thing, effect.site_id)
        return [*effects]

    def advance_dispatch(self, alarm_id: str, state: str, who: str, note: str, now_ms: int) -> list[Effect]:
        """A field engineer goes on; nothing when nobody was sent, UsageError when that is no next step."""
        return self.platform.dispatches.advance(alarm_id, state, who, note, now_ms)

    def _stands(self, alarm: Alarm) -> bool:
        rule, product = self.rules.find(alarm.rule_id), self._devices[alarm.thing].product
        if rule is None or rule.type != alarm.rule_type:
            return False
        if rule.type == "fire":
            return self.fire is not None and rule is self.rules.fire_of(product)
        return rule.is_for(product)

    def _judge_by_product(self, device: Device) -> None:
        """Give a device the rules of its product."""
        device.rules = self.rules.for_product(device.product)
        device.silence_rules = self.rules.silence_of(device.product)
        device.fire_rule = self.rules.fire_of(device.product)
        if device.waiting is None:
            device.formulas = self.formulas.of(device.product)
        self._expect(device)

    def replace_specs(self, specs: Mapping[str, ProductSpec]) -> None:
        """Read the products' bytes by these specs from now on."""
        self._decode.specs = dict(specs)

    @property
    def open_alarms(self) -> Mapping[str, Alarm]:
        """The alarms that are not closed, by id."""
        return self._open

    # -- messages

    def ingest(self, topic: str, payload: bytes, now_ms: int, arrived_ms: int | None = None) -> list[Effect]:
        """Take one message, which may have come earlier; never raises whatever its bytes are."""
        arrived_ms = now_ms if arrived_ms is None else arrived_ms
        message = self._decode(topic, payload, arrived_ms)
        self.received[_kind(message)] += 1
        if isinstance(message, Binary):
            return self._binary(message, topic, payload, now_ms)
        return self._take_in(message, topic, payload, now_ms, arrived_ms)

    def take(self, sample: Telemetry, now_ms: int) -> list[Effect]:
        """Take a sample that keeps the contract already."""
        self.received["telemetry"] += 1
        return self._telemetry(sample, TAKEN_TOPIC, None, now_ms)

    def replay(self, letter_id: int, letter: DeadLetter, now_ms: int) -> list[Effect]:
        """Try a dead letter again. It was counted when it came."""
        received, dead = self.received, self.dead
        self.received, self.dead = Counter(), Counter()
        try:
            effects = self.ingest(letter.topic, letter.payload, now_ms, letter.at_ms)
        finally:
            self.received, self.dead = received, dead
        refused = [effect.reason for effect in effects if isinstance(effect, DeadLetter)]
        dead[letter.reason] -= 1
        if not dead[letter.reason]:
            del dead[letter.reason]
        if refused:
            dead[refused[0]] += 1
            effects = [effect for effect in effects if not isinstance(effect, DeadLetter)]
        return [*effects, ReplayEnded(letter_id, now_ms, letter.reason, refused[0] if refused else "")]

    def _take_in(self, message: Decoded, topic: str, payload: bytes, now_ms: int, arrived_ms: int) -> list[Effect]:
        match message:
            case Telemetry():
                reason = contract.check_telemetry(message)
                if reason:
                    return self._refuse(reason, topic, payload, now_ms)
                return self._telemetry(message, topic, payload, now_ms)
            case Refused():
                return self._refuse(message.reason, topic, payload, now_ms)
            case ControlResult():
                reason = contract.check_control_result(message, now_ms)
                if reason:
                    return self._refuse(reason, topic, payload, now_ms)
                return [*self._control_result(message, now_ms), *self._spoke(message.thing, arrived_ms, now_ms)]
            case Report():
                reason = contract.check_report(message, now_ms)
                if reason:
                    return [
                        *self._refuse(reason, topic, payload, now_ms),
                        *self._refuse_upload(message, topic, reason, now_ms),
                    ]
                spoke = self._spoke(message.thing, arrived_ms, now_ms)
                return [*self._report(message, topic, payload, now_ms), *spoke]
            case JobEnded():
                return self._job_ended(message, now_ms)
        return []

    def _report(self, message: Report, topic: str, payload: bytes, now_ms: int) -> list[Effect]:
        document = message.document or payload.decode()
        effects: list[Effect] = [StoreReport(message.thing, message.kind, message.device_timestamp, now_ms, document)]
        if message.nodes is not None and message.hub_id == message.thing:
            effects += self._there(message.thing, message.nodes, message.device_timestamp)
        match message.kind:
            case "provisioning_complete":
                effects += self._claimed(message, now_ms)
            case "upload_request":
                effects += self.uploads.requested(message.thing, topic, message.data["upload"], now_ms)
            case "upload_complete":
                effects += self.uploads.completed(message.thing, message.data.get("upload"), now_ms)
        return effects

    def _refuse_upload(self, message: Report, topic: str, reason: str, now_ms: int) -> list[Effect]:
        """A device that asks for the impossible need not ask again."""
        if message.kind != "upload_request":
            return []
        upload = message.data.get("upload")
        name = upload.get("name") if type(upload) is dict else None
        more = {"name": name} if type(name) is str else {}
        return [say(message.thing, answer_topic(topic), now_ms, error=f"refused: {reason}", **more)]

    def _there(self, hub: str, nodes: Any, at_ms: int) -> list[Effect]:
        """Who a hub says is there, when that is news."""
        device = self._device(hub)
        if device is None or at_ms < device.nodes_at_ms:
            return []
        device.nodes_at_ms = at_ms
        document = orjson.dumps(nodes)
        digest = blake2b(document, digest_size=8).digest()
        if digest == device.nodes:
            return []
        device.nodes = digest
        return [SaveNodes(hub, at_ms, document.decode())]

    def _claimed(self, message: Report, now_ms: int) -> list[Effect]:
        """A device says which product it is."""
        claim = message.data.get("provisioning")
        product = claim.get("product") if type(claim) is dict else None
        device = self._device(message.thing) if type(product) is str and 0 < len(product) <= 128 else None
        if device is None or device.product is not None:
            return []
        device.claim = product
        if device.waiting is None:  # the registry knows nothing
            return self._is(device, product, now_ms)
        return [device.save(), *self._look_up(device, now_ms)]

    def _wait(self, device: Device, arrived_ms: int, topic: str, payload: bytes) -> None:
        device.unread.append((arrived_ms, topic, payload))
        self._unread.add(device.thing)
        self._unread_bytes += len(payload)

    # -- silence

    def _heard(self, device: Device, at_ms: int, now_ms: int) -> list[Effect]:
        """A device said something, whatever it was."""
        if at_ms <= device.heard_ms:
            return []  # also a dead letter of old that is tried again
        device.heard_ms = at_ms
        if not device.silence_rules:
            return []
        effects: list[Effect] = []
        for rule in device.silence_rules:
            if (alarm := device.alarms.get(rule.ruleId)) is not None:
                effects += self._after(alarm, alarm.close(now_ms, "it speaks again"))
        if effects:
            self._expect(device)
        return effects

    def _spoke(self, thing: str, at_ms: int, now_ms: int) -> list[Effect]:
        """The same of a device that may be new. It is looked up only where somebody would miss it."""
        device = self._devices.get(thing)
        if device is not None:
            return self._heard(device, at_ms, now_ms)
        if not self.rules.any_silence or (device := self._device(thing)) is None:
            return []
        device.heard_ms = at_ms
        return [device.save(), *self._look_up(device, now_ms)]

    def _expect(self, device: Device) -> None:
        """Say when to look whether it was heard again."""
        waits = [rule.after_s or 0 for rule in device.silence_rules if rule.ruleId not in device.alarms]
        self._moments.expect(device.thing, device.heard_ms + int(1000 * min(waits)) if waits else None)

    def _miss(self, device: Device, now_ms: int) -> list[Effect]:
        """Its moment has come: raise what is to be raised."""
        effects: list[Effect] = []
        for rule in device.silence_rules:
            silent_ms = now_ms - device.heard_ms
            if rule.ruleId not in device.alarms and silent_ms >= int(1000 * (rule.after_s or 0)):
                effects += self._raise(device, rule, device.heard_ms, None, now_ms)
        self._expect(device)
        return effects

    def listen_anew(self, now_ms: int) -> None:
        """The platform was away itself, or its clock jumped: nobody was silent until now."""
        self.deaf = False
        self._moments.clear()
        for device in self._devices.values():
            device.heard_ms = now_ms
            self._expect(device)

    # -- devices

    def _device(self, thing: str) -> Device | None:
        """A device; None when there are too many."""
        device = self._devices.get(thing)
        if device is None and len(self._devices) < self._devices_max:
            device = self._devices[thing] = Device(thing)
        return device

    def _look_up(self, device: Device, now_ms: int) -> list[Effect]:
        if device.product is not None or now_ms < device.lookup_at_ms:
            return []
        device.lookup_at_ms = now_ms + LOOKUP_AGAIN_MS
        return [LookUp(device.thing)]

    def _binary(self, message: Binary, topic: str, payload: bytes, now_ms: int) -> list[Effect]:
        """Read it by its product's spec; it waits while the product is not known."""
        if not self._decode.specs:
            return self._refuse("bin.no_product_spec", topic, payload, now_ms)
        device = self._device(message.thing)
        if device is None:
            return self._refuse("devices.too_many", topic, payload, now_ms)
        looked_up = [*self._heard(device, message.ingest_timestamp, now_ms), *self._look_up(device, now_ms)]
        if device.product is None and device.waiting is not None:
            if len(device.unread) >= WAITING_MAX or self._unread_bytes + len(payload) > UNREAD_BYTES_MAX:
                return [*self._refuse("bin.product_unknown", topic, payload, now_ms), *looked_up]
            self._wait(device, message.ingest_timestamp, topic, payload)
            kept = KeepWaiting(device.thing, message.ingest_timestamp, topic, payload)
            return [kept, device.save(), *looked_up]
        read = self._decode.binary(message, device.product)
        return [*self._take_in(read, topic, payload, now_ms, message.ingest_timestamp), *looked_up]

    def product_of(self, thing: str) -> str | None:
        """The product of a device, if it is known."""
        device = self._devices.get(thing)
        return device.product if device else None

    def _refuse(self, reason: str, topic: str, payload: bytes, now_ms: int) -> list[Effect]:
        self.dead[reason] += 1
        self.refused[reason] += 1
        return [DeadLetter(now_ms, reason, topic, payload)]

    def _telemetry(self, sample: Telemetry, topic: str, payload: bytes | None, now_ms: int) -> list[Effect]:
        device = self._devices.get(sample.device_id) or self._device(sample.device_id)
        if device is None:
            return self._refuse("devices.too_many", topic, payload or taken_payload(sample), now_ms)
        if sample.idx is not None:
            course = device.course or Course(0, 0, sample.ingest_timestamp, 0)
            device.course = course = course.then(sample.idx, sample.ingest_timestamp)
            sample = sample._replace(key=course.key(sample.key))
        effects: list[Effect] = [
            StoreTelemetry(
                sample.device_id,
                sample.stream,
                sample.key,
                sample.hub_id,
                sample.device_timestamp,
                sample.hub_timestamp,
                sample.ingest_timestamp,
                orjson.dumps(sample.metrics).decode(),
                sample.idx,
            )
        ]
        if sample.ingest_timestamp > device.heard_ms:
            effects += self._heard(device, sample.ingest_timestamp, now_ms)
        if sample.nodes is not None and sample.hub_id == sample.device_id:
            effects += self._there(sample.device_id, sample.nodes, sample.device_timestamp)
        if sample.stream == "fire" and self.fire is not None:
            effects += self._predict(self.fire, device, sample, now_ms)
        computed = bool(device.formulas) and self._compute(device, sample)
        if sample.key == device.last_key or sample.device_timestamp < device.last_timestamp:
            if computed:
                effects.append(device.save())
            return effects  # repeated or late: kept if it is new, but it moves no alarm
        device.last_timestamp, device.last_key = sample.device_timestamp, sample.key
        if device.product is None:
            if sample.product is not None:
                effects += self._is(device, sample.product, now_ms)
            effects += self._look_up(device, now_ms)
        effects.append(device.save())
        if device.waiting is not None:
            device.waiting.append(sample)
        elif device.rules:
            effects += self._judge(device, sample, now_ms)
        return effects

    def _compute(self, device: Device, sample: Telemetry) -> bool:
        """Bring the values of the device's formulas up to date; whether one changed."""
        if device.values is None:
            device.values = {}
        return compute(device.formulas, device.values, sample.metrics, sample.device_timestamp)

    def _judge(self, device: Device, sample: Telemetry, now_ms: int) -> list[Effect]:
        """Ask every rule of the device's product about a sample."""
        effects: list[Effect] = []
        for rule in device.rules:
            alarm = device.alarms.get(rule.ruleId)
            if alarm is not None:
                rule = self._raised_by[alarm.alarm_id]
            metrics = sample.metrics
            if rule.compiled.formulas:
                metrics = with_formulas(metrics, rule.compiled.formulas, device.values)
            bad = rule.compiled.holds(metrics)
            if bad is None or (alarm is None and not bad):
                continue
            value = _number(metrics.get(rule.compiled.metrics[0]))
            if alarm is None:
                effects += self._raise(device, rule, sample.device_timestamp, value, now_ms)
            else:
                moved = alarm.sample(rule, bad, sample.device_timestamp, value, now_ms)
                effects += self._after(alarm, moved, changed=True)
        return effects

    def _raise(
        self, device: Device, rule: Rule, at_ms: int, value: float | None, now_ms: int, alert: Alert | None = None
    ) -> list[Effect]:
        alarm = open_alarm(rule, device.thing, device.product, at_ms, value, now_ms)
        if alert is not None:
            alarm.severity, alarm.about = alert.level.lower(), document_of(alert)
            alarm.alarm_class = class_of(alarm.severity, rule.alarmClass)
        device.alarms[rule.ruleId] = self._open[alarm.alarm_id] = alarm
        self._raised_by[alarm.alarm_id] = rule
        return self._after(alarm, alarm.start(rule, now_ms))

    # -- fire risk

    def _predict(self, fire: Fire, device: Device, sample: Telemetry, now_ms: int) -> list[Effect]:
        """Analyse a fire sensor's record, whenever it is from."""
        clear_ms = int(1000 * device.fire_rule.clearFor_s)
        at_ms, idx = sample.device_timestamp, sample.idx or 0
        taken = fire.take(device.thing, at_ms, idx, sample.key, sample.metrics, clear_ms)
        if taken is None:
            return []
        effects: list[Effect] = [*taken.writes]
        if taken.news and taken.alert is not None:
            effects.append(_alert_said(device.thing, taken.alert))
        if device.waiting is None:
            effects += self._judge_fire(device, taken, at_ms, now_ms)
        return effects

    def _judge_fire(self, device: Device, taken: Taken, at_ms: int, now_ms: int) -> list[Effect]:
        """An alarm for as long as there is an alert; one that is open goes by the risk of every newer record."""
        rule, alert, risk = device.fire_rule, taken.alert, taken.risk / ONE
        alarm = device.alarms.get(rule.ruleId)
        if alarm is None:
            return self._raise(device, rule, at_ms, risk, now_ms, alert) if alert else []
        effects: list[Effect] = []
        rule = self._raised_by[alarm.alarm_id]
        if alert is not None and alarm.severity != alert.level.lower():
            effects += alarm.rise(alert.level.lower(), document_of(alert), risk, now_ms, rule)
        if taken.fate == "next":
            effects += alarm.sample(rule, level_of(taken.risk) >= HIGH, at_ms, risk, now_ms)
        return self._after(alarm, effects, changed=True)

    def _control_result(self, message: ControlResult, now_ms: int) -> list[Effect]:
        stored = StoreReport(
            message.thing,
            "control_result",
            message.device_timestamp,
            now_ms,
            orjson.dumps([message.action, message.action_id, message.result, message.reason]).decode(),
        )
        device = self._devices.get(message.thing)
        effects: list[Effect] = [stored]
        for alarm in list(device.alarms.values()) if device else ():
            rule = self._raised_by[alarm.alarm_id]
            moved = alarm.control_result(message.action_id, message.result, message.reason, rule, now_ms)
            effects += self._after(alarm, moved)
        return effects

    def _job_ended(self, message: JobEnded, now_ms: int) -> list[Effect]:
        alarm = self._by_job.get(message.job_id)
        reason = "; ".join(f"{name}: {value}" for name, value in sorted(message.details.items()))
        if isinstance(message.details.get("reason"), str):
            reason = message.details["reason"]
        if alarm is None:  # a job of somebody else, or of an alarm that is closed
            return self.platform.deployments.ended(message.thing, message.job_id, message.status, reason, now_ms)
        rule = self._raised_by[alarm.alarm_id]
        moved = alarm.job_ended(message.job_id, message.status.upper(), reason, rule, now_ms)
        if moved:
            moved += rolled_back(alarm.thing, message.job_id, alarm.alarm_id, reason, now_ms)
        return self._after(alarm, moved)

    # -- time and answers

    def tick(self, now_ms: int) -> list[Effect]:
        """Let waiting end; call it a few times a second."""
        effects: list[Effect] = []
        for alarm in list(self._open.values()):
            effects += self._after(alarm, alarm.tick(self._raised_by[alarm.alarm_id], now_ms))
        for thing in sorted(self._unread):
            effects += self._look_up(self._devices[thing], now_ms)
        for alarm_id in list(self.platform.levels.due.come(now_ms)):
            effects += self._lift(self._open[alarm_id], now_ms)
        effects += self.platform.tick(now_ms)
        if not self.deaf:
            for thing in self._moments.come(now_ms):
                effects += self._miss(self._devices[thing], now_ms)
        if self.fire is not None:
            effects += self.fire.tick(now_ms)
        return effects + self.uploads.tick(now_ms)

    def _lift(self, alarm: Alarm, now_ms: int) -> list[Effect]:
        """An alarm is open for long."""
        levels = self.platform.levels
        level = levels.level_of(alarm.alarm_class, now_ms - alarm.raised_at_ms)
        if level <= alarm.level:
            return []
        last = level == levels.top(alarm.alarm_class)
        return self._after(alarm, alarm.lift(level, last, self._raised_by[alarm.alarm_id], now_ms))

    def product_answered(
        self, thing: str, product: str | None, now_ms: int, attributes: Mapping[str, str] | None = None
    ) -> list[Effect]:
        """A look-up ended: None when the device has no product. Its waiting samples are judged now."""
        device = self._devices.get(thing)
        if device is None:
            return []
        effects = self._placed(self.platform.master.registered(thing, attributes)) if attributes else []
        if device.product is not None:
            return effects
        device.lookup_at_ms = now_ms + NO_PRODUCT_AGAIN_MS
        return effects + self._is(device, product or device.claim, now_ms)

    def _is(self, device: Device, product: str | None, now_ms: int) -> list[Effect]:
        """The product is known, or known to be unknown: what waited is read and judged now."""
        waiting, device.waiting = device.waiting or (), None
        unread, device.unread = device.unread, []
        device.product = product
        self._judge_by_product(device)
        for sample in waiting if device.formulas else ():
            self._compute(device, sample)
        effects: list[Effect] = [device.save(), Placed(device.thing, product or "")]
        for sample in waiting:
            effects += self._judge(device, sample, now_ms)
        if unread:
            self._unread.discard(device.thing)
            effects.append(DropWaiting(device.thing))
        for arrived_ms, topic, payload in unread:
            self._unread_bytes -= len(payload)
            message = self._decode(topic, payload, arrived_ms)
            read = self._decode.binary(message, product) if isinstance(message, Binary) else message
            effects += self._take_in(read, topic, payload, now_ms, arrived_ms)
        return effects

    def done(self, call: Call, at_ms: int, error: str, now_ms: int, result: Any = None) -> list[Effect]:
        """A call to AWS, begun at `at_ms`, ended: `error` is empty when AWS took it."""
        if isinstance(call, LookUp | Say):
            return []  # a failed one: the device's next sample asks again, not before LOOKUP_AGAIN_MS
        if isinstance(call, Tell):
            return self.platform.outbox.answered(call, error, now_ms)
        if isinstance(call, OpenUpload | CompleteUpload | AbortUpload):
            return self.uploads.answered(call, result, error, now_ms)
        alarm = self._open.get(call.alarm_id)
        if alarm is None:
            return []
        rule = self._raised_by[alarm.alarm_id]
        match call:
            case SetDesired() if error:
                moved = alarm.command_failed(call.action_id, error, rule, now_ms)
            case SetDesired():
                moved = alarm.command_sent(call.action_id, at_ms, rule)
            case CreateJob() if error:
                moved = alarm.job_refused(call.job_id, error, rule, now_ms)
            case CreateJob():
                moved = alarm.job_created(call.job_id, at_ms, rule)
        return self._after(alarm, moved)

    def _after(self, alarm: Alarm, effects: list[Effect], changed: bool = False) -> list[Effect]:
        """Keep the indexes in step with an alarm that moved, and remember it."""
        if not effects and not changed:
            return effects
        more = [*self.platform.followed(alarm, effects)]
        if alarm.state == "closed":
            self._open.pop(alarm.alarm_id, None)
            self._raised_by.pop(alarm.alarm_id, None)
            self._by_job.pop(alarm.job_id, None)
            self._devices[alarm.thing].alarms.pop(alarm.rule_id, None)
        elif alarm.job_id:
            self._by_job[alarm.job_id] = alarm
        return [*effects, *more, alarm.save()]

    # -- restart

    def resume(
        self,
        devices: Iterable[SaveDevice],
        documents: Iterable[str],
        now_ms: int,
        *,
        old_rules: Mapping[tuple[str, int], Rule] | None = None,
        claims: Mapping[str, str] | None = None,
        waiting: Iterable[KeepWaiting] = (),
        uploads: Iterable[str] = (),
        fire: Restored | None = None,
        platform: PlatformRestored | None = None,
    ) -> list[Effect]:
        """Take up what the store remembers; asks again for the calls that were never confirmed."""
        if self.fire is not None and fire is not None:
            self.fire.resume(fire)
        for saved in devices:
            device = self._devices[saved.device_id] = Device(saved.device_id)
            device.last_timestamp, device.last_key = saved.last_timestamp, saved.last_key
            device.product, device.heard_ms = saved.product_id, now_ms
            if saved.product_id is not None:
                device.waiting = None
            self._judge_by_product(device)
            if saved.formulas:
                known = from_document(saved.formulas).items()
                device.values = {name: value for name, value in known if name in self.formulas.by_id}
            device.course = Course(*orjson.loads(saved.course)) if saved.course else None
            device.claim = claims.get(saved.device_id) if claims else None
        effects = self.uploads.resume(uploads)
        if platform is not None:
            effects += self.platform.resume(platform)
        for message in waiting:
            self._wait(self._devices[message.thing], *message[1:])
        for document in documents:
            alarm = Alarm(**{k: v for k, v in orjson.loads(document).items() if k in _ALARM_FIELDS})
            device = self._devices[alarm.thing]
            device.alarms[alarm.rule_id] = self._open[alarm.alarm_id] = alarm
            if not self._stands(alarm):
                alarm.alarm_class = alarm.alarm_class or class_of(alarm.severity)  # of an older file
                effects += self._after(alarm, alarm.close(now_ms, "the rule does not exist any more"))
                continue
            rule = self.rules.find(alarm.rule_id)
            assert rule is not None, "it stands"
            rule = (old_rules or {}).get((alarm.rule_id, alarm.rule_version), rule)
            self._raised_by[alarm.alarm_id] = rule
            if alarm.job_id:
                self._by_job[alarm.job_id] = alarm
            alarm.alarm_class = alarm.alarm_class or class_of(alarm.severity, rule.alarmClass)  # of an older file
            self.platform.expect(alarm)
            effects += alarm.calls(rule)
        return effects


def _kind(message: Decoded) -> str:
    """The row it is counted in."""
    match message:
        case Telemetry():
            return "telemetry"
        case ControlResult():
            return "control_result"
        case JobEnded():
            return "job_event"
    return message.kind


def with_formulas(metrics: Mapping[str, Any], wanted: Sequence[str], values: Values | None) -> dict[str, Any]:
    """A sample's metrics with the values of formulas, of which the device itself can say nothing."""
    known = {formula_key(name): value.value for name, value in (values or {}).items()}
    return {**metrics, **{name: known.get(name) for name in wanted}}


def _alert_said(thing: str, alert: Alert) -> Say:
    """What the fire prediction publishes of an alert."""
    payload = orjson.dumps({"deviceId": thing, **document_of(alert)})
    return Say(thing, f"fire-prediction/alerts/{alert.level.lower()}/{thing}", payload)


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) else None
