"""The meter of an engine: counts and latencies by kind of message, never by device, for a load tool to show.

Rules: the engine tells it what happens as it happens; who shows it takes, a few times a second, all that came
together since the last time. What is kept is bounded: one row for each kind, one open span of each sort for a
device, `REASONS_MAX` reasons for a row's failures, and no reason names a device.

A connection counts from the moment a device wants to be online until it is, so a broker that refuses makes the
next connection late; each failed attempt and each lost connection is a failure of its own.
"""

from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

from simulator.histogram import Histogram, Packed
from simulator.ledger import Event
from simulator.messages import Publish

REASONS_MAX = 20
REASON_CHARS_MAX = 200


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
    latency: Histogram = field(default_factory=Histogram)  # nanoseconds
    untimed: int = 0  # failures that have no latency
    payload_bytes: int = 0
    failed: Counter[str] = field(default_factory=Counter)  # by reason; among the timed and the untimed

    def fail(self, reason: str) -> None:
        """Count a failure, under its reason while there are not too many."""
        reason = reason[:REASON_CHARS_MAX]
        self.failed[reason if reason in self.failed or len(self.failed) < REASONS_MAX else "other"] += 1

    def pack(self) -> dict[str, Any]:
        """As plain values, for a pipe."""
        return {
            "method": self.method, "name": self.name, "latency": list(self.latency.pack()),
            "untimed": self.untimed, "payload_bytes": self.payload_bytes, "failed": dict(self.failed),
        }  # fmt: skip

    @classmethod
    def unpack(cls, packed: dict[str, Any]) -> "Row":
        """The other way."""
        latency = Histogram.unpack(Packed(*packed["latency"]))
        failed = Counter(packed["failed"])
        return cls(packed["method"], packed["name"], latency, packed["untimed"], packed["payload_bytes"], failed)


class Meter:
    """Measures one engine."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
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

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        """The far side answered a message."""
        row = self._rows.get(message.kind) or self._row("MQTT", message.kind)
        row.latency.add(int((monotonic() - sent_at_s) * 1e9))
        row.payload_bytes += len(message.payload)
        if reason_code >= 0x80:
            row.fail(f"refused with reason code 0x{reason_code:02x}")

    def dropped(self, message: Publish) -> None:
        """A device's queue was full."""
        self._untimed("MQTT", message.kind, "dropped: the device's queue is full")

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
        rows, self._rows = list(self._rows.values()), {}
        return rows

    @property
    def online(self) -> int:
        """How many devices are connected now."""
        return len(self._online)

    # Inside

    def _row(self, method: str, name: str) -> Row:
        return self._rows.setdefault(name, Row(method, name))

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
            self._timed("MQTT", "connect", since_s)
            self._online.add(index)

    def _disconnected(self, index: int, reason: str) -> None:
        if index in self._online:  # The link tries again by itself.
            self._online.discard(index)
            self._wanted_s[index] = monotonic()
            self._untimed("MQTT", "connection lost", reason)
        elif index in self._wanted_s:
            self._untimed("MQTT", "connect", reason)

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
