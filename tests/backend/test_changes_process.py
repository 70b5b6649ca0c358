"""The whole process while its rules and specs change: over HTTP, into the log, over a kill."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.backend.tcp_peers import MACHINE, NOW_MS, Client, body, frame, run
from tests.backend.test_tcp_process import Backend, broker

__all__ = ["broker"]  # a fixture

RULE = {"productId": "*", "condition": "metrics.t > 50", "severity": "high"}
TOPIC = "iotlink/dev/nohub/V-1/periodic/pub/telemetry/json"
JSON = {"Content-Type": "application/json"}


class Process(Backend):
    """The process with its log, its API, and a device that publishes."""

    def __init__(self, folder: Path, broker: int, **more: Any) -> None:
        super().__init__(folder, broker, log_level="INFO", products=["plain"], **more)
        self._log = folder / "log.txt"
        self._url = ""

    def begin(self) -> None:
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        assert self._popen.stdout is not None
        self._url = json.loads(self._popen.stdout.readline())["api_url"]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ask(self, method: str, path: str, what: Any = None, **headers: str) -> tuple[int, Any]:
        data = what if isinstance(what, bytes | None) else orjson.dumps(what)
        request = urllib.request.Request(  # noqa: S310
            f"{self._url}/api/{path}", data, JSON | {k.replace("_", "-"): v for k, v in headers.items()}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                return answer.status, orjson.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, orjson.loads(error.read())


@pytest.fixture
def process(tmp_path: Path, broker: int) -> Iterator[Process]:
    process = Process(tmp_path, broker)
    process.begin()
    yield process
    process.kill()


@pytest.fixture
def publish(broker: int) -> Iterator[Callable[[str, Any], None]]:
    client = paho.Client(CallbackAPIVersion.VERSION2, "device", protocol=paho.MQTTv5)
    client.connect("127.0.0.1", broker)
    client.loop_start()
    yield lambda topic, said: client.publish(topic, orjson.dumps(said), qos=1).wait_for_publish(20)
    client.disconnect()
    client.loop_stop()


def until(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.peer
@pytest.mark.e2e
def test_a_rule_is_made_used_changed_and_kept(process: Process, publish: Callable[[str, Any], None]) -> None:
    assert process.ask("PUT", "rules/hot", RULE) == (200, {"ruleId": "hot", "version": 1})
    publish(TOPIC, {"device_timestamp": NOW_MS, "data": {"metrics": {"t": 60}}})
    until(lambda: [alarm["state"] for alarm in process.ask("GET", "alarms")[1]["alarms"]] == ["open"])
    status, said = process.ask("PUT", "rules/hot", RULE | {"condition": "t > 50"})
    assert status == 400
    assert said["error"].startswith("rule.condition: at column 1: unknown name 't'")
    assert process.ask("PUT", "rules/hot", RULE | {"condition": "metrics.t > 55"})[1]["version"] == 2
    process.kill()
    process.begin()
    [rule] = process.ask("GET", "rules")[1]["rules"]
    assert (rule["ruleId"], rule["version"], rule["rule"]["condition"]) == ("hot", 2, "metrics.t > 55")
    assert [found["version"] for found in process.ask("GET", "rules/hot")[1]["versions"]] == [2, 1]
    assert process.ask("DELETE", "rules/hot") == (200, {"ruleId": "hot"})
    assert process.ask("DELETE", "rules/hot")[0] == 404
    assert process.ask("GET", "rules/cold")[0] == 404
    assert [alarm["state"] for alarm in process.ask("GET", "alarms")[1]["alarms"]] == ["closed"]
    for line in ("rule_changed hot version=1", "alarm_raised V-1", "rule_deleted hot version=3", "alarm_closed V-1"):
        assert line in process.log


@pytest.mark.peer
@pytest.mark.e2e
def test_changes_are_for_this_machine_and_no_web_page(process: Process) -> None:
    assert process.ask("PUT", "rules/hot", RULE, Host="evil.example")[0] == 403
    assert process.ask("DELETE", "rules/hot", Host="evil.example")[0] == 403
    assert process.ask("PUT", "rules/hot", RULE, Content_Type="text/plain")[0] == 415
    assert process.ask("PUT", "rules/hot", b"x" * 300_000)[0] == 413
    assert process.ask("PUT", "rules/hot", b"[")[0] == 400
    assert process.ask("POST", "rules/hot", RULE)[0] == 405
    assert process.ask("GET", "rules") == (200, {"next": "", "rules": []})


@pytest.mark.peer
@pytest.mark.e2e
def test_a_spec_comes_later_than_its_messages(process: Process, publish: Callable[[str, Any], None]) -> None:
    async def speak(status: int) -> None:
        async with Client(process.tcp_port) as client:
            client.say(frame(body(1)))
            if status < 0:
                await client.ended()
            else:
                assert await client.statuses(1) == [(1, status)]

    topic = "iotlink/dev/hub-1/kid-1/event/pub/provisioning_complete/json"
    publish(topic, {"device_timestamp": NOW_MS, "data": {"provisioning": {"product": "machine"}}})
    said = {"device_timestamp": NOW_MS + 5, "data": {"bin": body(5, "kid-1").hex()}}
    publish("iotlink/dev/hub-1/kid-1/periodic/pub/telemetry/bin", said)
    until(lambda: process.ask("GET", "counts")[1]["dead"] == {"bin.no_product_spec": 1})
    status, wrong = process.ask("PUT", "specs/machine", b"messages: {telemetri: {}}\n", Content_Type="application/yaml")
    assert status == 400
    assert "unknown message 'telemetri' (did you mean 'telemetry'?)" in wrong["error"]
    yaml = MACHINE.encode()
    assert process.ask("PUT", "specs/machine", yaml, Content_Type="application/yaml")[1]["version"] == 1
    assert process.ask("GET", "specs/machine")[1]["spec"]["frame"]["start"] == "014E"
    page = process.ask("GET", "dead_letters?reason=bin.no_product_spec&limit=5")[1]
    [letter] = page["dead_letters"]
    assert (letter["topic"], orjson.loads(letter["payload"])) == (
        "iotlink/dev/hub-1/kid-1/periodic/pub/telemetry/bin",
        said,
    )
    again = process.ask("POST", "dead_letters/replay", {"reason": "bin.no_product_spec"})
    assert again == (200, {"replayed": 1, "failed": {}, "unknown": []})
    assert process.ask("POST", "dead_letters/replay", {"ids": [letter["id"]]})[1]["unknown"] == [letter["id"]]
    run(lambda: speak(0))
    counts = process.ask("GET", "counts")[1]
    assert counts["stored"] == {"provisioning_complete": 1, "telemetry": 2}
    [sample] = process.ask("GET", "telemetry/kid-1")[1]["telemetry"]
    assert (sample["hub_id"], sample["childDeviceId"]) == ("hub-1", "kid-1")
    until(lambda: "refused: dead letter bin.no_product_spec ×1" in process.log)
    assert "spec_changed machine version=1" in process.log


@pytest.mark.peer
@pytest.mark.e2e
def test_an_upload_that_cannot_be_begun_is_answered_by_mqtt(process: Process, broker: int) -> None:
    heard: list[Any] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, "camera", protocol=paho.MQTTv5)
    client.on_message = lambda _client, _data, message: heard.append(orjson.loads(message.payload))
    client.connect("127.0.0.1", broker)
    client.subscribe("iotlink/dev/nohub/camera/event/sub/+/json", qos=1)
    client.loop_start()
    wanted = {"name": "log-1", "size": 5, "content_type": "text/plain", "parts": 1}
    said = {"device_timestamp": NOW_MS, "data": {"upload": wanted}}
    client.publish("iotlink/dev/nohub/camera/event/pub/upload_request/json", orjson.dumps(said), qos=1)
    until(lambda: bool(heard))
    client.disconnect()
    client.loop_stop()
    assert heard[0]["data"]["upload"] == {"name": "log-1", "error": "no AWS is configured (aws: null)"}
    [upload] = process.ask("GET", "uploads")[1]["uploads"]
    assert (upload["thing"], upload["state"], upload["reason"]) == (
        "camera",
        "failed",
        "no AWS is configured (aws: null)",
    )
