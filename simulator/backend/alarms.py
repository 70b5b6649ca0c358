"""One alarm's life: raised, acted upon, measured again, closed or escalated.

    raised ──► acting ──result──► verifying ──in range for clearFor_s──► closed
                  │ failed, late      │ relapsed, still bad
                  ▼                   ▼
             next step: autoAction → thenUpdateTo → thenDispatch; a step the rule does not have is skipped
                          acting      updating       escalated

Rules: an alarm is given inputs with the time as an argument and answers with effects. Two clocks: readings
are ordered and measured by the device's time, waiting by ours. It is *back in range* after two readings in
range one after the other, so that noise at the limit is neither a cure nor a relapse. An input that comes
twice, late, or for another action or job changes nothing. `closed` is the end; an escalated alarm closes
too, once the readings stay in range (somebody repaired the device). A rule without an autoAction only
raises: what comes "then" needs a first; but for a device that is silent somebody can be sent at once. The alarm of
a silent device closes as soon as it speaks.
"""

import re
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any, Literal

import orjson

from simulator.backend.effects import (
    CloseDispatch,
    CreateJob,
    Effect,
    OpenDispatch,
    Record,
    SaveAlarm,
    SetDesired,
)
from simulator.backend.platform.classes import class_of
from simulator.backend.rules import Rule

CLEAR_SAMPLES_MIN = 2
REASON_MAX = 300

State = Literal["open", "acting", "verifying", "updating", "escalated", "closed"]
Step = Literal["raised", "action", "update", "dispatch", "none"]


def job_id_of(alarm_id: str) -> str:
    """The id of an alarm's job: readable when AWS's 64 characters allow it."""
    job_id = f"ota-{alarm_id}"
    if re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", job_id):
        return job_id
    return f"ota-{blake2b(alarm_id.encode(), digest_size=16).hexdigest()}"


@dataclass(slots=True)
class Alarm:
    """What is remembered of one alarm; plain values only, so that it survives a restart as JSON."""

    alarm_id: str
    rule_id: str
    thing: str
    product: str | None
    severity: str
    metric: str
    value: float | None  # the reading that raised it
    raised_at_ms: int
    rule_version: int = 1
    rule_type: str = "threshold"
    state: State = "open"
    step: Step = "raised"
    closed_at_ms: int | None = None
    escalated_at_ms: int | None = None
    deadline_ms: int | None = None  # our clock: when waiting ends
    unconfirmed: list[str] = field(default_factory=list)  # ids whose call to AWS was not answered yet
    action_id: str = ""
    action_result: str = ""
    job_id: str = ""
    job_result: str = ""
    last_timestamp: int = 0  # device clock
    clear_since: int = 0  # device clock: first of the readings in range so far
    clear_samples: int = 0
    in_range: bool = False
    about: dict[str, Any] = field(default_factory=dict)  # the alert behind an alarm of fire risk
    alarm_class: str = ""  # act_now, watch or information
    level: int = 1  # by time

    def document(self) -> bytes:
        """JSON for the store."""
        return orjson.dumps(asdict(self))

    def save(self) -> SaveAlarm:
        """The effect that remembers it as it is now."""
        document = self.document().decode()
        return SaveAlarm(self.alarm_id, self.thing, self.rule_id, self.state, self.raised_at_ms, document)

    def _record(self, now_ms: int, kind: str, **detail: Any) -> Record:
        return Record(now_ms, kind, self.thing, self.alarm_id, detail)

    def _confirm(self, call_id: str) -> bool:
        """Whether this is the first answer to a call of ours."""
        if call_id not in self.unconfirmed:
            return False
        self.unconfirmed.remove(call_id)
        return True

    # -- inputs

    def start(self, rule: Rule, now_ms: int) -> list[Effect]:
        """The alarm was raised: record it and take the first step."""
        raised = self._record(
            now_ms,
            "alarm_raised",
            rule_id=self.rule_id,
            severity=self.severity,
            condition=rule.says,
            metric=self.metric,
            value=self.value,
            device_timestamp=self.last_timestamp,
        )
        return [raised, *self._next_step(rule, now_ms, rule.says)]

    def sample(self, rule: Rule, bad: bool, device_ms: int, value: float | None, now_ms: int) -> list[Effect]:
        """A reading, in or out of range."""
        if self.state == "closed" or device_ms <= self.last_timestamp:
            return []
        self.last_timestamp = device_ms
        if bad:
            return self._sample_bad(rule, value, now_ms)
        if not self.clear_samples:
            self.clear_since = device_ms
        self.clear_samples += 1
        if self.state == "updating":
            return []  # a device in the middle of an update proves nothing; it is measured again afterwards
        effects: list[Effect] = []
        if not self.in_range and self.clear_samples >= CLEAR_SAMPLES_MIN:
            self.in_range, self.deadline_ms = True, None
            if self.state != "escalated":
                self.state = "verifying"
            effects.append(self._record(now_ms, "in_range", after=self.step, metric=self.metric, value=value))
        if self.in_range and device_ms - self.clear_since >= rule.clearFor_s * 1000:
            effects += self.close(now_ms, f"in range for {rule.clearFor_s:g} s")
        return effects

    def _sample_bad(self, rule: Rule, value: float | None, now_ms: int) -> list[Effect]:
        relapsed = self.in_range
        self.in_range, self.clear_samples = False, 0
        if not relapsed:
            return []
        record = self._record(now_ms, "relapsed", after=self.step, metric=self.metric, value=value)
        if self.state == "escalated":
            return [record]
        return [record, *self._next_step(rule, now_ms, f"relapsed after {self.step}")]

    def command_sent(self, action_id: str, at_ms: int, rule: Rule) -> list[Effect]:
        """AWS took the action; the device's time to answer starts now."""
        if not self._confirm(action_id):
            return []
        if self.state == "acting":
            self.deadline_ms = at_ms + int(rule.actionTimeout_s * 1000)
        return [self._record(at_ms, "command_sent", action=rule.autoAction, action_id=action_id)]

    def command_failed(self, action_id: str, reason: str, rule: Rule, now_ms: int) -> list[Effect]:
        """AWS did not take the action."""
        if not self._confirm(action_id):
            return []
        reason = reason[:REASON_MAX]
        failed = self._record(now_ms, "command_failed", action=rule.autoAction, action_id=action_id, reason=reason)
        if self.state != "acting":
            return [failed]
        return [failed, *self._next_step(rule, now_ms, f"command not sent: {reason}")]

    def control_result(self, action_id: str, result: str, reason: str, rule: Rule, now_ms: int) -> list[Effect]:
        """The device says what became of the action."""
        if action_id != self.action_id or self.action_result:
            return []
        effects = self.command_sent(action_id, now_ms, rule)  # the device was quicker than AWS's answer to us
        self.action_result, reason = result, reason[:REASON_MAX]
        detail = {"action": rule.autoAction, "action_id": action_id, "result": result, "reason": reason}
        effects.append(self._record(now_ms, "control_result", **detail))
        if self.state == "acting":
            if result == "done":
                self.state, self.deadline_ms = "verifying", now_ms + int(rule.actionTimeout_s * 1000)
            else:
                effects += self._next_step(rule, now_ms, f"{rule.autoAction} {result}: {reason}".rstrip(": "))
        return effects

    def job_created(self, job_id: str, at_ms: int, rule: Rule) -> list[Effect]:
        """AWS took the job."""
        if not self._confirm(job_id):
            return []
        if self.state == "updating":
            self.deadline_ms = at_ms + int(rule.updateTimeout_s * 1000)
        package, version = self.product, rule.thenUpdateTo
        return [self._record(at_ms, "job_created", job_id=job_id, package=package, version=version)]

    def job_refused(self, job_id: str, reason: str, rule: Rule, now_ms: int) -> list[Effect]:
        """The job could not be created."""
        if not self._confirm(job_id):
            return []
        return self._job_failed(rule, now_ms, "NOT_CREATED", reason)

    def job_ended(self, job_id: str, status: str, reason: str, rule: Rule, now_ms: int) -> list[Effect]:
        """The device's job execution reached its end."""
        if not job_id or job_id != self.job_id or self.job_result:
            return []
        effects = self.job_created(job_id, now_ms, rule)
        if status != "SUCCEEDED":
            return effects + self._job_failed(rule, now_ms, status, reason)
        self.job_result = status
        package, version = self.product, rule.thenUpdateTo
        effects.append(self._record(now_ms, "job_succeeded", job_id=job_id, package=package, version=version))
        if self.state == "updating":
            self.state, self.deadline_ms = "verifying", now_ms + int(rule.actionTimeout_s * 1000)
            self.in_range, self.clear_samples = False, 0  # only what comes after the update counts
        return effects

    def _job_failed(self, rule: Rule, now_ms: int, status: str, reason: str) -> list[Effect]:
        self.job_result, reason = status, reason[:REASON_MAX]
        failed = self._record(now_ms, "job_failed", job_id=self.job_id, status=status, reason=reason)
        if self.state != "updating":
            return [failed]
        return [failed, *self._next_step(rule, now_ms, f"job {status}: {reason}".rstrip(": "))]

    def tick(self, rule: Rule, now_ms: int) -> list[Effect]:
        """Time passed."""
        if self.deadline_ms is None or now_ms < self.deadline_ms:
            return []
        if self.clear_samples and self.state != "updating":
            return []  # the last reading was in range: the next one decides
        waited_for = {"acting": "control_result", "updating": "job"}.get(self.state, "in_range")
        seconds = rule.updateTimeout_s if self.state == "updating" else rule.actionTimeout_s
        timed_out = self._record(now_ms, "action_timed_out", step=self.step, waited_for=waited_for, timeout_s=seconds)
        return [
            timed_out,
            *self._next_step(rule, now_ms, f"no {waited_for} within {seconds:g} s of {self.step}"),
        ]

    def lift(self, level: int, last: bool, rule: Rule, now_ms: int) -> list[Effect]:
        """It is open for long. At the last level somebody is sent, where nothing else is being done."""
        self.level, open_ms = level, now_ms - self.raised_at_ms
        lifted = self._record(now_ms, "alarm_level", level=level, alarm_class=self.alarm_class, open_ms=open_ms)
        if last and rule.thenDispatch and self.state == "open":
            return [lifted, *self._escalate(now_ms, f"open for {open_ms // 1000} s")]
        return [lifted]

    def rise(self, severity: str, about: dict[str, Any], value: float | None, now_ms: int, rule: Rule) -> list[Effect]:
        """What is behind it became worse."""
        self.severity, self.about = severity, about
        self.alarm_class = class_of(severity, rule.alarmClass)
        return [self._record(now_ms, "alarm_risen", severity=severity, metric=self.metric, value=value)]

    def close(self, now_ms: int, reason: str) -> list[Effect]:
        """The end."""
        self.state, self.closed_at_ms, self.deadline_ms = "closed", now_ms, None
        detail = {"after": self.step, "reason": reason, "open_ms": now_ms - self.raised_at_ms}
        closed: list[Effect] = [self._record(now_ms, "alarm_closed", **detail)]
        if self.escalated_at_ms is not None:
            closed.append(CloseDispatch(now_ms, self.alarm_id))
        return closed

    # -- steps

    def _next_step(self, rule: Rule, now_ms: int, reason: str) -> list[Effect]:
        """Take the first step of the rule that was not taken yet."""
        self.deadline_ms = None
        if self.step == "raised" and rule.autoAction:
            self.state, self.step, self.action_id = "acting", "action", f"{self.alarm_id}-1"
            self.unconfirmed.append(self.action_id)
            self.deadline_ms = now_ms + int(rule.actionTimeout_s * 1000)
        elif self.step == "action" and rule.thenUpdateTo:
            self.state, self.step, self.job_id = "updating", "update", job_id_of(self.alarm_id)
            self.unconfirmed.append(self.job_id)
            self.deadline_ms = now_ms + int(rule.updateTimeout_s * 1000)
        elif rule.thenDispatch and (self.step in ("action", "update") or rule.type == "silence"):
            return self._escalate(now_ms, reason)
        else:
            self.state = "open"  # nothing is left to be done; it may still close by itself
            if self.step != "raised":
                self.step = "none"
        return self.calls(rule)

    def _escalate(self, now_ms: int, reason: str) -> list[Effect]:
        """Send somebody."""
        self.state, self.step, self.escalated_at_ms, self.deadline_ms = "escalated", "dispatch", now_ms, None
        opened = OpenDispatch(now_ms, self.alarm_id, self.thing, self.rule_id, self.severity, reason)
        return [
            self._record(now_ms, "alarm_escalated", reason=reason),
            opened,
            self._record(now_ms, "dispatch_opened", severity=self.severity, reason=reason),
        ]

    def calls(self, rule: Rule) -> list[Effect]:
        """The call to AWS that is not confirmed yet: made when a step is taken, again after a restart."""
        if self.state == "acting" and rule.autoAction and self.action_id in self.unconfirmed:
            return [SetDesired(self.alarm_id, self.thing, rule.autoAction, self.action_id)]
        if self.state == "updating" and rule.thenUpdateTo and self.job_id in self.unconfirmed:
            package, version = self.product or "", rule.thenUpdateTo
            return [CreateJob(self.alarm_id, self.thing, self.job_id, package, version, rule.updateTimeout_s)]
        return []


def open_alarm(rule: Rule, thing: str, product: str | None, device_ms: int, value: float | None, now_ms: int) -> Alarm:
    """A new alarm. The reading's own time makes its id unique, over restarts too."""
    return Alarm(
        alarm_id=f"{thing}-{rule.ruleId}-{device_ms}",
        rule_id=rule.ruleId,
        thing=thing,
        product=product,
        severity=rule.severity,
        metric=rule.metric,
        value=value,
        raised_at_ms=now_ms,
        rule_version=rule.version,
        rule_type=rule.type,
        last_timestamp=device_ms,
        alarm_class=class_of(rule.severity, rule.alarmClass),
    )
