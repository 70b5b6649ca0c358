"""The API of the whole process: tokens of the configuration, a stream while messages come, an end that waits not."""

import http.client
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from simulator.backend.api.tokens import digest
from tests.backend.tcp_peers import NOW_MS
from tests.backend.test_changes_process import RULE, TOPIC, Process, publish
from tests.backend.test_tcp_process import broker

__all__ = ["broker", "publish"]  # fixtures

SECRET = "a-secret-of-the-service"
BEARER = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture
def guarded(tmp_path: Path, broker: int) -> Iterator[Process]:
    token = {"id": "sandbox", "role": "service", "sha256": digest(SECRET)}
    process = Process(tmp_path, broker, tokens=[token])
    process.begin()
    yield process
    process.kill()


@pytest.mark.peer
@pytest.mark.e2e
def test_an_alarm_comes_by_the_stream_to_who_has_a_token(
    guarded: Process, publish: Callable[[str, Any], None], tmp_path: Path
) -> None:
    assert guarded.ask("GET", "alarms")[0] == 401
    assert guarded.ask("GET", "health") == (200, {"status": "ok"})
    assert guarded.ask("PUT", "rules/hot", RULE)[0] == 401
    assert guarded.ask("PUT", "rules/hot", RULE, **BEARER) == (200, {"ruleId": "hot", "version": 1})
    connection = http.client.HTTPConnection(urlsplit(guarded._url).netloc, timeout=20)
    connection.request("GET", "/api/stream?after=0", headers=BEARER)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("content-type")) == (200, "text/event-stream; charset=utf-8")
    publish(TOPIC, {"device_timestamp": NOW_MS, "data": {"metrics": {"t": 60}}})
    lines = iter(answer.readline, b"")
    said = next(json.loads(line[6:]) for line in lines if line.startswith(b"data: "))
    assert (said["kind"], said["thing"]) == ("alarm_raised", "V-1")
    figures = guarded.ask("GET", "metrics", **BEARER)[1]
    assert figures["processing"]["count"] == 1
    assert figures["api"]["stream"]["listeners"] == 1
    made = guarded.ask("POST", "tokens", {"role": "lab"}, **BEARER)[1]
    assert guarded.kill(signal.SIGTERM) == 0, "it does not wait for who listens"
    connection.close()
    guarded.begin()
    assert guarded.ask("GET", "rules", Authorization=f"Bearer {made['token']}")[0] == 200, "it is kept"
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in kept:
        content = path.read_bytes()
        assert SECRET.encode() not in content, path
        assert made["token"].encode() not in content, path
