"""The `rest` link: keys and order, the queue, shared connections, TLS, and that nothing is left behind."""

import asyncio
import gc
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import uvloop

from simulator.links import _http
from simulator.links.rest import Rest, RestEndpoint
from tests.links.mqtt_peers import Recorder, make_certificates
from tests.links.rest_peers import TELEMETRY, Scripted, a_while, codes, connect, opened, run, sample, until


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
