"""What the `mqtt` link costs: messages a second and CPU a message, against a mosquitto of our own.

usage: python tests/bench/mqtt_bench.py [--audit] [SECONDS] [DEVICES ...]

Every device keeps one QoS 1 message of 200 bytes in flight. With --audit each message is also written into an
audit's book, as the engine does it, and what that costs by itself is measured in the end. Not collected by pytest:
timing proves nothing on a busy machine. `process_time` is of this process alone, so the broker's share is not in it.
"""

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from simulator.audit import Audit, Way
from simulator.links import Endpoint
from simulator.links.mqtt import Mqtt
from simulator.messages import Publish


class Device:
    """The smallest sink: sends the next message when the last was acknowledged, and counts."""

    __slots__ = ("acknowledged_count", "bench", "link", "message", "slowest_s", "way")

    def __init__(self, bench: "Bench", index: int, port: int) -> None:
        self.bench = bench
        topic = f"iotlink/stg/nohub/d{index}/periodic/pub/telemetry/json"
        self.message = Publish("telemetry", topic, b"x" * 200, stamp=1)
        self.way = Way(index)
        self.link = Mqtt(Endpoint("127.0.0.1", port, f"d{index}"), self, bench.loop)
        self.acknowledged_count = 0
        self.slowest_s = 0.0

    def connected(self, session_present: bool) -> None:
        self.bench.one_more()

    def disconnected(self, reason: str) -> None:
        if reason != "closed":
            print(reason, file=sys.stderr)

    def received(self, topic: str, payload: bytes) -> None:
        pass

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        self.acknowledged_count += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - sent_at_s)
        audit = self.bench.audit
        if audit:
            audit.answered(self.way, message, reason_code, self.bench.loop.time())
        if self.bench.running:
            if audit:
                audit.said(self.way, message, self.bench.loop.time())
            self.link.send(message)


class Bench:
    """Connects a fleet, lets it run, and reads the counters."""

    def __init__(self, count: int, port: int, loop: asyncio.AbstractEventLoop, audit: Audit | None) -> None:
        self.loop, self.audit = loop, audit
        self.running = True
        self.ready = asyncio.Event()
        self.missing = count
        self.devices = [Device(self, index, port) for index in range(count)]

    def one_more(self) -> None:
        self.missing -= 1
        if not self.missing:
            self.ready.set()

    async def run(self, seconds: float) -> str:
        for device in self.devices:
            device.link.open()
        await asyncio.wait_for(self.ready.wait(), 30)
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for device in self.devices:
            device.link.send(device.message)
        await asyncio.sleep(seconds)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        done = sum(device.acknowledged_count for device in self.devices)
        self.running = False
        await asyncio.sleep(0.2)
        for device in self.devices:
            device.link.close()
        await asyncio.sleep(0.2)
        slowest_ms = max(device.slowest_s for device in self.devices) * 1000
        return (
            f"{len(self.devices)} devices: {done / wall_s:,.0f} messages/s, "
            f"{cpu_s / done * 1e6:.1f} µs CPU each, slowest {slowest_ms:.0f} ms"
        )


@contextmanager
def mosquitto() -> Iterator[int]:
    """A broker on a free loopback port."""
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\n"
            "max_queued_messages 0\nlog_type none\nset_tcp_nodelay true\n"
        )
        process = subprocess.Popen([program, "-c", str(config)])
        try:
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
            yield port
        finally:
            process.terminate()
            process.wait(5)


async def audited() -> str:
    """What the audit costs a message, with nothing else around it: said and answered."""
    loop, audit = asyncio.get_running_loop(), Audit(("telemetry",), lambda index, topic: f"d{index}")
    sinks = [(Way(i), Publish("telemetry", f"t/{i}", b"", stamp=1)) for i in range(200)]
    best_s = 1.0
    for _ in range(20):
        began_s = time.process_time()
        for _ in range(50):
            for way, message in sinks:
                if audit:
                    audit.said(way, message, loop.time())
            for way, message in sinks:
                if audit:
                    audit.answered(way, message, 0, loop.time())
        best_s = min(best_s, (time.process_time() - began_s) / (50 * len(sinks)))
    return f"audit: {best_s * 1e6:.2f} µs a message"


def main() -> None:
    with_audit = "--audit" in sys.argv
    given = [word for word in sys.argv[1:] if word != "--audit"]
    seconds = float(given[0]) if given else 3.0
    counts = [int(word) for word in given[1:]] or [200, 1000]

    async def bench(count: int, port: int) -> str:
        audit = Audit(("telemetry",), lambda index, topic: f"d{index}") if with_audit else None
        return await Bench(count, port, asyncio.get_running_loop(), audit).run(seconds)

    with mosquitto() as port:
        for count in counts:
            print(uvloop.run(bench(count, port)), flush=True)
    if with_audit:
        print(uvloop.run(audited()))


if __name__ == "__main__":
    main()
