"""What the fire prediction costs: one message, a late one, the way into the store, memory, a restart, two questions.

Run: python tests/bench/fire_bench.py [records] [sensors]. Prints figures; pytest does not collect it. Seconds are of
CPU, so that others on the machine count for little.
"""

import gc
import random
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import orjson

from simulator.backend.core import Backend
from simulator.backend.effects import Call, LookUp
from simulator.backend.fire.analysis import Fire
from simulator.backend.fire.history import HOUR_MS, Log, entry_of
from simulator.backend.fire.reading import NAMES, read
from simulator.backend.fire.realtime import final, level_of
from simulator.backend.pipeline import Answer, Pipeline
from simulator.backend.rules import load_rules
from simulator.backend.store import Store

START_MS = 1_767_225_600_000
BATCH = 100
NORMAL = dict(zip(NAMES, (220.0, 220.0, 5.0, 0.5, 0.3, 1.1, 35.0, 37.0, 5.0, 50.0, 0.95, 0, 0), strict=True))
BLAZE = NORMAL | {"pcbTemp": 88.0, "sensorTemp": 95.0, "co": 300.0, "voc": 2000.0, "arc_count": 4, "status": 0xBD8}


def noisy(base: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    return base | {name: base[name] + draw.random() for name in ("volt", "current", "pcbTemp", "sensorTemp", "co")}


def risk_alone(count: int) -> None:
    """Reading, rule, status, pattern, the hour's modifier, level: no alert, no stream."""
    draw = random.Random(1)  # noqa: S311
    records = [noisy(NORMAL, draw) for _ in range(count)]
    log = Log()
    state = Fire()._device("a")
    assert state is not None
    began = time.process_time()
    for idx, metrics in enumerate(records):
        at_ms = START_MS + 3000 * idx
        entry = entry_of(at_ms, idx, idx, read(metrics))
        log.aim(at_ms)
        risk = final(entry.base, log.modifier())
        level_of(risk)
        log.push(entry, risk, state.origin)
    print(f"risk of a message with its hour of 1,200 records: {_us(began, count)} µs")


def messages(name: str, base: dict[str, Any], count: int, sensors: int, late: int = 0, sites: int = 0) -> None:
    """Everything that the analysis does with a message; one in 97 may be late by so many records."""
    draw = random.Random(1)  # noqa: S311
    things = [f"device-{n:05}" for n in range(sensors)]
    said = [
        (things[i % sensors], START_MS + 3000 * (i // sensors) + i % sensors, i // sensors, i, noisy(base, draw))
        for i in range(count)
    ]
    for i in range(count - late * sensors - 1, 0, -97) if late else ():
        said.insert(i + late * sensors, said.pop(i))
    fire = Fire()
    if sites:
        for n, thing in enumerate(things):
            fire.place(thing, f"site-{n % sites}")
    gc.collect()
    gc.disable()
    began = time.process_time()
    for one in said:
        fire.take(*one)
    took = _us(began, count)
    gc.enable()
    print(f"{name}: {took} µs a message ({dict(fire.fates)})")


def stored(count: int, sensors: int, fire: bool) -> None:
    """Decode → contract → rules → analysis → store."""
    draw = random.Random(1)  # noqa: S311
    record = {"volt": 220.1, "voltLow": 219.8, "zct": 0.5, "rzct": 0.3, "pwr": 1.1, "pFct": 0.95, "voc": 50, "aArc": 0}
    said = []
    for i in range(count):
        thing = f"device-{i % sensors:05}"
        celsius = round(35 + draw.random(), 1)
        body = {"deviceId": thing, "idx": i // sensors, "status": 0, "ct": 5.1, "co": 5.2, "pcbTemp": celsius}
        said.append((f"fire-prediction/device/{thing}/data", orjson.dumps(body | record | {"sensorTemp": celsius + 1})))
    now = [START_MS]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        asked: list[Call] = []

        class Registry:
            def submit(self, call: Call) -> bool:
                asked.append(call)
                return True

        pipeline = Pipeline(Backend(load_rules([]), fire=fire), store, lambda: now[0])
        pipeline.start(Registry())
        began = time.process_time()
        for i, (topic, payload) in enumerate(said, 1):
            now[0] = START_MS + i // 3  # 3,000 a second
            pipeline.ingest(topic, payload)
            if i % BATCH == 0:
                pipeline.commit()
                for call in asked:
                    if isinstance(call, LookUp):
                        pipeline.answered(Answer(call, 0, product="FireSensor", result={"site": call.thing[-3:]}))
                asked.clear()
        pipeline.tick()
        took = time.process_time() - began
        print(f"into the store, {'with' if fire else 'without'} the analysis: {count / took:,.0f} messages/s of CPU")
        store.close()
        if fire:
            store = Store(Path(folder))
            began = time.process_time()
            restored = store.load()
            Backend(load_rules([])).resume(restored.devices, [], now[0], fire=restored.fire)
            print(f"a restart takes up {len(restored.fire.records):,} records in {time.process_time() - began:.1f} s")
            _ask(store)
            store.close()


def _ask(store: Store) -> None:
    for name, sql in (
        ("sensors by level", "SELECT level, count(*) FROM fire_devices GROUP BY level"),
        ("series of one", "SELECT at_ms, risk FROM fire_risks WHERE device_id = 'device-00007' ORDER BY at_ms"),
    ):
        began = time.perf_counter()
        rows = store._db.execute(sql).fetchall()
        print(f"{name}: {1000 * (time.perf_counter() - began):.1f} ms, {len(rows)} rows")


def memory(every_ms: int) -> None:
    fire = Fire()
    draw = random.Random(1)  # noqa: S311
    tracemalloc.start()
    for idx in range(3 * HOUR_MS // every_ms):
        fire.take("a", START_MS + every_ms * idx, idx, idx, noisy(NORMAL, draw))
    gc.collect()
    print(f"a sensor that speaks every {every_ms / 1000:g} s: {tracemalloc.get_traced_memory()[0] / 1024:,.0f} KiB")
    tracemalloc.stop()


def _us(began: float, count: int) -> str:
    return f"{(time.process_time() - began) / count * 1e6:.1f}"


if __name__ == "__main__":
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    many = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
    risk_alone(records)
    messages("normal", NORMAL, records, 100)
    messages("normal, on sites of 20", NORMAL, records, 100, sites=5)
    messages("burning", BLAZE, records // 10, 100)
    messages("burning, on sites of 20", BLAZE, records // 10, 100, sites=5)
    messages("normal, one in 97 is 5 records late", NORMAL, records, 100, late=5)
    messages("normal, one in 97 is 100 records late", NORMAL, records, 100, late=100)
    stored(records // 2, many, fire=False)
    stored(records // 2, many, fire=True)
    for every_ms in (1000, 3000, 60_000):
        memory(every_ms)
