"""Alarms that are not closed: who moves them, and what follows when one moved. Pure.

Rules: at most one alarm is open for a device and a rule; it keeps the version of the rule that it was raised by, and is
closed when the rule is deleted or is not for the product any more. Whoever moves an alarm hands what it did to `moved`,
which asks the platform what follows from it and remembers the alarm.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields

import orjson

from simulator.backend.alarms import Alarm, open_alarm
from simulator.backend.decode import ControlResult, JobEnded
from simulator.backend.devices import Device, Devices
from simulator.backend.effects import CreateJob, Effect, SetDesired
from simulator.backend.fire.alerts import Alert, document_of
from simulator.backend.platform.classes import class_of
from simulator.backend.platform.deployments import rolled_back
from simulator.backend.platform.service import Platform
from simulator.backend.rules import Rule, Rules

_FIELDS = frozenset(f.name for f in fields(Alarm))


class OpenAlarms:
    """All of them, by id, and by the job each waits for; each with the rule that raised it."""

    def __init__(self, devices: Devices, platform: Platform, fire: bool) -> None:
        """`fire`: are there alarms of the fire prediction?"""
        self._devices, self._platform, self._fire = devices, platform, fire
        self.by_id: dict[str, Alarm] = {}
        self.raised_by: dict[str, Rule] = {}  # as the rule was then
        self._by_job: dict[str, Alarm] = {}

    def open(
        self, device: Device, rule: Rule, at_ms: int, value: float | None, now_ms: int, alert: Alert | None = None
    ) -> list[Effect]:
        """Raise one."""
        alarm = open_alarm(rule, device.thing, device.product, at_ms, value, now_ms)
        if alert is not None:
            alarm.severity, alarm.about = alert.level.lower(), document_of(alert)
            alarm.alarm_class = class_of(alarm.severity, rule.alarmClass)
        device.alarms[rule.ruleId] = self.by_id[alarm.alarm_id] = alarm
        self.raised_by[alarm.alarm_id] = rule
        return self.moved(alarm, alarm.start(rule, now_ms))

    def moved(self, alarm: Alarm, effects: list[Effect], changed: bool = False) -> list[Effect]:
        """What an alarm did, and what follows; `changed`: it is to be remembered even if it did nothing."""
        if not effects and not changed:
            return effects
        more = [*self._platform.followed(alarm, effects)]
        if alarm.state == "closed":
            self.by_id.pop(alarm.alarm_id, None)
            self.raised_by.pop(alarm.alarm_id, None)
            self._by_job.pop(alarm.job_id, None)
            self._devices[alarm.thing].alarms.pop(alarm.rule_id, None)
        elif alarm.job_id:
            self._by_job[alarm.job_id] = alarm
        return [*effects, *more, alarm.save()]

    # -- what devices and AWS say

    def control_result(self, device: Device, message: ControlResult, now_ms: int) -> list[Effect]:
        """A device did, or did not, what an alarm asked of it."""
        effects: list[Effect] = []
        for alarm in list(device.alarms.values()):
            rule = self.raised_by[alarm.alarm_id]
            result = alarm.control_result(message.action_id, message.result, message.reason, rule, now_ms)
            effects += self.moved(alarm, result)
        return effects

    def job_ended(self, message: JobEnded, now_ms: int) -> list[Effect]:
        """An update ended, an alarm's or somebody else's."""
        alarm = self._by_job.get(message.job_id)
        reason = "; ".join(f"{name}: {value}" for name, value in sorted(message.details.items()))
        if isinstance(message.details.get("reason"), str):
            reason = message.details["reason"]
        if alarm is None:  # a job of somebody else, or of an alarm that is closed
            return self._platform.deployments.ended(message.thing, message.job_id, message.status, reason, now_ms)
        rule = self.raised_by[alarm.alarm_id]
        effects = alarm.job_ended(message.job_id, message.status.upper(), reason, rule, now_ms)
        if effects:
            effects += rolled_back(alarm.thing, message.job_id, alarm.alarm_id, reason, now_ms)
        return self.moved(alarm, effects)

    def answered(self, call: SetDesired | CreateJob, at_ms: int, error: str, now_ms: int) -> list[Effect]:
        """A call of an alarm, begun at `at_ms`, ended: `error` is empty when AWS took it."""
        alarm = self.by_id.get(call.alarm_id)
        if alarm is None:
            return []
        rule = self.raised_by[alarm.alarm_id]
        match call:
            case SetDesired() if error:
                effects = alarm.command_failed(call.action_id, error, rule, now_ms)
            case SetDesired():
                effects = alarm.command_sent(call.action_id, at_ms, rule)
            case CreateJob() if error:
                effects = alarm.job_refused(call.job_id, error, rule, now_ms)
            case CreateJob():
                effects = alarm.job_created(call.job_id, at_ms, rule)
        return self.moved(alarm, effects)

    # -- time

    def tick(self, now_ms: int) -> list[Effect]:
        """Let waiting end."""
        effects: list[Effect] = []
        for alarm in list(self.by_id.values()):
            effects += self.moved(alarm, alarm.tick(self.raised_by[alarm.alarm_id], now_ms))
        return effects

    def lift(self, now_ms: int) -> list[Effect]:
        """Those that are open for long come to their next level."""
        effects: list[Effect] = []
        levels = self._platform.levels
        for alarm_id in list(levels.due.come(now_ms)):
            alarm = self.by_id[alarm_id]
            level = levels.level_of(alarm.alarm_class, now_ms - alarm.raised_at_ms)
            if level > alarm.level:
                last = level == levels.top(alarm.alarm_class)
                effects += self.moved(alarm, alarm.lift(level, last, self.raised_by[alarm_id], now_ms))
        return effects

    # -- other rules, a restart

    def keep(self, rules: Rules, now_ms: int) -> list[Effect]:
        """Close those that no rule stands behind any more."""
        effects: list[Effect] = []
        for alarm in list(self.by_id.values()):
            if not self._stands(alarm, rules):
                effects += self._fall(alarm, now_ms)
        return effects

    def _stands(self, alarm: Alarm, rules: Rules) -> bool:
        rule, product = rules.find(alarm.rule_id), self._devices[alarm.thing].product
        if rule is None or rule.type != alarm.rule_type:
            return False
        if rule.type == "fire":
            return self._fire and rule is rules.fire_of(product)
        return rule.is_for(product)

    def _fall(self, alarm: Alarm, now_ms: int) -> list[Effect]:
        alarm.alarm_class = alarm.alarm_class or class_of(alarm.severity)  # of an older file
        return self.moved(alarm, alarm.close(now_ms, "the rule does not exist any more"))

    def resume(
        self, documents: Iterable[str], rules: Rules, old_rules: Mapping[tuple[str, int], Rule], now_ms: int
    ) -> list[Effect]:
        """Take up what the store remembers; asks again for the calls that were never confirmed."""
        effects: list[Effect] = []
        for document in documents:
            alarm = Alarm(**{k: v for k, v in orjson.loads(document).items() if k in _FIELDS})
            device = self._devices[alarm.thing]
            device.alarms[alarm.rule_id] = self.by_id[alarm.alarm_id] = alarm
            if not self._stands(alarm, rules):
                effects += self._fall(alarm, now_ms)
                continue
            rule = rules.find(alarm.rule_id)
            assert rule is not None, "it stands"
            rule = old_rules.get((alarm.rule_id, alarm.rule_version), rule)
            self.raised_by[alarm.alarm_id] = rule
            if alarm.job_id:
                self._by_job[alarm.job_id] = alarm
            alarm.alarm_class = alarm.alarm_class or class_of(alarm.severity, rule.alarmClass)  # of an older file
            self._platform.expect(alarm)
            effects += alarm.calls(rule)
        return effects
