"""How many messages a second the platform takes in on one core: decode → contract → rules → store.

Run: python tests/bench/backend_bench.py [messages] [devices]. Prints figures; pytest does not collect it. Where
mosquitto is installed, also the whole way: devices' links in this process, the broker, the backend's process.
"""

import asyncio
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from simulator.backend.core import Backend
from simulator.backend.effects import Call
from simulator.backend.pipeline import Answer, Pipeline
from simulator.backend.rules import load_rules
from simulator.backend.store import Store
from simulator.links import Endpoint
from simulator.links.mqtt import Mqtt
from simulator.messages import Publish

LINKS = 50
QUEUED = 100  # messages that each link has waiting
BATCH = 100
START_MS = 1_767_225_600_000
RULES: list[dict[str, Any]] = [
    {
        "ruleId": "engine-overheat",
        "productId": ["SedanVehicle", "SUVVehicle", "TruckVehicle"],
        "condition": "metrics.engine_temp_c > 110",
    },
    {"ruleId": "low-battery", "productId": "SedanVehicle", "condition": "metrics.batteryStatus < 5"},
]


class Registry:
    """Answers every look-up at the next batch."""

    def __init__(self) -> None:
        self.asked: list[Call] = []

    def submit(self, call: Call) -> bool:
        self.asked.append(call)
        return True


def messages(count: int, devices: int) -> Iterator[tuple[str, bytes]]:
    """Vehicle telemetry of ten metrics; one reading in a thousand is too hot."""
    for i in range(count):
        topic = f"iotlink/dev/nohub/Vehicle-VIN-{i % devices:04d}/periodic/pub/telemetry/json"
        metrics = {f"metric_{k}": 20.5 + k for k in range(7)}
        metrics |= {"engine_temp_c": 120.0 if i % 1000 == 0 else 88.4, "rpm": 2100.0, "batteryStatus": 80.0}
        yield topic, orjson.dumps({"device_timestamp": START_MS + 1000 * i, "data": {"metrics": metrics}})


def measure(count: int, devices: int) -> None:
    """Print one line for the core alone and one with the store."""
    prepared = list(messages(count, devices))
    core = Backend(load_rules(RULES))
    began = time.perf_counter()
    for topic, payload in prepared:
        core.ingest(topic, payload, START_MS + 1000 * count)
    print(f"core only: {count / (time.perf_counter() - began):,.0f} messages/s")

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        registry = Registry()
        pipeline = Pipeline(Backend(load_rules(RULES)), store, lambda: START_MS + 1000 * count)
        pipeline.start(registry)
        began, cpu = time.perf_counter(), time.process_time()
        for i, (topic, payload) in enumerate(prepared, 1):
            pipeline.ingest(topic, payload)
            if i % BATCH == 0:
                pipeline.commit()
                asked, registry.asked = registry.asked, []
                for call in asked:
                    pipeline.answered(Answer(call, 0, product="SedanVehicle"))
        pipeline.commit()
        took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        stored = store.stored["telemetry"]
        store.close()
    print(
        f"with the store, commits of {BATCH}: {count / took_s:,.0f} messages/s, "
        f"{count / cpu_s:,.0f} a second of CPU ({stored} rows stored)"
    )


class Feeder:
    """The smallest device: for each acknowledged message it sends another."""

    def __init__(self, source: Iterator[tuple[str, bytes]], port: int, index: int) -> None:
        self.source, self.acknowledged_count = source, 0
        endpoint = Endpoint("127.0.0.1", port, f"bench-{index}", in_flight_max=QUEUED)
        self.link = Mqtt(endpoint, self, asyncio.get_running_loop())
        self.link.open()

    def send(self) -> None:
        for topic, payload in self.source:
            self.link.send(Publish("telemetry", topic, payload))
            return

    def connected(self, session_present: bool) -> None:
        for _ in range(QUEUED):
            self.send()

    def disconnected(self, reason: str) -> None: ...

    def received(self, topic: str, payload: bytes) -> None: ...

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        self.acknowledged_count += 1
        self.send()


def stored(folder: Path) -> int:
    """How many samples the process has committed."""
    db = sqlite3.connect(folder / "backend.sqlite3")
    try:
        found = db.execute("SELECT n FROM counters WHERE scope = 'stored' AND name = 'telemetry'").fetchone()
        return int(found[0]) if found else 0
    finally:
        db.close()


async def feed(prepared: list[tuple[str, bytes]], port: int, folder: Path, pid: int) -> None:
    """Send all and wait until all are stored; print the rate."""
    source = iter(prepared)
    began, cpu = time.perf_counter(), cpu_s(pid)
    feeders = [Feeder(source, port, index) for index in range(LINKS)]
    while (n := await asyncio.to_thread(stored, folder)) < len(prepared):
        await asyncio.sleep(0.05)
    took_s, cpu = time.perf_counter() - began, cpu_s(pid) - cpu
    print(f"the whole way over MQTT: {n / took_s:,.0f} messages/s, the backend's CPU {100 * cpu / took_s:.0f} %")
    for feeder in feeders:
        feeder.link.close()
    await asyncio.sleep(0.1)


def cpu_s(pid: int) -> float:
    """The CPU that a process has used."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / 100


def measure_process(count: int, devices: int) -> None:
    """Print one line for the whole way."""
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if mosquitto is None:
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    prepared = list(messages(count, devices))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 1000\n"
        (folder / "mosquitto.conf").write_text(lines)
        mqtt = {"host": "127.0.0.1", "port": port, "client_id": "backend"}
        config = {"state_dir": name, "mqtt": mqtt, "rules": [rule | {"productId": "*"} for rule in RULES]}
        (folder / "backend.json").write_text(json.dumps(config))
        broker = subprocess.Popen([mosquitto, "-c", folder / "mosquitto.conf"], stderr=subprocess.DEVNULL)
        backend = subprocess.Popen(
            [sys.executable, "-m", "simulator.backend", "--config", folder / "backend.json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert backend.stdout is not None
            backend.stdout.readline()
            asyncio.run(feed(prepared, port, folder, backend.pid))
        finally:
            backend.communicate()
            broker.kill()
            broker.wait()


if __name__ == "__main__":
    wanted = [int(argument) for argument in sys.argv[1:]] + [100_000, 1000][len(sys.argv) - 1 :]
    measure(*wanted)
    measure_process(*wanted)
