"""Notifications: who is told of an alarm, by which channels, how often.

Rules: a notification is written in the transaction of what it tells. By its class an alarm has channels, and from level
2 on those of `act_now`. Where a channel has an SNS topic it is sent there, and tried again when that fails; else lying
in the outbox is being sent. The same alarm of the same device again within `quiet_s` is not told, nor its end. Each
channel has a bound a minute. What is quieted and what is dropped is counted.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from simulator.backend.alarms import Alarm
from simulator.backend.effects import Effect, Record, Tell
from simulator.backend.platform.outcomes import Count, NotificationEnded, Notify
from simulator.backend.platform.settings import ChannelName, Notifications
from simulator.backend.silence import Moments

WAITING_MAX = 10_000  # for SNS
REMEMBERED_MAX = 100_000  # alarms that may be repeated
TRIES_MAX = 5
RETRY_FIRST_MS = 30_000  # doubled with every try
SUBJECT_MAX = 100  # of SNS
MINUTE_MS = 60_000
TOLD = frozenset(("alarm_raised", "alarm_risen", "alarm_level", "alarm_escalated", "alarm_closed"))


class Outbox:
    """What is told, and what still has to be sent."""

    def __init__(self, settings: Notifications, topics: Mapping[Any, str]) -> None:
        self._settings, self._topics = settings, topics
        self._channels: Mapping[str, Sequence[ChannelName]] = {
            "act_now": settings.act_now, "watch": settings.watch, "information": settings.information,
        }  # fmt: skip
        self._rates: Mapping[str, int] = {
            "email": settings.email_per_minute, "phone": settings.phone_per_minute,
            "dashboard": settings.dashboard_per_minute,
        }  # fmt: skip
        self._minute = 0
        self._in_minute: Counter[str] = Counter()
        self._told_ms: OrderedDict[tuple[str, str], int] = OrderedDict()  # by device and rule
        self._quieted: set[str] = set()  # open alarms that nobody was told of
        self._waiting: dict[str, tuple[Tell, int]] = {}  # with the tries so far
        self._moments = Moments()

    def tell(self, alarm: Alarm, event: Record) -> list[Effect]:
        """An alarm did something."""
        if event.kind == "alarm_raised" and self._again(alarm, event.at_ms):
            self._quieted.add(alarm.alarm_id)
            return [Count("notifications.quieted")]
        if event.kind == "alarm_closed" and alarm.alarm_id in self._quieted:
            self._quieted.discard(alarm.alarm_id)
            return [Count("notifications.quieted")]
        channels = self._channels[alarm.alarm_class]
        if alarm.level > 1:
            channels = list(dict.fromkeys((*channels, *self._channels["act_now"])))
        effects: list[Effect] = []
        for channel in channels:
            effects += self._put(alarm, event, channel)
        return effects

    def _again(self, alarm: Alarm, now_ms: int) -> bool:
        """Whether people heard of this very alarm a short time ago."""
        told, key = self._told_ms, (alarm.thing, alarm.rule_id)
        if now_ms - told.get(key, -MINUTE_MS * MINUTE_MS) < 1000 * self._settings.quiet_s:
            return True
        told[key] = now_ms
        told.move_to_end(key)
        if len(told) > REMEMBERED_MAX:
            told.popitem(last=False)
        return False

    def _put(self, alarm: Alarm, event: Record, channel: ChannelName) -> list[Effect]:
        topic = self._topics.get(channel, "")
        if not self._has_room(channel, event.at_ms) or (topic and len(self._waiting) >= WAITING_MAX):
            return [Count(f"notifications.dropped.{channel}")]
        body = orjson.dumps(_body(alarm, event)).decode()
        notify = Notify(
            f"{alarm.alarm_id}/{event.kind}/{event.at_ms}/{channel}", event.at_ms, alarm.alarm_id, alarm.thing,
            alarm.alarm_class, channel, event.kind, alarm.level, _subject(alarm, event), body, topic,
            "waiting" if topic else "sent",
        )  # fmt: skip
        told = Count(f"notifications.told.{channel}")
        return [notify, told, self._send(notify, 0)] if topic else [notify, told]

    def _has_room(self, channel: str, now_ms: int) -> bool:
        if now_ms // MINUTE_MS != self._minute:
            self._minute = now_ms // MINUTE_MS
            self._in_minute.clear()
        self._in_minute[channel] += 1
        return self._in_minute[channel] <= self._rates[channel]

    # -- SNS

    def _send(self, one: Notify, tries: int) -> Tell:
        call = Tell(one.thing, one.alarm_id, one.notification_id, one.topic, one.subject, one.body)
        self._waiting[one.notification_id] = call, tries
        return call

    def answered(self, call: Tell, error: str, now_ms: int) -> list[Effect]:
        """A try ended."""
        known = self._waiting.get(call.notification_id)
        if known is None:
            return []
        tries = known[1] + 1
        if error and tries < TRIES_MAX:
            self._waiting[call.notification_id] = call, tries
            self._moments.expect(call.notification_id, now_ms + (RETRY_FIRST_MS << tries - 1))
            return [NotificationEnded(call.notification_id, "waiting", now_ms, tries, error[:SUBJECT_MAX])]
        del self._waiting[call.notification_id]
        if not error:
            return [NotificationEnded(call.notification_id, "sent", now_ms, tries, "")]
        failed = NotificationEnded(call.notification_id, "failed", now_ms, tries, error[:SUBJECT_MAX])
        return [failed, Count("notifications.failed")]

    def tick(self, now_ms: int) -> list[Effect]:
        """Try again what failed."""
        return [self._waiting[name][0] for name in self._moments.come(now_ms) if name in self._waiting]

    def resume(self, waiting: Iterable[tuple[Notify, int]]) -> list[Effect]:
        """Take up what the store remembers."""
        return [self._send(one, tries) for one, tries in waiting if len(self._waiting) < WAITING_MAX]


def _subject(alarm: Alarm, event: Record) -> str:
    """One line, as SNS takes it."""
    detail = event.detail
    match event.kind:
        case "alarm_raised":
            value = "" if detail.get("value") is None else f" ({detail['metric']} = {detail['value']:g})"
            says = f"{detail['condition']}{value}"
        case "alarm_risen":
            says = f"risen to {detail['severity']}"
        case "alarm_level":
            says = f"still open, level {detail['level']}"
        case "alarm_escalated":
            says = f"a field engineer is needed: {detail['reason']}"
        case _:
            says = str(detail["reason"])
    urgency = "closed" if event.kind == "alarm_closed" else alarm.alarm_class.replace("_", " ")
    line = f"[{urgency}] {alarm.thing}: {says}"
    return "".join(c if " " <= c <= "~" else "?" for c in line)[:SUBJECT_MAX]


def _body(alarm: Alarm, event: Record) -> dict[str, Any]:
    return {
        "thing": alarm.thing, "product": alarm.product, "ruleId": alarm.rule_id, "severity": alarm.severity,
        "level": alarm.level, "detail": dict(event.detail), **({"about": alarm.about} if alarm.about else {}),
    }  # fmt: skip
