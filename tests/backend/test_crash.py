"""Killed again and again under load, the platform has all that was acknowledged, once: MQTT, TCP and REST together.

A message counts as acknowledged when its sender may forget it: PUBACK by the broker (whose persistent session holds
it for the platform), an ack frame, a 202. FLEETSIM_CRASH_ROUNDS=30 kills more often, FLEETSIM_CRASH_SEED chooses the
moments; some of them are while the process still starts.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from simulator.links import Endpoint
from simulator.links.mqtt import Mqtt
from simulator.links.rest import Rest, RestEndpoint
from simulator.messages import Publish
from simulator.wire.payloads import fire_record, platform_json, platform_rest
from tests.backend.tcp_peers import NOW_MS, Device, body, run
from tests.backend.test_tcp_process import MOSQUITTO, Backend, free_port

ROUNDS = int(os.environ.get("FLEETSIM_CRASH_ROUNDS", "3"))
SEED = int(os.environ.get("FLEETSIM_CRASH_SEED", "7"))
EACH_EVERY_S, BURST = 0.01, 2  # so often every device says so many
PATIENCE_S = 60.0
FIRE = {"volt": 220.0, "ct": 5.0, "pcbTemp": 35.0, "sensorTemp": 37.0}

Name = tuple[str, int]  # of a message: who, and its number


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    port, path = free_port(), tmp_path / "mosquitto.conf"
    path.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
    popen = subprocess.Popen([MOSQUITTO, "-c", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield port
    popen.kill()
    popen.wait()


class Sender:
    """A device over MQTT or REST: sends the next message, and knows which ones it may forget."""

    def __init__(self, thing: str, say: Callable[[int], Publish]) -> None:
        self.thing, self._say = thing, say
        self.link: Mqtt | Rest
        self.sent = 0
        self.waiting: dict[bytes, int] = {}
        self.acked: set[Name] = set()

    def send(self) -> None:
        message = self._say(self.sent + 1)
        if self.link.send(message):
            self.sent += 1
            self.waiting[message.payload] = self.sent

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        assert reason_code == 0, f"{self.thing}: {reason_code:#x}"
        if (number := self.waiting.pop(message.payload, None)) is not None:
            self.acked.add((self.thing, number))

    def connected(self, session_present: bool) -> None: ...

    def disconnected(self, reason: str) -> None: ...

    def received(self, topic: str, payload: bytes) -> None: ...


def by_mqtt(thing: str, port: int, say: Callable[[int], Publish]) -> Sender:
    sender = Sender(thing, say)
    endpoint = Endpoint("127.0.0.1", port, thing, backoff_first_s=0.02, backoff_max_s=0.2)
    sender.link = Mqtt(endpoint, sender, asyncio.get_running_loop())
    return sender


def by_rest(thing: str, url: str, mode: Any) -> Sender:
    encode = platform_rest("SedanVehicle")
    sender = Sender(
        thing, lambda n: Publish("telemetry", "/ingest/telemetry", encode(thing, n, NOW_MS + n, {"t": n / 10}))
    )
    endpoint = RestEndpoint(
        url, thing, mode=mode, batch_max=10, batch_wait_s=0.05, retries_max=10_000,
        backoff_first_s=0.02, backoff_max_s=0.2, ack_timeout_s=5.0,
    )  # fmt: skip
    sender.link = Rest(endpoint, sender, asyncio.get_running_loop())
    return sender


def vehicle(thing: str) -> Callable[[int], Publish]:
    topic = f"iotlink/dev/nohub/{thing}/periodic/pub/telemetry/json"
    return lambda n: Publish("telemetry", topic, platform_json(thing, n, NOW_MS + n, {"t": n / 10}))


def child(thing: str) -> Callable[[int], Publish]:
    """Says which product it is, then speaks its bytes."""

    def say(n: int) -> Publish:
        role, fmt, data = "telemetry", "bin", {"bin": body(n, thing).hex()}
        if n == 1:
            role, fmt, data = "provisioning_complete", "json", {"provisioning": {"product": "machine"}}  # type: ignore[dict-item]
        topic = f"iotlink/dev/hub-1/{thing}/periodic/pub/{role}/{fmt}"
        return Publish(role, topic, orjson.dumps({"device_timestamp": NOW_MS + n, "data": data}))

    return say


def sensor(thing: str) -> Callable[[int], Publish]:
    topic = f"fire-prediction/device/{thing}/data"
    return lambda n: Publish("telemetry", topic, fire_record(thing, n, 0, FIRE | {"co": float(n)}))


class Platform(Backend):
    """The process, and what is in its store."""

    def __init__(self, folder: Path, broker: int) -> None:
        self.rest_port = free_port()
        super().__init__(folder, broker, rest_port=self.rest_port, rules=[{**RULE}])

    def begin(self) -> None:
        """Start it, and do not wait until it is ready."""
        self._popen = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def await_ready(self) -> None:
        assert self._popen is not None
        assert self._popen.stdout is not None
        assert json.loads(self._popen.stdout.readline())["ready"]

    def names(self) -> Counter[Name]:
        """What is in the store, how often."""
        db = sqlite3.connect(self.state / "backend.sqlite3")
        try:
            found: Counter[Name] = Counter()
            rows = db.execute("SELECT device_id, stream, device_timestamp, metrics FROM telemetry")
            for thing, stream, at_ms, metrics in rows:
                found[thing, int(orjson.loads(metrics)["co"]) if stream == "fire" else at_ms - NOW_MS] += 1
            for thing, at_ms in db.execute("SELECT device_id, device_timestamp FROM reports"):
                found[thing, at_ms - NOW_MS] += 1
            return found
        finally:
            db.close()

    def counters(self) -> dict[str, Counter[str]]:
        db = sqlite3.connect(self.state / "backend.sqlite3")
        try:
            found: dict[str, Counter[str]] = {}
            for scope, name, n in db.execute("SELECT scope, name, n FROM counters"):
                found.setdefault(scope, Counter())[name] = n
            return found
        finally:
            db.close()


RULE = {"ruleId": "hot", "productId": "*", "condition": "metrics.t > 1000000"}


@pytest.mark.peer
@pytest.mark.e2e
@pytest.mark.timeout(120 + 20 * ROUNDS)
def test_what_was_acknowledged_is_stored_once_however_often_it_is_killed(tmp_path: Path, broker: int) -> None:
    platform = Platform(tmp_path, broker)
    moments = random.Random(SEED)  # noqa: S311 (a test's dice)

    async def test() -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, platform.start)  # from now on the broker keeps what it does not hear
        senders = [by_mqtt(f"V-{i}", broker, vehicle(f"V-{i}")) for i in range(4)]
        senders += [by_mqtt(f"kid-{i}", broker, child(f"kid-{i}")) for i in range(2)]
        senders += [by_mqtt(f"device-{i}", broker, sensor(f"device-{i}")) for i in range(2)]
        url = f"http://127.0.0.1:{platform.rest_port}"
        senders += [by_rest(f"R-{mode}", url, mode) for mode in ("one", "batch", "csv")]
        machines = [Device(platform.tcp_port, f"m-{i}", queue_max=100_000) for i in range(4)]
        for sender in senders:
            sender.link.open()
        feeding = [loop.create_task(feed(sender.send)) for sender in senders]
        feeding += [loop.create_task(feed(lambda machine=machine: machine.send(t=20))) for machine in machines]  # type: ignore[misc]

        def told() -> set[Name]:
            """What the platform itself acknowledged."""
            by_tcp = {(one.thing, at_ms - NOW_MS) for one in machines for at_ms, _ in one.acked}
            return by_tcp.union(*(sender.acked for sender in senders if isinstance(sender.link, Rest)))

        for _ in range(ROUNDS):
            await asyncio.sleep(moments.uniform(0.05, 1.0))
            await loop.run_in_executor(None, platform.kill)
            before = told()
            found = await loop.run_in_executor(None, platform.names)
            assert before <= found.keys(), "something acknowledged is lost"
            assert max(found.values(), default=1) == 1, "something is there twice"
            await loop.run_in_executor(None, platform.begin)
            while moments.random() < 0.25:  # killed before it is ready
                await asyncio.sleep(moments.uniform(0.0, 0.8))
                await loop.run_in_executor(None, platform.kill)
                await loop.run_in_executor(None, platform.begin)
            await loop.run_in_executor(None, platform.await_ready)

        for task in feeding:
            task.cancel()
        await asyncio.gather(*feeding, return_exceptions=True)
        all_names = {(one.thing, n) for one in senders for n in range(1, one.sent + 1)}
        all_names |= {(one.thing, n) for one in machines for n in range(1, one.sent + 1)}

        def acknowledged() -> set[Name]:
            return told().union(*(sender.acked for sender in senders))

        deadline_s = time.monotonic() + PATIENCE_S
        found = Counter[Name]()
        while acknowledged() != all_names or found.keys() != all_names:
            left = f"{len(all_names - acknowledged())} not acknowledged, {len(all_names - found.keys())} not stored"
            assert time.monotonic() < deadline_s, left
            await asyncio.sleep(0.1)
            found = await loop.run_in_executor(None, platform.names)
        for sender in senders:
            sender.link.close()
        for machine in machines:
            machine.link.close()
        await asyncio.sleep(0.1)
        assert found == Counter(dict.fromkeys(all_names, 1))
        said = Counter(thing.split("-")[0] for thing, _ in all_names)
        print(f"{ROUNDS} kills: {len(all_names)} messages stored once: {dict(said)}")

    try:
        run(test, patience_s=100.0 + 20 * ROUNDS)
        assert platform.kill(signal.SIGTERM) == 0
        counters = platform.counters()
        assert not counters.get("dead")
        received, stored = counters["received"].total(), counters["stored"].total()
        assert received == stored + counters["duplicates"].total()
        print(f"received {received}, stored {stored}, duplicates {received - stored}")
    finally:
        platform.kill()


async def feed(send: Callable[[], Any]) -> None:
    while True:
        for _ in range(BURST):
            send()
        await asyncio.sleep(EACH_EVERY_S)
