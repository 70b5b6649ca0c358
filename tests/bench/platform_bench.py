"""What the platform costs: a formula, the adding up of a message, moving one to the long-term files, and reading.

Run: python tests/bench/platform_bench.py [messages] [devices]. Prints figures; pytest does not collect it.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from simulator.backend.effects import SaveDevice, StoreTelemetry
from simulator.backend.platform.formulas import compile_formula
from simulator.backend.platform.outcomes import SaveMaster
from simulator.backend.platform.queries import PlatformQueries
from simulator.backend.store import Store

START_MS = 1_767_225_600_000
BATCH = 500
ACTIVE = "SELECT product_id, count(*), sum(last_timestamp > ?) FROM devices GROUP BY product_id"
FORMULA = "clamp(100 - (tempC - 60) * 2 - vibration * 10, 0, 100)"


def timed(what: str, count: int, do: Callable[[], Any]) -> None:
    """Print what one of `count` takes."""
    began = time.process_time()
    do()
    took = time.process_time() - began
    print(f"{what}: {1e6 * took / count:,.2f} µs each, {1000 * took:,.1f} ms in all")


def fill(store: Store, count: int, devices: int) -> None:
    """Vehicle telemetry of ten metrics, of three products and 24 customers."""
    for i in range(devices):
        store.add(SaveDevice(f"V-{i:05d}", ("Sedan", "SUV", "Truck")[i % 3], START_MS, 0))
        store.add(SaveMaster(f"V-{i:05d}", f"site-{i % 120}", f"customer-{i % 24}", "put"))
    for i in range(count):
        metrics = {f"metric_{k}": 20.5 + k + i % 7 for k in range(7)} | {"tempC": 88.4, "rpm": 2100, "battery": 80.1}
        at_ms = START_MS + 1000 * (i // 10)
        document = orjson.dumps(metrics).decode()
        if i % max(1, count // 8640) == 0:  # one that speaks every 10 s, so its rows are spread over the file
            store.add(StoreTelemetry("V-day", "platform", i, None, at_ms, None, at_ms, document))
        store.add(StoreTelemetry(f"V-{i % devices:05d}", "platform", i, None, at_ms, None, at_ms, document))
        if i % BATCH == 0:
            store.commit({}, {})
    store.commit({}, {})


def main() -> None:
    """Print all figures."""
    count, devices = (int(argument) for argument in [*sys.argv[1:], "100000", "10000"][:2])
    value, metrics = compile_formula(FORMULA).value, {"tempC": 71.5, "vibration": 0.4, "rpm": 1200}
    timed("formula", count, lambda: [value(metrics) for _ in range(count)])
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        timed("store alone", count, lambda: fill(store, count, devices))

        def roll_up() -> None:
            while store.roll_up():
                pass

        timed("aggregates", count, roll_up)
        queries = PlatformQueries(store.path)
        timed("a page of 1000 devices", 1, lambda: queries.devices(limit=1000, after=9000))
        timed("a customer's devices", 1, lambda: queries.devices("customer-7", limit=1000))
        timed("sites", 1, queries.sites)
        timed("hours of a product", 1, lambda: queries.aggregates("hour", product="SUV"))
        timed("days of a customer", 1, lambda: queries.aggregates("day", customer="customer-7"))

        day = "SELECT device_timestamp, metrics FROM telemetry WHERE device_id = ? AND device_timestamp >= ?"
        timed("24 h of a device that speaks every 10 s", 1, lambda: queries.db.execute(day, ("V-day", 0)).fetchall())
        timed("who was heard, of all devices", 1, lambda: queries.db.execute(ACTIVE, (START_MS,)).fetchall())

        def move() -> None:
            while store.archive_telemetry(START_MS + 30 * 86_400_000):
                pass

        timed("to the long-term files", count, move)
        timed(
            "a device's hour of these", 1,
            lambda: queries.archive("V-00007", START_MS, START_MS + 3_600_000, 1000),
        )  # fmt: skip
        queries.close()
        store.close()


if __name__ == "__main__":
    main()
