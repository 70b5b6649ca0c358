"""What the `rest` link costs, against a gateway with its store in a process of its own.

usage: python tests/bench/rest_bench.py [SECONDS] [DEVICES]

Every device keeps enough messages queued for its next request. Not collected by pytest: timing proves nothing
on a busy machine. CPU is that of each process alone; messages have ten metrics.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from simulator.backend.__main__ import http_server, listen, now_ms, url_of
from simulator.backend.core import Backend
from simulator.backend.effects import Call
from simulator.backend.pipeline import Pipeline
from simulator.backend.rest_gateway import Gateway
from simulator.backend.rules import load_rules
from simulator.backend.store import Store
from simulator.links.rest import Rest, RestEndpoint
from simulator.messages import Publish
from simulator.wire.payloads import platform_rest

MODES: tuple[tuple[str, int, bool], ...] = (
    ("one", 1, False),
    ("batch", 10, False),
    ("batch", 100, False),
    ("batch", 100, True),
    ("csv", 100, False),
)


class Registry:
    """Nobody asks it: the messages say their product."""

    def submit(self, call: Call) -> bool:
        return True


async def serve(folder: Path) -> None:
    """A gateway until stdin ends; prints its URL, and at the end its CPU and what is stored."""
    loop = asyncio.get_running_loop()
    store = Store(folder)
    rule = {"ruleId": "hot", "productId": "SedanVehicle", "condition": "metrics.metric_0 > 1000"}
    pipeline = Pipeline(Backend(load_rules([rule])), store, now_ms)
    pipeline.start(Registry())
    gateway = Gateway(pipeline, lambda error: sys.exit(str(error)), requests_s=1e6, client_requests_s=1e6)
    server = http_server(gateway.app)
    with listen("port", 0) as listener:
        began_s = time.process_time()
        print(url_of(listener), flush=True)
        task = loop.create_task(server.serve(sockets=[listener]))
        await loop.run_in_executor(None, sys.stdin.read)
        server.should_exit = True
        await task
    gateway.close()
    print(time.process_time() - began_s, store.stored["telemetry"], store.duplicates, flush=True)
    store.close()


class Device:
    """The smallest sink: for each acknowledged message it sends another."""

    def __init__(self, bench: "Bench", index: int, endpoint: RestEndpoint) -> None:
        self.bench = bench
        self.thing = f"Vehicle-VIN-{index:05}"
        self.count = self.acknowledged_count = self.refused_count = 0
        self.slowest_s = 0.0
        self.link = Rest(endpoint._replace(client_id=self.thing), self, bench.loop)
        self.encode = platform_rest("SedanVehicle")

    def send(self) -> None:
        self.count += 1
        metrics = {f"metric_{k}": 20.5 + k for k in range(10)}
        payload = self.encode(self.thing, self.count, self.bench.start_ms + self.count, metrics)
        self.link.send(Publish("telemetry", "/ingest/telemetry", payload))

    def connected(self, session_present: bool) -> None:
        pass

    def disconnected(self, reason: str) -> None:
        if reason != "closed":
            print(reason, file=sys.stderr)

    def received(self, topic: str, payload: bytes) -> None:
        pass

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        if reason_code:
            self.refused_count += 1
        self.acknowledged_count += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - sent_at_s)
        if self.bench.running:
            self.send()


class Bench:
    """Lets a fleet run, and reads the counters."""

    def __init__(self, count: int, endpoint: RestEndpoint) -> None:
        self.loop = asyncio.get_running_loop()
        self.running = True
        self.start_ms = now_ms()
        self.size = endpoint.batch_max
        self.devices = [Device(self, index, endpoint) for index in range(count)]

    async def run(self, seconds: float) -> tuple[int, float, float, float]:
        """Messages, seconds, seconds of CPU, the slowest answer."""
        for device in self.devices:
            device.link.open()
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for device in self.devices:
            for _ in range(self.size):
                device.send()
        await asyncio.sleep(seconds)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        done = sum(device.acknowledged_count for device in self.devices)
        self.running = False
        await asyncio.sleep(0.5)
        for device in self.devices:
            device.link.close()
        await asyncio.sleep(0.5)
        if refused := sum(device.refused_count for device in self.devices):
            print(f"{refused} refused", file=sys.stderr)
        return done, wall_s, cpu_s, max(device.slowest_s for device in self.devices)


def measure(mode: str, size: int, packed: bool, seconds: float, count: int) -> None:
    """One line of figures."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [sys.executable, __file__, "serve", folder]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as far:
            assert far.stdin is not None
            assert far.stdout is not None
            url = far.stdout.readline().strip()
            endpoint = RestEndpoint(url, "-", mode=mode, batch_max=size, gzip=packed, batch_wait_s=0.05)  # type: ignore[arg-type]

            async def main() -> tuple[int, float, float, float]:
                return await Bench(count, endpoint).run(seconds)

            done, wall_s, cpu_s, slowest_s = uvloop.run(main())
            far.stdin.close()
            far_cpu, stored, duplicates = far.stdout.readline().split()
    name = f"{mode} of {size}{', gzip' if packed else ''}"
    print(
        f"{name:22} {done / size / wall_s:8,.0f} POST/s {done / wall_s:8,.0f} messages/s"
        f"  link {cpu_s / done * 1e6:6.1f} µs CPU a message, gateway {float(far_cpu) / int(stored) * 1e6:6.1f}"
        f"  slowest {slowest_s * 1000:4.0f} ms, {stored} stored, {duplicates} twice"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(serve(Path(sys.argv[2])))
    else:
        seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
        devices = int(sys.argv[2]) if len(sys.argv) > 2 else 200
        for mode, size, packed in MODES:
            measure(mode, size, packed, seconds, devices)
