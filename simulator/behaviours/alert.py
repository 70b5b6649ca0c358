"""Alerts: the device itself says that a reading left its normal range, and that it is back. Once for each.

What is normal is the signal's own `limit`, or what `limits` says instead. An excursion is over when the reading
is inside again by `margin`, which keeps noise at the limit from making many of one. The flash remembers which
excursions were told, so a reboot does not tell them again.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from simulator.behaviours import Behaviour, Body, Duty, Outputs
from simulator.behaviours._platform import EVENT, report
from simulator.messages import Connected, Input, Note, Told
from simulator.schema import Misplaced
from simulator.signals import Range, Signal

LOOK_S = Range(0.1, 3600)


class Alert(Behaviour):
    """Publishes an alert_report when a reading leaves its normal range, and one when it is back."""

    settable: ClassVar[Mapping[str, Range]] = {"look_every_s": LOOK_S}

    kind: Literal["alert"] = "alert"
    metrics: list[str] = Field([], max_length=64, description="The signals to watch; absent: all that have a limit.")
    limits: dict[str, Range] = Field({}, max_length=64, description="Normal ranges instead of the signals' own.")
    margin: float = Field(0.0, ge=0, description="So far inside its limit a reading is back.")
    look_every_s: float = Field(1.0, ge=LOOK_S.low, le=LOOK_S.high, description="How often it looks.")
    topic: str = Field(f"{EVENT}/pub/alert_report/json", description="With {env}, {hub} and {thing} filled in.")

    @model_validator(mode="after")
    def _ranges_rise(self) -> "Alert":
        for name, (low, high) in self.limits.items():
            if low + 2 * self.margin >= high:
                raise Misplaced(
                    ("limits", name), f"must rise from low to high by more than two margins: [{low:g}, {high:g}]"
                )
        return self

    def every(self, period_s: float) -> "Alert":
        return self.model_copy(update={"look_every_s": max(self.look_every_s, min(period_s, LOOK_S.high))})

    def signals(self) -> tuple[str, ...]:
        return (*self.metrics, *self.limits)

    def misfits(self, others: Sequence[Behaviour], signals: Mapping[str, Signal]) -> Iterator[Misplaced]:
        for i, name in enumerate(self.metrics):
            if name in signals and not signals[name].limit and name not in self.limits:
                yield Misplaced(("metrics", i), f"'{name}' has no limit: give the signal one, or this behaviour")

    def duty(self) -> Duty:
        return AlertDuty(self)


class AlertDuty(Duty):
    __slots__ = ("look_ms", "what")

    def __init__(self, what: Alert) -> None:
        super().__init__()
        self.what = what
        self.look_ms = int(1000 * what.look_every_s)

    def receive(self, body: Body, said: Input, now_ms: int) -> Outputs:
        if isinstance(said, Told) and said.what == "alert.look_every_s":
            self.look_ms = max(1, int(1000 * float(said.value)))
            self.wake_at_ms = min(self.wake_at_ms, now_ms + self.look_ms)
        elif isinstance(said, Connected):
            self.wake_at_ms = min(self.wake_at_ms, now_ms + self.look_ms)
        return []

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms = now_ms + self.look_ms
        reading = body.reading(now_ms)
        said = body.out_of_range(reading, now_ms)
        watched = {**body.limits, **self.what.limits}
        for name in self.what.metrics or watched:
            if name in watched and isfinite(reading[name]):
                said += self._judge(body, name, reading[name], watched[name], now_ms)
        return said

    def _judge(self, body: Body, name: str, value: float, normal: Range, now_ms: int) -> Outputs:
        told: dict[str, float] = body.flash.get("alerts", {})
        limit, margin = told.get(name), self.what.margin
        if limit is None:
            if normal.low <= value <= normal.high:
                return []
            limit = normal.high if value > normal.high else normal.low
            body.flash["alerts"] = {**told, name: limit}
            return self._say(body, "raised", name, value, limit, now_ms)
        if not normal.low + margin * (limit == normal.low) <= value <= normal.high - margin * (limit == normal.high):
            return []
        body.flash["alerts"] = {other: at for other, at in told.items() if other != name}
        return self._say(body, "cleared", name, value, limit, now_ms)

    def _say(self, body: Body, state: str, name: str, value: float, limit: float, now_ms: int) -> Outputs:
        alert: dict[str, Any] = {"metric": name, "value": value, "limit": limit, "state": state}
        return [
            Note(f"alert_{state}", {"metric": name, "value": value, "limit": limit}),
            report(body, now_ms, "alert_report", body.topic(self.what.topic), {"alert": alert}),
        ]
