"""The meter of an engine: counts and latencies by kind of message, never by device, for a load tool to show.

Rules: the engine tells it what happens as it happens; who shows it takes, a few times a second, all that came
together since the last time. What is kept is bounded: one row for each kind, one open span of each sort for a
device, `REASONS_MAX` reasons for a row's failures, and no reason names a device.

The latency of a message counts from the moment at which it was to be said (`Publish.due_ms`), whether the engine was
late, or the link had no room, or the far side is slow; the service time counts from its first byte. So nothing that
waits can hide, and where the two differ it shows who waited.

A connection counts from the moment a device wants to be online until it is, so a broker that refuses makes the
next connection late; each failed attempt and each lost connection is a failure of its own.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator import pile
from simulator.histogram import Histogram, Packed
from simulator.ledger import Event
from simulator.messages import Publish

REASONS_MAX = 20
REASON_CHARS_MAX = 200
MQTT = "MQTT"
TOGETHER = 3 * 4096  # numbers of `Row.times`
_NS_PER_S = 1e9


class Span(NamedTuple):
    """From one ledger event of a device to another; `fails` are the events that end it badly."""

    method: str
    name: str
    begins: str
    ends: str
    fails: tuple[str, ...] = ()


_JOB_OVER = ("job_failed", "job_dropped")
SPANS = (
    Span("MQTT", "delta → acted", "delta_received", "acted"),
    Span("HTTP", "download", "download_started", "downloaded", _JOB_OVER),
    Span("MQTT", "job notified → succeeded", "job_notified", "job_succeeded", _JOB_OVER),
)


@dataclass(slots=True)
class Row:
    """What one kind of message came to. The number of messages is `latency.count + untimed`."""

    method: str
    name: str
    latency: Histogram = field(default_factory=Histogram)  # nanoseconds, from the intended moment
    untimed: int = 0  # failures that have no latency
    payload_bytes: int = 0
    failed: Counter[str] = field(default_factory=Counter)  # by reason; among the timed and the untimed
    service: Histogram = field(default_factory=Histogram)  # nanoseconds, from the first byte; of messages alone
    times: list[float] = field(default_factory=list)  # of messages not counted yet: answered, sent, and due (in ms)

    def fail(self, reason: str, times: int = 1) -> None:
        """Count a failure, under its reason while there are not too many."""
        reason = reason[:REASON_CHARS_MAX]
        self.failed[reason if reason in self.failed or len(self.failed) < REASONS_MAX else "other"] += times

    def count(self, epoch_ms: float) -> None:
        """Put the latest times into the histograms. `epoch_ms`: at second 0 of the clock that the others are of."""
        if not self.times:
            return
        answered_s, sent_s, due_ms = pile.rows(self.times, 3).T
        # One that was said a little early was not due before it was sent.
        due_s = np.where(due_ms == 0, sent_s, np.minimum(sent_s, (due_ms - epoch_ms) / 1000))
        self.latency.add_all(((answered_s - due_s) * _NS_PER_S).astype(np.int64))
        self.service.add_all(((answered_s - sent_s) * _NS_PER_S).astype(np.int64))

    def pack(self) -> dict[str, Any]:
        """As plain values, for a pipe."""
        return {
            "method": self.method, "name": self.name, "latency": list(self.latency.pack()),
            "untimed": self.untimed, "payload_bytes": self.payload_bytes, "failed": dict(self.failed),
            "service": list(self.service.pack()),
        }  # fmt: skip

    @classmethod
    def unpack(cls, packed: dict[str, Any]) -> "Row":
        """The other way."""
        latency, service = (Histogram.unpack(Packed(*packed[name])) for name in ("latency", "service"))
        failed, size = Counter(packed["failed"]), packed["payload_bytes"]
        return cls(packed["method"], packed["name"], latency, packed["untimed"], size, failed, service)


class Meter:
    """Measures one engine."""

    def __init__(self, methods: Sequence[str] = ()) -> None:
        """`methods`: how each device speaks (MQTT, TCP, REST), by index; absent: MQTT."""
        self._methods = methods
        self.epoch_ms = 0.0  # at second 0 of the engine's clock
        self._rows: dict[tuple[str, str], Row] = {}
        self._latest = Row("", "")
        self._wanted_s: dict[int, float] = {}  # devices that are connecting, since when
        self._online: set[int] = set()
        self._spans_s: dict[tuple[int, str], float] = {}

    # What the engine tells

    def opened(self, index: int) -> None:
        """A device wants to be online."""
        if index not in self._online:
            self._wanted_s.setdefault(index, monotonic())

    def powered_off(self, index: int) -> None:
        """A device's connection is cut because its power is."""
        self._wanted_s.pop(index, None)
        self._online.discard(index)

    def stopped(self, index: int) -> None:
        """A device was switched off from outside: what it was doing will not be finished."""
        self.powered_off(index)
        for span in SPANS:
            self._spans_s.pop((index, span.name), None)

    def acknowledged(self, index: int, message: Publish, sent_at_s: float, reason_code: int, at_s: float = 0.0) -> None:
        """The far side answered a message, at a moment; 0: now."""
        kind, _, payload, *_, due_ms = message
        method, row = self._methods[index] if self._methods else MQTT, self._latest
        if kind is not row.name or method is not row.method:  # as a rule it is of the same row as the one before
            self._latest = row = self._row(method, kind)
        times = row.times
        times += (at_s or monotonic(), sent_at_s, due_ms)
        if len(times) >= TOGETHER:
            row.count(self.epoch_ms)
        row.payload_bytes += len(payload)
        if reason_code >= 0x80:
            row.fail(f"refused with reason code 0x{reason_code:02x}")

    def turned(self, method: str, name: str, took_s: NDArray[np.float64], payload_bytes: int) -> None:
        """Many messages that were answered, each due when it was sent."""
        row, some = self._row(method, name), Histogram()
        some.add_all((took_s * _NS_PER_S).astype(np.int64))
        row.latency.merge(some)
        row.service.merge(some)
        row.payload_bytes += payload_bytes

    def dropped(self, index: int, message: Publish) -> None:
        """A device's queue was full."""
        self._untimed(self._method(index), message.kind, "dropped: the device's queue is full")

    def noted(self, index: int, event: Event) -> None:
        """Something went into the ledger."""
        match event.kind:
            case "connected":
                self._connected(index)
            case "disconnected":
                self._disconnected(index, _why(event))
            case _:
                self._span(index, event)

    # What is shown

    def take(self) -> list[Row]:
        """All rows that something happened in since the last time."""
        rows, self._rows, self._latest = list(self._rows.values()), {}, Row("", "")
        for row in rows:
            row.count(self.epoch_ms)
        return rows

    @property
    def online(self) -> int:
        """How many devices are connected now."""
        return len(self._online)

    # Inside

    def _row(self, method: str, name: str) -> Row:
        return self._rows.get((method, name)) or self._rows.setdefault((method, name), Row(method, name))

    def _method(self, index: int) -> str:
        return self._methods[index] if self._methods else MQTT

    def _untimed(self, method: str, name: str, reason: str) -> None:
        row = self._row(method, name)
        row.untimed += 1
        row.fail(reason)

    def _timed(self, method: str, name: str, since_s: float) -> Row:
        row = self._row(method, name)
        row.latency.add(int((monotonic() - since_s) * 1e9))
        return row

    def _connected(self, index: int) -> None:
        if (since_s := self._wanted_s.pop(index, None)) is not None:
            self._timed(self._method(index), "connect", since_s)
            self._online.add(index)

    def _disconnected(self, index: int, reason: str) -> None:
        if index in self._online:  # The link tries again by itself.
            self._online.discard(index)
            self._wanted_s[index] = monotonic()
            self._untimed(self._method(index), "connection lost", reason)
        elif index in self._wanted_s:
            self._untimed(self._method(index), "connect", reason)

    def _span(self, index: int, event: Event) -> None:
        for span in SPANS:
            if event.kind == span.begins:
                self._spans_s[index, span.name] = monotonic()
            elif event.kind == span.ends or event.kind in span.fails:
                since_s = self._spans_s.pop((index, span.name), None)
                if since_s is not None:
                    row = self._timed(span.method, span.name, since_s)
                    if event.kind in span.fails or event.detail.get("result") == "failed":
                        row.fail(_why(event))


def _why(event: Event) -> str:
    """The reason in an event, for any device."""
    why = event.detail.get("reason") or event.detail.get("why") or event.kind
    return str(why).replace(event.thing, "{thing}")
