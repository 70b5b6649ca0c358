"""The virtual runtime: the same devices on a clock that jumps from one thing to do to the next. No sockets.

Rules: events of the same millisecond happen in the order they were made, so a run is a function of scenario and
seed alone. What the fleet says goes to `record` (if given) as it would go over a wire; answers of the far side
come back with `tell`.
"""

import heapq
from collections.abc import Callable, Mapping

from simulator.behaviours import NEVER_MS
from simulator.clock import VirtualClock
from simulator.faults import Fault
from simulator.fleet import Fleet
from simulator.ledger import Event, Ledger
from simulator.links.memory import Memory
from simulator.messages import (
    Booted,
    Connected,
    Disconnected,
    Download,
    Dropped,
    Input,
    Note,
    Output,
    Piece,
    PowerCycle,
    Publish,
    Received,
    Relink,
    Sever,
    Subscribe,
    Upload,
)

Record = Callable[[int, str, Publish], None]  # (now_ms, thing, message)
Fetch = Callable[[int, str, Download], None]  # (now_ms, thing, what is wanted)
Store = Callable[[int, str, Upload], None]  # (now_ms, thing, what is given)


class VirtualPort:
    """Where the memory link of one device meets the runtime (links.Sink)."""

    __slots__ = ("index", "runtime", "shaped")

    def __init__(self, runtime: "Virtual", index: int) -> None:
        self.runtime, self.index = runtime, index
        self.shaped = False  # the link takes the way through this port (links.Network)

    def connected(self, session_present: bool) -> None:
        self.runtime.note(self.index, "connected", {"session_present": session_present})
        self.runtime.hear(self.index, Connected(session_present))

    def disconnected(self, reason: str) -> None:
        self.runtime.note(self.index, "disconnected", {"reason": reason})
        self.runtime.hear(self.index, Disconnected(reason))

    def received(self, topic: str, payload: bytes) -> None:
        self.runtime.hear(self.index, Received(topic, payload))

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        self.runtime.ledger.acknowledged[message.kind] += 1

    def carry(self, data: bytes, up: bool) -> list[Piece]:
        return self.runtime.fleet.devices[self.index].carry(data, up, self.runtime.clock.now_ms())

    def reach(self) -> str | None:
        return self.runtime.fleet.devices[self.index].reach(self.runtime.clock.now_ms())

    def said(self, message: Publish) -> None:
        """The far side has it."""
        runtime = self.runtime
        if runtime.record:
            runtime.record(runtime.clock.now_ms(), runtime.fleet.devices[self.index].thing, message)


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
    ) -> None:
        """`record` is told what every device says; `fetch` and `store` what it gets and puts, to answer by `tell`."""
        self.fleet, self.clock, self.ledger = fleet, clock, ledger
        self.record, self._fetch, self._store = record, fetch, store
        self._ports: list[VirtualPort] = []
        self._links: list[Memory] = []
        for i, device in enumerate(fleet.devices):
            port = VirtualPort(self, i)
            self._ports.append(port)
            self._links.append(Memory(port, port.said, fleet.profiles[device.profile].link.queue_max, self._after))
        self._down = [1] * len(fleet.devices)  # reasons why a link is down: not started, network cut, power off
        self._heap: list[
            tuple[int, int, Callable[[], None] | int]
        ] = []  # (at_ms, order, what; a number: wake that one)
        self._made = 0
        self._wakes = [NEVER_MS] * len(fleet.devices)

    # From outside

    def at(self, at_ms: int, do: Callable[[], None]) -> None:
        """Do something at a moment of virtual time."""
        self._push(max(at_ms, self.clock.now_ms()), do)

    def start(self, index: int, at_ms: int) -> None:
        """Switch a device on at a moment."""
        self.at(at_ms, lambda: self._restore(index))

    def inject(self, index: int, fault: Fault, at_ms: int) -> None:
        """Break a device at a moment."""
        device = self.fleet.devices[index]
        self.fleet.faulted.add(device.thing)
        self.at(at_ms, lambda: self._carry_out(index, device.inject(fault, self.clock.now_ms())))

    def clear(self, index: int, kind: str | None, at_ms: int) -> None:
        """Mend it at a moment: its faults of a kind, or all."""
        device = self.fleet.devices[index]
        self.at(at_ms, lambda: self._carry_out(index, device.clear(kind, self.clock.now_ms())))

    def tell(self, index: int, said: Input, at_ms: int) -> None:
        """Let a device hear something at a moment; a message gets lost while the link is down."""
        self.at(at_ms, lambda: self._tell(index, said))

    def sever(self, index: int, at_ms: int, for_ms: int) -> None:
        """Cut the network of a device for a while; its power stays on."""
        self.at(at_ms, lambda: self._cut(index))
        self.at(at_ms + for_ms, lambda: self._restore(index))

    def power_cycle(self, index: int, at_ms: int, off_ms: int) -> None:
        """Take a device's power away for a while."""
        self.at(at_ms, lambda: self._carry_out(index, [PowerCycle(off_ms)]))

    def run_until(self, end_ms: int) -> None:
        """Let virtual time run up to a moment, with everything that happens before it."""
        heap, wakes, devices = self._heap, self._wakes, self.fleet.devices
        while heap and heap[0][0] <= end_ms:
            at_ms, _, do = heapq.heappop(heap)
            self.clock.move_to(at_ms)
            if not isinstance(do, int):
                do()
            elif wakes[do] == at_ms:
                wakes[do] = NEVER_MS
                self._carry_out(do, devices[do].step(at_ms))
        self.clock.move_to(end_ms)

    # Inside

    def _push(self, at_ms: int, do: Callable[[], None] | int) -> None:
        self._made += 1
        heapq.heappush(self._heap, (at_ms, self._made, do))

    def hear(self, index: int, said: Input) -> None:
        self._carry_out(index, self.fleet.devices[index].receive(said, self.clock.now_ms()))

    def note(self, index: int, kind: str, detail: Mapping[str, object], thing: str = "") -> None:
        thing = thing or self.fleet.devices[index].thing
        self.ledger.note(Event(self.clock.now_ms(), "fleet", kind, thing, detail))

    def _carry_out(self, index: int, outputs: list[Output]) -> None:
        device, ledger, now_ms = self.fleet.devices[index], self.ledger, self.clock.now_ms()
        for output in outputs:
            if type(output) is Publish:  # by far the most, so it does not wait for the others
                ledger.attempted[output.kind] += 1
                (ledger.sent if self._links[index].send(output) else ledger.dropped)[output.kind] += 1
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
                    ledger.dropped[message.kind] += 1
                case PowerCycle(off_ms):
                    device.powered = device.online = False
                    self._cut(index)
                    self.at(now_ms + off_ms, lambda: self._power_on(index))
                case Sever(off_ms):
                    self._cut(index)
                    self.at(now_ms + off_ms, lambda: self._restore(index))
                case Relink():
                    self._cut(index)
                    self._restore(index)
                case Subscribe(filters):
                    self._links[index].subscribe(filters)
        if device.faults and not self._ports[index].shaped and any(fault.network for fault in device.faults):
            self._ports[index].shaped = True
            self._links[index].shape(self._ports[index])
        wake_at_ms = device.wake_at_ms
        if wake_at_ms != NEVER_MS and self._wakes[index] != (at_ms := max(wake_at_ms, now_ms)):
            self._wakes[index] = at_ms
            self._push(at_ms, index)

    def _after(self, after_ms: int, do: Callable[[], None]) -> None:
        self.at(self.clock.now_ms() + after_ms, do)

    def _power_on(self, index: int) -> None:
        self.hear(index, Booted())
        self._restore(index)

    def _tell(self, index: int, said: Input) -> None:
        if self._links[index].up or not isinstance(said, Received):
            self.hear(index, said)

    def _cut(self, index: int) -> None:
        self._down[index] += 1
        self._links[index].sever()

    def _restore(self, index: int) -> None:
        self._down[index] -= 1
        if self._down[index] == 0:
            self._links[index].open()
