"""Telemetry: read the sensors, encode, publish; every so often, and at once when a value moved far enough.

The period is drawn once for each device from `every_s`; the intended times are a fixed grid from the moment
the device came up, so a late wake-up does not push later ones back. Each message knows its own (`due_ms`), and those
that are over before the device is woken are told as `Missed`, unless its power was off. While the device is offline
its messages go to the link's bounded queue with their own timestamps. With `on_change` it looks in between, and a
metric that moved by its threshold since the last message is told at once, with all others; two messages never have
the same timestamp. A setting may change `telemetry.every_s` while the device lives: the grid then begins anew.

With `in_turn` there is no grid: a message is due when the last one was answered, and not sooner after it than the
period. So a backend is asked for as much as it takes, one message of each device at a time, and no latency hides.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar, Literal

import orjson
from pydantic import Field, model_validator

from simulator.behaviours import NEVER_MS, Behaviour, Body, Channel, Duty, Outputs
from simulator.behaviours._platform import document
from simulator.messages import Answered, Booted, Connected, Input, Missed, Publish, Told, Turn
from simulator.schema import Misplaced
from simulator.signals import Range
from simulator.wire.payloads import Codec, Encoder, encoder, platform_json, told

PERIOD_S = Range(0.001, 86_400)
_new = tuple.__new__  # makes a named tuple in half the time that its own constructor takes
UNANSWERED_MS = 10_000  # in turn: after so long the next one is due, answer or not


class Telemetry(Behaviour):
    """Publishes what the sensors read, every so often and when it changes much."""

    channels: ClassVar[frozenset[str]] = frozenset({"mqtt", "tcp", "rest"})
    settable: ClassVar[Mapping[str, Range]] = {"every_s": PERIOD_S}

    kind: Literal["telemetry"] = "telemetry"
    every_s: Range | float = Field(description="Seconds between two messages; [low, high]: each device draws its own.")
    topic: str = Field(
        "",
        description="MQTT topic, with {env}, {hub} and {thing} filled in; absent: the platform's. "
        "Other channels have their own.",
    )
    codec: Codec = "platform_json"
    metrics: list[str] = Field(min_length=1, max_length=64, description="The signals to send.")
    qos: Literal[0, 1, 2] = 1
    retain: bool = Field(False, description="The broker keeps the last one for whoever subscribes later.")
    expiry_s: int | None = Field(None, ge=1, le=0xFFFF_FFFF, description="The broker drops it after so long (MQTT 5).")
    on_change: dict[str, float] = Field({}, max_length=64, description="Metric → the change that is told at once.")
    look_every_s: float = Field(1.0, ge=0.1, le=3600, description="How often it looks for such a change.")
    event_topic: str | None = Field(
        None, min_length=1, description="Topic of what is told at once; absent: `topic`, with event for periodic."
    )
    in_turn: bool = Field(False, description="Closed loop: the next one is due when the last one was answered.")

    @model_validator(mode="after")
    def _thresholds(self) -> "Telemetry":
        for name, delta in self.on_change.items():
            if name not in self.metrics:
                raise Misplaced(("on_change", name), f"'{name}' is not one of the metrics")
            if delta <= 0:
                raise Misplaced(("on_change", name), f"a change is more than 0, is {delta:g}")
        return self

    @model_validator(mode="after")
    def _period(self) -> "Telemetry":
        low, high = self.period_s
        if low > high:
            raise Misplaced(("every_s",), f"must rise from low to high, is [{low:g}, {high:g}]")
        if low < PERIOD_S.low or high > PERIOD_S.high:
            raise Misplaced(
                ("every_s",), f"must lie between 0.001 and 86400 seconds, is {low if low < PERIOD_S.low else high:g}"
            )
        return self

    @property
    def period_s(self) -> Range:
        return self.every_s if isinstance(self.every_s, Range) else Range(self.every_s, self.every_s)

    @property
    def where(self) -> str:
        """The template of its topic."""
        form = "bin" if self.codec == "platform_bin" else "json"
        return self.topic or f"iotlink/{{env}}/{{hub}}/{{thing}}/periodic/pub/telemetry/{form}"

    def over(self, channel: Channel) -> "Telemetry":
        if channel == "tcp":
            return self.model_copy(update={"codec": "frame", "topic": "frame"})
        if channel == "rest":
            fire = self.codec == "fire_record"
            found = {"codec": self.codec if fire else "platform_rest"}
            return self.model_copy(update={**found, "topic": "/ingest/fire" if fire else "/ingest/telemetry"})
        return self

    def every(self, period_s: float) -> "Telemetry":
        return self.model_copy(update={"every_s": period_s})

    def signals(self) -> tuple[str, ...]:
        return tuple(self.metrics)

    def duty(self) -> Duty:
        return TelemetryDuty(self)


_HEAD = b'{"device_timestamp":'  # how a platform's JSON begins


@lru_cache(1000)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    return names


class TelemetryDuty(Duty):
    __slots__ = (
        "count", "due_ms", "encode", "in_turn", "index", "last", "look_ms", "names", "period_ms", "sensed",
        "start_ms", "tail", "topic", "what",
    )  # fmt: skip

    def __init__(self, what: Telemetry) -> None:
        super().__init__()
        self.what = what
        self.in_turn = what.in_turn
        self.index = 0  # of the next intended time
        self.count = 0  # of messages so far
        self.start_ms = self.due_ms = self.look_ms = NEVER_MS
        self.period_ms = 0.0
        self.topic = ""
        self.encode: Encoder = platform_json
        self.last: dict[str, float] | None = None  # what was told last of the metrics in `on_change`
        # Where what is told depends on nothing but the time and what the sensors read; the same tuple for all devices.
        self.names = _shared(tuple(what.metrics)) if what.codec == "platform_json" and not what.on_change else ()
        self.sensed = -1  # of what `tail` is
        self.tail = b""  # a platform's JSON behind its time: as long as the sensors read the same it is the same

    def receive(self, body: Body, said: Input, now_ms: int) -> Outputs:
        if type(said) is Answered:
            return self._turn(body, now_ms) if said[0] == "telemetry" else []
        if isinstance(said, Connected) and self.start_ms == NEVER_MS:
            low, high = self.what.period_s
            self.period_ms = self.period_ms or 1000 * (low + (high - low) * body.draw("telemetry period"))
            self.topic = body.topic(self.what.where)
            self.encode = encoder(self.what.codec, body.product, body.spec)
            self._begin(now_ms + int(self.period_ms * body.draw("telemetry phase")))
            if self.what.on_change:
                self.look_ms = self.start_ms
        elif isinstance(said, Told) and said.what == "telemetry.every_s":
            self.period_ms = max(1.0, 1000 * float(said.value))
            if self.start_ms != NEVER_MS:
                self._begin(now_ms + int(self.period_ms))
        elif isinstance(said, Booted) and self.due_ms < now_ms:
            # What was due while the power was off was never to be said; one is, now.
            self.index, self.due_ms = self._next(now_ms) - 1, now_ms
            self.wake_at_ms = min(self.due_ms, self.look_ms)
        return []

    def _turn(self, body: Body, now_ms: int) -> Outputs:
        """The last one was answered: the next one, if it is due and the sensors read the same; else `step` says it."""
        sensed = self.sensed
        if self.start_ms + self.period_ms <= now_ms and sensed >= 0 and body.sensed(now_ms) == sensed:
            self.start_ms = now_ms
            self.due_ms = self.wake_at_ms = now_ms + UNANSWERED_MS
            return self._again(now_ms, 0)
        self.due_ms = max(self.start_ms + int(self.period_ms), now_ms)
        self.wake_at_ms = min(self.due_ms, self.look_ms)
        return []

    def turn(self, body: Body, now_ms: int) -> Turn | None:
        if not self.tail or not self.names or self.what.qos != 1 or (sensed := body.sensed(now_ms)) < 0:
            return None
        if sensed != self.sensed and not self._sense(body, sensed, now_ms):
            return None
        return Turn(self.topic, _HEAD, self.tail, self.period_ms)

    def turned(self, said_ms: int) -> None:
        self.start_ms = said_ms
        self.due_ms = self.wake_at_ms = said_ms + UNANSWERED_MS

    def _again(self, now_ms: int, due_ms: int) -> Outputs:
        """The same readings with another time."""
        self.count += 1
        what, payload = self.what, b"%b%d%b" % (_HEAD, now_ms, self.tail)
        fields = ("telemetry", self.topic, payload, what.qos, what.retain, what.expiry_s, now_ms, due_ms)
        return [_new(Publish, fields)]

    def _begin(self, start_ms: int) -> None:
        self.start_ms = self.due_ms = start_ms
        self.index = 0
        self.wake_at_ms = min(start_ms, self.look_ms)

    def _next(self, now_ms: int) -> int:
        """Of the first intended time after now."""
        index = max(self.index + 1, int((now_ms - self.start_ms) / self.period_ms))
        while self.start_ms + int(index * self.period_ms) <= now_ms:
            index += 1
        return index

    def step(self, body: Body, now_ms: int) -> Outputs:
        due_ms, missed, what = self.due_ms, 0, self.what
        if (due := due_ms <= now_ms) and self.in_turn and body.in_turn:
            self.start_ms, self.due_ms, due_ms = now_ms, now_ms + UNANSWERED_MS, 0
        elif due:
            index = self.index + 1
            self.due_ms = self.start_ms + int(index * self.period_ms)
            if self.due_ms <= now_ms:  # It is late by a whole period.
                index = self._next(now_ms)
                missed = index - self.index - 1
                self.due_ms = self.start_ms + int(index * self.period_ms)
            self.index = index
        if what.on_change:
            self.look_ms = now_ms + int(1000 * what.look_every_s)
        self.wake_at_ms = self.due_ms if self.due_ms < self.look_ms else self.look_ms
        sensed = body.sensed(now_ms)
        if due and not missed and sensed == self.sensed and sensed >= 0:
            return self._again(now_ms, due_ms)
        if due and not missed and sensed >= 0 and self.names and self._sense(body, sensed, now_ms):
            return self._again(now_ms, due_ms)
        reading = body.reading(now_ms)
        notes = body.out_of_range(reading, now_ms)
        self.sensed = sensed if self.names else -1
        if due:
            if missed:
                notes.append(Missed("telemetry", missed))
            return [*notes, self._say(body, self.topic, reading, now_ms, due_ms)]
        return [*notes, self._say(body, self._event_topic(body), reading, now_ms)] if self._moved(reading) else notes

    def _sense(self, body: Body, sensed: int, now_ms: int) -> bool:
        """Read the sensors; False when something is out of its range, which is to be noted."""
        metrics = body.healthy(self.names, now_ms)
        if metrics:
            self.sensed, self.tail = sensed, b',"data":%b}' % orjson.dumps({"metrics": told(metrics)})
        return metrics is not None

    def _moved(self, reading: dict[str, float]) -> bool:
        last = self.last
        return last is not None and any(
            abs(reading[name] - last[name]) >= delta for name, delta in self.what.on_change.items()
        )

    def _event_topic(self, body: Body) -> str:
        return body.topic(self.what.event_topic or self.what.where.replace("/periodic/", "/event/"))

    def _say(
        self, body: Body, topic: str, reading: dict[str, float], now_ms: int, due_ms: int = 0
    ) -> Publish:  # fmt: skip
        self.count += 1
        if self.what.on_change:
            self.last = {name: reading[name] for name in self.what.on_change}
        metrics = {name: reading[name] for name in self.what.metrics}
        at_ms, what = body.clock_ms(now_ms), self.what
        if self.sensed >= 0:
            self.tail = b',"data":%b}' % orjson.dumps({"metrics": told(metrics)})
            payload = b"%b%d%b" % (_HEAD, now_ms, self.tail)
        elif what.codec == "platform_json":
            payload = document(body, now_ms, {"metrics": told(metrics)})
        else:
            payload = self.encode(body.thing, self.count, at_ms, metrics)
        return Publish(
            "telemetry", topic, payload, what.qos, what.retain, what.expiry_s, self._stamp(body, at_ms, payload),
            due_ms,
        )  # fmt: skip

    def _stamp(self, body: Body, at_ms: int, payload: bytes) -> int:
        """What the backend will know the message by; 0: nothing."""
        if self.what.codec == "fire_record":
            return self.count
        if self.what.codec != "frame" or body.spec is None or body.spec.keeps_time:
            return at_ms
        return int(body.spec.codec.decode(payload).header.get("device_timestamp", 0))
