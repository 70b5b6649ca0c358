"""The REST gateway in its process and `kill -9`: what was acknowledged is stored, once."""

import asyncio
import http.client
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.backend.queries import Queries
from simulator.backend.store import FILE
from simulator.links.rest import Rest, RestEndpoint
from simulator.messages import Publish
from tests.backend.rest_server import AT_MS, DEADLINE_S, RULE, message, post

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


class Process:
    """A backend process beside a broker, killed at the latest when its test ends."""

    def __init__(self, config: Path) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "simulator.backend", "--config", str(config)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.popen.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.popen.stdout, selectors.EVENT_READ)
            assert selector.select(DEADLINE_S), "it said nothing"
        said = json.loads(self.popen.stdout.readline())
        self.port = int(said["rest_url"].rpartition(":")[2])

    def kill(self) -> None:
        os.kill(self.popen.pid, signal.SIGKILL)
        self.popen.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        port, rest_port = one.getsockname()[1], other.getsockname()[1]
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    broker = subprocess.Popen(
        [MOSQUITTO, "-c", str(tmp_path / "mosquitto.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    config = tmp_path / "backend.json"
    settings: dict[str, Any] = {"state_dir": str(tmp_path / "state"), "rules": [RULE], "rest_port": rest_port}
    settings["mqtt"] = {"host": "127.0.0.1", "port": port, "client_id": "backend"}
    config.write_text(json.dumps(settings))
    started: list[Process] = []

    def begin() -> Process:
        started.append(Process(config))
        return started[-1]

    yield begin
    for process in started:
        if process.popen.poll() is None:
            process.kill()
    broker.kill()
    broker.wait()


@pytest.mark.peer
@pytest.mark.e2e
def test_what_was_acknowledged_is_answered_alike_after_kill_9(start: Callable[[], Process], tmp_path: Path) -> None:
    body = json.dumps({"messages": [message(device_timestamp=AT_MS + i) for i in range(20)]}).encode()
    headers = {"content-type": "application/json", "idempotency-key": "once"}
    first = start()
    before = post(first.port, "/ingest/telemetry", body, headers)
    first.kill()
    after = post(start().port, "/ingest/telemetry", body, headers)
    assert (before.status, before.body) == (after.status, after.body) == (202, before.body)
    queries = Queries(tmp_path / "state" / FILE)
    assert queries.counts()["stored"]["telemetry"] == len(queries.telemetry("press-01", 100)["telemetry"]) == 20
    queries.close()


class Sender(threading.Thread):
    """One device that POSTs one message after the other until told otherwise, and never a second time."""

    def __init__(self, name: str, port: Callable[[], int]) -> None:
        super().__init__()
        self.thing, self.port = name, port
        self.acknowledged: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        at_ms = AT_MS
        connection: http.client.HTTPConnection | None = None
        while not self.over.is_set():
            at_ms += 1
            body = json.dumps(message(device_id=self.thing, device_timestamp=at_ms))
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port(), timeout=DEADLINE_S)
                connection.request("POST", "/ingest/telemetry", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 202:
                    self.acknowledged.append(at_ms)
            except (OSError, http.client.HTTPException):
                if connection is not None:
                    connection.close()
                connection = None
                self.over.wait(0.01)
        if connection is not None:
            connection.close()


@pytest.mark.peer
@pytest.mark.e2e
def test_every_202_is_in_the_store_once_when_it_is_killed_under_load(
    start: Callable[[], Process], tmp_path: Path
) -> None:
    process = start()
    senders = [Sender(f"press-{i}", lambda: process.port) for i in range(8)]
    for sender in senders:
        sender.start()
    deadline_s = time.monotonic() + DEADLINE_S
    for limit in (150, 400, 777):
        while sum(len(sender.acknowledged) for sender in senders) < limit:
            assert time.monotonic() < deadline_s
            time.sleep(0.002)
        process.kill()
        process = start()
    for sender in senders:
        sender.over.set()
    for sender in senders:
        sender.join(DEADLINE_S)
    queries = Queries(tmp_path / "state" / FILE)
    for sender in senders:
        rows = queries._db.execute("SELECT device_timestamp FROM telemetry WHERE device_id = ?", (sender.thing,))
        stored = [row[0] for row in rows]
        assert len(stored) == len(set(stored))
        assert set(sender.acknowledged) <= set(stored)
    queries.close()


class Device:
    """A device on the `rest` link that counts what was acknowledged."""

    def __init__(self, thing: str, url: str, mode: Any) -> None:
        self.thing = thing
        self.sent = self.stored = self.refused = 0
        endpoint = RestEndpoint(
            url, thing, mode=mode, batch_max=5, batch_wait_s=0.01, backoff_first_s=0.02, backoff_max_s=0.2,
            retries_max=1000, in_flight_max=2, queue_max=10_000,
        )  # fmt: skip
        self.link = Rest(endpoint, self, asyncio.get_running_loop())

    def send(self) -> None:
        self.sent += 1
        body = json.dumps(message(device_id=self.thing, device_timestamp=AT_MS + self.sent)).encode()
        assert self.link.send(Publish("telemetry", "/ingest/telemetry", body))

    def connected(self, session_present: bool) -> None: ...

    def disconnected(self, reason: str) -> None: ...

    def received(self, topic: str, payload: bytes) -> None: ...

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        if reason_code:
            self.refused += 1
        else:
            self.stored += 1


@pytest.mark.peer
@pytest.mark.e2e
@pytest.mark.parametrize("mode", ["one", "csv"])
def test_a_fleet_loses_nothing_and_stores_nothing_twice_when_the_platform_is_killed(
    start: Callable[[], Process], tmp_path: Path, mode: str
) -> None:
    async def fleet(process: Process) -> None:
        url = f"http://127.0.0.1:{process.port}"
        devices = [Device(f"press-{i}", url, mode) for i in range(20)]
        for device in devices:
            device.link.open()
        for _ in range(3):
            for _ in range(25):
                for device in devices:
                    device.send()
                await asyncio.sleep(0.002)
            process.kill()
            process = await asyncio.to_thread(start)
        async with asyncio.timeout(DEADLINE_S):
            while any(device.stored + device.refused < device.sent for device in devices):
                await asyncio.sleep(0.01)
        assert all(device.refused == 0 for device in devices)
        for device in devices:
            device.link.close()
        await asyncio.sleep(0.05)

    asyncio.run(fleet(start()))
    queries = Queries(tmp_path / "state" / FILE)
    assert queries.counts()["stored"] == {"telemetry": 20 * 75}
    rows = queries._db.execute("SELECT count(*), count(DISTINCT device_timestamp) FROM telemetry GROUP BY device_id")
    assert rows.fetchall() == [(75, 75)] * 20
    queries.close()
