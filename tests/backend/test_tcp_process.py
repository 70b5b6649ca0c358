"""The whole process beside devices that send frames: killed under load, it has all that it acknowledged, once."""

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backend.tcp_peers import NOW_MS, PRODUCT, Client, Device, body, frame, run, until

DEVICES, EACH, KILLS = 20, 400, 5  # killed at random moments
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    port = free_port()
    path = tmp_path / "mosquitto.conf"
    path.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    popen = subprocess.Popen([MOSQUITTO, "-c", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield port
    popen.kill()
    popen.wait()


class Backend:
    """The process, which can be killed and started again."""

    def __init__(self, folder: Path, broker: int, **more: Any) -> None:
        self.tcp_port = free_port()
        self.state = folder / "state"
        self._path = folder / "backend.json"
        config = {
            "state_dir": str(self.state),
            "mqtt": {"host": "127.0.0.1", "port": broker, "client_id": "backend"},
            "products": ["plain", {"productId": "machine", "spec": json.loads(PRODUCT.model_dump_json())}],
            "tcp": {"port": self.tcp_port},
            **more,
        }
        self._path.write_text(json.dumps(config))
        self.command = [sys.executable, "-m", "simulator.backend", "--config", str(self._path)]
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> dict[str, Any]:
        """Start it; its ready line."""
        self._popen = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        assert line, "it ended"
        ready: dict[str, Any] = json.loads(line)
        return ready

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        popen, self._popen = self._popen, None
        if popen is None:
            return 0
        os.kill(popen.pid, how)
        popen.communicate(timeout=20)
        return popen.returncode

    def rows(self) -> list[tuple[str, int]]:
        with sqlite3.connect(self.state / "backend.sqlite3") as db:
            rows = db.execute("SELECT device_id, device_timestamp FROM telemetry ORDER BY 1, 2").fetchall()
        db.close()
        return rows


@pytest.mark.peer
@pytest.mark.e2e
def test_what_was_acknowledged_is_stored_once_however_often_it_is_killed(tmp_path: Path, broker: int) -> None:
    backend = Backend(tmp_path, broker)

    async def feed(device: Device) -> None:
        while device.sent < EACH:
            for _ in range(min(10, EACH - device.sent)):
                device.send(t=20)
            await asyncio.sleep(0.02)

    async def test() -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, backend.start)
        devices = [Device(backend.tcp_port, f"m-{i:02d}", queue_max=EACH) for i in range(DEVICES)]
        feeding = [loop.create_task(feed(device)) for device in devices]
        for _ in range(KILLS):
            enough = sum(len(device.acked) for device in devices) + random.randrange(50, 1000)  # noqa: S311
            await until(lambda enough=enough: sum(len(device.acked) for device in devices) >= enough)  # type: ignore[misc]
            await loop.run_in_executor(None, backend.kill)
            told = {(device.thing, at_ms) for device in devices for at_ms, _ in device.acked}
            await loop.run_in_executor(None, backend.start)
            rows = backend.rows()
            assert len(rows) == len(set(rows))
            assert told <= set(rows)
        await asyncio.gather(*feeding)
        await until(lambda: all(len(device.acked) == EACH for device in devices))
        for device in devices:
            device.link.close()
        assert all("disconnected" in " ".join(device.log) for device in devices)
        await until(lambda: all(device.log[-1] == "disconnected closed" for device in devices))

    try:
        run(test)
        assert backend.rows() == [(f"m-{i:02d}", NOW_MS + seq) for i in range(DEVICES) for seq in range(1, EACH + 1)]
        assert backend.kill(signal.SIGTERM) == 0
    finally:
        backend.kill()


@pytest.mark.peer
@pytest.mark.e2e
def test_the_process_listens_for_frames_and_counts_them(tmp_path: Path, broker: int) -> None:
    backend = Backend(tmp_path, broker)
    try:
        ready = backend.start()
        assert ready["tcp_port"] == backend.tcp_port

        async def test() -> None:
            async with Client(backend.tcp_port) as client:
                client.say(frame(body(1)) + frame(body(2, at_ms=time.time_ns() // 10**6 + 10**9)))
                assert await client.statuses(2) == [(1, 0), (2, 1)]

        run(test)
        with urllib.request.urlopen(f"{ready['api_url']}/api/counts", timeout=20) as answer:  # noqa: S310
            counts = json.load(answer)
        assert counts["received"] == {"telemetry": 2}
        assert counts["dead"] == {"device_timestamp.range": 1}
        assert (counts["tcp"]["accepted"], counts["tcp"]["frames"]) == (1, 2)
        assert backend.kill(signal.SIGTERM) == 0
    finally:
        backend.kill()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("change", "code", "complaint"),
    [
        ({"tcp": {"prot": 1}}, 2, "tcp.prot: unknown key (did you mean 'port'?)"),
        ({"products": [{"productId": "x", "spec": {"messages": {}}}]}, 2, "products.0"),
        ({"tcp": {"port": "taken"}}, 3, "cannot listen"),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path: Path, change: dict[str, Any], code: int, complaint: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        if change.get("tcp") == {"port": "taken"}:
            change = {"tcp": {"port": taken.getsockname()[1]}}
        Backend(tmp_path, 1, **change)
        path = tmp_path / "backend.json"
        command = [sys.executable, "-m", "simulator.backend", "--config", str(path)]
        ended = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert ended.returncode == code
    assert complaint in ended.stderr.decode()
    assert ended.stderr.count(b"\n") == 1
