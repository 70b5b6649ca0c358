"""The platform is disturbed by orders on its stdin, killed and stopped: what its clients see, and who is missed."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from simulator.wire.payloads import platform_rest
from tests.backend.tcp_peers import Client, body, frame, run
from tests.backend.test_tcp_process import MOSQUITTO, Backend, broker, free_port

__all__ = ["broker"]  # a fixture

pytestmark = [pytest.mark.peer, pytest.mark.e2e]
WAIT_S = 20.0
GONE = {"ruleId": "gone", "productId": "*", "type": "silence", "after_s": 2}


def until(true: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline_s, "it did not come"
        time.sleep(0.01)


class Platform(Backend):
    """The process, its orders, and what it answers."""

    def __init__(self, folder: Path, broker: int, **more: Any) -> None:
        super().__init__(folder, broker, rest_port=free_port(), api_port=free_port(), log_level="INFO", **more)
        config = json.loads((folder / "backend.json").read_text())
        self._rest, self._api = (f"http://127.0.0.1:{config[name]}" for name in ("rest_port", "api_port"))

    def say(self, line: str) -> None:
        assert self._popen
        assert self._popen.stdin
        self._popen.stdin.write(line.encode() + b"\n")
        self._popen.stdin.flush()

    def disturb(self, kind: str, **order: Any) -> None:
        self.say(json.dumps({"disturb": {"kind": kind, **order}}))

    def clear(self, name: str = "*") -> None:
        self.say(json.dumps({"clear": name}))

    def send(self, n: int = 1, thing: str = "V-1") -> "requests.Response":
        sample = platform_rest("plain")(thing, n, time.time_ns() // 1_000_000, {"t": float(n)})
        headers = {"content-type": "application/json"}
        return requests.post(f"{self._rest}/ingest/telemetry", sample, headers=headers, timeout=30)

    def get(self, path: str) -> Any:
        return requests.get(f"{self._api}{path}", timeout=30).json()

    def signal(self, what: signal.Signals) -> None:
        assert self._popen
        os.kill(self._popen.pid, what)

    def alarms(self) -> list[tuple[str, str]]:
        return [(alarm["thing"], alarm["state"]) for alarm in self.get("/api/alarms")["alarms"]]


@pytest.fixture
def platform(tmp_path: Path, broker: int) -> Iterator[Platform]:
    running = Platform(tmp_path, broker, rules=[GONE])
    running.start()
    yield running
    assert running.kill(signal.SIGTERM) == 0


def took_s(call: Callable[[], object]) -> float:
    began_s = time.monotonic()
    call()
    return time.monotonic() - began_s


def test_its_gateways_refuse_and_are_ill_and_slow_and_the_rest_of_it_is_not(platform: Platform) -> None:
    answers: list[int] = []

    def answer() -> int:
        answers.append(platform.send().status_code)
        return answers[-1]

    platform.disturb("throttling", of=["rest"])
    until(lambda: answer() == 429)
    assert platform.send().headers["retry-after"] == "1"
    assert platform.get("/api/health") == {"status": "ok"}
    platform.disturb("server_errors", of=["api"], status=500)
    until(lambda: platform.get("/api/health") == {"error": "not well"})
    platform.clear("throttling")
    until(lambda: answer() == 202)
    platform.clear("server_errors")
    # What came before the order was in force was taken, too.
    until(lambda: platform.get("/api/counts").get("stored") == {"telemetry": answers.count(202)})
    platform.disturb("slow_answers", of=["rest"], ms=400, for_s=2)
    until(lambda: took_s(platform.send) >= 0.4)
    until(lambda: took_s(platform.send) < 0.4)


def test_a_slow_store_makes_everybody_wait(platform: Platform) -> None:
    platform.disturb("slow_answers", of=["store"], ms=400)
    until(lambda: took_s(platform.send) >= 0.4)

    async def story() -> None:
        async with Client(platform.tcp_port) as client:
            began_s = time.monotonic()
            client.say(frame(body(1)))
            assert await client.statuses(1) == [(1, 0)]
            assert time.monotonic() - began_s >= 0.4

    run(story)
    platform.clear()
    until(lambda: took_s(platform.send) < 0.4)


def test_late_acknowledgements_of_frames_keep_their_order(platform: Platform) -> None:
    platform.disturb("slow_answers", of=["tcp", "rest"], ms=300, jitter_ms=200)
    until(lambda: took_s(platform.send) >= 0.3)

    async def story() -> None:
        async with Client(platform.tcp_port) as client:
            began_s = time.monotonic()
            for n in range(10):
                client.say(frame(body(n + 1)))
                await asyncio.sleep(0.01)
            platform.clear()
            client.say(frame(body(11)))
            assert await client.statuses(11) == [(n + 1, 0) for n in range(11)]
            assert time.monotonic() - began_s >= 0.3

    run(story)


def test_its_clock_is_that_of_arrival(platform: Platform) -> None:
    def arrived_ahead_s() -> float:
        platform.send()
        [latest, *_] = platform.get("/api/telemetry/V-1?limit=1")["telemetry"]
        return float(latest["ingest_timestamp"] - latest["device_timestamp"]) / 1000

    assert arrived_ahead_s() < 60
    platform.disturb("part_clock", off_s=7200)
    until(lambda: 7190 < arrived_ahead_s() < 7260)
    platform.disturb("part_clock", off_s=-7200)
    until(lambda: -7210 < arrived_ahead_s() < -7140)
    platform.clear()
    until(lambda: -10 < arrived_ahead_s() < 60)
    assert platform.alarms() == [], "a clock that jumps misses nobody"


def test_who_is_silent_is_missed_but_not_for_the_time_that_it_was_away_itself(
    platform: Platform, tmp_path: Path
) -> None:
    platform.send(thing="V-1")
    platform.send(thing="V-2")
    until(lambda: platform.alarms() == [("V-1", "open"), ("V-2", "open")])
    [alarm, _] = platform.get("/api/alarms")["alarms"]
    assert (alarm["rule_type"], alarm["rule_id"]) == ("silence", "gone")
    platform.send(thing="V-1")
    until(lambda: sorted(platform.alarms()) == [("V-1", "closed"), ("V-2", "open")])

    def speak_and_count(away: Callable[[], None]) -> int:
        platform.send(thing="V-1")
        away()
        platform.send(thing="V-1")  # the first thing it hears when it is back
        return len(platform.alarms())

    def stopped() -> None:
        platform.signal(signal.SIGSTOP)
        time.sleep(2.5)  # longer than after_s: it is about time that passes
        platform.signal(signal.SIGCONT)

    def dead() -> None:
        platform.kill()
        time.sleep(2.5)
        platform.start()

    assert [speak_and_count(stopped), speak_and_count(dead)] == [2, 2]
    platform.send(thing="V-2")
    assert sorted(platform.alarms()) == [("V-1", "closed"), ("V-2", "closed")]
    until(lambda: sum(state == "open" for _, state in platform.alarms()) == 2)


def test_what_it_does_not_understand_it_ignores_and_it_ends_with_its_stdin(tmp_path: Path, broker: int) -> None:
    platform = Platform(tmp_path, broker)
    platform.start()
    for line in ("", "{", "[1]", '{"disturb": {"kind": "earthquake"}}', "x" * 100_000, '{"clear": {}}'):
        platform.say(line)
    platform.disturb("throttling", of=["rest"])
    until(lambda: platform.send().status_code == 429)
    popen = platform._popen
    assert popen
    popen.communicate(timeout=20)
    assert popen.returncode == 0


def test_while_its_broker_is_away_nobody_is_missed(tmp_path: Path) -> None:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    port, path = free_port(), tmp_path / "mosquitto.conf"
    path.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")

    def listen() -> "subprocess.Popen[bytes]":
        assert MOSQUITTO
        return subprocess.Popen([MOSQUITTO, "-c", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    mosquitto = listen()
    platform = Platform(tmp_path, port, rules=[GONE])
    try:
        platform.start()
        platform.send()
        mosquitto.kill()
        mosquitto.wait()
        time.sleep(2.5)  # longer than after_s: it is about time that passes
        assert platform.alarms() == []
        mosquitto = listen()
        until(lambda: platform.alarms() == [("V-1", "open")])
    finally:
        platform.kill()
        mosquitto.kill()
        mosquitto.wait()
