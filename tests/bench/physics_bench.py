"""How many signal samples a second the physics makes on one core, and how much memory an idle device takes.

A sample is one signal of one device, one step on. Three figures for each profile: the plant alone; the plant
with the readings of all its sensors taken at every step; and the whole virtual runtime, in which every device
reads its sensors, encodes and publishes as its profile says.

Run: python tests/bench/physics_bench.py [devices] [profile …]. Prints figures; pytest does not collect it.
"""

import gc
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from simulator import profiles, seeds
from simulator.clock import VIRTUAL_START_MS, VirtualClock
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.plant import Plant
from simulator.profiles import Profile
from simulator.runtime.virtual import Virtual

STEPS = 100
LIVE_S = 20
BAR = 3e6
IDLE_BAR_BYTES = 4096


def plant_rate(profile: Profile, devices: int, with_readings: bool) -> float:
    """Samples a second of CPU."""
    keys = np.array([seeds.key(1, n) for n in range(devices)], dtype=np.uint64)
    plant = Plant(profile.signals, keys, 0, step_s=profile.step_s)
    step_ms = int(1000 * profile.step_s)
    plant.reading(0, 5 * step_ms)
    began_s = time.process_time()
    for step in range(6, 6 + STEPS):
        if with_readings:
            plant.reading(0, step * step_ms)
        else:
            plant.advance(step * step_ms)
    return devices * STEPS * len(profile.signals) / (time.process_time() - began_s)


def runtime_rate(profile: Profile, devices: int) -> tuple[float, float, float, float]:
    """Samples and messages a second of CPU, and bytes a device: switched off, and on and idle."""
    gc.collect()
    before = _resident()
    name = profile.profile
    members = [(f"{name}-{n:06}", name, None) for n in range(devices)]
    ledger = Ledger()
    fleet = Fleet(members, profiles.family(profile), 1, VIRTUAL_START_MS, bytes(32))
    virtual = Virtual(fleet, VirtualClock(), ledger)
    gc.collect()
    off = (_resident() - before) / devices
    for index in range(devices):
        virtual.start(index, VIRTUAL_START_MS + index * 1000 // devices)
    virtual.run_until(VIRTUAL_START_MS + 1000)
    gc.collect()
    idle = (_resident() - before) / devices
    said, steps = ledger.attempted.total(), fleet.devices[0].plant.step
    began_s = time.process_time()
    virtual.run_until(VIRTUAL_START_MS + 1000 + LIVE_S * 1000)
    took_s = time.process_time() - began_s
    samples = devices * len(profile.signals) * (fleet.devices[0].plant.step - steps)
    return samples / took_s, (ledger.attempted.total() - said) / took_s, off, idle


def _resident() -> int:
    """Bytes of memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def line(name: str, devices: int) -> str:
    """All figures of one profile."""
    profile = profiles.profile(name)
    samples, messages, off, idle = runtime_rate(profile, devices)  # first: memory that was used before is not counted
    alone, read = plant_rate(profile, devices, False), plant_rate(profile, devices, True)
    return (
        f"{name:16}{len(profile.signals):8}{alone / 1e6:11.1f}{read / 1e6:10.1f}{samples / 1e6:13.2f}"
        f"{messages:12,.0f}{off:8,.0f}{idle:8,.0f}"
    )


def main() -> None:
    devices = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    if sys.argv[3:] == ["--alone"]:
        print(line(sys.argv[2], devices))
        return
    print(f"{devices:,} devices; bars: {BAR / 1e6:.0f} million samples/s, {IDLE_BAR_BYTES:,} bytes an idle device")
    columns = (
        ("signals", 8),
        ("plant M/s", 11),
        ("read M/s", 10),
        ("virtual M/s", 13),
        ("messages/s", 12),
        ("off B", 8),
    )
    print(f"{'profile':16}{''.join(name.rjust(width) for name, width in columns)}{'idle B':>8}", flush=True)
    for name in sys.argv[2:] or profiles.names():  # each in a process of its own, for the memory
        subprocess.run([sys.executable, __file__, str(devices), name, "--alone"], check=True)


if __name__ == "__main__":
    main()
