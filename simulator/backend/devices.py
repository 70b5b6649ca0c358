"""What the core remembers of devices: each one's state, how far a fire sensor's records are, and what waits. Pure.

Rules: what is remembered for a device is bounded, and so is the number of devices. A device whose product is not known
yet is looked up, and its latest samples wait for the answer, and so do, in the store, messages that only the product's
spec can read.
"""

from collections import deque
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from simulator.backend.alarms import Alarm
from simulator.backend.decode import Telemetry
from simulator.backend.effects import Effect, LookUp, SaveDevice, SaveNodes
from simulator.backend.platform.formulas import Formula, Values, compute
from simulator.backend.platform.formulas import document_of as values_document
from simulator.backend.rules import FIRE_RULE, Rule

DEVICES_MAX = 200_000
WAITING_MAX = 50  # samples of one device that wait for its product
UNREAD_BYTES_MAX = 64 * 1024 * 1024  # of binary messages that wait for it, of all devices
LOOKUP_AGAIN_MS = 30_000  # after a failed look-up

# A fire sensor's index that falls back by so many, to so few, after so long, began again. What a broker or a device
# repeats is nearer: a device has fewer in flight, and what came as one burst was never acknowledged.
INDEX_BACK = 10
INDEX_FIRST = 10
INDEX_BURST_MS = 10_000


class Course(NamedTuple):
    """How far a fire sensor's running index is."""

    idx: int
    begins: int  # how often it began again
    began_ms: int  # when the first of this course came
    last_ms: int  # when the last one came

    def then(self, idx: int, now_ms: int) -> "Course":
        """The course with one more record."""
        if now_ms < self.last_ms:
            return self  # of old: a dead letter that is tried again
        back = self.idx - idx
        if back >= INDEX_BACK and idx <= INDEX_FIRST and self.last_ms - self.began_ms >= INDEX_BURST_MS:
            return Course(idx, self.begins + 1, now_ms, now_ms)
        return Course(idx, self.begins, self.began_ms, now_ms) if idx > self.idx else self

    def key(self, digest: int) -> int:
        """What makes a record unique: its bytes, and in which course they came."""
        mixed = (digest ^ self.begins * 0x9E37_79B9_7F4A_7C15) & (1 << 64) - 1
        return mixed - (1 << 64) if mixed >> 63 else mixed


class Device:
    """What the core remembers of one device."""

    __slots__ = (
        "alarms",
        "claim",
        "course",
        "fire_rule",
        "formulas",
        "heard_ms",
        "last_key",
        "last_timestamp",
        "lookup_at_ms",
        "nodes",
        "nodes_at_ms",
        "product",
        "rules",
        "silence_rules",
        "thing",
        "unread",
        "values",
        "waiting",
    )

    def __init__(self, thing: str) -> None:
        self.thing = thing
        self.product: str | None = None
        self.rules: tuple[Rule, ...] = ()
        self.silence_rules: tuple[Rule, ...] = ()
        self.fire_rule = FIRE_RULE
        self.formulas: tuple[Formula, ...] = ()
        self.values: Values | None = None  # of formulas
        self.heard_ms = 0  # our clock
        self.last_timestamp = 0
        self.last_key = 0
        self.lookup_at_ms = 0  # when to ask for the product (again)
        self.waiting: deque[Telemetry] | None = deque(maxlen=WAITING_MAX)  # None once the product was answered
        self.alarms: dict[str, Alarm] = {}  # open ones, by rule
        self.claim: str | None = None  # the product as the device says it
        self.course: Course | None = None
        self.nodes = b""  # a digest of who is there, of a hub
        self.nodes_at_ms = 0
        self.unread: list[tuple[int, str, bytes]] = []  # messages that wait for the product, see KeepWaiting

    def save(self) -> SaveDevice:
        """The effect that remembers it as it is now."""
        course = orjson.dumps(list(self.course)).decode() if self.course else ""
        values = values_document(self.values) if self.values else ""
        return SaveDevice(self.thing, self.product, self.last_timestamp, self.last_key, course, values)

    def look_up(self, now_ms: int) -> list[Effect]:
        """Ask for the product, where it is not known; not too often."""
        if self.product is not None or now_ms < self.lookup_at_ms:
            return []
        self.lookup_at_ms = now_ms + LOOKUP_AGAIN_MS
        return [LookUp(self.thing)]

    def compute(self, sample: Telemetry) -> bool:
        """Bring the values of its formulas up to date; whether one changed."""
        if self.values is None:
            self.values = {}
        return compute(self.formulas, self.values, sample.metrics, sample.device_timestamp)

    def there(self, nodes: Any, at_ms: int) -> list[Effect]:
        """Who is there, as a hub says, when that is news."""
        if at_ms < self.nodes_at_ms:
            return []
        self.nodes_at_ms = at_ms
        document = orjson.dumps(nodes)
        digest = blake2b(document, digest_size=8).digest()
        if digest == self.nodes:
            return []
        self.nodes = digest
        return [SaveNodes(self.thing, at_ms, document.decode())]


class Devices(dict[str, Device]):
    """All that are known, by name; and of whom messages wait that nobody can read yet."""

    def __init__(self, count_max: int) -> None:
        super().__init__()
        self._max = count_max
        self._unread: set[str] = set()  # devices with messages that wait
        self._unread_bytes = 0

    def known(self, thing: str) -> Device | None:
        """A device, which may be new; None when there are too many."""
        device = self.get(thing)
        if device is None and len(self) < self._max:
            device = self[thing] = Device(thing)
        return device

    def has_room(self, device: Device, payload: bytes) -> bool:
        """May one more message of this device wait?"""
        return len(device.unread) < WAITING_MAX and self._unread_bytes + len(payload) <= UNREAD_BYTES_MAX

    def wait(self, device: Device, arrived_ms: int, topic: str, payload: bytes) -> None:
        """A message waits until the product is known."""
        device.unread.append((arrived_ms, topic, payload))
        self._unread.add(device.thing)
        self._unread_bytes += len(payload)

    def waited(self, device: Device) -> list[tuple[int, str, bytes]]:
        """The messages of a device that waited; they wait no longer."""
        unread, device.unread = device.unread, []
        self._unread.discard(device.thing)
        self._unread_bytes -= sum(len(payload) for _, _, payload in unread)
        return unread

    def look_up(self, now_ms: int) -> list[Effect]:
        """Ask again for the products of those of whom messages wait."""
        return [effect for thing in sorted(self._unread) for effect in self[thing].look_up(now_ms)]
