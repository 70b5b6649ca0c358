"""The engine: drives devices live. The only place where devices, links, timers and downloads meet.

Rules: one timer for all devices (a heap of wake-up times); no task and no future for a message; outputs are
carried out in the order the device gave them. A device that fails is written down in `failure` and does not keep
the others from what they do; who conducts the engine ends the run. Time comes from the loop's monotonic clock,
anchored once to the Unix epoch, so a step of the system clock does not disturb a run. Once a second it says how well it
keeps pace (`strain`), until the devices are told to be silent.
"""

import asyncio
import heapq
import time
import traceback
from collections.abc import Callable

from simulator.audit import Audit, Way
from simulator.behaviours import NEVER_MS
from simulator.device import Device
from simulator.errors import FleetsimError
from simulator.faults import Fault
from simulator.fleet import Fleet
from simulator.ledger import Event, Ledger
from simulator.links import Link, Sink
from simulator.links.mqtt import Mqtt, outbox
from simulator.messages import (
    Answered,
    Booted,
    Download,
    Dropped,
    Input,
    Missed,
    Note,
    Output,
    PowerCycle,
    PowerOn,
    Publish,
    Raw,
    Relink,
    Sever,
    Subscribe,
    Turn,
    Upload,
)
from simulator.runtime import turns
from simulator.runtime.alarm import Alarm
from simulator.runtime.downloads import Downloads
from simulator.runtime.meter import Meter
from simulator.runtime.port import Port
from simulator.runtime.strain import SAMPLES_MAX, Counts, Gauge, Sample
from simulator.runtime.turns import TurnBook
from simulator.runtime.uploads import Uploads

TICK_S = 1.0
# To wake up costs more than to send, so what is due in two milliseconds that follow each other leaves together, at the
# beginning of the second one. Never early: a device's clock would run ahead of all others.
WAIT_MS = 1.05
BEAT_S = 0.05  # how often it looks whether the loop stood still
TAIL_MAX = 15
LEAVE_S = 0.2  # so long a device that was switched off may still be answered

_new = tuple.__new__  # makes a named tuple in half the time that its own constructor takes
MakeLink = Callable[[Device, Sink], Link]


class DeviceFailed(FleetsimError):
    """A device raised an exception: a bug, of ours or in how its profile's bytes are made. It is dead from then on."""

    def __init__(self, thing: str, error: Exception) -> None:
        super().__init__(f"device '{thing}' failed: {type(error).__name__}: {error}")
        self.log_tail = [line.rstrip("\n") for line in traceback.format_exception(error)][-TAIL_MAX:]


class Engine:
    """Runs the devices of a fleet in the running event loop."""

    def __init__(
        self, fleet: Fleet, make_link: MakeLink, downloads: Downloads, ledger: Ledger, meter: Meter | None = None,
        audit: Audit | None = None,
    ) -> None:  # fmt: skip
        self.fleet, self.ledger, self.meter, self.audit = fleet, ledger, meter, audit
        self.loop = asyncio.get_running_loop()
        self._make_link, self._downloads = make_link, downloads
        self._uploads = Uploads(downloads.http)
        # The loop's own reading of the clock is that of the moment at which this turn of it began.
        self._epoch_ms, self._anchor_s = time.time() * 1000, time.monotonic()
        self._zero_ms = self._epoch_ms - 1000 * self._anchor_s  # at second 0 of the loop's clock
        self._told_ms = 0
        if audit:
            audit.epoch_ms = self._zero_ms
        if meter:
            meter.epoch_ms = self._zero_ms
        self._turns = TurnBook(ledger, meter, audit, self._zero_ms)
        self._ports: dict[int, Port] = {}
        self._leaving: dict[int, Port] = {}
        self._stopped: set[int] = set()
        self._heap: list[tuple[int, int]] = []
        self._pushed_ms = [NEVER_MS] * len(fleet.devices)  # when each is to be woken, by the heap
        self._alarm = Alarm(self.loop, self._wake)
        self._outbox = outbox(self.loop)
        self._timer_ms = NEVER_MS
        self._handles: set[asyncio.TimerHandle] = set()
        self._ticker = self.loop.call_later(TICK_S, self._tick)
        self.samples: list[Sample] = []  # of how well it keeps pace
        self._gauge = Gauge(self._anchor_s, time.process_time())
        self._beat_at_s = self._anchor_s + BEAT_S
        self._beater = self.loop.call_later(BEAT_S, self._beat)
        self._closed = self._silent = False
        self.failure: DeviceFailed | None = None  # the first one

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch (clock.Clock); never less than what a device was told already."""
        self._told_ms = now_ms = max(self._told_ms, int(self._zero_ms + self.loop.time() * 1000))
        return now_ms

    # From outside

    def start(self, index: int, after_s: float = 0.0) -> None:
        """Switch a device on."""
        self._stopped.discard(index)
        self._later(index, after_s, self._power_on)

    def stop(self, index: int, after_s: float = 0.0) -> None:
        """Switch a device off until `start`. It is silent at once, and says goodbye when it was answered."""
        if after_s > 0:
            self._later(index, after_s, self.stop)
            return
        self._ask_again(index)
        device = self.fleet.devices[index]
        self._stopped.add(index)
        self._downloads.cancel(index)
        if self.meter:
            self.meter.stopped(index)
        if device.online:
            self.note(index, "disconnected", {"reason": "switched off"})
        device.switched_off()
        if port := self._ports.pop(index, None):
            port.gone, self._leaving[index] = True, port
            self._later(index, LEAVE_S, self._leave)

    def inject(self, index: int, fault: Fault) -> None:
        """Break a device."""
        self._ask_again(index)
        device = self.fleet.devices[index]
        self.fleet.faulted.add(device.thing)
        self._carry_out(index, device.inject(fault, self.now_ms()))

    def clear(self, index: int, kind: str | None) -> None:
        """Mend it: its faults of a kind, or all."""
        self._ask_again(index)
        self._carry_out(index, self.fleet.devices[index].clear(kind, self.now_ms()))

    def hear(self, index: int, said: Input) -> None:
        """Tell a device something and do what it answers."""
        if self._closed:
            return
        self._ask_again(index)
        try:
            self._carry_out(index, self.fleet.devices[index].receive(said, self.now_ms()))
        except Exception as error:
            self.failed(index, error)

    def answered(self, port: Port, said: Answered, now_s: float) -> None:
        """Tell a device that takes turns that it was answered. As `hear`, and it may go on by itself from here."""
        self._ask_again(port.index)  # if it does since an answer that came in the same moment
        now_ms = int(self._zero_ms + now_s * 1000)
        if now_ms > self._told_ms:
            self._told_ms = now_ms
        if self._closed or self._silent:
            return
        try:
            if message := self._do(port.index, port.device.receive(said, self._told_ms)):
                self._let_turn(port, message, self._told_ms)
        except Exception as error:
            self.failed(port.index, error)

    def renewed(self, port: Port, now_ms: int) -> Turn | None:
        """What a device says from now on that takes its turns."""
        self._told_ms = max(self._told_ms, now_ms)
        try:
            return port.device.turn(now_ms)
        except Exception as error:
            self.failed(port.index, error)
            return None

    def turned(self, device: Device, said_ms: int) -> None:
        """A device is asked again from now on. What it was to do meanwhile is found by its old wake-up."""
        self._told_ms = max(self._told_ms, said_ms)
        device.turned(said_ms)

    def account(self) -> None:
        """Bring ledger, meter and audit up to date, as they are by themselves some times a second."""
        self._turns.account()

    def note(self, index: int, kind: str, detail: dict[str, object], thing: str = "") -> None:
        """Write to the ledger on behalf of a device, or of a child of it."""
        event = Event(self.now_ms(), "fleet", kind, thing or self.fleet.devices[index].thing, detail)
        self.ledger.note(event)
        if self.meter:
            self.meter.noted(index, event)

    def reading(self, index: int, now_ms: int) -> dict[str, float]:
        """What a device's sensors say."""
        return self.fleet.devices[index].reading(now_ms)

    def silence(self) -> None:
        """No device does anything by itself any more; what was said is still carried and acknowledged."""
        self._silent = True
        for index in self._ports:
            self._ask_again(index)
        self.account()

    def settled(self) -> bool:
        """Was everything that was sent answered?"""
        self.account()
        ledger = self.ledger
        return ledger.sent.total() <= ledger.acknowledged.total() + ledger.refused.total()

    async def close(self) -> None:
        """Say goodbye for every device, and leave no timer behind."""
        self.silence()
        self._closed = True
        for handle in (self._ticker, self._beater, *self._handles):
            handle.cancel()
        self._alarm.close()
        await self._downloads.close()
        for port in (*self._ports.values(), *self._leaving.values()):
            if port.link:
                port.link.close()
        await asyncio.sleep(0.05)  # The loop has to write the goodbyes before it ends.

    # Inside

    def _open(self, index: int) -> None:
        self._leave(index)
        if self.meter:
            self.meter.opened(index)
        port = self._ports.get(index)
        if port is None:
            port = self._ports[index] = Port(self, index)
            port.link = self._make_link(self.fleet.devices[index], port)
        assert port.link
        self._shape(index)
        port.link.open()

    def _leave(self, index: int) -> None:
        """End the connection of a device that was switched off."""
        port = self._leaving.pop(index, None)
        if port and port.link:
            port.link.close()
            port.link = None  # or the two would hold each other for ever

    def _do(self, index: int, outputs: list[Output]) -> Publish | None:
        """Carry out what a device says, by the short way where it is one message, as it mostly is; that message."""
        device = self.fleet.devices[index]
        if len(outputs) == 1 and type(outputs[0]) is Publish and not device.faults:
            self._publish(self._ports[index], outputs[0], time.monotonic())
            if device.wake_at_ms < self._pushed_ms[index]:
                self._schedule(index)
            return outputs[0]
        self._carry_out(index, outputs)
        return None

    def _carry_out(self, index: int, outputs: list[Output]) -> None:
        for output in outputs:
            if type(output) is Publish:  # by far the most, so it does not wait for the others
                self._publish(self._ports[index], output, time.monotonic())
                continue
            match output:
                case Note(kind, detail, thing):
                    self.note(index, kind, dict(detail), thing)
                case Subscribe(filters):
                    self._link(index).subscribe(filters)
                case Download():
                    self._downloads.start(index, output, lambda said: self.hear(index, said))
                case Upload():
                    self._uploads.start(index, output, lambda said: self.hear(index, said))
                case Dropped(message):
                    self.ledger.attempted[message.kind] += 1
                    if self.audit:
                        self.audit.said(Way(index), message, self.loop.time())
                    self._lost(index, message)
                case PowerCycle(off_ms):
                    self._power_cycle(index, off_ms)
                case PowerOn():
                    self._power_on(index)
                case Sever(off_ms, reason):
                    self._sever(index, off_ms, reason)
                case Missed(kind, times):
                    self.ledger.missed[kind] += times
                case Relink():
                    self._relink(index)
                case Raw(data):
                    if index in self._ports:
                        self._link(index).raw(data)
        if self.fleet.devices[index].faults:
            self._shape(index)
        self._schedule(index)

    def _publish(self, port: Port, message: Publish, now_s: float) -> None:
        kind, topic, payload, qos, retain, expiry_s, stamp, due_ms = message
        ledger = self.ledger
        ledger.attempted[kind] += 1
        if self.audit:
            self.audit.said(port, message, now_s)
        if not due_ms and self.meter and not (port.device.in_turn and port.device.online):  # those leave at once
            due_ms = self._zero_ms + 1000 * now_s
            message = _new(Publish, (kind, topic, payload, qos, retain, expiry_s, stamp, due_ms))
        assert port.link
        if port.link.send(message):
            ledger.sent[kind] += 1
        else:
            self._lost(port.index, message)

    def _let_turn(self, port: Port, said: Publish, now_ms: int) -> None:
        """Let a device's link go on by itself with what it says now whenever it is answered."""
        link = port.link
        if self.audit and port.topic is not said.topic:
            return  # It does not watch this kind.
        if not isinstance(link, Mqtt) or said.kind != turns.KIND:
            return
        turn = port.device.turn(now_ms)
        if turn and turn.topic == said.topic and said.payload.endswith(turn.tail):  # or another duty said it
            link.take_turns(self._turns.turns, port, turn, said)

    def _ask_again(self, index: int) -> None:
        """From here on the device is asked what it says."""
        port = self._ports.get(index)
        if port and isinstance(port.link, Mqtt):
            port.link.end_turns()

    def _lost(self, index: int, message: Publish) -> None:
        self.ledger.dropped[message.kind] += 1
        if self.audit:
            self.audit.dropped(Way(index), message)
        if self.meter:
            self.meter.dropped(index, message)

    def _link(self, index: int) -> Link:
        link = self._ports[index].link
        assert link
        return link

    def _shape(self, index: int) -> None:
        """Let a device's link take the way through its faults, once one of them stands there."""
        port = self._ports.get(index)
        if port and port.link and not port.shaped and any(f.network for f in self.fleet.devices[index].faults):
            port.shaped = True
            port.link.shape(port)

    def _sever(self, index: int, off_ms: int, reason: str) -> None:
        if port := self._ports.get(index):
            assert port.link
            port.link.sever()
            self._later(index, off_ms / 1000, self._reopen)

    def _reopen(self, index: int) -> None:
        if index in self._ports and self.fleet.devices[index].powered:
            self._open(index)

    def _relink(self, index: int) -> None:
        """A new link, whose endpoint is asked for anew. What the old one had not sent is lost, as in a restart."""
        port = self._ports.pop(index, None)
        if port is None or port.link is None:
            return
        device = self.fleet.devices[index]
        if device.online:
            self.note(index, "disconnected", {"reason": "made anew"})
        port.gone, link, port.link = True, port.link, None
        link.sever()
        device.cut_off()
        if device.powered:
            self._open(index)

    def _power_cycle(self, index: int, off_ms: int | None) -> None:
        if index not in self._ports:
            return  # It was never switched on, and `start` is what does that.
        self._downloads.cancel(index)
        if self.meter:
            self.meter.powered_off(index)
        self._link(index).sever()
        if off_ms is not None:
            self._later(index, off_ms / 1000, self._power_on)

    def _power_on(self, index: int) -> None:
        if index in self._stopped:
            return
        if not self.fleet.devices[index].powered:
            self.hear(index, Booted())
        self._open(index)

    def failed(self, index: int, error: Exception) -> None:
        """A device raised an exception."""
        self.failure = self.failure or DeviceFailed(self.fleet.devices[index].thing, error)

    def _later(self, index: int, after_s: float, do: Callable[[int], None]) -> None:
        def run() -> None:
            self._handles.discard(handle)
            try:
                do(index)
            except Exception as error:
                self.failed(index, error)

        handle = self.loop.call_later(after_s, run)
        self._handles.add(handle)

    def _tick(self) -> None:
        now_s, waiting = self.loop.time(), 0
        for index, port in self._ports.items():
            try:
                if port.link:
                    port.link.tick(now_s)
                    waiting += port.link.waiting
            except Exception as error:
                self.failed(index, error)
        if not self._silent and len(self.samples) < SAMPLES_MAX:
            self._sample(waiting)
        self._ticker = self.loop.call_later(TICK_S, self._tick)

    # How well it keeps pace

    def _beat(self) -> None:
        self.account()
        now_s = time.monotonic()
        self._gauge.stood_still(now_s - self._beat_at_s)
        self._beat_at_s = now_s + BEAT_S
        self._beater = self.loop.call_later(BEAT_S, self._beat)

    def _sample(self, waiting: int) -> None:
        ledger = self.ledger
        counts = Counts(ledger.attempted.total(), ledger.missed.total(), ledger.dropped.total())
        now_s, cpu_s = time.monotonic(), time.process_time()
        self.samples.append(self._gauge.take(int(self._zero_ms + 1000 * now_s), now_s, cpu_s, counts, waiting))

    # Wake-ups

    def _schedule(self, index: int) -> None:
        wake_at_ms = self.fleet.devices[index].wake_at_ms
        if wake_at_ms < self._told_ms:
            wake_at_ms = self._told_ms  # It has something to do since it heard of it, and not since before.
        if wake_at_ms >= self._pushed_ms[index]:
            return  # It is woken before, and sleeps on then.
        self._pushed_ms[index] = wake_at_ms
        heapq.heappush(self._heap, (wake_at_ms, index))
        if wake_at_ms < self._timer_ms:
            self._arm(wake_at_ms)

    def _arm(self, wake_at_ms: int) -> None:
        self._timer_ms = wake_at_ms
        self._alarm.set((wake_at_ms + WAIT_MS - self._zero_ms) / 1000)

    def _wake(self) -> None:
        now_ms = int(self._zero_ms + time.monotonic() * 1000)
        now_ms = self._told_ms = max(now_ms, self._timer_ms, self._told_ms)
        self._timer_ms = 0  # It is set at the end, once for all.
        self._outbox.hold()
        try:
            self._wake_all(now_ms)
        finally:
            self._outbox.let_go(self.loop)
            self._gauge.woken()
            self._timer_ms = NEVER_MS
            if self._heap:
                self._arm(self._heap[0][0])

    def _wake_all(self, now_ms: int) -> None:
        """Those that are due."""
        heap, devices, late = self._heap, self.fleet.devices, self._gauge.slips_ms
        zero_ms, monotonic = self._zero_ms, time.monotonic
        while heap and heap[0][0] <= now_ms:
            wake_at_ms, index = heapq.heappop(heap)
            if self._pushed_ms[index] != wake_at_ms:
                continue  # It was woken since, or is to be woken before.
            self._pushed_ms[index] = NEVER_MS
            if devices[index].in_turn:
                self._ask_again(index)
            if devices[index].wake_at_ms > now_ms:
                self._schedule(index)
            elif not self._silent:
                late.append(zero_ms + 1000 * monotonic() - wake_at_ms)
                try:
                    self._do(index, devices[index].step(now_ms))
                except Exception as error:
                    self.failed(index, error)
