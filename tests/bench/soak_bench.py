"""Does memory stay level? A long run's worth of messages in a short one, and what each process takes meanwhile.

usage: python -m tests.bench.soak_bench [--messages N] [--target broker|sandbox] [--rate N] [--devices N]

`broker`: fleet, Locust and coordinator against a mosquitto of its own, 5,000,000 messages at 20,000/s. `sandbox`: cloud
and backend, too, at 2,500/s, which takes half an hour. The run is judged at its end as always, with every message
audited; that is a line of its own, since it is no part of the soak. Level is: from a third of the run to its end no
process grows by more than a tenth, or 12 MB.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from tests.bench import load_far as far
from tests.bench.load_bench import FLEETSIM
from tests.bench.load_engine import ROOT, home

SAMPLES = 400
COLUMNS = 10
GROWTH, GROWTH_MB = 0.1, 12.0
RAMP_S = 5
NAMES = {
    "simulator.runtime.child": "engine", "simulator.runtime.coordinator": "coordinator", "simulator.cloud": "cloud",
    "simulator.backend": "backend", "locust": "locust",
}  # fmt: skip


def name_of(process: psutil.Process) -> str:
    """Which part of it a process is; empty: none that is looked at."""
    words = process.cmdline()
    found = next((name for what, name in NAMES.items() if what in words), "")
    return f"{found} {process.pid}" if found else ""


def look(parent: psutil.Process) -> dict[str, float]:
    """MB of each process."""
    found: dict[str, float] = {}
    for process in parent.children(recursive=True):
        try:
            if name := name_of(process):
                # Pages of files are the system's to take back.
                found[name] = (process.memory_info().rss - process.memory_info().shared) / 1e6
        except psutil.Error:
            continue
    return found


def run(asked: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = asked.messages / asked.rate
        every_s = asked.devices / asked.rate
        (folder / "soak.yaml").write_text(
            "scenario: soak\nseed: 1\n"
            f"fleet: [{{profile: vehicle-sedan, count: {asked.devices}, name: 'soak-{{n}}'}}]\n"
            f"load: {{shape: {{kind: ramp, to: {asked.devices}, over_s: {RAMP_S}, hold_s: {seconds:.0f}}}, "
            f"every_s: {every_s:.6f}}}\n"
            f"timeline: []\nchecks: [{{kind: devices, at_least: {asked.devices}}}]\n"
        )
        command = [sys.executable, "-c", FLEETSIM, "load", str(folder / "soak.yaml"), "--out", str(folder / "out")]
        command += ["--processes", str(asked.processes)]
        broker = far.mosquitto(folder / "broker") if asked.target == "broker" else nullcontext()
        with broker as there, (folder / "log").open("w") as log:
            environ = {**os.environ, "PYTHONPATH": str(ROOT)}
            if there:
                (folder / "target.yaml").write_text(
                    f"target: bench\nkind: endpoints\nmqtt_host: 127.0.0.1\nmqtt_port: {there.port}\nmqtt_tls: false\n"
                )
                command += ["--target", str(folder / "target.yaml"), "--yes"]
                (folder / "home").mkdir()
                environ["FLEETSIM_HOME"] = str(home(folder / "home"))
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environ)
            seen = follow(process, seconds)
        path = folder / "out" / "report.json"
        if not path.exists():
            print((folder / "log").read_text()[-2000:], file=sys.stderr)
            return 1
        return tell(seen, json.loads(path.read_text()), seconds)


def follow(process: "subprocess.Popen[bytes]", seconds: float) -> dict[str, list[tuple[float, float]]]:
    """Process → (seconds since the first engine, MB), until all of it has ended."""
    seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
    parent, began_s = psutil.Process(process.pid), 0.0
    while process.poll() is None:
        found = look(parent)
        if not began_s and any(name.startswith("engine") for name in found):
            began_s = time.monotonic()
        if began_s:
            for name, mb in found.items():
                seen[name].append((time.monotonic() - began_s, mb))
        time.sleep(max(0.1, seconds / SAMPLES))
    return seen


def tell(seen: dict[str, list[tuple[float, float]]], report: dict[str, Any], seconds: float) -> int:
    """The table; 1 when a process grew."""
    begin_s, end_s = RAMP_S + seconds / 3, RAMP_S + seconds
    at_s = [RAMP_S + seconds * (i + 1) / COLUMNS for i in range(COLUMNS)]
    print(f"{'MB after':20}" + "".join(f"{at:7.0f}s" for at in at_s) + f"{'growth':>9}{'peak at the end':>17}")
    grown = 0
    for name, samples in sorted(seen.items()):
        there = [(at, mb) for at, mb in samples if begin_s <= at <= end_s]
        if len(there) < COLUMNS:
            continue
        third = max(1, len(there) // 5)
        before = statistics.median(mb for _, mb in there[:third])
        after = statistics.median(mb for _, mb in there[-third:])
        level = after - before <= max(GROWTH * before, GROWTH_MB)
        grown += not level
        cells = [min(samples, key=lambda one, at=at: abs(one[0] - at))[1] for at in at_s]  # type: ignore[misc]
        last = max((mb for at, mb in samples if at > end_s), default=0.0)
        print(
            f"{name:20}" + "".join(f"{mb:8.1f}" for mb in cells) + f"{after - before:+9.1f}{last:17.1f}"
            f"  {'level' if level else 'GROWS'}"
        )  # fmt: skip
    for kind in (report["audit"] or {}).get("kinds", ()):
        print(f"audited: {kind['kind']}: {kind['said']:,} said, {kind['fates']}")
    print(f"verdict: {report['verdict']} {report['reason']}")
    return 1 if grown else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5_000_000)
    parser.add_argument("--target", choices=["broker", "sandbox"], default="broker")
    parser.add_argument("--rate", type=float, help="messages a second")
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    asked.rate = asked.rate or (20_000.0 if asked.target == "broker" else 2_500.0)
    return run(asked)


if __name__ == "__main__":
    sys.exit(main())
