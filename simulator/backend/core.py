"""The pure core of the platform: a message or a moment in, effects out.

Rules: no I/O, no clock, no randomness; the same inputs give the same effects. Every sample is kept, but
only one that is newer (by device time) than the last moves an alarm. What waits for a device's product is judged when
the product is known. What a device says of its own product (provisioning_complete) counts only where the registry knows
nothing, as for a hub's children. Nobody is missed while the platform itself cannot hear.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from simulator.backend import contract
from simulator.backend.alarms import Alarm
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
from simulator.backend.devices import DEVICES_MAX, Course, Device, Devices
from simulator.backend.effects import (
    AbortUpload,
    Call,
    CompleteUpload,
    DeadLetter,
    DropWaiting,
    Effect,
    KeepWaiting,
    LookUp,
    OpenUpload,
    ReplayEnded,
    SaveDevice,
    Say,
    StoreReport,
    StoreTelemetry,
    Tell,
)
from simulator.backend.fire.analysis import Fire, Restored
from simulator.backend.fire_alarms import predict
from simulator.backend.hearing import Hearing
from simulator.backend.open_alarms import OpenAlarms
from simulator.backend.platform.formulas import Formulas, Values, from_document
from simulator.backend.platform.outcomes import Placed, SaveMaster
from simulator.backend.platform.service import Platform
from simulator.backend.platform.service import Restored as PlatformRestored
from simulator.backend.platform.settings import Master, Settings
from simulator.backend.rules import Rule, Rules
from simulator.backend.uploads import Uploads, answer_topic, say
from simulator.wire.spec import ProductSpec

NO_PRODUCT_AGAIN_MS = 600_000  # a device without a product may be given one


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
        self.uploads = Uploads()
        self._decode = Decoder()
        self._devices = Devices(devices_max)
        self._alarms = OpenAlarms(self._devices, self.platform, fire)
        self._hearing = Hearing(self._devices, self._alarms)
        self.deaf = False  # nothing can come in now, so nobody is missed

    def replace_rules(self, rules: Rules, now_ms: int) -> list[Effect]:
        """Judge by these rules from now on. What no rule stands behind any more is closed."""
        self.rules = rules
        for device in self._devices.values():
            self._judge_by_product(device)
        return self._alarms.keep(rules, now_ms)

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

    def _judge_by_product(self, device: Device) -> None:
        """Give a device the rules of its product."""
        device.rules = self.rules.for_product(device.product)
        device.silence_rules = self.rules.silence_of(device.product)
        device.fire_rule = self.rules.fire_of(device.product)
        if device.waiting is None:
            device.formulas = self.formulas.of(device.product)
        self._hearing.expect(device)

    def replace_specs(self, specs: Mapping[str, ProductSpec]) -> None:
        """Read the products' bytes by these specs from now on."""
        self._decode.specs = dict(specs)

    @property
    def open_alarms(self) -> Mapping[str, Alarm]:
        """The alarms that are not closed, by id."""
        return self._alarms.by_id

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
                return self._alarms.job_ended(message, now_ms)
        return []

    def _report(self, message: Report, topic: str, payload: bytes, now_ms: int) -> list[Effect]:
        document = message.document or payload.decode()
        effects: list[Effect] = [StoreReport(message.thing, message.kind, message.device_timestamp, now_ms, document)]
        if message.nodes is not None and message.hub_id == message.thing:
            hub = self._devices.known(message.thing)
            effects += hub.there(message.nodes, message.device_timestamp) if hub is not None else ()
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

    def _claimed(self, message: Report, now_ms: int) -> list[Effect]:
        """A device says which product it is."""
        claim = message.data.get("provisioning")
        product = claim.get("product") if type(claim) is dict else None
        device = self._devices.known(message.thing) if type(product) is str and 0 < len(product) <= 128 else None
        if device is None or device.product is not None:
            return []
        device.claim = product
        if device.waiting is None:  # the registry knows nothing
            return self._is(device, product, now_ms)
        return [device.save(), *device.look_up(now_ms)]

    def _spoke(self, thing: str, at_ms: int, now_ms: int) -> list[Effect]:
        """A device that may be new said something. It is looked up only where somebody would miss it."""
        device = self._devices.get(thing)
        if device is not None:
            return self._hearing.heard(device, at_ms, now_ms)
        if not self.rules.any_silence or (device := self._devices.known(thing)) is None:
            return []
        device.heard_ms = at_ms
        return [device.save(), *device.look_up(now_ms)]

    def listen_anew(self, now_ms: int) -> None:
        """The platform was away itself, or its clock jumped: nobody was silent until now."""
        self.deaf = False
        self._hearing.anew(now_ms)

    def _binary(self, message: Binary, topic: str, payload: bytes, now_ms: int) -> list[Effect]:
        """Read it by its product's spec; it waits while the product is not known."""
        if not self._decode.specs:
            return self._refuse("bin.no_product_spec", topic, payload, now_ms)
        device = self._devices.known(message.thing)
        if device is None:
            return self._refuse("devices.too_many", topic, payload, now_ms)
        looked_up = [*self._hearing.heard(device, message.ingest_timestamp, now_ms), *device.look_up(now_ms)]
        if device.product is None and device.waiting is not None:
            if not self._devices.has_room(device, payload):
                return [*self._refuse("bin.product_unknown", topic, payload, now_ms), *looked_up]
            self._devices.wait(device, message.ingest_timestamp, topic, payload)
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
        device = self._devices.get(sample.device_id) or self._devices.known(sample.device_id)
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
            effects += self._hearing.heard(device, sample.ingest_timestamp, now_ms)
        if sample.nodes is not None and sample.hub_id == sample.device_id:
            effects += device.there(sample.nodes, sample.device_timestamp)
        if sample.stream == "fire" and self.fire is not None:
            effects += predict(self.fire, self._alarms, device, sample, now_ms)
        computed = bool(device.formulas) and device.compute(sample)
        if sample.key == device.last_key or sample.device_timestamp < device.last_timestamp:
            if computed:
                effects.append(device.save())
            return effects  # repeated or late: kept if it is new, but it moves no alarm
        device.last_timestamp, device.last_key = sample.device_timestamp, sample.key
        if device.product is None:
            if sample.product is not None:
                effects += self._is(device, sample.product, now_ms)
            effects += device.look_up(now_ms)
        effects.append(device.save())
        if device.waiting is not None:
            device.waiting.append(sample)
        elif device.rules:
            effects += self._judge(device, sample, now_ms)
        return effects

    def _judge(self, device: Device, sample: Telemetry, now_ms: int) -> list[Effect]:
        """Ask every rule of the device's product about a sample."""
        effects: list[Effect] = []
        for rule in device.rules:
            alarm = device.alarms.get(rule.ruleId)
            if alarm is not None:
                rule = self._alarms.raised_by[alarm.alarm_id]
            metrics = sample.metrics
            if rule.compiled.formulas:
                metrics = with_formulas(metrics, rule.compiled.formulas, device.values)
            bad = rule.compiled.holds(metrics)
            if bad is None or (alarm is None and not bad):
                continue
            value = _number(metrics.get(rule.compiled.metrics[0]))
            if alarm is None:
                effects += self._alarms.open(device, rule, sample.device_timestamp, value, now_ms)
            else:
                moved = alarm.sample(rule, bad, sample.device_timestamp, value, now_ms)
                effects += self._alarms.moved(alarm, moved, changed=True)
        return effects

    def _control_result(self, message: ControlResult, now_ms: int) -> list[Effect]:
        stored = StoreReport(
            message.thing,
            "control_result",
            message.device_timestamp,
            now_ms,
            orjson.dumps([message.action, message.action_id, message.result, message.reason]).decode(),
        )
        device = self._devices.get(message.thing)
        return [stored, *(self._alarms.control_result(device, message, now_ms) if device else ())]

    # -- time and answers

    def tick(self, now_ms: int) -> list[Effect]:
        """Let waiting end; call it a few times a second."""
        effects = self._alarms.tick(now_ms) + self._devices.look_up(now_ms)
        effects += self._alarms.lift(now_ms) + self.platform.tick(now_ms)
        if not self.deaf:
            effects += self._hearing.tick(now_ms)
        if self.fire is not None:
            effects += self.fire.tick(now_ms)
        return effects + self.uploads.tick(now_ms)

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
        unread = self._devices.waited(device)
        device.product = product
        self._judge_by_product(device)
        for sample in waiting if device.formulas else ():
            device.compute(sample)
        effects: list[Effect] = [device.save(), Placed(device.thing, product or "")]
        for sample in waiting:
            effects += self._judge(device, sample, now_ms)
        if unread:
            effects.append(DropWaiting(device.thing))
        for arrived_ms, topic, payload in unread:
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
        return self._alarms.answered(call, at_ms, error, now_ms)

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
            self._devices.wait(self._devices[message.thing], *message[1:])
        return effects + self._alarms.resume(documents, self.rules, old_rules or {}, now_ms)


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


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) else None
