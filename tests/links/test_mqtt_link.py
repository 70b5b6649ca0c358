"""The `mqtt` link against a scripted server on loopback: connecting, losing, severing, refusing."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from simulator.links import Endpoint, TlsFiles
from simulator.links._tls import tls_context
from simulator.links.mqtt import Mqtt
from simulator.messages import Publish
from simulator.wire.mqtt import packets as p
from tests.links.bad_network import Line
from tests.links.mqtt_peers import (
    Certificates,
    Recorder,
    ScriptedServer,
    agreeable,
    free_port,
    make_certificates,
    make_link,
    run,
    unanswered,
)


def message(text: str = "hi", qos: int = 1) -> Publish:
    return Publish("telemetry", "a/b", text.encode(), qos)


def make(port: int, **fields: object) -> tuple[Mqtt, Recorder]:
    endpoint = Endpoint("127.0.0.1", port, "d1", backoff_first_s=0.01)._replace(**fields)  # type: ignore[arg-type]
    return make_link(Mqtt, endpoint)


@pytest.mark.parametrize("on_uvloop", [True, False], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_day_in_the_life(on_uvloop: bool, version: str) -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            link, heard = make(server.port, mqtt_version=version)
            link.subscribe(("c",))
            assert link.send(message("early"))
            link.open()
            link.open()  # twice is once
            await heard.line("acknowledged")
            before_s = monotonic()
            assert link.send(message("late"))
            assert link.send(message("zero", 0))
            assert heard.log == ["connected False", "acknowledged 0x00"]  # nothing is told from inside `send`
            await heard.line("acknowledged", 3)
            by_text = {said.payload: sent_at_s for said, sent_at_s, _ in heard.acknowledgements}
            assert before_s <= by_text[b"late"] <= monotonic()
            server.connections[0].say(p.Publish("c", b"for you", 1, packet_id=1))
            await heard.line("received c")
            assert heard.messages == [("c", b"for you")]
            link.close()
            await heard.line("disconnected closed")
            await server.until(lambda: server.connections[0].lost)
            assert [type(packet).__name__ for packet in server.connections[0].heard] == [
                "Connect",
                "Subscribe",
                "Publish",
                "Publish",
                "Publish",
                "Puback",
                "Disconnect",
            ]

    run(test, on_uvloop)


def test_what_is_sent_in_one_turn_leaves_in_one_write() -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            link, heard = make(server.port)
            line = Line()  # which sees each write, where the far side may read several at once
            link.shape(line)
            link.open()
            await heard.line("connected")
            line.carried.clear()
            for index in range(5):
                link.send(message(str(index)))
            await heard.line("acknowledged", 5)
            assert len([data for data, up in line.carried if up]) == 1
            link.close()
            await heard.line("disconnected")

    run(test)


def test_messages_sent_on_acknowledgement_keep_flowing() -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            link, heard = make(server.port)
            left = [30]

            def again() -> None:
                if left[0]:
                    left[0] -= 1
                    link.send(message(str(left[0]), left[0] % 2))

            heard.on_acknowledged = again
            link.open()
            link.send(message())
            await heard.line("acknowledged", 31)
            link.close()
            await heard.line("disconnected")

    run(test)


def test_a_lost_connection_is_made_again_and_nothing_is_lost() -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            server.answer = unanswered
            link, heard = make(server.port)
            link.open()
            link.send(message("1"))
            await server.until(lambda: bool(server.connections) and len(server.connections[0].heard) == 2)
            server.connections[0].transport.close()
            await heard.line("disconnected the server closed the connection")
            link.send(message("2"))
            server.answer = agreeable
            await heard.line("acknowledged", 2)
            assert [said.payload for said, _, _ in heard.acknowledgements] == [b"1", b"2"]
            assert [line for line in heard.log if line.startswith("connected")] == ["connected False"] * 2
            link.close()
            await heard.line("disconnected closed")

    run(test)


def test_severed_stays_down_until_opened_and_keeps_what_was_queued() -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            server.answer = unanswered
            link, heard = make(server.port, clean_start=False)
            link.open()
            link.send(message("1"))
            await server.until(lambda: bool(server.connections) and len(server.connections[0].heard) == 2)
            link.sever()
            link.sever()
            link.send(message("2"))
            await heard.line("disconnected severed")
            await server.until(lambda: server.connections[0].lost)
            assert not any(isinstance(packet, p.Disconnect) for packet in server.connections[0].heard)
            server.answer = lambda packet: (
                [p.Connack(session_present=True)] if isinstance(packet, p.Connect) else agreeable(packet)
            )
            assert len(server.connections) == 1
            link.open()
            await heard.line("acknowledged", 2)
            sent = [packet for packet in server.connections[1].heard if isinstance(packet, p.Publish)]
            assert [(packet.payload, packet.dup) for packet in sent] == [(b"1", True), (b"2", False)]
            link.close()
            await heard.line("disconnected closed")

    run(test)


@pytest.mark.parametrize("ending", [Mqtt.close, Mqtt.sever], ids=["close", "sever"])
def test_opened_again_at_once(ending: Callable[[Mqtt], None]) -> None:
    """While the old transport, or the old attempt, is still ending."""

    async def test() -> None:
        async with ScriptedServer() as server:
            link, heard = make(server.port, backoff_first_s=1000.0, backoff_max_s=1000.0)
            link.open()
            ending(link)
            link.open()
            await heard.line("connected")
            ending(link)
            link.open()
            await heard.line("connected", 2)
            ending(link)
            ending(link)
            await heard.until(lambda: heard.log[-1].startswith("disconnected"))
            # Each `connected` has one `disconnected`; the attempt cut short has one more.
            assert [line.split()[0] for line in heard.log] == [
                "disconnected",
                *["connected", "disconnected"] * 2,
            ]

    run(test)


def test_nothing_listens() -> None:
    async def test() -> None:
        port = free_port()
        for host in ("127.0.0.1", "localhost"):
            link, heard = make(port, host=host)
            link.open()
            await heard.line("disconnected", 3)
            assert set(heard.log) == {f"disconnected connect to {host}:{port} refused"}
            link.close()
            lines = len(heard.log)
            link.tick(monotonic())
            await asyncio.sleep(0.05)  # long enough for the next attempts that must not come
            assert len(heard.log) == lines

    run(test)


def test_a_name_that_nobody_knows() -> None:
    async def test() -> None:
        link, heard = make(1, host="no-such-host.invalid")
        link.open()
        await heard.line("disconnected connect to no-such-host.invalid:1: ")
        link.close()

    run(test)


def test_a_server_that_says_nothing() -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            server.answer = lambda packet: []
            link, heard = make(server.port, ack_timeout_s=5.0)
            link.open()
            await server.until(lambda: bool(server.connections) and bool(server.connections[0].heard))
            link.tick(monotonic() + 4)
            assert heard.log == []
            link.tick(monotonic() + 5)
            await heard.line("disconnected no CONNACK within 5 s")
            link.close()

    run(test)


@pytest.mark.parametrize("on_uvloop", [True, False], ids=["uvloop", "asyncio"])
def test_a_handshake_that_never_ends(certificates: Certificates, on_uvloop: bool) -> None:
    """The port is open, but nobody speaks there."""

    async def test() -> None:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        link, heard = make(port, tls=certificates.client, connect_timeout_s=0.1)
        link.open()
        await heard.line("disconnected", 2)
        assert set(heard.log) == {f"disconnected connect to 127.0.0.1:{port} timed out after 0.1 s"}
        link.close()
        server.close()

    run(test, on_uvloop)


def test_a_server_that_hangs_up_at_once() -> None:
    """As brokers do on 3.1.1 with whom they do not know."""

    async def test() -> None:
        async with ScriptedServer() as server:

            def hang_up(packet: p.Packet) -> list[p.Packet]:
                server.connections[-1].transport.close()
                return []

            server.answer = hang_up
            link, heard = make(server.port)
            link.open()
            await heard.line("disconnected the server closed the connection before CONNACK", 2)
            link.close()

    run(test)


def test_no_puback_in_time() -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            server.answer = unanswered
            link, heard = make(server.port, ack_timeout_s=5.0)
            link.open()
            link.send(message("1"))
            await server.until(lambda: bool(server.connections) and len(server.connections[0].heard) == 2)
            server.answer = agreeable
            link.tick(monotonic() + 5)
            await heard.line("disconnected no PUBACK within 5 s")
            await heard.line("acknowledged")
            link.close()
            await heard.line("disconnected closed")

    run(test)


@pytest.mark.parametrize(
    ("connack", "reason"),
    [
        (p.Connack(False, 0x87), "CONNACK 0x87 not authorized"),
        (p.Connack(False, 0x88, (("reason_string", "later"),)), "CONNACK 0x88 server unavailable: later"),
    ],
)
def test_refused_by_the_server(connack: p.Connack, reason: str) -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            server.answer = lambda packet: [connack]
            link, heard = make(server.port)
            link.open()
            await heard.line(f"disconnected {reason}", 2)
            link.close()

    run(test)


def test_a_refused_subscription_ends_the_connection() -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            server.answer = lambda packet: (
                [p.Suback(packet.packet_id, (1, 0x87))] if isinstance(packet, p.Subscribe) else agreeable(packet)
            )
            link, heard = make(server.port)
            link.open()
            link.subscribe(("a", "secret"))
            await heard.line("disconnected SUBSCRIBE 'secret' refused: 0x87 not authorized")
            await heard.line("connected", 2)
            link.close()
            await heard.line("disconnected closed")

    run(test)


def test_the_servers_goodbye() -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            link, heard = make(server.port)
            link.open()
            await heard.line("connected")
            server.connections[0].say(p.Disconnect(0x8E))
            await heard.line("disconnected DISCONNECT 0x8E session taken over")
            await heard.line("connected", 2)
            link.close()
            await heard.line("disconnected closed")

    run(test)


def test_not_mqtt_at_all() -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            link, heard = make(server.port)
            link.open()
            await heard.line("connected")
            server.connections[0].transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await heard.line("disconnected the server sent what is not MQTT: no packet begins with 0x48")
            link.close()

    run(test)


def test_a_slow_reader_makes_messages_wait_and_be_refused() -> None:
    """Back-pressure: what the transport does not take fills the queue, and a full queue says so."""

    async def test() -> None:
        async with ScriptedServer() as server:
            link, heard = make(server.port, queue_max=50)
            link.open()
            await heard.line("connected")
            server.connections[0].transport.pause_reading()
            big = Publish("upload", "a/b", b"x" * 100_000, 0)
            taken = 0
            for _ in range(1000):
                if not link.send(big):
                    break
                taken += 1
                await asyncio.sleep(0)
            assert 50 <= taken < 1000
            server.connections[0].transport.resume_reading()
            await heard.line("acknowledged", taken)
            await server.until(lambda: len(server.connections[0].heard) == taken + 1)
            link.close()
            await heard.line("disconnected closed")

    run(test)


def test_closing_does_not_wait_for_a_reader_that_is_gone() -> None:
    async def test() -> None:
        async with ScriptedServer() as server:
            link, heard = make(server.port)
            link.open()
            await heard.line("connected")
            server.connections[0].transport.pause_reading()
            for _ in range(100):
                link.send(Publish("upload", "a/b", b"x" * 100_000, 0))
                await asyncio.sleep(0)
            link.close()
            await heard.line("disconnected closed")

    run(test)


def test_backoff_grows_is_bounded_and_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    async def delays(key: int) -> list[float]:
        loop = asyncio.get_running_loop()
        seen: list[float] = []
        recorder = Recorder()
        fields = Endpoint("127.0.0.1", port, "d1", backoff_first_s=1.0, backoff_max_s=8.0, jitter_key=key)
        link = Mqtt(fields, recorder, loop)
        call_later = loop.call_later

        def at_once(delay_s: float, callback: Callable[..., object], *args: object) -> asyncio.TimerHandle:
            if getattr(callback, "__self__", None) is link:
                seen.append(delay_s)
                delay_s = 0.0
            return call_later(delay_s, callback, *args)

        # The link's own timer is run without the wait; everything else of the loop stays as it is.
        monkeypatch.setattr(loop, "call_later", at_once)
        link.open()
        await recorder.line("disconnected", 7)
        link.close()
        return seen[:6]

    port = free_port()

    async def test() -> None:
        first = await delays(1)
        for delay_s, ceiling_s in zip(first, (1, 2, 4, 8, 8, 8), strict=True):
            assert ceiling_s / 2 <= delay_s < ceiling_s
        assert await delays(1) == first
        assert await delays(2) != first

    run(test, on_uvloop=False)


# --- TLS ---


async def tls_server(certificates: Certificates, client_wanted: bool = False) -> tuple[asyncio.Server, int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert_file, certificates.server_key_file)
    if client_wanted:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.ca_file)
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=context)
    return server, int(server.sockets[0].getsockname()[1])


def refusal(certificates: Certificates, tls: TlsFiles, host: str = "localhost", client_wanted: bool = False) -> str:
    """Why a connection to a TLS server could not be made."""
    reasons: list[str] = []

    async def test() -> None:
        server, port = await tls_server(certificates, client_wanted)
        link, heard = make(port, host=host, tls=tls)
        link.open()
        await heard.line("disconnected")
        link.close()
        reasons.append(heard.log[0].removeprefix("disconnected ").replace(str(port), "PORT"))
        server.close()
        await server.wait_closed()

    run(test)
    return reasons[0]


def test_a_server_of_an_unknown_ca_is_refused(certificates: Certificates, tmp_path: Path) -> None:
    other = make_certificates(tmp_path)
    assert refusal(certificates, other.client).startswith("TLS: certificate verify failed: ")


def test_a_server_of_another_name_is_refused(tmp_path: Path) -> None:
    other = make_certificates(tmp_path, "elsewhere.example")
    reason = refusal(other, other.client)
    assert reason.startswith("TLS: certificate verify failed: ")
    assert "localhost" in reason


def test_no_certificate_file(certificates: Certificates, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    tls = certificates.client._replace(cert_file=missing)
    assert refusal(certificates, tls) == f"TLS: {missing}: no such file or directory"


def test_a_certificate_file_that_is_none(certificates: Certificates, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    for tls in (certificates.client._replace(ca_file=broken), certificates.client._replace(cert_file=broken)):
        assert refusal(certificates, tls).startswith(f"TLS: {broken}: ")


def test_a_key_of_another_certificate(certificates: Certificates, tmp_path: Path) -> None:
    other = make_certificates(tmp_path)
    tls = certificates.client._replace(key_file=other.client.key_file)
    assert "key values mismatch" in refusal(certificates, tls)


def test_contexts_are_shared_until_a_file_changes(certificates: Certificates, tmp_path: Path) -> None:
    copy = tmp_path / "ca.pem"
    copy.write_bytes(certificates.ca_file.read_bytes())
    tls = certificates.client._replace(ca_file=copy)
    first = tls_context(tls)
    assert tls_context(TlsFiles(*tls)) is first
    copy.write_bytes(copy.read_bytes() + b"\n")
    assert tls_context(tls) is not first
