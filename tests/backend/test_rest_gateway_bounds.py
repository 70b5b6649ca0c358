"""The bounds of the REST gateway: heads, bodies and bombs, who may ask and how often, and what it says when behind."""

import gzip
import json
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.backend import rest_body, rest_gateway
from simulator.backend.bounded_head import HEAD_MAX
from simulator.backend.rest_body import BODY_MAX, BodyRefused
from simulator.backend.rest_gateway import Bucket
from tests.backend.rest_server import AT_MS, DEADLINE_S, Server, message


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
