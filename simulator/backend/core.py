"""The pure core of the platform: a message or a moment in, effects out.

Rules: no I/O, no clock, no randomness; the same inputs give the same effects. Every sample is kept, but
only one that is newer (by device time) than the last moves an alarm. What is remembered for a device is
bounded, and so is the number of devices. A device whose product is not known yet is looked up, and its
latest samples wait for the answer. At most one alarm is open for a device and a rule.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import orjson

from simulator.backend import contract
from simulator.backend.alarms import Alarm, open_alarm
from simulator.backend.decode import ControlResult, Decoder, Ignored, JobEnded, Refused, Report, Telemetry
from simulator.backend.effects import (
    Call,
    CreateJob,
    DeadLetter,
    Effect,
    LookUp,
    SaveDevice,
    SetDesired,
    StoreReport,
    StoreTelemetry,
)
from simulator.backend.rules import Rule, Rules

DEVICES_MAX = 200_000
WAITING_MAX = 50  # samples of one device that wait for its product
LOOKUP_AGAIN_MS = 30_000  # after a failed look-up
NO_PRODUCT_AGAIN_MS = 600_000  # a device without a product may be given one

_ALARM_FIELDS = frozenset(f.name for f in fields(Alarm))


class Device:
    """What the core remembers of one device."""

    __slots__ = (
        "alarms",
        "last_key",
        "last_timestamp",
        "lookup_at_ms",
        "product",
        "rules",
        "thing",
        "waiting",
    )

    def __init__(self, thing: str) -> None:
        self.thing = thing
        self.product: str | None = None
        self.rules: tuple[Rule, ...] = ()
        self.last_timestamp = 0
        self.last_key = 0
        self.lookup_at_ms = 0  # when to ask for the product (again)
        self.waiting: deque[Telemetry] | None = deque(maxlen=WAITING_MAX)  # None once the product was answered
        self.alarms: dict[str, Alarm] = {}  # open ones, by rule


class Backend:
    """Decode → contract → rules → alarms, for all devices."""

    def __init__(self, rules: Rules, devices_max: int = DEVICES_MAX) -> None:
        self.rules = rules
        self.received: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()
        self._devices_max = devices_max
        self._decode = Decoder()
        self._devices: dict[str, Device] = {}
        self._by_job: dict[str, Alarm] = {}
        self._open: dict[str, Alarm] = {}

    @property
    def open_alarms(self) -> Mapping[str, Alarm]:
        """The alarms that are not closed, by id."""
        return self._open

    # -- messages

    def ingest(self, topic: str, payload: bytes, now_ms: int) -> list[Effect]:
        """Take one message; never raises whatever its bytes are."""
        message = self._decode(topic, payload, now_ms)
        if isinstance(message, Telemetry):
            self.received["telemetry"] += 1
            reason = contract.check_telemetry(message)
            if reason:
                return self._refuse(reason, topic, payload, now_ms)
            return self._telemetry(message, topic, payload, now_ms)
        if isinstance(message, Refused | Ignored):
            self.received[message.kind] += 1
            return self._refuse(message.reason, topic, payload, now_ms) if isinstance(message, Refused) else []
        if isinstance(message, ControlResult):
            self.received["control_result"] += 1
            reason = contract.check_control_result(message, now_ms)
            if reason:
                return self._refuse(reason, topic, payload, now_ms)
            return self._control_result(message, now_ms)
        if isinstance(message, Report):
            self.received[message.kind] += 1
            reason = contract.check_report(message, now_ms)
            if reason:
                return self._refuse(reason, topic, payload, now_ms)
            return [StoreReport(message.thing, message.kind, message.device_timestamp, now_ms, payload.decode())]
        self.received["job_event"] += 1
        return self._job_ended(message, now_ms)

    def _refuse(self, reason: str, topic: str, payload: bytes, now_ms: int) -> list[Effect]:
        self.dead[reason] += 1
        return [DeadLetter(now_ms, reason, topic, payload)]

    def _telemetry(self, sample: Telemetry, topic: str, payload: bytes, now_ms: int) -> list[Effect]:
        device = self._devices.get(sample.device_id)
        if device is None:
            if len(self._devices) >= self._devices_max:
                return self._refuse("devices.too_many", topic, payload, now_ms)
            device = self._devices[sample.device_id] = Device(sample.device_id)
        effects: list[Effect] = [
            StoreTelemetry(
                sample.device_id,
                sample.stream,
                sample.key,
                sample.hub_id,
                sample.device_timestamp,
                sample.hub_timestamp,
                now_ms,
                orjson.dumps(sample.metrics).decode(),
            )
        ]
        if sample.key == device.last_key or sample.device_timestamp < device.last_timestamp:
            return effects  # repeated or late: kept if it is new, but it moves nothing
        device.last_timestamp, device.last_key = sample.device_timestamp, sample.key
        effects.append(SaveDevice(device.thing, device.product, sample.device_timestamp, sample.key))
        if device.product is None and now_ms >= device.lookup_at_ms:
            device.lookup_at_ms = now_ms + LOOKUP_AGAIN_MS
            effects.append(LookUp(device.thing))
        if device.waiting is not None:
            device.waiting.append(sample)
        elif device.rules:
            effects += self._judge(device, sample, now_ms)
        return effects

    def _judge(self, device: Device, sample: Telemetry, now_ms: int) -> list[Effect]:
        """Ask every rule of the device's product about a sample."""
        effects: list[Effect] = []
        for rule in device.rules:
            bad = rule.compiled.holds(sample.metrics)
            alarm = device.alarms.get(rule.ruleId)
            if bad is None or (alarm is None and not bad):
                continue
            value = _number(sample.metrics.get(rule.compiled.metrics[0]))
            if alarm is None:
                alarm = open_alarm(rule, device.thing, device.product, sample.device_timestamp, value, now_ms)
                device.alarms[rule.ruleId] = self._open[alarm.alarm_id] = alarm
                effects += self._after(alarm, alarm.start(rule, now_ms))
            else:
                moved = alarm.sample(rule, bad, sample.device_timestamp, value, now_ms)
                effects += self._after(alarm, moved, changed=True)
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
        effects: list[Effect] = [stored]
        for alarm in list(device.alarms.values()) if device else ():
            rule = self.rules.by_id[alarm.rule_id]
            moved = alarm.control_result(message.action_id, message.result, message.reason, rule, now_ms)
            effects += self._after(alarm, moved)
        return effects

    def _job_ended(self, message: JobEnded, now_ms: int) -> list[Effect]:
        alarm = self._by_job.get(message.job_id)
        if alarm is None:
            return []  # a job of somebody else, or of an alarm that is closed
        reason = "; ".join(f"{name}: {value}" for name, value in sorted(message.details.items()))
        if isinstance(message.details.get("reason"), str):
            reason = message.details["reason"]
        rule = self.rules.by_id[alarm.rule_id]
        return self._after(alarm, alarm.job_ended(message.job_id, message.status.upper(), reason, rule, now_ms))

    # -- time and answers

    def tick(self, now_ms: int) -> list[Effect]:
        """Let waiting end; call it a few times a second."""
        effects: list[Effect] = []
        for alarm in list(self._open.values()):
            effects += self._after(alarm, alarm.tick(self.rules.by_id[alarm.rule_id], now_ms))
        return effects

    def product_answered(self, thing: str, product: str | None, now_ms: int) -> list[Effect]:
        """A look-up ended: None when the device has no product. Its waiting samples are judged now."""
        device = self._devices.get(thing)
        if device is None or device.product is not None:
            return []
        waiting, device.waiting = device.waiting or (), None
        device.lookup_at_ms = now_ms + NO_PRODUCT_AGAIN_MS
        device.product, device.rules = product, self.rules.for_product(product)
        effects: list[Effect] = [SaveDevice(thing, product, device.last_timestamp, device.last_key)]
        for sample in waiting:
            effects += self._judge(device, sample, now_ms)
        return effects

    def done(self, call: Call, at_ms: int, error: str, now_ms: int) -> list[Effect]:
        """A call to AWS, begun at `at_ms`, ended: `error` is empty when AWS took it."""
        if isinstance(call, LookUp):
            return []  # a failed one: the device's next sample asks again, not before LOOKUP_AGAIN_MS
        alarm = self._open.get(call.alarm_id)
        if alarm is None:
            return []
        rule = self.rules.by_id[alarm.rule_id]
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
        if alarm.state == "closed":
            self._open.pop(alarm.alarm_id, None)
            self._by_job.pop(alarm.job_id, None)
            self._devices[alarm.thing].alarms.pop(alarm.rule_id, None)
        elif alarm.job_id:
            self._by_job[alarm.job_id] = alarm
        return [*effects, alarm.save()]

    # -- restart

    def resume(self, devices: Iterable[SaveDevice], documents: Iterable[str], now_ms: int) -> list[Effect]:
        """Take up what the store remembers; asks again for the calls that were never confirmed."""
        for saved in devices:
            device = self._devices[saved.device_id] = Device(saved.device_id)
            device.last_timestamp, device.last_key = saved.last_timestamp, saved.last_key
            device.product, device.rules = saved.product_id, self.rules.for_product(saved.product_id)
            if saved.product_id is not None:
                device.waiting = None
        effects: list[Effect] = []
        for document in documents:
            alarm = Alarm(**{k: v for k, v in orjson.loads(document).items() if k in _ALARM_FIELDS})
            device = self._devices[alarm.thing]
            device.alarms[alarm.rule_id] = self._open[alarm.alarm_id] = alarm
            rule = self.rules.by_id.get(alarm.rule_id)
            if rule is None or rule not in device.rules:
                effects += self._after(alarm, alarm.close(now_ms, "the rule does not exist any more"))
            else:
                if alarm.job_id:
                    self._by_job[alarm.job_id] = alarm
                effects += alarm.calls(rule)
        return effects


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) else None
