"""How many messages a second the platform takes in on one core: decode → contract → rules → store.

Run: python tests/bench/backend_bench.py [messages] [devices]. Prints figures; pytest does not collect it.
"""

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


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
