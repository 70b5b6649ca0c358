"""The virtual runtime: the same devices on a clock that jumps from one thing to do to the next. No sockets.

Rules: events of the same millisecond happen in the order they were made, so a run is a function of scenario and
seed alone. What the fleet says goes to `record` (if given) as it would go over a wire; answers of the far side
come back with `tell`.
"""

import heapq
from collections.abc import Callable, Mapping
from typing import Protocol

from simulator.audit import Audit, Way
from simulator.behaviours import NEVER_MS
from simulator.clock import VirtualClock
from simulator.faults import Active, Fault
from simulator.fleet import Fleet
from simulator.ledger import Event, Ledger
from simulator.links.memory import Memory
from simulator.messages import (
    Answered,
    Booted,
    Connected,
    Disconnected,
    Download,
    Dropped,
    Input,
    Missed,
    Note,
    Output,
    Piece,
    PowerCycle,
    PowerOn,
    Publish,
    Raw,
    Received,
    Relink,
    Sever,
    Subscribe,
    Upload,
)

_DEVICE_BITS = 20  # as many devices as that may have an alarm of their own
_DEVICE_MASK = (1 << _DEVICE_BITS) - 1

Record = Callable[[int, str, Publish], int | None]  # (now_ms, thing, message) → a reason code, if it is refused
Fetch = Callable[[int, str, Download], None]  # (now_ms, thing, what is wanted)
Store = Callable[[int, str, Upload], None]  # (now_ms, thing, what is given)


class Gate(Protocol):
    """Who lets devices in at the far side."""

    def refuses(self, index: int) -> str | None:
        """Why a device whose connection is not as it should be cannot be let in; None when it can."""

    def entered(self, index: int) -> None:
        """A device is connected from now on."""


class VirtualPort:
    """Where the memory link of one device meets the runtime (links.Sink)."""

    __slots__ = ("index", "runtime", "shaped", "thing", "way")

    def __init__(self, runtime: "Virtual", index: int) -> None:
        self.runtime, self.index = runtime, index
        self.way = Way(index)
        self.thing = runtime.fleet.devices[index].thing
        self.shaped = False  # the link takes the way through this port (links.Network)

    def connected(self, session_present: bool) -> None:
        self.runtime.note(self.index, "connected", {"session_present": session_present})
        if self.runtime.gate:
            self.runtime.gate.entered(self.index)
        self.runtime.hear(self.index, Connected(session_present))

    def disconnected(self, reason: str) -> None:
        if self.runtime.is_off(self.index):
            return  # the ledger has it already
        self.runtime.note(self.index, "disconnected", {"reason": reason})
        self.runtime.hear(self.index, Disconnected(reason))

    def received(self, topic: str, payload: bytes) -> None:
        self.runtime.hear(self.index, Received(topic, payload))

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        runtime = self.runtime
        if runtime.audit:
            runtime.audit.answered(self.way, message, reason_code, runtime.clock.ms / 1000)
        (runtime.ledger.refused if reason_code >= 0x80 else runtime.ledger.acknowledged)[message.kind] += 1
        if runtime.fleet.devices[self.index].in_turn:
            runtime.hear(self.index, Answered(message.kind))

    def carry(self, data: bytes, up: bool) -> list[Piece]:
        return self.runtime.fleet.devices[self.index].carry(data, up, self.runtime.clock.now_ms())

    def reach(self) -> str | None:
        runtime = self.runtime
        why = runtime.fleet.devices[self.index].reach(runtime.clock.now_ms())
        return why or (runtime.gate.refuses(self.index) if runtime.gate else None)

    def said(self, message: Publish) -> int:
        """The far side has it; its reason code."""
        runtime = self.runtime
        if runtime.record is None:
            return 0
        return runtime.record(runtime.clock.ms, self.thing, message) or 0


class Virtual:
    """Runs a fleet in virtual time."""

    def __init__(
        self,
        fleet: Fleet,
        clock: VirtualClock,
        ledger: Ledger,
        record: Record | None = None,
        fetch: Fetch | None = None,
        store: Store | None = None,
        audit: Audit | None = None,
    ) -> None:
        """`record` is told what every device says; `fetch` and `store` what it gets and puts, to answer by `tell`."""
        self.fleet, self.clock, self.ledger, self.audit = fleet, clock, ledger, audit
        self.record, self._fetch, self._store = record, fetch, store
        self.gate: Gate | None = None
        self._ports = [VirtualPort(self, index) for index in range(len(fleet.devices))]
        self._links = [self._link(port) for port in self._ports]
        self._on: set[int] = set()  # those that were switched on
        self._down = [1] * len(fleet.devices)  # reasons why a link is down: not started, network cut, power off
        self._heap: list[tuple[int, int, Callable[[], None]]] = []  # (at_ms, order, what)
        self._made = 0
        self._start_ms = clock.now_ms()
        self._alarms: list[int] = []  # a heap, too: when, after the start, and which device is to wake, in one number
        self._wakes = [NEVER_MS] * len(fleet.devices)
        self._halted = self._silent = False

    # From outside

    def at(self, at_ms: int, do: Callable[[], None]) -> None:
        """Do something at a moment of virtual time."""
        self._made += 1
        heapq.heappush(self._heap, (at_ms if at_ms > self.clock.ms else self.clock.ms, self._made, do))

    def start(self, index: int, at_ms: int) -> None:
        """Switch a device on at a moment."""
        self.at(at_ms, lambda: self._switch_on(index))

    def stop(self, index: int, at_ms: int) -> None:
        """Switch it off at a moment, until `start`; what it had not said by then is lost."""
        self.at(at_ms, lambda: self._switch_off(index))

    def inject(self, index: int, fault: Fault, at_ms: int) -> None:
        """Break a device at a moment."""
        device = self.fleet.devices[index]
        self.fleet.faulted.add(device.thing)
        self.at(at_ms, lambda: self.carry_out(index, device.inject(fault, self.clock.now_ms())))

    def clear(self, index: int, kind: str | None, at_ms: int) -> None:
        """Mend it at a moment: its faults of a kind, or all."""
        device = self.fleet.devices[index]
        self.at(at_ms, lambda: self.carry_out(index, device.clear(kind, self.clock.now_ms())))

    def tell(self, index: int, said: Input, at_ms: int) -> None:
        """Let a device hear something at a moment; a message gets lost while the link is down."""
        self.at(at_ms, lambda: self._tell(index, said))

    def sever(self, index: int, at_ms: int, for_ms: int) -> None:
        """Cut the network of a device for a while; its power stays on."""
        self.at(at_ms, lambda: self._cut(index))
        self.at(at_ms + for_ms, lambda: self._restore(index))

    def lose(self, index: int, reason: str) -> None:
        """The far side ends a device's connection now."""
        self._links[index].lose(reason)

    def power_cycle(self, index: int, at_ms: int, off_ms: int) -> None:
        """Take a device's power away for a while."""
        self.at(at_ms, lambda: self.carry_out(index, [PowerCycle(off_ms)]))

    def run_until(self, end_ms: int) -> None:
        """Let virtual time run up to a moment, with everything that happens before it, unless it is halted there."""
        heap, alarms, wakes, devices, pop = self._heap, self._alarms, self._wakes, self.fleet.devices, heapq.heappop
        clock, carry_out, start_ms = self.clock, self.carry_out, self._start_ms
        self._halted = False
        while not self._halted:
            alarm_ms = start_ms + (alarms[0] >> _DEVICE_BITS) if alarms else NEVER_MS
            if heap and heap[0][0] <= alarm_ms:
                if heap[0][0] > end_ms:
                    break
                clock.ms, _, do = pop(heap)  # never back: nothing is put there for a moment that is over
                do()
            elif alarm_ms > end_ms:
                break
            else:
                clock.ms, index = alarm_ms, pop(alarms) & _DEVICE_MASK
                if wakes[index] == alarm_ms:
                    wakes[index] = NEVER_MS
                    if not self._silent:
                        carry_out(index, devices[index].step(alarm_ms))
        else:
            return
        clock.move_to(end_ms)

    def halt(self) -> None:
        """Let `run_until` return behind what is happening now."""
        self._halted = True

    def silence(self) -> None:
        """No device does anything by itself any more; what was said is still carried and acknowledged."""
        self._silent = True

    # Inside

    def hear(self, index: int, said: Input) -> None:
        self.carry_out(index, self.fleet.devices[index].receive(said, self.clock.now_ms()))

    def is_off(self, index: int) -> bool:
        """Was it switched off?"""
        return index not in self._on

    def note(self, index: int, kind: str, detail: Mapping[str, object], thing: str = "") -> None:
        thing = thing or self.fleet.devices[index].thing
        self.ledger.note(Event(self.clock.now_ms(), "fleet", kind, thing, detail))

    def carry_out(self, index: int, outputs: list[Output]) -> None:
        device, ledger, now_ms = self.fleet.devices[index], self.ledger, self.clock.ms
        for output in outputs:
            if type(output) is Publish:  # by far the most, so it does not wait for the others
                ledger.attempted[output.kind] += 1
                if self.audit:
                    self.audit.said(self._ports[index].way, output, now_ms / 1000)
                if self._links[index].send(output):
                    ledger.sent[output.kind] += 1
                else:
                    self._lose(index, output)
                continue
            match output:
                case Note(kind, detail, thing):
                    self.note(index, kind, detail, thing)
                case Download():
                    if self._fetch:
                        self._fetch(now_ms, device.thing, output)
                case Upload():
                    if self._store:
                        self._store(now_ms, device.thing, output)
                case Dropped(message):
                    ledger.attempted[message.kind] += 1
                    if self.audit:
                        self.audit.said(Way(index), message, now_ms / 1000)
                    self._lose(index, message)
                case PowerCycle(off_ms):
                    device.switched_off()
                    self._cut(index)
                    if off_ms is not None:
                        self.at(now_ms + off_ms, lambda: self._power_on(index))
                case PowerOn():
                    self._power_on(index)
                case Missed(kind, times):
                    ledger.missed[kind] += times
                case Sever(off_ms):
                    self._cut(index)
                    self.at(now_ms + off_ms, lambda: self._restore(index))
                case Relink():
                    self._cut(index)
                    self._restore(index)
                case Subscribe(filters):
                    self._links[index].subscribe(filters)
                case Raw(data):
                    self._links[index].raw(data)
        if device.faults and not self._ports[index].shaped and any(map(_stands_at_its_way, device.faults)):
            self._ports[index].shaped = True
            self._links[index].shape(self._ports[index])
        wake_at_ms = device.wake_at_ms
        if wake_at_ms != NEVER_MS and self._wakes[index] != (at_ms := max(wake_at_ms, now_ms)):
            self._wakes[index] = at_ms
            heapq.heappush(self._alarms, (at_ms - self._start_ms) << _DEVICE_BITS | index)

    def _link(self, port: VirtualPort) -> Memory:
        device = self.fleet.devices[port.index]
        profile = self.fleet.profiles[device.profile]
        frames = device.spec if profile.channel == "tcp" else None
        return Memory(port, port.said, profile.link.queue_max, self._after, frames)

    def _lose(self, index: int, message: Publish) -> None:
        self.ledger.dropped[message.kind] += 1
        if self.audit:
            self.audit.dropped(Way(index), message)

    def _after(self, after_ms: int, do: Callable[[], None]) -> None:
        self.at(self.clock.now_ms() + after_ms, do)

    def _switch_on(self, index: int) -> None:
        if index in self._on:
            return
        self._on.add(index)
        if not self.fleet.devices[index].powered:
            self.hear(index, Booted())
        self._restore(index)

    def _switch_off(self, index: int) -> None:
        if index not in self._on:
            return
        self._on.discard(index)
        self._down[index] += 1
        device = self.fleet.devices[index]
        if device.online:
            self.note(index, "disconnected", {"reason": "switched off"})
        device.switched_off()
        self._ports[index] = port = VirtualPort(self, index)
        self._links[index].close()
        self._links[index] = self._link(port)

    def _power_on(self, index: int) -> None:
        if index in self._on:
            self.hear(index, Booted())
        self._restore(index)

    def _tell(self, index: int, said: Input) -> None:
        if isinstance(said, Received):
            self._links[index].receive(said.topic, said.payload)
        else:
            self.hear(index, said)

    def _cut(self, index: int) -> None:
        self._down[index] += 1
        self._links[index].sever()

    def _restore(self, index: int) -> None:
        self._down[index] -= 1
        if self._down[index] == 0:
            self._links[index].open()


def _stands_at_its_way(fault: Active) -> bool:
    return fault.network or fault.disguise() is not None
