"""What devices cost without a network: a day in virtual time, a message, a signal sample, an idle device.

usage: python tests/bench/virtual_bench.py [DEVICES]

Not collected by pytest. Seconds are of CPU, so that others on the machine count for little.
"""

import heapq
import sys
import time
import tracemalloc

import numpy as np

from simulator import profiles, seeds
from simulator.clock import VIRTUAL_START_MS, VirtualClock
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.messages import Connected
from simulator.plant import Plant
from simulator.profiles import Profile
from simulator.recorder import Recorder
from simulator.runtime.virtual import Virtual

DAY_S = 86_400
PROFILE = "vehicle-sedan"


def once_in(period_s: float) -> Profile:
    """The shipped profile with this period of telemetry, and nothing else that speaks often."""
    what = profiles.profile(PROFILE)
    telemetry = [b.model_copy(update={"every_s": period_s}) for b in what.behaviours if hasattr(b, "every_s")]
    return what.model_copy(update={"behaviours": telemetry})


def fleet(what: Profile, count: int) -> Fleet:
    things = [(f"Vehicle-VIN-{n:05}", what.profile, None) for n in range(count)]
    return Fleet(things, {what.profile: what}, 1, VIRTUAL_START_MS, bytes(32))


def day(count: int) -> None:
    devices, ledger = fleet(once_in(60), count), Ledger()
    virtual = Virtual(devices, VirtualClock(), ledger)
    for index in range(count):
        virtual.start(index, VIRTUAL_START_MS)
    start_s = time.process_time()
    virtual.run_until(VIRTUAL_START_MS + DAY_S * 1000)
    took_s = time.process_time() - start_s
    sent = ledger.sent.total()
    print(
        f"a day of {count} devices, a message a minute: {took_s:.1f} s of CPU, {sent} messages, ×{DAY_S / took_s:.0f}"
    )


def message(count: int, seconds: int = 20, record_bytes: int = 0) -> None:
    """Device.step alone, with a heap of wake-ups: no link, no ledger; with a recorder, if it gets memory."""
    whole = fleet(once_in(1), count)
    recorder = Recorder(whole, record_bytes) if record_bytes else None
    devices = whole.devices
    for device in devices:
        device.receive(Connected(False), VIRTUAL_START_MS)
    heap = [(device.wake_at_ms, index) for index, device in enumerate(devices)]
    heapq.heapify(heap)
    end_ms, said = VIRTUAL_START_MS + seconds * 1000, 0
    start_s = time.process_time()
    while heap[0][0] < end_ms:
        at_ms, index = heap[0]
        said += len(devices[index].step(at_ms))
        heapq.heapreplace(heap, (devices[index].wake_at_ms, index))
    took_s = time.process_time() - start_s
    of = f", recorded in {record_bytes >> 20} MB, {recorder.digested} digested" if recorder else ""
    print(f"{count:6} devices, a message a second{of}: {took_s / said * 1e6:.1f} µs of CPU a message")


def signals(count: int, steps: int = 200) -> None:
    keys = np.array([seeds.key(1, n) for n in range(count)], dtype=np.uint64)
    for name in profiles.names():
        what = profiles.profile(name)
        plant = Plant(what.signals, keys, 0)
        start_s = time.process_time()
        for step in range(1, steps + 1):
            plant.reading(0, step * 1000)
        took_s = time.process_time() - start_s
        samples = steps * count * len(what.signals)
        print(
            f"{name:16} {count} devices, {len(what.signals)} signals: {samples / took_s / 1e6:.0f} M samples/s measured"
        )


def memory(count: int) -> None:
    what = profiles.profile(PROFILE)
    fleet(what, 10)  # what is made once
    tracemalloc.start()
    devices = fleet(what, count)
    made = tracemalloc.get_traced_memory()[0]
    for device in devices.devices:
        device.receive(Connected(False), VIRTUAL_START_MS)
    connected = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"{PROFILE}: {made / count:.0f} bytes a device, {connected / count:.0f} once it was connected")


if __name__ == "__main__":
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    day(100)
    for n in (100, 1000, many):
        message(n)
    for megabytes in (1024, 4):
        message(1000, record_bytes=megabytes << 20)
    signals(many)
    memory(many)
