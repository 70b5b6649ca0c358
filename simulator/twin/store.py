"""The platform's store in memory: what a run wants to know of it, and what a restart of the platform takes up.

Rules: what the real store holds once is counted once here, by the same keys; of telemetry only the identities are
kept, in columns, and the readings of a few devices that somebody watches. Everything has a bound.
"""

from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from hashlib import blake2b
from typing import Any

import orjson

from simulator.backend.audit import Reader
from simulator.backend.effects import (
    CloseDispatch,
    DeadLetter,
    DropWaiting,
    KeepWaiting,
    OpenDispatch,
    Record,
    SaveAlarm,
    SaveDevice,
    SaveNodes,
    SaveUpload,
    StoreReport,
    StoreTelemetry,
)
from simulator.matching import Deliveries
from simulator.wire.spec import ProductSpec

KEYS_MAX = 20_000_000  # of messages, 8 bytes each
AUDIT_MAX = 5_000_000  # of messages, 24 bytes each
REPEATS_MAX = 200_000
DEAD_LETTERS_MAX = 10_000
READINGS_EACH_MAX = 20_000
_ENDED = ("stored", "failed", "expired")


class Row:
    """Messages of one kind of one thing: which are there already."""

    __slots__ = ("keys", "kind", "subject", "thing")

    def __init__(self, subject: int, kind: str, thing: str) -> None:
        self.subject, self.kind, self.thing = subject, kind, thing
        self.keys = array("q")  # sorted: the next one is as a rule the greatest

    def is_new(self, key: int) -> bool:
        """Whether this one was not there; it is now."""
        keys = self.keys
        if not keys or key > keys[-1]:
            keys.append(key)
            return True
        at = bisect_left(keys, key)
        if keys[at] == key:
            return False
        keys.insert(at, key)
        return True

    def halve(self) -> int:
        """Forget the lower half; how many that were."""
        count = len(self.keys) // 2
        del self.keys[:count]
        return count


class MemoryStore:
    """What the shell of the platform would have written."""

    def __init__(self, told: Callable[[Record], None]) -> None:
        """`told` hears of everything that happened."""
        self.stored: Counter[str] = Counter()
        self.duplicates = 0
        self.dead_letters: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS_MAX)
        self.devices: dict[str, SaveDevice] = {}
        self.dispatches: dict[str, list[Any]] = {}  # alarm → [OpenDispatch, when it was closed]
        self.watched: Collection[str] = ()  # devices whose readings are kept
        self.readings: dict[str, list[tuple[int, str]]] = {}
        self._arrived = array("q")  # subject, stamp and when, of everything that was stored, in order
        self._rows: list[Row] = []
        self._samples: dict[str, Row] = {}  # by thing
        self._reports: dict[tuple[str, str], Row] = {}  # by kind and thing
        self._repeats: list[tuple[str, str, int, int]] = []
        self._kept = 0
        self._alarms: dict[str, SaveAlarm] = {}
        self._read: dict[str, tuple[SaveAlarm, dict[str, Any]]] = {}
        self._uploads: dict[str, SaveUpload] = {}
        self._waiting: dict[str, list[KeepWaiting]] = {}
        self._claims: dict[str, str] = {}
        self.nodes: dict[str, SaveNodes] = {}
        self.writes: dict[type, Callable[[Any], None]] = {
            StoreTelemetry: self._telemetry,
            SaveDevice: self._device,
            StoreReport: self._report,
            SaveAlarm: self._alarm,
            Record: told,
            DeadLetter: self.dead_letters.append,
            OpenDispatch: self._open_dispatch,
            CloseDispatch: self._close_dispatch,
            SaveUpload: self._upload,
            KeepWaiting: self._wait,
            DropWaiting: self._drop_waiting,
            SaveNodes: self._nodes,
        }  # what to do with each; what nobody will ask for is not among them

    def _telemetry(self, sample: StoreTelemetry) -> None:
        thing = sample.device_id
        row = self._samples.get(thing)
        if row is None:
            row = self._samples[thing] = self._row("telemetry", thing)
        stamp = sample.device_timestamp if sample.idx is None else sample.idx
        if self._is_new(row, sample.key, stamp, sample.ingest_timestamp) and thing in self.watched:
            readings = self.readings.setdefault(thing, [])
            if len(readings) < READINGS_EACH_MAX:
                readings.append((sample.device_timestamp, sample.metrics))

    def _row(self, kind: str, thing: str) -> Row:
        row = Row(len(self._rows), kind, thing)
        self._rows.append(row)
        return row

    def _is_new(self, row: Row, key: int, stamp: int, at_ms: int) -> bool:
        """Count a message, and remember that it came."""
        if not row.is_new(key):
            self.duplicates += 1
            if len(self._repeats) < REPEATS_MAX:
                self._repeats.append((row.kind, row.thing, stamp, at_ms))
            return False
        self.stored[row.kind] += 1
        self._kept += 1
        if self._kept > KEYS_MAX:
            self._kept -= row.halve()
        if self._kept <= AUDIT_MAX:
            self._arrived.extend((row.subject, stamp, at_ms))
        return True

    def _report(self, report: StoreReport) -> None:
        said = f"{report.device_timestamp} {report.payload}".encode()
        key = int.from_bytes(blake2b(said, digest_size=8).digest(), "big", signed=True)
        name = report.kind, report.device_id
        row = self._reports.get(name)
        if row is None:
            row = self._reports[name] = self._row(*name)
        new = self._is_new(row, key, report.device_timestamp, report.ingest_timestamp)
        if new and report.kind == "provisioning_complete":
            found = orjson.loads(report.payload)
            product = ((found.get("data") or {}).get("provisioning") or {}).get("product")
            if type(product) is str:
                self._claims[report.device_id] = product

    def _device(self, device: SaveDevice) -> None:
        self.devices[device.device_id] = device

    def _alarm(self, alarm: SaveAlarm) -> None:
        self._alarms[alarm.alarm_id] = alarm

    def _upload(self, upload: SaveUpload) -> None:
        self._uploads[upload.upload_id] = upload

    def _wait(self, message: KeepWaiting) -> None:
        self._waiting.setdefault(message.thing, []).append(message)

    def _drop_waiting(self, dropped: DropWaiting) -> None:
        self._waiting.pop(dropped.thing, None)

    def _nodes(self, nodes: SaveNodes) -> None:
        self.nodes[nodes.hub_id] = nodes

    def _open_dispatch(self, opened: OpenDispatch) -> None:
        self.dispatches.setdefault(opened.alarm_id, [opened, None])

    def _close_dispatch(self, closed: CloseDispatch) -> None:
        if closed.alarm_id in self.dispatches:
            self.dispatches[closed.alarm_id][1] = closed.at_ms

    # What is asked of it

    def alarms(self) -> list[dict[str, Any]]:
        """All alarms, oldest first, as the read API gives them."""
        found = sorted(self._alarms.values(), key=lambda alarm: (alarm.raised_at_ms, alarm.alarm_id))
        return [self._document(alarm) for alarm in found]

    def _document(self, alarm: SaveAlarm) -> dict[str, Any]:
        known = self._read.get(alarm.alarm_id)
        if known is None or known[0] is not alarm:
            known = self._read[alarm.alarm_id] = alarm, orjson.loads(alarm.document)
        return known[1]

    @property
    def open_alarms(self) -> int:
        """How many alarms are neither closed nor escalated."""
        return sum(alarm.state not in ("closed", "escalated") for alarm in self._alarms.values())

    def deliver(self, got: Deliveries, specs: Mapping[str, ProductSpec]) -> None:
        """Tell an audit what came."""
        got.all_stored([(row.kind, row.thing) for row in self._rows], self._arrived)
        for kind, thing, stamp, at_ms in self._repeats:
            got.repeated(kind, thing, stamp, at_ms)
        read = Reader(specs)
        for letter in self.dead_letters:
            got.dead(*read(letter), letter.at_ms, letter.reason)

    # What a restart takes up

    def saved(self) -> dict[str, Any]:
        """The arguments of the core's `resume`."""
        return {
            "devices": list(self.devices.values()),
            "documents": [alarm.document for alarm in self._alarms.values() if alarm.state != "closed"],
            "claims": {
                thing: product for thing, product in self._claims.items()
                if thing in self.devices and self.devices[thing].product_id is None
            },
            "waiting": [message for messages in self._waiting.values() for message in messages],
            "uploads": [upload.document for upload in self._uploads.values() if upload.state not in _ENDED],
        }  # fmt: skip
