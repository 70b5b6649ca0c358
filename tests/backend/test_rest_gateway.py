"""The REST gateway over a real server: requests and answers, bounds, idempotency; and, in its process, `kill -9`."""

import asyncio
import gzip
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
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.backend import rest_body, rest_gateway
from simulator.backend.__main__ import http_server, listen, now_ms
from simulator.backend.bounded_head import HEAD_MAX
from simulator.backend.core import Backend
from simulator.backend.decode import Telemetry
from simulator.backend.effects import Call
from simulator.backend.pipeline import Pipeline
from simulator.backend.queries import Queries
from simulator.backend.rest_body import BODY_MAX, MESSAGES_MAX, BodyRefused
from simulator.backend.rest_gateway import Bucket, Gateway
from simulator.backend.rules import load_rules
from simulator.backend.store import FILE, Store
from simulator.links.rest import Rest, RestEndpoint
from simulator.messages import Publish

DEADLINE_S = 30.0
AT_MS = 1_767_225_600_000
RULE = {"ruleId": "hot", "productId": "prod-a", "condition": "metrics.tempC > 80"}
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def message(**change: Any) -> dict[str, Any]:
    """A message that is in order, except for what is changed; None takes a field away."""
    whole = {"device_id": "press-01", "productId": "prod-a", "device_timestamp": AT_MS, "metrics": {"tempC": 26.3}}
    return {name: value for name, value in (whole | change).items() if value is not None}


def fire(**change: Any) -> dict[str, Any]:
    """A fire sensor's normal record."""
    record = {
        "deviceId": "device-001", "idx": 1, "status": 0, "volt": 220, "voltLow": 220, "ct": 5, "zct": 0.5, "rzct": 0.3,
        "pwr": 1.1, "pcbTemp": 35, "sensorTemp": 37, "co": 5, "voc": 50, "pFct": 0.95, "aArc": 0,
    }  # fmt: skip
    return record | change


class Said(NamedTuple):
    """An answer."""

    status: int
    body: Any
    headers: dict[str, str]


class Nobody:
    """Takes calls to AWS and answers none."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def submit(self, call: Call) -> bool:
        self.calls.append(call)
        return True


class Server:
    """A gateway with its store, served by uvicorn in a thread."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.calls = Nobody()
        self.broken: list[BaseException] = []
        self._options = options
        self._ready = threading.Event()
        self._listener = listen("rest_port", 0)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        self.queries = Queries(folder / FILE)

    async def _serve(self) -> None:
        store = Store(self.folder)
        self.pipeline = Pipeline(Backend(load_rules([RULE])), store, now_ms)
        self.pipeline.start(self.calls)
        self.gateway = Gateway(self.pipeline, self.broken.append, **self._options)
        self.loop = asyncio.get_running_loop()
        self._server = http_server(self.gateway.app)
        self._ready.set()
        with self._listener:
            await self._server.serve(sockets=[self._listener])
        self.gateway.close()
        store.close()

    def post(self, body: Any, path: str = "/ingest/telemetry", method: str = "POST", **headers: str) -> Said:
        """One request; header names with '_' for '-'."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        named = {"content-type": "application/json"} | {name.replace("_", "-"): v for name, v in headers.items()}
        return post(self.port, path, body, named, method)

    def stored(self) -> int:
        return int(self.queries.counts()["stored"].get("telemetry", 0))

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(DEADLINE_S)
        self.queries.close()


def post(port: int, path: str, body: bytes, headers: dict[str, str], method: str = "POST") -> Said:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Said(answer.status, json.loads(answer.read() or b"null"), {k.lower(): v for k, v in answer.getheaders()})
    finally:
        connection.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def begin(**options: Any) -> Server:
        started.append(Server(tmp_path, **options))
        return started[-1]

    yield begin
    for server in started:
        server.close()


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve()


CSV = b"device_id,productId,device_timestamp,tempC,note\npress-01,prod-a,1767225600000,26.3,\n"
CSV += b'press-02,prod-a,1767225600000,,"door, open"\n'

TAKEN: list[tuple[Any, dict[str, str], int]] = [
    (message(), {}, 1),
    ({"messages": [message(), message(device_id="press-02")]}, {}, 2),
    ({"messages": [message()]}, {"content_type": "application/json; charset=utf-8"}, 1),
    (CSV, {"content_type": "text/csv"}, 2),
    (gzip.compress(CSV), {"content_type": "text/csv", "content_encoding": "gzip"}, 2),
    (message(hub_id="hub-01", hub_timestamp=AT_MS, childDeviceId="press-01"), {}, 1),
    (fire(), {"path": "/ingest/fire"}, 1),
    ({"messages": [fire(idx=i) for i in range(3)]}, {"path": "/ingest/fire"}, 3),
]


@pytest.mark.parametrize(("body", "request_as", "count"), TAKEN)
def test_what_is_taken_is_stored_when_it_is_said(
    server: Server, body: Any, request_as: dict[str, str], count: int
) -> None:
    said = server.post(body, **request_as)
    assert said.status == 202, said.body
    assert said.body["messages"] == count
    assert len(said.body["id"]) == 24
    assert server.stored() == count


def test_a_sample_is_stored_as_it_was_sent(server: Server) -> None:
    server.post(CSV, content_type="text/csv")
    (sample,) = server.queries.telemetry("press-02", 10)["telemetry"]
    assert (sample["device_timestamp"], sample["metrics"]) == (AT_MS, {"note": "door, open"})
    assert sample["ingest_timestamp"] >= AT_MS


def test_rules_judge_by_the_product_in_the_message_without_asking_the_registry(server: Server) -> None:
    server.post(message(metrics={"tempC": 95.0}))
    assert [alarm["thing"] for alarm in server.queries.alarms()["alarms"]] == ["press-01"]
    assert server.calls.calls == []


JSON_TABLE: list[tuple[Any, int, str, list[tuple[int, str, str]]]] = [
    (b"{", 400, "not JSON", []),
    (b"[]", 400, "one message or", []),
    (b'{"messages": 5}', 400, "'messages' must be a list", []),
    (b'{"messages": []}', 400, "'messages' must be a list", []),
    ({"messages": [message()], "site": 1}, 400, "beside 'messages'", []),
    ({"messages": [message()] * (MESSAGES_MAX + 1)}, 413, "more than 1000", []),
    ({}, 400, "1 message is wrong", [(0, "device_id", "is missing")]),
    (message(device_id=""), 400, "", [(0, "device_id", "must be 1 to 128")]),
    (message(device_id=5), 400, "", [(0, "device_id", "must be 1 to 128")]),
    (message(productId=None), 400, "", [(0, "productId", "is missing")]),
    (message(metric={}), 400, "", [(0, "metric", "unknown field (did you mean 'metrics'?)")]),
    (message(device_timestamp=None), 400, "", [(0, "device_timestamp", "is missing")]),
    (message(device_timestamp="now"), 400, "", [(0, "device_timestamp", "has the wrong type")]),
    (message(device_timestamp=5), 400, "", [(0, "device_timestamp", "is out of range")]),
    (message(hub_id="a/b"), 400, "", [(0, "hub_id", "must be 1 to 128")]),
    (message(hub_id="h", hub_timestamp=5), 400, "", [(0, "hub_timestamp", "is out of range")]),
    (message(childDeviceId="other"), 400, "", [(0, "childDeviceId", "must be the device_id")]),
    (message(metrics=None), 400, "", [(0, "metrics", "is missing")]),
    (message(metrics={}), 400, "", [(0, "metrics", "must not be empty")]),
    (message(metrics=[1]), 400, "", [(0, "metrics", "has the wrong type")]),
    (message(metrics={"a": 1, "tempC": None}), 400, "", [(0, "metrics.tempC", "has the wrong type")]),
    (message(metrics={"a": 1, "tempC": 1e16}), 400, "", [(0, "metrics.tempC", "is out of range")]),
    (message(metrics={"": 1}), 400, "", [(0, "metrics.", "must have a name")]),
    (message(metrics={"a": "x" * 257}), 400, "", [(0, "metrics.a", "is longer than 256")]),
    (
        {"messages": [message(), 5, message(productId=None), message(device_id="x" * 129)]},
        400,
        "3 messages are wrong",
        [(1, "", "is not an object"), (2, "productId", "is missing"), (3, "device_id", "must be 1 to 128")],
    ),
]


@pytest.mark.parametrize(("body", "status", "error", "problems"), JSON_TABLE)
def test_wrong_json_is_named_by_index_and_field_and_nothing_is_stored(
    server: Server, body: Any, status: int, error: str, problems: list[tuple[int, str, str]]
) -> None:
    said = server.post(body)
    assert said.status == status
    assert error in said.body["error"]
    named = said.body.get("problems", [])
    assert [(p["index"], p["field"]) for p in named] == [(index, field) for index, field, _ in problems]
    assert all(text in p["problem"] for p, (_, _, text) in zip(named, problems, strict=True))
    assert server.stored() == 0
    assert server.queries.counts()["dead"] == {}


def test_wrong_rows_of_csv_are_named_by_row_and_column(server: Server) -> None:
    rows = b"a,prod-a,1767225600000,1\na,prod-a,x,1\na,,1767225600001,1\na,prod-a,1767225600002,\n"
    said = server.post(b"device_id,productId,device_timestamp,t\n" + rows, content_type="text/csv")
    assert said.status == 400
    assert [(p["row"], p["field"]) for p in said.body["problems"]] == [
        (3, "device_timestamp"),
        (4, "productId"),
        (5, "metrics"),
    ]
    assert server.stored() == 0


def test_the_problems_that_are_named_have_a_bound(server: Server) -> None:
    said = server.post({"messages": [message(productId=None)] * 500})
    assert said.body["error"].startswith("500 messages are wrong")
    assert len(said.body["problems"]) == rest_body.PROBLEMS_MAX


FIRE_TABLE: list[tuple[dict[str, Any], str, str]] = [
    (fire(volt=301), "volt", "is out of range"),
    (fire(status=4096), "status", "the sensor cannot be read"),
    (fire(verifySts=1), "verifySts", "contradicts another field"),
    (fire(idx="1"), "idx", "has the wrong type"),
    (fire(deviceId="a/b"), "deviceId", "must be 1 to 128"),
]


@pytest.mark.parametrize(("record", "field", "problem"), FIRE_TABLE)
def test_a_wrong_fire_record_is_named_by_field(
    server: Server, record: dict[str, Any], field: str, problem: str
) -> None:
    said = server.post(record, path="/ingest/fire")
    assert said.status == 400
    assert [p["field"] for p in said.body["problems"]] == [field]
    assert problem in said.body["problems"][0]["problem"]


BOMB = gzip.compress(b" " * (BODY_MAX * 64))
HEAD_TABLE: list[tuple[bytes, dict[str, str], int, str]] = [
    (b"{}", {"path": "/ingest/nothing"}, 404, "Not Found"),
    (b"{}", {"method": "PUT"}, 405, "Method Not Allowed"),
    (b"{}", {"content_type": "application/xml"}, 415, "Content-Type must be application/json or text/csv"),
    (b"a", {"content_type": "text/csv", "path": "/ingest/fire"}, 415, "Content-Type must be application/json"),
    (b"{}", {"content_encoding": "br"}, 415, "Content-Encoding must be gzip"),
    (b"{}", {"content_encoding": "gzip"}, 400, "not gzip"),
    (gzip.compress(b"{}", mtime=0)[:-1], {"content_encoding": "gzip"}, 400, "one whole gzip member"),
    (gzip.compress(b"{}", mtime=0) * 2, {"content_encoding": "gzip"}, 400, "one whole gzip member"),
    (BOMB, {"content_encoding": "gzip"}, 413, "when unpacked"),
    (b" " * (BODY_MAX + 1), {}, 413, "larger than"),
    (b"{}", {"idempotency_key": "x" * 256}, 400, "Idempotency-Key"),
    (b"{}", {"idempotency_key": "\xe9"}, 400, "Idempotency-Key"),
    (b"\xff", {}, 400, "not JSON"),
    (b'{"messages":' * 5000, {}, 400, "not JSON"),
    (b"", {"content_type": "text/csv"}, 400, "1 message is wrong"),
    (b"device_id,productId,device_timestamp\n", {"content_type": "text/csv"}, 400, "no rows"),
]


@pytest.mark.parametrize(("body", "request_as", "status", "error"), HEAD_TABLE)
def test_a_wrong_request_is_told_why(
    server: Server, body: bytes, request_as: dict[str, str], status: int, error: str
) -> None:
    said = server.post(body, **request_as)
    assert (said.status, error in said.body["error"]) == (status, True), said.body


def test_a_bomb_is_never_held_in_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BodyRefused):
            rest_body.unpack(BOMB)
        assert tracemalloc.get_traced_memory()[1] < 4 * BODY_MAX
    finally:
        tracemalloc.stop()


def test_a_body_without_a_length_is_cut_off_at_the_bound(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE_S) as sock:
        sock.sendall(b"POST /ingest/telemetry HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n")
        sock.sendall(b"transfer-encoding: chunked\r\n\r\n")
        try:
            for _ in range(64):
                sock.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        except OSError:
            pass  # it had enough before we were done
        assert sock.recv(64).startswith(b"HTTP/1.1 413 ")


ENDLESS = [
    b"POST /" + b"x" * 2**17,
    b"POST / HTTP/1.1\r\nx: " + b"y" * 2**17,
    b"POST / HTTP/1.1\r\n" + b"x: y\r\n" * 2**15,
]


@pytest.mark.parametrize("head", ENDLESS)
def test_a_head_without_an_end_is_cut_off(server: Server, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE_S) as sock:
        try:
            for i in range(0, len(head), 4096):
                sock.sendall(head[i : i + 4096])
            said = sock.recv(64)
        except (ConnectionResetError, BrokenPipeError):
            said = b""
    assert said == b""
    assert server.post(message()).status == 202


def test_one_connection_may_send_much_in_pieces_of_any_size(server: Server) -> None:
    messages = [message(device_timestamp=AT_MS + i) for i in range(1000)]
    body = json.dumps({"messages": messages}).encode()
    assert len(body) > HEAD_MAX
    head = b"POST /ingest/telemetry HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(body)}\r\n\r\n".encode()
    pieces = [(head + body,), (head, body), (head, body[:50], body[50:]), (head + body[:-1], body[-1:])]
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for parts in pieces * 2:
            for part in parts:
                sock.sendall(part)
                time.sleep(0.01)  # so that it arrives as a piece of its own
            said = b""
            while not said.endswith(b"}"):
                said += (piece := sock.recv(4096))
                assert piece, "the connection was cut"
            assert said.startswith(b"HTTP/1.1 202 ")
    assert server.stored() == 1000


def test_with_a_token_nobody_else_is_heard(serve: Callable[..., Server]) -> None:
    server = serve(token="secret")
    for wrong in ({}, {"authorization": "Bearer secre"}, {"authorization": "secret"}):
        said = server.post(message(), **wrong)
        assert (said.status, said.headers["www-authenticate"]) == (401, "Bearer")
    assert server.stored() == 0
    assert server.post(message(), authorization="Bearer secret").status == 202


def test_a_client_that_asks_too_often_waits_and_the_others_do_not(serve: Callable[..., Server]) -> None:
    server = serve(client_requests_s=0.01)
    assert server.post(message(), x_client_id="a").status == 202
    said = server.post(message(), x_client_id="a")
    assert said.status == 429
    assert 90 <= int(said.headers["retry-after"]) <= 100
    assert server.post(message(), x_client_id="b").status == 202


def test_all_clients_together_have_a_bound_too(serve: Callable[..., Server]) -> None:
    server = serve(requests_s=0.01)
    assert server.post(message(), x_client_id="a").status == 202
    assert server.post(message(), x_client_id="b").status == 429


def test_a_bucket_fills_again() -> None:
    bucket = Bucket(2.0, 0.0)
    assert [bucket.wait_s(0.0) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert bucket.wait_s(0.5) == 0.0
    assert bucket.wait_s(0.5) == 0.5
    assert [bucket.wait_s(100.0) for _ in range(3)] == [0.0, 0.0, 0.5]


def test_a_platform_that_is_behind_says_when_to_try_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_gateway, "LAG_MAX_S", 0.1)
    server.loop.call_soon_threadsafe(time.sleep, 0.2)
    deadline_s = time.monotonic() + DEADLINE_S
    seen = set()
    while 503 not in seen:
        said = server.post(message())
        seen.add(said.status)
        assert time.monotonic() < deadline_s
    assert said.headers["retry-after"] == "1"
    while said.status != 202:
        said = server.post(message())
        assert time.monotonic() < deadline_s
    monkeypatch.setattr(rest_gateway, "REQUESTS_MAX", 0)
    assert server.post(message()).status == 503


def test_the_same_key_gives_the_same_answer_and_stores_once(server: Server) -> None:
    first = server.post(message(), idempotency_key="k-1")
    assert server.post(message(), idempotency_key="k-1").body == first.body
    assert server.queries.counts()["received"]["telemetry"] == 1
    assert server.stored() == 1
    assert server.post(message(), idempotency_key="k-2").body["id"] != first.body["id"]
    assert server.stored() == 1  # the store knows the sample, whatever its key


def test_the_same_key_with_another_body_is_refused(server: Server) -> None:
    assert server.post(message(), idempotency_key="k").status == 202
    said = server.post(message(device_timestamp=AT_MS + 1), idempotency_key="k")
    assert said.status == 422
    assert server.stored() == 1


def test_a_refused_request_leaves_its_key_free(server: Server) -> None:
    assert server.post(message(metrics={}), idempotency_key="k").status == 400
    assert server.post(message(), idempotency_key="k").status == 202


def test_keys_are_remembered_within_a_bound(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_gateway, "KEYS_MAX", 2)
    for key in ("a", "b", "c"):
        assert server.post(message(), idempotency_key=key).status == 202
    assert server.post(message(device_timestamp=AT_MS + 1), idempotency_key="a").status == 202
    assert server.post(message(device_timestamp=AT_MS + 2), idempotency_key="c").status == 422


def test_a_device_has_one_product(server: Server) -> None:
    assert server.post(message()).status == 202
    said = server.post({"messages": [message(device_id="new"), message(productId="prod-b")]})
    assert said.body["problems"] == [
        {"index": 1, "field": "productId", "problem": "the device is known as a 'prod-a'"},
    ]


def test_a_store_that_fails_is_a_503_and_the_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(server.pipeline.store, "commit", broken)
    assert server.post(message(), idempotency_key="k").status == 503
    assert [str(error) for error in server.broken] == ["disk full"]


FRAGMENTS = st.lists(
    st.sampled_from([b'{"messages":[', b'{"device_id":"a"', b',"metrics":{}', b"}", b"]", b",", b"1", b'"', b"\xff"])
)


@given(st.binary(max_size=100) | FRAGMENTS.map(b"".join) | st.binary(max_size=60).map(gzip.compress))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    bodies = [body]
    with suppress(BodyRefused):
        bodies.append(rest_body.unpack(body))
    for data in bodies:
        for read in (rest_body.telemetry_from_json, rest_body.telemetry_from_csv, rest_body.fire_from_json):
            with suppress(BodyRefused):
                assert all(isinstance(sample, Telemetry) for sample in read(data, AT_MS, lambda _: None))


# --- in its process


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
