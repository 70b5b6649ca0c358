"""The `rest` link: against a server that answers as told, under a clock that can be moved, and against the gateway."""

import asyncio
import gc
import socket
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvloop
from aiohttp import web

from simulator.backend.__main__ import http_server, listen, now_ms, url_of
from simulator.backend.core import Backend
from simulator.backend.effects import Call
from simulator.backend.pipeline import Pipeline
from simulator.backend.queries import Queries
from simulator.backend.rest_gateway import Gateway
from simulator.backend.rules import load_rules
from simulator.backend.store import Store
from simulator.links import _http, rest
from simulator.links.rest import Rest, RestEndpoint, retry_after_s
from simulator.messages import Publish
from simulator.wire import csv_batch
from simulator.wire.payloads import platform_rest
from tests.links.mqtt_peers import Recorder, free_port, make_certificates

PATIENCE_S = 10.0
AT_MS = 1_767_225_600_000
TELEMETRY = "/ingest/telemetry"


class JumpLoop(asyncio.SelectorEventLoop):
    """A loop whose clock a test can move ahead."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


def run(test: Callable[[], Awaitable[None]], on_uvloop: bool = False) -> None:
    """Run a test in a loop of its own; nothing of the links may be left behind."""

    async def main() -> None:
        try:
            await test()
        finally:
            for link in opened:
                link.sever()
            opened.clear()
            await asyncio.sleep(0.02)  # sessions tell their end in a later turn
        assert not _http._pools.get(asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if on_uvloop else JumpLoop) as runner:
        runner.run(main())
    gc.collect()


def jump(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, JumpLoop)
    loop.ahead_s += seconds


async def until(true: Callable[[], bool]) -> None:
    """Wait by the wall's clock, which nobody moves."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        await asyncio.sleep(0.001)


async def a_while() -> None:
    """Long enough for what should not happen."""
    await asyncio.sleep(0.03)


class Scripted:
    """An HTTP server that gives the answers of a script, and 202 when there are none left."""

    def __init__(self, *script: Any, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.script = deque(script)
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.sockets: set[Any] = set()
        self.at_work = self.at_work_max = 0
        self.go_on = asyncio.Event()
        self._tls, self._port = tls, port

    async def __aenter__(self) -> "Scripted":
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://localhost:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.go_on.set()
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        self.at_work += 1
        self.at_work_max = max(self.at_work_max, self.at_work)
        try:
            body = await request.read()
            self.bodies.append(body)
            self.requests.append(request)
            self.sockets.add(request.transport)
            said = self.script.popleft() if self.script else 202
            if said == "reset":
                assert request.transport is not None
                request.transport.abort()
                said = 500
            elif said == "slow":
                await self.go_on.wait()
                said = 202
            elif said == "pause":
                await asyncio.sleep(0.002)
                said = 202
            status, headers = said if isinstance(said, tuple) else (said, {})
            return web.Response(status=status, headers=headers, text="{}")
        finally:
            self.at_work -= 1

    @property
    def keys(self) -> list[str]:
        return [request.headers["Idempotency-Key"] for request in self.requests]


opened: list[Rest] = []


def connect(url: str, thing: str = "press-01", **settings: Any) -> tuple[Rest, Recorder]:
    """An open link and its sink; impatient, so that a test need not be patient."""
    quick = {"backoff_first_s": 0.01, "backoff_max_s": 0.02, "batch_wait_s": 0.03}
    sink = Recorder()
    link = Rest(RestEndpoint(url, thing, **quick | settings), sink, asyncio.get_running_loop())
    link.open()
    opened.append(link)
    return link, sink


def sample(number: int, thing: str = "press-01", **metrics: Any) -> Publish:
    payload = platform_rest("prod-a")(thing, number, AT_MS + number, metrics or {"tempC": 20.5 + number})
    return Publish("telemetry", TELEMETRY, payload)


def codes(sink: Recorder) -> list[int]:
    return [code for _, _, code in sink.acknowledgements]


@pytest.mark.parametrize("on_uvloop", [False, True])
def test_messages_are_posted_one_by_one_in_order(on_uvloop: bool) -> None:
    async def test() -> None:
        async with Scripted() as server:
            link, sink = connect(server.url, token="secret")
            messages = [sample(i) for i in range(5)]
            assert all(link.send(message) for message in messages)
            assert sink.log == []  # nothing is told from within `open` or `send`
            await until(lambda: len(sink.acknowledgements) == 5)
            assert [message for message, _, _ in sink.acknowledgements] == messages
            assert codes(sink) == [0] * 5
            assert server.bodies == [message.payload for message in messages]
            request = server.requests[0]
            assert (request.method, request.path) == ("POST", TELEMETRY)
            assert request.headers["Authorization"] == "Bearer secret"
            assert request.headers["Content-Type"] == "application/json"
            assert request.headers["X-Client-Id"] == "press-01"
            assert len(set(server.keys)) == 5
            assert server.at_work_max == len(server.sockets) == 1
            link.close()
            await until(lambda: sink.log[-1] == "disconnected closed")
            assert sink.log[0] == "connected False"

    run(test, on_uvloop)


def test_keys_are_the_same_in_every_run_and_differ_by_seed_device_and_body() -> None:
    keys: list[str] = []

    async def test() -> None:
        for thing, seed, number in (("a", 1, 1), ("a", 1, 1), ("a", 2, 1), ("b", 1, 1), ("a", 1, 2)):
            async with Scripted() as server:
                link, sink = connect(server.url, thing, jitter_key=seed)
                link.send(sample(number))
                await until(lambda sink=sink: len(sink.acknowledgements) == 1)  # type: ignore[misc]
                keys.extend(server.keys)
                link.sever()

    run(test)
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_a_failed_request_is_tried_again_under_the_same_key_and_timed_from_the_first_try() -> None:
    async def test() -> None:
        async with Scripted(500, 503) as server:
            link, sink = connect(server.url)
            before_s = time.monotonic()
            link.send(sample(1))
            link.send(sample(2))
            await until(lambda: len(server.requests) == 1)
            first_s = time.monotonic()
            await until(lambda: len(sink.acknowledgements) == 2)
            assert codes(sink) == [0, 0]
            assert before_s <= sink.acknowledgements[0][1] <= first_s
            assert len(server.requests) == 4
            assert len(set(server.keys[:3])) == 1  # the second message waited for the first
            assert server.bodies[:3] == [server.bodies[0]] * 3
            assert sink.log[0] == "connected False"
            assert not any(line.startswith("disconnected") for line in sink.log)

    run(test)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status: int) -> None:
    async def test() -> None:
        async with Scripted((status, {"Retry-After": "30"})) as server:
            link, sink = connect(server.url)
            link.send(sample(1))
            await until(lambda: len(server.requests) == 1)
            await a_while()
            jump(29)
            await a_while()
            assert len(server.requests) == 1
            jump(1)
            await until(lambda: codes(sink) == [0])
            assert len(set(server.keys)) == 1

    run(test)


def test_the_backoff_grows_with_every_failure_up_to_its_bound() -> None:
    async def test() -> None:
        async with Scripted(*[500] * 6) as server:
            link, sink = connect(server.url, backoff_first_s=100.0, backoff_max_s=800.0)
            link.send(sample(1))
            for number, (low_s, high_s) in enumerate([(50, 100), (100, 200), (200, 400), (400, 800), (400, 800)], 1):
                await until(lambda number=number: len(server.requests) == number)  # type: ignore[misc]
                await a_while()
                jump(low_s - 1)
                await a_while()
                assert len(server.requests) == number
                jump(high_s - low_s + 1)
            await until(lambda: len(server.requests) == 6)
            assert sink.acknowledgements == []

    run(test)


NOW_S = 1_800_000_000.0
RETRY_AFTER: list[tuple[str, float]] = [
    ("0", 0.0),
    ("17", 17.0),
    (" 5 ", 5.0),
    ("100000", rest.RETRY_AFTER_MAX_S),
    (formatdate(NOW_S + 20, usegmt=True), 20.0),
    (formatdate(NOW_S - 20, usegmt=True), 0.0),
    (formatdate(NOW_S + 1e6, usegmt=True), rest.RETRY_AFTER_MAX_S),
    ("", 0.0),
    ("soon", 0.0),
    ("-5", 0.0),
    ("²", 0.0),
    ("9" * 10_000, rest.RETRY_AFTER_MAX_S),
]


@pytest.mark.parametrize(("text", "wait_s"), RETRY_AFTER)
def test_retry_after_is_a_number_or_a_date(text: str, wait_s: float) -> None:
    assert retry_after_s(text, NOW_S) == wait_s


@pytest.mark.parametrize(("status", "code"), [(429, 0x97), (500, 0x88), (503, 0x88)])
def test_after_so_many_tries_the_messages_are_refused_and_the_next_have_their_turn(status: int, code: int) -> None:
    async def test() -> None:
        async with Scripted(*[status] * 3) as server:
            link, sink = connect(server.url, retries_max=2, mode="batch", batch_max=2)
            for i in range(4):
                link.send(sample(i))
            await until(lambda: len(sink.acknowledgements) == 4)
            assert codes(sink) == [code, code, 0, 0]
            assert server.keys == [server.keys[0]] * 3 + [server.keys[3]]
            assert server.keys[3] != server.keys[0]

    run(test)


@pytest.mark.parametrize(
    ("status", "code"), [(400, 0x99), (401, 0x87), (403, 0x87), (404, 0x83), (413, 0x99), (422, 0x99), (302, 0x83)]
)
def test_other_answers_refuse_at_once(status: int, code: int) -> None:
    async def test() -> None:
        async with Scripted((status, {"Location": "/elsewhere"})) as server:
            link, sink = connect(server.url)
            link.send(sample(1))
            link.send(sample(2))
            await until(lambda: codes(sink) == [code, 0])
            assert len(server.requests) == 2

    run(test)


def test_a_connection_that_breaks_under_way_is_made_again_at_once() -> None:
    async def test() -> None:
        async with Scripted("reset") as server:
            link, sink = connect(server.url, backoff_first_s=1000.0, backoff_max_s=1000.0)
            link.send(sample(1))
            await until(lambda: codes(sink) == [0])
            assert len(server.requests) == 2
            assert len(set(server.keys)) == 1
            assert sink.log == ["connected False", "acknowledged 0x00"]

    run(test)


def test_an_endpoint_that_breaks_every_connection_is_unreachable_until_it_answers() -> None:
    async def test() -> None:
        async with Scripted("reset", "reset", "reset") as server:
            link, sink = connect(server.url)
            link.send(sample(1))
            await until(lambda: codes(sink) == [0])
            reset = f"disconnected connection to {server.url} reset"
            assert sink.log == ["connected False", reset, "connected False", "acknowledged 0x00"]
            assert len(set(server.keys)) == 1

    run(test)


def test_an_endpoint_that_is_not_there_is_tried_until_it_is() -> None:
    async def test() -> None:
        port = free_port()
        link, sink = connect(f"http://127.0.0.1:{port}", retries_max=1000)
        link.send(sample(1))
        await until(lambda: len(sink.log) == 2)
        assert sink.log == ["connected False", f"disconnected connect to http://127.0.0.1:{port} refused"]
        async with Scripted(port=port):
            await until(lambda: codes(sink) == [0])
            assert sink.log[2:] == ["connected False", "acknowledged 0x00"]

    run(test)


def test_an_answer_that_does_not_come_in_time_is_a_failure() -> None:
    async def test() -> None:
        async with Scripted("slow") as server:
            link, sink = connect(server.url, ack_timeout_s=60.0)
            link.send(sample(1))
            await until(lambda: len(server.requests) == 1)
            jump(61)
            await until(lambda: codes(sink) == [0])
            assert sink.log[1] == f"disconnected no answer from {server.url} within 60 s"
            assert len(set(server.keys)) == 1

    run(test)


def test_a_full_batch_goes_at_once_and_the_rest_after_its_wait() -> None:
    async def test() -> None:
        async with Scripted() as server:
            link, sink = connect(server.url, mode="batch", batch_max=3, batch_wait_s=50.0)
            messages = [sample(i) for i in range(7)]
            for message in messages:
                link.send(message)
            await until(lambda: len(sink.acknowledgements) == 6)
            await a_while()
            assert len(server.requests) == 2
            jump(51)
            await until(lambda: len(sink.acknowledgements) == 7)
            sent = [one for body in server.bodies for one in orjson.loads(body)["messages"]]
            assert sent == [orjson.loads(message.payload) for message in messages]
            assert [message for message, _, _ in sink.acknowledgements] == messages

    run(test)


def test_a_batch_has_one_path_and_a_bound_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "BATCH_BYTES_MAX", 250)

    async def test() -> None:
        async with Scripted() as server:
            link, sink = connect(server.url, mode="batch")
            for topic in (TELEMETRY, TELEMETRY, "ingest/fire", TELEMETRY, TELEMETRY, TELEMETRY):
                link.send(Publish("telemetry", topic, b"1" * 100))
            await until(lambda: len(sink.acknowledgements) == 6)
            sizes = [body.count(b",") + 1 for body in server.bodies]
            assert [request.path for request in server.requests] == [TELEMETRY, "/ingest/fire", TELEMETRY, TELEMETRY]
            assert sizes == [2, 1, 2, 1]

    run(test)


def test_csv_batches_hold_what_was_sent_and_what_has_no_place_in_csv_goes_as_json() -> None:
    async def test() -> None:
        async with Scripted() as server:
            link, sink = connect(server.url, mode="csv", batch_max=2)
            messages = [sample(1, a=0.1, note="door, open"), sample(2, b=True), sample(3, device_id=1.0), sample(4)]
            for message in messages:
                link.send(message)
            await until(lambda: codes(sink) == [0] * 4)
            documents = [orjson.loads(message.payload) for message in messages]
            media = [request.headers["Content-Type"] for request in server.requests]
            assert media == ["text/csv; charset=utf-8", "application/json"]
            assert csv_batch.decode(server.bodies[0]) == documents[:2]
            assert orjson.loads(server.bodies[1])["messages"] == documents[2:]

    run(test)


def test_a_body_can_be_packed() -> None:
    async def test() -> None:
        async with Scripted() as server:
            link, sink = connect(server.url, gzip=True)
            message = sample(1)
            link.send(message)
            await until(lambda: codes(sink) == [0])
            assert server.requests[0].headers["Content-Encoding"] == "gzip"
            assert server.bodies == [message.payload]  # the server unpacks

    run(test)


def test_what_does_not_fit_into_the_queue_is_not_taken() -> None:
    async def test() -> None:
        async with Scripted("slow") as server:
            link, sink = connect(server.url, queue_max=3)
            link.send(sample(0))
            await until(lambda: len(server.requests) == 1)
            assert [link.send(sample(i)) for i in range(1, 6)] == [True, True, True, False, False]
            server.go_on.set()
            await until(lambda: codes(sink) == [0] * 4)

    run(test)


@pytest.mark.parametrize("on_uvloop", [False, True])
def test_many_devices_share_few_connections(on_uvloop: bool) -> None:
    async def test() -> None:
        async with Scripted(*["pause"] * 300) as server:
            links = [connect(server.url, f"press-{i}", connections_max=4) for i in range(100)]
            for number in range(3):
                for i, (link, _) in enumerate(links):
                    link.send(sample(number, f"press-{i}"))
            await until(lambda: all(len(sink.acknowledgements) == 3 for _, sink in links))
            assert len(server.sockets) == server.at_work_max == 4
            assert len(set(server.keys)) == 300

    run(test, on_uvloop)


def test_several_requests_of_a_device_may_be_under_way() -> None:
    async def test() -> None:
        async with Scripted("slow", "slow", "slow") as server:
            link, sink = connect(server.url, in_flight_max=2)
            for i in range(3):
                link.send(sample(i))
            await until(lambda: len(server.requests) == 2)
            await a_while()
            assert len(server.requests) == 2
            server.go_on.set()
            await until(lambda: codes(sink) == [0] * 3)

    run(test)


def test_a_severed_link_cuts_its_request_and_sends_it_again_after_open() -> None:
    async def test() -> None:
        async with Scripted("slow") as server:
            other, other_sink = connect(server.url, "press-02")
            link, sink = connect(server.url)
            link.send(sample(1))
            await until(lambda: len(server.requests) == 1)
            link.sever()
            link.send(sample(2))
            await until(lambda: server.requests[0].transport is None)
            await until(lambda: sink.log == ["connected False", "disconnected severed"])
            other.send(sample(1, "press-02"))
            await until(lambda: codes(other_sink) == [0])
            await a_while()
            assert len(server.requests) == 2
            link.open()
            await until(lambda: codes(sink) == [0, 0])
            assert server.keys[2] == server.keys[0]
            assert server.bodies[2:] == [sample(1).payload, sample(2).payload]

    run(test)


def test_a_link_that_is_severed_and_opened_in_one_turn_goes_on() -> None:
    async def test() -> None:
        async with Scripted() as server:
            link, sink = connect(server.url, mode="batch", batch_max=2, batch_wait_s=50.0)
            link.send(sample(1))  # is waiting
            link.sever()
            link.open()
            await a_while()
            jump(51)
            await until(lambda: codes(sink) == [0])
            link.send(sample(2))
            link.send(sample(3))  # is about to be sent
            link.sever()
            link.open()
            await until(lambda: codes(sink) == [0, 0, 0])
            assert len(server.requests) == 2
            assert sink.log.count("connected False") == sink.log.count("disconnected severed") + 1 == 3

    run(test)


def test_a_link_that_is_closed_while_it_waits_to_try_again_ends_at_once() -> None:
    async def test() -> None:
        async with Scripted((503, {"Retry-After": "100"})) as server:
            link, sink = connect(server.url)
            link.send(sample(1))
            await until(lambda: len(server.requests) == 1)
            await a_while()
            link.close()
            assert link.pool is None
            link.open()
            await until(lambda: codes(sink) == [0])

    run(test)


def test_a_closed_link_sends_what_it_has_and_then_nothing() -> None:
    async def test() -> None:
        async with Scripted() as server:
            link, sink = connect(server.url, mode="batch", batch_wait_s=1000.0)
            for i in range(3):
                link.send(sample(i))
            link.close()
            await until(lambda: codes(sink) == [0] * 3)
            assert len(server.requests) == 1
            link.send(sample(4))
            await a_while()
            assert len(server.requests) == 1
            link.open()
            link.close()
            await until(lambda: codes(sink) == [0] * 4)

    run(test)


def test_a_closed_link_tries_once_and_keeps_what_failed() -> None:
    async def test() -> None:
        async with Scripted(503) as server:
            link, sink = connect(server.url)
            link.send(sample(1))
            link.close()
            await until(lambda: len(server.requests) == 1)
            await a_while()
            assert (len(server.requests), sink.acknowledgements) == (1, [])
            link.open()
            await until(lambda: codes(sink) == [0])
            assert len(set(server.keys)) == 1

    run(test)


def test_a_sink_that_fails_does_not_stop_the_others() -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    async def test() -> None:
        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["message"]))
        async with Scripted() as server:
            bad, bad_sink = connect(server.url, "press-02", connections_max=1)
            good, good_sink = connect(server.url, connections_max=1)
            bad_sink.on_acknowledged = broken
            for i in range(2):
                bad.send(sample(i))
                good.send(sample(i))
            await until(lambda: len(good_sink.acknowledgements) == len(bad_sink.acknowledgements) == 2)
            await until(lambda: failures == ["a link's sink failed"] * 2)

    run(test)


@pytest.mark.parametrize("on_uvloop", [False, True])
def test_a_loop_that_ends_leaves_nothing_behind(
    on_uvloop: bool, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:  # takes connections and never answers
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            for i in range(20):
                link, _ = connect(url, f"press-{i}", connections_max=4)
                link.send(sample(1))
            await asyncio.sleep(0.05)
        opened.clear()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if on_uvloop else None) as runner:
        loop = runner.get_loop()
        runner.run(main())
    assert loop not in _http._pools
    gc.collect()
    assert list(recwarn) == []
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["a\r\nX: y", "", "ü"])
def test_a_name_that_would_break_a_header_is_refused(name: str) -> None:
    async def test() -> None:
        with pytest.raises(ValueError, match="cannot stand in an HTTP header"):
            Rest(RestEndpoint("http://localhost", name), Recorder(), asyncio.get_running_loop())

    run(test)


def test_tls_is_verified(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates.server_cert_file, certificates.server_key_file)

    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's side of refused handshakes
        async with Scripted(tls=tls) as server:
            link, sink = connect(server.url, ca_file=certificates.ca_file)
            link.send(sample(1))
            await until(lambda: codes(sink) == [0])
            for ca_file, why in (
                (make_certificates(other).ca_file, "TLS: certificate verify failed"),
                (None, "TLS: certificate verify failed"),
                (tmp_path / "none.pem", f"TLS: {tmp_path / 'none.pem'}: no such file"),
            ):
                link, sink = connect(server.url, ca_file=ca_file, retries_max=0)
                link.send(sample(1))
                await until(lambda sink=sink: codes(sink) == [0x88])  # type: ignore[misc]
                assert sink.log[1].startswith(f"disconnected {why}"), sink.log
            assert len(server.requests) == 1

    run(test)


# --- the gateway


class Nobody:
    def submit(self, call: Call) -> bool:
        return True


async def beside_gateway(folder: Path, use: Callable[[str, Queries], Awaitable[None]], **options: Any) -> None:
    """Run something beside a real gateway."""
    store = Store(folder)
    pipeline = Pipeline(Backend(load_rules([])), store, now_ms)
    pipeline.start(Nobody())
    gateway = Gateway(pipeline, lambda error: None, **options)
    server = http_server(gateway.app)
    queries = Queries(store.path)
    with listen("rest_port", 0) as listener:
        task = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
        try:
            await use(url_of(listener), queries)
        finally:
            for link in opened:
                link.sever()
            await asyncio.sleep(0)
            server.should_exit = True
            await task
            gateway.close()
            queries.close()
            store.close()


@pytest.mark.parametrize("settings", [{}, {"mode": "batch"}, {"mode": "csv"}, {"mode": "batch", "gzip": True}])
def test_all_that_is_sent_is_in_the_store_once(tmp_path: Path, settings: dict[str, Any]) -> None:
    async def use(url: str, queries: Queries) -> None:
        links = [connect(url, f"press-{i}", batch_max=4, **settings) for i in range(10)]
        for number in range(10):
            for i, (link, _) in enumerate(links):
                link.send(sample(number, f"press-{i}", tempC=number / 7, open=True, note="ü,\n"))
        await until(lambda: all(codes(sink) == [0] * 10 for _, sink in links))
        counts = queries.counts()
        assert (counts["stored"], counts["duplicates"], counts["dead"]) == ({"telemetry": 100}, 0, {})
        (latest,) = queries.telemetry("press-3", 1)["telemetry"]
        assert latest["metrics"] == {"tempC": 9 / 7, "open": True, "note": "ü,\n"}

    run(lambda: beside_gateway(tmp_path, use), on_uvloop=True)


def test_a_throttled_fleet_gets_through_in_the_end(tmp_path: Path) -> None:
    async def use(url: str, queries: Queries) -> None:
        links = [connect(url, f"press-{i}", retries_max=100) for i in range(3)]
        for number in range(3):
            for i, (link, _) in enumerate(links):
                link.send(sample(number, f"press-{i}"))
        deadline_s = time.monotonic() + PATIENCE_S
        while not all(codes(sink) == [0] * 3 for _, sink in links):
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.01)
            jump(0.2)
        assert queries.counts()["stored"] == {"telemetry": 9}

    run(lambda: beside_gateway(tmp_path, use, client_requests_s=1.0))


def test_a_wrong_token_and_a_wrong_message_are_refused(tmp_path: Path) -> None:
    async def use(url: str, queries: Queries) -> None:
        for token, message, code in (
            ("wrong", sample(1), 0x87),
            ("secret", Publish("telemetry", TELEMETRY, b"{}"), 0x99),
            ("secret", Publish("telemetry", "/nowhere", b"{}"), 0x83),
            ("secret", sample(1), 0),
        ):
            link, sink = connect(url, token=token)
            link.send(message)
            await until(lambda sink=sink: len(sink.acknowledgements) == 1)  # type: ignore[misc]
            assert codes(sink) == [code]

    run(lambda: beside_gateway(tmp_path, use, token="secret"), on_uvloop=True)
