"""How long the dashboard's questions take over 10,000 devices, alone and while 3,000 messages a second come in.

Run: python tests/bench/api_bench.py [devices] [messages a second]. Prints figures; pytest does not collect it. The
platform takes messages and answers in this process, as it does for real; who asks is a process of its own.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import requests
import uvloop

from simulator.backend.__main__ import http_server, listen
from simulator.backend.api import Api
from simulator.backend.core import Backend
from simulator.backend.effects import Call, StoreTelemetry
from simulator.backend.pipeline import Answer, Pipeline
from simulator.backend.rules import load_rules
from simulator.backend.store import Store

DAY_S = 86_400
TURN_S = 0.01
ROUNDS = 60
TOPIC = "fire-prediction/device/device-{:05d}/data"
# device → seconds between its messages in the last day
HISTORIES = {"once-a-minute": 60, "every-5-s": 5, "once-a-second": 1}
QUESTIONS = {
    "overview": "/api/overview",
    "day of 1,440": "/api/device/once-a-minute",
    "day of 17,280": "/api/device/every-5-s",
    "day of 86,400": "/api/device/once-a-second",
    "realtime": "/api/realtime/device-00001",
    "devices, a page": "/api/devices?limit=1000",
    "alarms": "/api/alarms",
    "events": "/api/events?limit=100",
}


class Registry:
    """Answers every look-up at once."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def submit(self, call: Call) -> bool:
        asyncio.get_running_loop().call_soon(self._pipeline.answered, Answer(call, now_ms(), product="FireSensor"))
        return True


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def messages(devices: int) -> Iterator[tuple[str, bytes]]:
    """A fire sensor's records, device after device; one in 500 is hot."""
    idx = 0
    while True:
        for n in range(devices):
            hot = 75.0 if idx and n % 500 == 0 else 35.0
            said = {
                "deviceId": f"device-{n:05d}", "idx": idx, "timestamp": now_ms(), "status": 0, "volt": 220.0,
                "voltLow": 220.0, "ct": 5.0, "zct": 0.5, "rzct": 0.3, "pwr": 1.1, "pcbTemp": hot, "sensorTemp": 37.0,
                "co": 5.0, "voc": 50.0, "pFct": 0.95, "aArc": 0,
            }  # fmt: skip
            yield TOPIC.format(n), orjson.dumps(said)
        idx += 1


def remember(store: Store) -> None:
    """A day of some devices."""
    for thing, every_s in HISTORIES.items():
        for age_s in range(DAY_S, 0, -every_s):
            at_ms = now_ms() - 1000 * age_s
            said = orjson.dumps({f"metric_{k}": 20.5 + k for k in range(12)}).decode()
            store.add(StoreTelemetry(thing, "platform", at_ms, None, at_ms, None, at_ms, said))
        store._db.execute("INSERT INTO devices (device_id, product_id, last_timestamp, last_key) VALUES (?, 'P', ?, 1)",
                          (thing, now_ms()))  # fmt: skip
        store.commit({}, {})


async def serve(folder: Path, devices: int, rate: int) -> None:
    store = Store(folder)
    remember(store)
    pipeline = Pipeline(Backend(load_rules([], [])), store, now_ms)
    pipeline.start(Registry(pipeline))
    coming = messages(devices)
    for n in range(2 * devices):
        pipeline.ingest(*next(coming))
        if n % 500 == 0:
            pipeline.commit()
            await asyncio.sleep(0)
    pipeline.commit()
    api = Api(store.path, now_ms, times=pipeline.times)
    with listen("bench", 0) as listener:
        server = http_server(api.app)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for name, per_s in (("alone", 0), (f"with {rate:,} messages/s", rate)):
            print(f"{devices:,} devices, {name}:", flush=True)
            taken, began_s = Taken(), time.perf_counter()
            feeding = asyncio.create_task(feed(pipeline, coming, per_s, taken))
            asker = await asyncio.create_subprocess_exec(sys.executable, __file__, "ask", url)
            await asker.wait()
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            if per_s:
                real = taken.count / (time.perf_counter() - began_s)
                print(
                    f"  came in: {real:,.0f}/s; a turn of the loop was late by {taken.late_max_s * 1000:.0f} ms at most"
                )
        server.should_exit = True
        await serving
    api.close()
    store.close()


class Taken:
    """What came in."""

    count = 0
    late_max_s = 0.0


async def feed(pipeline: Pipeline, coming: Iterator[tuple[str, bytes]], rate: int, taken: Taken) -> None:
    """So many a second, a commit every turn, as the consumer does it."""
    loop, began_s = asyncio.get_running_loop(), time.perf_counter()
    while rate:
        due = int((time.perf_counter() - began_s) * rate)
        while taken.count < due:
            for _ in range(min(100, due - taken.count)):
                pipeline.ingest(*next(coming))
                taken.count += 1
            pipeline.commit()
            await asyncio.sleep(0)
        before_s = loop.time()
        await asyncio.sleep(TURN_S)
        taken.late_max_s = max(taken.late_max_s, loop.time() - before_s - TURN_S)


def ask(url: str) -> None:
    """Every question, many times."""
    session = requests.Session()
    session.trust_env = False
    for name, path in QUESTIONS.items():
        took_ms, size = [], 0
        for _ in range(ROUNDS):
            began_s = time.perf_counter()
            answer = session.get(url + path, timeout=60)
            took_ms.append(1000 * (time.perf_counter() - began_s))
            answer.raise_for_status()
            size = len(answer.content)
            time.sleep(0.02)  # a dashboard asks now and then
        took_ms.sort()
        middle, high = took_ms[len(took_ms) // 2], took_ms[int(0.95 * len(took_ms))]
        print(f"  {name:16} median {middle:6.1f} ms   p95 {high:6.1f} ms   {size / 1024:7.1f} KiB", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["ask"]:
        ask(sys.argv[2])
    else:
        numbers = [int(text.replace(",", "")) for text in sys.argv[1:]]
        with tempfile.TemporaryDirectory() as name:
            uvloop.run(serve(Path(name), *[*numbers, *[10_000, 3_000][len(numbers) :]]))
