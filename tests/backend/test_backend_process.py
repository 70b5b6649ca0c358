"""The process: ready line, endings, wrong starts; and, beside a real mosquitto, that nothing acknowledged is lost."""

import json
import os
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

DEADLINE_S = 30.0
TOPIC = "iotlink/dev/nohub/V-{}/periodic/pub/telemetry/json"
RULE = {"ruleId": "hot", "productId": "*", "condition": "metrics.t > 110", "autoAction": "restart-fan"}
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def until(true: Callable[[], bool]) -> None:
    """Wait for something in another process."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


class Process:
    """A backend process, killed at the latest when its test ends."""

    def __init__(self, folder: Path, config: Any, file_size_max: int | None = None) -> None:
        path = folder / "backend.json"
        path.write_text(json.dumps(config))

        def limit() -> None:
            assert file_size_max is not None
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_max, file_size_max))

        self.popen = subprocess.Popen(
            [sys.executable, "-m", "simulator.backend", "--config", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=limit if file_size_max else None,
        )

    def ready(self) -> str:
        """Wait for the ready line; the API's URL."""
        line = self._line(self.popen.stdout)
        assert line, self.popen.communicate()[1].decode()
        said = json.loads(line)
        assert said["ready"] is True
        return str(said["api_url"])

    def complaint(self) -> str:
        return self._line(self.popen.stderr)

    def _line(self, stream: Any) -> str:
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            assert selector.select(DEADLINE_S), "it said nothing"
            return bytes(stream.readline()).decode()

    def ended(self) -> tuple[int, str]:
        """Exit code and the rest of the log."""
        _, log = self.popen.communicate(timeout=DEADLINE_S)
        return self.popen.returncode, log.decode()

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def begin(config: Any, **options: Any) -> Process:
        started.append(Process(tmp_path, config, **options))
        return started[-1]

    yield begin
    for process in started:
        process.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    mqtt = {"host": "127.0.0.1", "port": free_port(), "client_id": "backend"}
    return {"state_dir": str(tmp_path / "state"), "api_port": 0, "aws": None, "mqtt": mqtt, "rules": [RULE]}


@pytest.fixture
def broker(tmp_path: Path, config: dict[str, Any]) -> Iterator[int]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    port = int(config["mqtt"]["port"])
    path = tmp_path / "mosquitto.conf"
    path.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
    popen = subprocess.Popen([MOSQUITTO, "-c", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    until(listens)
    yield port
    popen.kill()
    popen.wait()


class Publisher:
    """A device that publishes at QoS 1 and counts what was acknowledged."""

    def __init__(self, port: int) -> None:
        self.sent = 0
        self.acknowledged = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "publisher", protocol=paho.MQTTv5)
        self._client.on_publish = self._published
        self._client.max_inflight_messages_set(50)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _published(self, *_args: Any) -> None:
        self.acknowledged += 1

    def publish(self, count: int, t: float = 90.0) -> None:
        for _ in range(count):
            self.sent += 1
            body = {"device_timestamp": time.time_ns() // 10**6 + self.sent, "data": {"metrics": {"t": t}}}
            self._client.publish(TOPIC.format(self.sent % 10), json.dumps(body), qos=1)

    def all_acknowledged(self) -> bool:
        return self.acknowledged == self.sent

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def publisher(broker: int) -> Iterator[Publisher]:
    publisher = Publisher(broker)
    yield publisher
    publisher.close()


def get(api_url: str, path: str) -> Any:
    with urllib.request.urlopen(f"{api_url}/api/{path}", timeout=DEADLINE_S) as answer:  # noqa: S310
        return json.load(answer)


def stored(api_url: str) -> int:
    return int(get(api_url, "counts")["stored"].get("telemetry", 0))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"rules": [RULE | {"condition": "t > 1"}]}, "rules[0].condition: at column 1: unknown name 't'"),
    ({"apiport": 1}, "apiport: unknown key (did you mean 'api_port'?)"),
    ({"mqtt": {"host": "h", "port": 1}}, "mqtt.client_id: Field required"),
    ({"api_port": 99999}, "api_port: "),
]


@pytest.mark.e2e
@pytest.mark.parametrize(("change", "complaint"), WRONG)
def test_a_wrong_configuration_is_one_line_and_exit_2(
    start: Callable[..., Process], config: dict[str, Any], change: dict[str, Any], complaint: str
) -> None:
    code, log = start(config | change).ended()
    assert code == 2
    assert log.startswith(complaint)
    assert log.count("\n") == 1


@pytest.mark.e2e
def test_a_port_in_use_is_one_line_and_exit_3(start: Callable[..., Process], config: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, log = start(config | {"api_port": port}).ended()
    assert (code, log.count("\n")) == (3, 1)
    assert f"api_port {port}: cannot listen" in log


@pytest.mark.e2e
def test_a_folder_that_cannot_be_written_is_exit_3(
    start: Callable[..., Process], config: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    code, log = start(config | {"state_dir": str(tmp_path / "file")}).ended()
    assert (code, log.count("\n")) == (3, 1)
    assert "the store cannot be opened" in log


@pytest.mark.e2e
def test_a_missing_certificate_is_exit_3(start: Callable[..., Process], config: dict[str, Any], tmp_path: Path) -> None:
    mqtt = config["mqtt"] | {"ca_file": str(tmp_path / "no.pem")}
    code, log = start(config | {"mqtt": mqtt}).ended()
    assert (code, log.count("\n")) == (3, 1)
    assert "certificate or key cannot be used" in log


@pytest.mark.e2e
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, None])
def test_it_ends_when_asked_although_no_broker_is_there(
    start: Callable[..., Process], config: dict[str, Any], how: signal.Signals | None
) -> None:
    process = start(config)
    assert "cannot be reached" in process.complaint()
    if how is None:
        assert process.popen.stdin is not None
        process.popen.stdin.close()
        process.popen.stdin = None
    else:
        os.kill(process.popen.pid, how)
    assert process.ended()[0] == 0


@pytest.mark.peer
@pytest.mark.e2e
def test_what_is_published_while_it_is_down_is_there_after_a_restart(
    start: Callable[..., Process], config: dict[str, Any], publisher: Publisher
) -> None:
    first = start(config)
    first.ready()
    os.kill(first.popen.pid, signal.SIGTERM)
    assert first.ended() == (0, "")
    publisher.publish(300)
    until(publisher.all_acknowledged)
    second = start(config)
    api_url = second.ready()
    until(lambda: stored(api_url) == 300)
    assert get(api_url, "counts")["dead"] == {}


@pytest.mark.peer
@pytest.mark.e2e
def test_nothing_acknowledged_is_lost_when_it_is_killed(
    start: Callable[..., Process], config: dict[str, Any], publisher: Publisher
) -> None:
    process = start(config)
    api_url = process.ready()
    publishing = threading.Thread(target=publisher.publish, args=(5000,))
    publishing.start()
    for limit in (500, 2000):
        until(lambda url=api_url, limit=limit: stored(url) >= limit)  # type: ignore[misc]
        os.kill(process.popen.pid, signal.SIGKILL)
        assert process.ended()[0] == -signal.SIGKILL
        process = start(config)
        api_url = process.ready()
    publishing.join()
    until(publisher.all_acknowledged)
    until(lambda: stored(api_url) == 5000)
    counts = get(api_url, "counts")
    assert counts["received"]["telemetry"] == 5000 + counts["duplicates"]


@pytest.mark.peer
@pytest.mark.e2e
def test_an_alarm_is_raised_and_kept_over_a_restart(
    start: Callable[..., Process], config: dict[str, Any], publisher: Publisher
) -> None:
    first = start(config)
    api_url = first.ready()
    publisher.publish(1, t=120.0)
    until(lambda: len(get(api_url, "events")["events"]) == 2)
    assert [event["kind"] for event in get(api_url, "events")["events"]] == ["alarm_raised", "command_failed"]
    before = get(api_url, "alarms")["alarms"]
    os.kill(first.popen.pid, signal.SIGKILL)
    first.ended()
    assert get(start(config).ready(), "alarms")["alarms"] == before


@pytest.mark.peer
@pytest.mark.e2e
def test_a_full_disk_ends_the_process_and_the_log_says_why(
    start: Callable[..., Process], config: dict[str, Any], publisher: Publisher
) -> None:
    process = start(config, file_size_max=1_000_000)
    process.ready()
    publisher.publish(5000)
    until(lambda: process.popen.poll() is not None)  # by itself: `ended` closes its stdin
    code, log = process.ended()
    assert code == 1, log
    assert "sqlite3.OperationalError" in log.splitlines()[-1], log
