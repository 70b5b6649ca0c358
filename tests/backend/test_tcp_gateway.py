"""The TCP gateway over real sockets: what is acknowledged is stored, what is wrong costs only itself, limits hold."""

import asyncio
import resource
import socket
import sqlite3
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.backend.core import Backend
from simulator.backend.effects import DeadLetter
from simulator.backend.rules import load_rules
from simulator.schema import parse
from simulator.wire.spec import ProductSpec
from tests.backend.tcp_peers import METER, NOW_MS, PRODUCT, Client, Device, Platform, body, frame, run, until

HOT = {"ruleId": "hot", "productId": "machine", "condition": "metrics.t > 80", "autoAction": "restart-fan"}


def test_what_devices_send_is_stored_once_and_acknowledged(tmp_path: Path) -> None:
    async def test() -> None:
        async with Platform(tmp_path) as platform:
            devices = [Device(platform.port, f"m-{i}") for i in range(5)]
            for seq in range(40):
                for device in devices:
                    assert device.send(t=seq / 10, rpm=seq)
            await until(lambda: all(len(device.acked) == 40 for device in devices))
            expected = [
                (device.thing, NOW_MS + seq + 1, {"t": seq / 10, "rpm": seq}) for device in devices for seq in range(40)
            ]
            assert platform.rows() == expected
            assert all(code == 0 for device in devices for _, code in device.acked)
            assert (platform.counts["frames"], platform.counts["accepted"]) == (200, 5)
            assert platform.core.received == {"telemetry": 200}
            assert platform.calls == []  # the channel tells the product: nobody is asked
            for device in devices:
                device.link.close()
            await until(lambda: not platform.gateway.connections)

    run(test)


def test_a_bad_reading_raises_an_alarm(tmp_path: Path) -> None:
    async def test() -> None:
        async with Platform(tmp_path, rules=[HOT]) as platform:
            async with Client(platform.port) as client:
                client.say(frame(body(1, t=95)))
                await client.answers(1)
            (alarm,) = platform.core.open_alarms.values()
            assert (alarm.thing, alarm.value) == ("m-1", 95)
            assert [type(call).__name__ for call in platform.calls] == ["SetDesired"]

    run(test)


@given(st.binary(max_size=60), st.integers(0, 30), st.booleans())
@settings(max_examples=500, deadline=None)
def test_any_body_is_a_sample_or_a_dead_letter(damage: bytes, at: int, whole: bool) -> None:
    core = Backend(load_rules([HOT]))
    core.replace_specs({"machine": PRODUCT})
    good = body(1)
    damaged = damage if whole else good[:at] + damage + good[at + len(damage) :]
    effects = core.ingest("tcp/machine", damaged, NOW_MS)
    assert sum(core.received.values()) == 1
    assert sum(core.dead.values()) == sum(isinstance(effect, DeadLetter) for effect in effects)


def test_what_breaks_the_contract_is_a_dead_letter_and_is_said_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with Platform(tmp_path) as platform, Client(platform.port) as client:
            old, unknown, nameless = body(2, at_ms=5), b"\x63" + body(3)[1:], body(4, thing="")
            short = body(5)[:-1]
            client.say(b"".join(map(frame, (body(1), old, unknown, nameless, short, body(6)))))
            assert await client.statuses(6) == [(1, 0), (2, 1), (3, 1), (4, 1), (5, 1), (6, 0)]
            assert platform.dead() == [
                ("device_timestamp.range", "tcp/machine", old),
                ("spec.message", "tcp/machine", unknown),
                ("device_id.missing", "tcp/machine", nameless),
                ("spec.size", "tcp/machine", short),
            ]
            assert [at_ms for _, at_ms, _ in platform.rows()] == [NOW_MS + 1, NOW_MS + 6]
            # A dead letter can be taken in again as it is, once the spec is mended.
            platform.pipeline.ingest(*platform.dead()[1][1:])
            assert platform.core.dead["spec.message"] == 2

    run(test)


def test_a_product_with_neither_clock_nor_ids(tmp_path: Path) -> None:
    async def test() -> None:
        plain = ProductSpec.model_validate(
            {
                "frame": {"start": "7E", "checksum": {"kind": "xor"}},
                "header": [
                    {"name": "device_id", "type": "text", "bytes": 4},
                    {"name": "hub_id", "type": "text", "bytes": 4},
                ],
                "messages": {"telemetry": {"fields": [{"name": "level", "type": "f32"}]}},
            }
        )
        async with Platform(tmp_path, {"tank": plain}) as platform, Client(platform.port, plain) as client:
            one = plain.encode("telemetry", {"device_id": "t-1", "hub_id": "h-1", "level": 0.5})
            other = plain.encode("telemetry", {"device_id": "t-1", "hub_id": "", "level": 0.75})
            broken = b"t-1\0" + bytes(4) + b"\x7f\xc0\x00\x00"  # not a number
            client.say(b"".join(frame(inner, plain) for inner in (one, other, one, broken)))
            client.writer.write_eof()
            assert await client.ended() == b""  # it has no acknowledgements
            rows = platform.store._db.execute("SELECT device_id, hub_id, device_timestamp, metrics FROM telemetry")
            assert sorted(rows, key=str) == [
                ("t-1", "h-1", NOW_MS, '{"level":0.5}'),
                ("t-1", None, NOW_MS, '{"level":0.75}'),
            ]
            assert platform.core.dead == {"metric.range": 1}
            assert platform.store.duplicates == 1

    run(test)


def test_other_messages_of_a_product(tmp_path: Path) -> None:
    async def test() -> None:
        async with Platform(tmp_path) as platform, Client(platform.port) as client:
            header = {"device_id": "m-1", "seq": 1, "device_timestamp": NOW_MS}
            report = PRODUCT.encode("alert_report", header | {"code": 123})
            result = PRODUCT.encode("control_result", header | {"name": "fan", "id": "a-1", "result": "done"})
            alive = PRODUCT.encode("heartbeat", header)
            client.say(frame(report) + frame(result))
            assert await client.statuses(2) == [(1, 0), (1, 0)]
            client.say(frame(alive) + frame(PRODUCT.encode("ack", header | {"status": 0})))
            assert [said.message for said in await client.answers(1)] == ["heartbeat"]
            kept = platform.store._db.execute("SELECT kind, payload FROM reports ORDER BY id").fetchall()
            assert kept == [("alert_report", '{"code":123}'), ("control_result", '["fan","a-1","done",""]')]
            assert platform.counts["heartbeats"] == 1

    run(test)


def test_nothing_is_acknowledged_before_it_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with Platform(tmp_path) as platform, Client(platform.port) as client:
            client.say(frame(body(1)))
            await client.answers(1)

            def full(*_: object) -> None:
                raise sqlite3.OperationalError("database or disk is full")

            monkeypatch.setattr(platform.store, "commit", full)
            client.say(frame(body(2)))
            await until(lambda: bool(platform.broken))
            assert str(platform.broken[0]) == "database or disk is full"
            client.writer.write_eof()
            assert await client.ended() == b""

    run(test)


def test_split_merged_and_damaged_input(tmp_path: Path) -> None:
    async def test() -> None:
        async with Platform(tmp_path) as platform, Client(platform.port) as client:
            whole = frame(body(1))
            for i in range(len(whole)):
                client.say(whole[i : i + 1])
                await asyncio.sleep(0)
            assert await client.statuses(1) == [(1, 0)]
            bad = bytearray(frame(body(3)))
            bad[20] ^= 1
            client.say(b"\x00noise\x01\x4e" + frame(body(2)) + bytes(bad) + frame(body(4))[:9] + frame(body(5)))
            assert await client.statuses(2) == [(2, 0), (5, 0)]
            assert platform.counts["garbage_bytes"] == 8 + len(bad) + 9
            assert platform.counts["garbage.checksum"] >= 1

    run(test)


def test_a_device_that_says_its_last_words_is_answered(tmp_path: Path) -> None:
    async def test() -> None:
        async with Platform(tmp_path) as platform, Client(platform.port) as client:
            client.say(frame(body(1)) + frame(body(2)))
            client.writer.write_eof()
            assert await client.statuses(2) == [(1, 0), (2, 0)]
            assert await client.ended() == b""
            await until(lambda: not platform.gateway.connections)

    run(test)


def test_two_products_on_one_port_are_told_apart(tmp_path: Path) -> None:
    async def test() -> None:
        specs = {"machine": PRODUCT, "meter": METER}
        async with (
            Platform(tmp_path, specs) as platform,
            Client(platform.port) as machine,
            Client(platform.port, METER) as meter,
        ):
            meter.say(b"\x01\x4e" + frame(body(1, "e-1", spec=METER), METER)[:10])
            await asyncio.sleep(0.01)
            meter.say(frame(body(1, "e-1", spec=METER), METER)[10:])
            machine.say(frame(body(1)))
            assert await meter.statuses(1) == [(1, 0)]
            assert await machine.statuses(1) == [(1, 0)]
            found = platform.store._db.execute("SELECT device_id, product_id FROM devices ORDER BY 1").fetchall()
            assert found == [("e-1", "meter"), ("m-1", "machine")]
            meter.say(frame(b"\x63unknown", METER))  # not a message, though a frame of the connection's product
            machine.say(frame(body(2)))
            assert await machine.statuses(1) == [(2, 0)]
            await until(lambda: platform.core.dead == {"spec.message": 1})

    run(test)


def test_a_spec_that_changes_cuts_off_those_who_speak_it(tmp_path: Path) -> None:
    async def test() -> None:
        mended = parse(PRODUCT.model_dump_json().replace('"scale":0.1', '"scale":0.5'), "machine.yaml", ProductSpec)
        async with Platform(tmp_path, {"machine": PRODUCT, "meter": METER}) as platform:
            device = Device(platform.port, "m-1")
            async with Client(platform.port, METER) as meter:
                meter.say(frame(body(1, "e-1", spec=METER), METER))
                assert await meter.statuses(1) == [(1, 0)]
                device.send(t=10)
                await until(lambda: len(device.acked) == 1)
                platform.speak({"machine": mended, "meter": METER})
                device.send(t=10)
                await until(lambda: len(device.acked) == 2)
                assert device.log == ["connected", "disconnected the server closed the connection", "connected"]
                assert [metrics["t"] for thing, _, metrics in platform.rows() if thing == "m-1"] == [10, 50]
                meter.say(frame(body(2, "e-1", spec=METER), METER))
                assert await meter.statuses(1) == [(2, 0)]
                assert platform.counts["closed.spec_changed"] == 1
                device.link.close()

    run(test)


def test_garbage_without_end_ends_the_connection(tmp_path: Path) -> None:
    async def test() -> None:
        async with Platform(tmp_path, garbage_max_bytes=2000) as platform:
            async with Client(platform.port) as client:
                for seq in range(1, 5):  # good frames in between make up for it
                    client.say(b"x" * 1500 + frame(body(seq)))
                    assert await client.statuses(1) == [(seq, 0)]
                client.say(b"x" * 2001)
                await client.ended()
            async with Client(platform.port) as client:
                client.say(b"\x01\x4e" * 1500)
                await client.ended()
            assert platform.counts["closed.garbage"] == 2

    run(test)


def test_one_without_a_product_is_ended(tmp_path: Path) -> None:
    async def test() -> None:
        async with Platform(tmp_path, {}, garbage_max_bytes=1024) as platform, Client(platform.port) as client:
            client.say(frame(body(1)) * 60)
            assert await client.ended() == b""
            assert platform.counts["garbage.no_product"] == 1

    run(test)


def test_silence_ends_the_connection_and_so_does_dripping(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            Platform(tmp_path, idle_timeout_s=60) as platform,
            Client(platform.port) as silent,
            Client(platform.port) as dripping,
            Client(platform.port) as lively,
        ):
            loop, gateway = asyncio.get_running_loop(), platform.gateway
            await until(lambda: len(gateway.connections) == 3)
            gateway.tick(loop.time() + 59)
            assert len(gateway.connections) == 3
            await asyncio.sleep(0.05)
            before_s = loop.time()
            dripping.say(frame(body(1))[:-1])
            lively.say(frame(PRODUCT.encode("heartbeat", {"device_id": "m-1"})))
            await lively.answers(1)
            gateway.tick(before_s + 60)
            await silent.ended()
            await dripping.ended()
            assert (platform.counts["closed.silent"], len(gateway.connections)) == (2, 1)

    run(test)


@pytest.mark.parametrize(
    ("limits", "count"),
    [({"frames_per_s": 100}, "paused.frames"), ({"bytes_per_s": 2000}, "paused.bytes")],
)
def test_one_that_is_too_fast_is_read_later_and_loses_nothing(
    tmp_path: Path, limits: dict[str, Any], count: str
) -> None:
    async def test() -> None:
        async with Platform(tmp_path, **limits) as platform, Client(platform.port) as client:
            gateway, now_s = platform.gateway, asyncio.get_running_loop().time()
            client.say(b"".join(frame(body(seq)) for seq in range(1, 151)))
            assert len(await client.statuses(150)) == 150
            assert (platform.counts[count], len(gateway.paused)) == (1, 1)
            client.say(frame(body(151)))
            gateway.resume(now_s)  # too early
            assert len(gateway.paused) == 1
            gateway.resume(now_s + 10)
            assert not gateway.paused
            assert await client.statuses(1) == [(151, 0)]

    run(test)


def test_one_that_does_not_read_its_answers_is_not_read_either(tmp_path: Path) -> None:
    async def test() -> None:
        async with Platform(tmp_path, frames_per_s=10**9, bytes_per_s=10**9, idle_timeout_s=5) as platform:
            loop, gateway = asyncio.get_running_loop(), platform.gateway
            with socket.create_connection(("127.0.0.1", platform.port)) as client:
                client.setblocking(False)
                alive = frame(PRODUCT.encode("heartbeat", {"device_id": "m-1"})) * 1000
                while not platform.counts["paused.unread"]:
                    await asyncio.wait_for(loop.sock_sendall(client, alive), 20)
                gateway.resume(loop.time())
                assert len(gateway.paused) == 1
                gateway.resume(loop.time() + 6)
                assert platform.counts["closed.unread"] == 1
                assert not gateway.connections

    run(test)


def test_there_is_a_most_of_connections(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            Platform(tmp_path, connections_max=2) as platform,
            Client(platform.port) as first,
            Client(platform.port),
            Client(platform.port) as third,
        ):
            assert await third.ended() == b""
            first.say(frame(body(1)))
            assert await first.statuses(1) == [(1, 0)]
            assert platform.counts["closed.too_many"] == 1

    run(test)


class Quiet(asyncio.Protocol):
    """A device's end of a connection, as small as it can be."""

    def __init__(self) -> None:
        self.answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.answered = True


def test_five_thousand_connections(tmp_path: Path) -> None:
    async def test() -> None:
        async with Platform(tmp_path) as platform:
            loop = asyncio.get_running_loop()
            peers: list[Quiet] = []
            for start in range(0, 5000, 250):
                made = (loop.create_connection(Quiet, "127.0.0.1", platform.port) for _ in range(start, start + 250))
                peers += [peer for _, peer in await asyncio.gather(*made)]
            await until(lambda: len(platform.gateway.connections) == 5000)
            for i, peer in enumerate(peers):
                peer.transport.write(frame(body(1, f"m-{i}")))
            await until(lambda: all(peer.answered for peer in peers))
            platform.gateway.tick(loop.time())
            assert platform.store.stored["telemetry"] == 5000
            for peer in peers:
                peer.transport.abort()
            await until(lambda: not platform.gateway.connections)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 11_000:
        pytest.skip(f"only {hard} files may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 11_000), hard))
    run(test)
