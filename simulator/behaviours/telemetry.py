"""Periodic telemetry: read the sensors, encode, publish. The smallest behaviour: copy this one.

The period is drawn once for each device from `every_s`; the intended times are a fixed grid from the moment
the device came up, so a late wake-up does not push later ones back. While the device is offline its messages
go to the link's bounded queue with their own timestamps.
"""

from typing import Literal

from pydantic import Field, model_validator

from simulator.behaviours import NEVER_MS, Behaviour, Body, Duty, Outputs
from simulator.messages import Connected, Input, Publish
from simulator.signals import Range
from simulator.wire.payloads import ENCODERS


class Telemetry(Behaviour):
    """Publishes what the sensors read, every so often."""

    kind: Literal["telemetry"] = "telemetry"
    every_s: Range | float = Field(description="Seconds between two messages; [low, high]: each device draws its own.")
    topic: str = Field(description="Topic, with {env} and {thing} filled in.")
    codec: Literal["platform_json", "fire_record"] = "platform_json"
    metrics: list[str] = Field(min_length=1, max_length=64, description="The signals to send.")
    qos: Literal[0, 1] = 1

    @model_validator(mode="after")
    def _period(self) -> "Telemetry":
        low, high = self.period_s
        if not 0.001 <= low <= high <= 86_400:
            raise ValueError(f"'every_s' must lie between 0.001 and 86400 seconds, is {self.every_s}")
        return self

    @property
    def period_s(self) -> Range:
        return self.every_s if isinstance(self.every_s, Range) else Range(self.every_s, self.every_s)

    def signals(self) -> tuple[str, ...]:
        return tuple(self.metrics)

    def duty(self) -> Duty:
        return TelemetryDuty(self)


class TelemetryDuty(Duty):
    __slots__ = ("index", "period_ms", "start_ms", "topic", "what")

    def __init__(self, what: Telemetry) -> None:
        super().__init__()
        self.what = what
        self.index = 0
        self.start_ms = NEVER_MS
        self.period_ms = 0.0
        self.topic = ""

    def receive(self, body: Body, said: Input, now_ms: int) -> Outputs:
        if isinstance(said, Connected) and self.start_ms == NEVER_MS:
            low, high = self.what.period_s
            self.period_ms = 1000 * (low + (high - low) * body.draw("telemetry period"))
            self.topic = body.topic(self.what.topic)
            self.start_ms = now_ms + int(self.period_ms * body.draw("telemetry phase"))
            self.wake_at_ms = self.start_ms
        return []

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.index += 1
        due_ms = self.start_ms + int(self.index * self.period_ms)
        if due_ms <= now_ms:  # Asleep for more than a period (switched off): what was missed was never measured.
            self.index = int((now_ms - self.start_ms) / self.period_ms) + 1
            due_ms = self.start_ms + int(self.index * self.period_ms)
        self.wake_at_ms = due_ms
        reading = body.reading(now_ms)
        notes = body.out_of_range(reading, now_ms)
        metrics = {name: reading[name] for name in self.what.metrics}
        payload = ENCODERS[self.what.codec](body.thing, self.index, now_ms, metrics)
        return [*notes, Publish("telemetry", self.topic, payload, self.what.qos)]
