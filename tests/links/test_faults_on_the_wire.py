"""Faults of network and protocol on real sockets: what a real mosquitto and the real gateways saw of them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import orjson
import pytest
import uvloop
from pydantic import TypeAdapter

from simulator.backend.__main__ import http_server, listen, url_of
from simulator.backend.config import Tcp as TcpConfig
from simulator.backend.core import Backend
from simulator.backend.effects import Call
from simulator.backend.pipeline import Pipeline
from simulator.backend.rest_gateway import Gateway as RestGateway
from simulator.backend.rules import load_rules
from simulator.backend.store import Store
from simulator.backend.tcp_gateway import Gateway as TcpGateway
from simulator.device import Device
from simulator.faults import Fault
from simulator.faults.raw_packet import PACKETS
from simulator.ledger import Ledger
from simulator.links import Endpoint, Link, Sink, TlsFiles
from simulator.links.mqtt import Mqtt
from simulator.links.rest import Rest, RestEndpoint
from simulator.links.tcp import Tcp, TcpEndpoint
from simulator.messages import Publish
from simulator.profiles import Profile
from simulator.runtime import engine as engine_module
from simulator.runtime.downloads import Downloads
from simulator.runtime.engine import Engine
from simulator.schema import OneOf
from tests.core.fleets import THING, fleet, profile
from tests.links.mqtt_peers import MOSQUITTO, Broker, Certificates, Recorder

PATIENCE_S = 20.0
PUMP = """\
profile: pump
thing_type: Pump
signals: {temp_c: {kind: wander, mean: 20, deviation: 1, tau_s: 60}, fan: {kind: constant, value: 1}}
behaviours: [{kind: telemetry, every_s: 0.012, metrics: [temp_c, fan]}]
"""
OVER_TCP = profile(PUMP).over("tcp", "pump")
OVER_REST = profile(PUMP).over("rest", "pump")
mosquitto = [
    pytest.mark.peer,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]
Make = Callable[[Device, Sink], Link]
opened: "list[Bench]" = []  # ended by `run`


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time-outs are looked for more often than once a second."""
    monkeypatch.setattr(engine_module, "TICK_S", 0.02)


def fault(kind: str, **keys: Any) -> Fault:
    found: Fault = TypeAdapter(Annotated[Fault, OneOf("faults")]).validate_python({"kind": kind, **keys})
    return found


def run(story: Callable[[], Awaitable[None]], on_uvloop: bool = True) -> None:
    async def timed() -> None:
        try:
            async with asyncio.timeout(4 * PATIENCE_S):
                await story()
        finally:
            for bench in opened:
                await bench.engine.close()
            opened.clear()
            await asyncio.sleep(0.02)  # transports tell their end in a later turn

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if on_uvloop else None) as runner:
        runner.run(timed())


class Platform:
    """Core, store and gateways in this process, and a clock that is right; everything is real but AWS."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.core = Backend(load_rules([]))
        self.pipeline = Pipeline(self.core, self.store, lambda: time.time_ns() // 1_000_000)
        self.broken: list[BaseException] = []
        self.tcp = TcpGateway(self.pipeline, TcpConfig(idle_timeout_s=0.5), self.broken.append)
        assert OVER_TCP.payload is not None
        self.core.replace_specs({"Pump": OVER_TCP.payload})
        self.tcp.replace_specs({"Pump": OVER_TCP.payload})
        self.rest = RestGateway(self.pipeline, self.broken.append)
        self.tcp_port = 0
        self.rest_url = ""

    def submit(self, call: Call) -> bool:
        return True

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Platform"]:
        self.pipeline.start(self)
        listener = listen("tcp.port", 0)
        self.tcp_port = int(listener.getsockname()[1])
        await self.tcp.open(listener)
        server = http_server(self.rest.app)
        with listen("rest_port", 0) as rest_listener:
            self.rest_url = url_of(rest_listener)
            serving = asyncio.get_running_loop().create_task(server.serve(sockets=[rest_listener]))
            try:
                yield self
                assert not self.broken
            finally:
                self.tcp.close()
                server.should_exit = True
                await serving
                self.rest.close()
                self.store.close()
                await asyncio.sleep(0.01)  # transports tell their end in a later turn

    def stored(self) -> set[int]:
        self.pipeline.commit()
        rows = self.store._db.execute("SELECT device_timestamp FROM telemetry").fetchall()
        assert len(rows) == len(set(rows))
        return {at_ms for (at_ms,) in rows}

    def dead(self) -> Counter[str]:
        self.pipeline.commit()
        return Counter(reason for (reason,) in self.store._db.execute("SELECT reason FROM dead_letters"))


class Bench:
    """One pump in an engine, over a real link, and what it said."""

    def __init__(self, make: Make, what: Profile) -> None:
        self.fleet = fleet(what, start_ms=time.time_ns() // 1_000_000)
        self.ledger = Ledger()
        self.said: list[Publish] = []
        self._make = make
        self.engine = Engine(self.fleet, self._link, Downloads(), self.ledger)
        opened.append(self)

    def _link(self, device: Device, sink: Sink) -> Link:
        link = self._make(device, sink)
        send = link.send

        def noted(message: Publish) -> bool:
            self.said.append(message)
            return send(message)

        with suppress(AttributeError):  # where a link has slots it is told by a subclass
            link.send = noted  # type: ignore[method-assign]
        return link

    @property
    def device(self) -> Device:
        return self.fleet.devices[0]

    def notes(self, kind: str) -> list[dict[str, Any]]:
        return [dict(event.detail) for event in self.ledger.events if event.kind == kind]

    def reasons(self) -> list[str]:
        return [note["reason"] for note in self.notes("disconnected")]

    def stamps(self) -> set[int]:
        return {message.stamp for message in self.said}

    async def until(self, so: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not so():
            assert self.engine.failure is None, self.engine.failure.log_tail
            assert time.monotonic() < deadline_s, self.ledger.events[-20:]
            await asyncio.sleep(0.005)

    async def acknowledged(self, more: int) -> None:
        count = self.ledger.acknowledged["telemetry"] + more
        await self.until(lambda: self.ledger.acknowledged["telemetry"] >= count)

    async def suffer(self, what: Fault, so: Callable[[], bool]) -> None:
        """A healthy beginning, a fault until something is so, and a healthy end at which all was answered."""
        self.engine.start(0)
        await self.acknowledged(5)
        self.engine.inject(0, what)
        await self.until(so)
        self.engine.clear(0, None)
        await self.acknowledged(10)
        await self.until(lambda: self.device.online)
        self.engine.silence()
        await self.until(self.engine.settled)
        assert not self.device.faults
        assert self.notes("fault_cleared") == [{"fault": what.params["kind"]}]


class Ear:
    """Somebody else at the broker."""

    def __init__(self, broker: Broker) -> None:
        self.sink = Recorder()
        self.link = Mqtt(Endpoint("127.0.0.1", broker.port, "ear"), self.sink, asyncio.get_running_loop())

    async def __aenter__(self) -> "Ear":
        self.link.subscribe(("iotlink/#", "gone/#"))
        self.link.open()
        await self.sink.line("connected")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.link.close()
        await self.sink.line("disconnected")
        await asyncio.sleep(0.01)

    @property
    def messages(self) -> list[tuple[str, bytes]]:
        return self.sink.messages

    def stamps(self) -> Counter[int]:
        found = (payload for topic, payload in self.messages if topic.endswith("/telemetry/json"))
        return Counter(orjson.loads(payload)["device_timestamp"] for payload in found)


class TellingMqtt(Mqtt):
    """Without slots, so that a test can listen in."""


class TellingTcp(Tcp):
    pass


class TellingRest(Rest):
    pass


def over_mqtt(broker: Broker, **fields: Any) -> Make:
    at = Endpoint("127.0.0.1", broker.port, THING, backoff_first_s=0.02, ack_timeout_s=5.0)._replace(**fields)
    return lambda device, sink: TellingMqtt(at, sink, asyncio.get_running_loop())


def over_tcp(platform: Platform, **fields: Any) -> Make:
    def make(device: Device, sink: Sink) -> Link:
        assert device.spec is not None
        at = TcpEndpoint("127.0.0.1", platform.tcp_port, device.thing, device.spec, backoff_first_s=0.02)
        at = at._replace(**{"ack_timeout_s": 5.0, **fields})
        return TellingTcp(at, sink, asyncio.get_running_loop())

    return make


def over_rest(platform: Platform, **fields: Any) -> Make:
    at = RestEndpoint(platform.rest_url, THING, backoff_first_s=0.02, backoff_max_s=0.1, retries_max=1000)
    at = at._replace(**{"ack_timeout_s": 5.0, **fields})
    return lambda device, sink: TellingRest(at, sink, asyncio.get_running_loop())


NETWORK = [
    fault("latency", delay_ms=30, jitter_ms=20),
    fault("loss", rate=0.1),
    fault("bandwidth", bytes_per_s=20_000),
    fault("disconnect"),
    fault("half_open", blocks="up"),
    fault("half_open", blocks="down"),
    fault("half_open", blocks="both"),
    fault("flapping", down_s=[0.1, 0.2], up_s=[0.2, 0.4]),
    fault("partition"),
    fault("dns_failure"),
    fault("tls_failure"),
    fault("reconnect_storm", again_s=0.5),
    fault("slow_sender", bytes=50, every_ms=1),
    fault("duplicate"),
    fault("reorder", by_s=[0.05, 0.2], probability=0.3),
]
ON_BOTH = ("latency", "half_open", "flapping")  # on asyncio's own loop, too
CUTS = ("disconnect", "flapping", "dns_failure", "tls_failure", "reconnect_storm")


def has_struck(bench: Bench, what: Fault) -> Callable[[], bool]:
    """Enough of it to be seen."""
    kind = what.params["kind"]
    if kind == "half_open":
        return lambda: "no " in " ".join(bench.reasons()) and bench.device.online
    if kind == "reconnect_storm":
        return lambda: len(bench.notes("connected")) == 2
    if kind in CUTS or kind == "partition":
        enough = 3 if bench.fleet.profiles["pump"].channel != "rest" else 1 if kind == "partition" else 2
        return lambda: len(bench.reasons()) >= enough
    before = bench.ledger.acknowledged["telemetry"]
    return lambda: bench.ledger.acknowledged["telemetry"] >= before + 30


def patience_s(what: Fault) -> float:
    """How long a link waits for an answer: short where none comes, long where all come late."""
    return 0.3 if what.params["kind"] in ("half_open", "partition") else 5.0


def was_seen(bench: Bench, what: Fault) -> None:
    kind, reasons = what.params["kind"], bench.reasons()
    if kind in CUTS:
        assert reasons[0] == "severed"
    elif kind in ("half_open", "partition"):
        assert reasons[0].startswith(("no PUBACK within", "no acknowledgement within", "no answer from"))
    else:
        assert reasons == []


class TestMosquitto:
    pytestmark = mosquitto

    @pytest.mark.parametrize(
        ("what", "on_uvloop"),
        [*((what, True) for what in NETWORK), *((what, False) for what in NETWORK if what.params["kind"] in ON_BOTH)],
        ids=lambda value: str(value.params) if isinstance(value, Fault) else None,
    )
    def test_over_a_bad_network_nothing_is_lost(
        self, broker: Broker, tmp_path: Path, what: Fault, on_uvloop: bool
    ) -> None:
        async def story() -> None:
            async with Ear(broker) as ear, Platform(tmp_path).running() as platform:
                bench = Bench(over_mqtt(broker, ack_timeout_s=patience_s(what)), profile(PUMP))
                await bench.suffer(what, has_struck(bench, what))
                await bench.until(lambda: set(ear.stamps()) == bench.stamps())
                was_seen(bench, what)
                for topic, payload in ear.messages:
                    platform.pipeline.ingest(topic, payload)
                assert platform.stored() == bench.stamps()  # each once, see there
                counts = ear.stamps()
                if what.params["kind"] == "duplicate":
                    told = {note["stamp"] for note in bench.notes("disturbed")}
                    assert told
                    assert all(count == (2 if stamp in told else 1) for stamp, count in counts.items())
                elif what.params.get("blocks") == "down":
                    assert max(counts.values()) > 1
                elif what.params["kind"] in ("latency", "loss", "bandwidth", "slow_sender"):
                    order = [stamp for stamp, _ in counts.items()]
                    assert order == sorted(order)
                    assert set(counts.values()) == {1}

        run(story, on_uvloop)

    @pytest.mark.parametrize("what", [NETWORK[0], fault("half_open"), fault("slow_sender", bytes=20, every_ms=1)])
    def test_over_mutual_tls_too(self, broker: Broker, certificates: Certificates, what: Fault) -> None:
        async def story() -> None:
            async with Ear(broker) as ear:
                tls = {"host": "localhost", "port": broker.tls_port, "tls": certificates.client}
                bench = Bench(over_mqtt(broker, ack_timeout_s=patience_s(what), **tls), profile(PUMP))
                await bench.suffer(what, has_struck(bench, what))
                await bench.until(lambda: set(ear.stamps()) == bench.stamps())
                was_seen(bench, what)

        run(story)

    @pytest.mark.parametrize("name", [*PACKETS, "garbage"])
    @pytest.mark.parametrize("version", ["3.1.1", "5"])
    def test_a_broker_hangs_up_on_raw_packets_and_nothing_is_lost(
        self, broker: Broker, name: str, version: Any
    ) -> None:
        async def story() -> None:
            async with Ear(broker) as ear:
                bench = Bench(over_mqtt(broker, mqtt_version=version, ack_timeout_s=0.3), profile(PUMP))
                await bench.suffer(fault("raw_packet", packet=name, every_s=60), lambda: bool(bench.reasons()))
                await bench.until(lambda: set(ear.stamps()) == bench.stamps())
                [reason, *_] = bench.reasons()
                assert reason.startswith(("DISCONNECT", "the server closed", "connection to", "no PUBACK")), reason

        run(story)

    @pytest.mark.parametrize(("kind", "keys"), [("wrong_qos", {"qos": 3}), ("invalid_utf8", {"where": "topic"})])
    def test_a_message_in_a_packet_that_is_none_is_lost_and_ends_the_connection(
        self, broker: Broker, kind: str, keys: dict[str, Any]
    ) -> None:
        async def story() -> None:
            async with Ear(broker) as ear:
                bench = Bench(over_mqtt(broker), profile(PUMP))
                what = fault(kind, probability=0.2, **keys)
                await bench.suffer(what, lambda: len(bench.reasons()) >= 3)
                await bench.until(lambda: set(ear.stamps()) == bench.stamps())
                told = {note["stamp"] for note in bench.notes("disturbed")}
                assert len(told) >= 3
                assert not told & bench.stamps()

        run(story)

    @pytest.mark.parametrize(
        ("what", "reason"),
        [
            (fault("malformed_json", how="truncated"), "payload.not_json"),
            (fault("wrong_schema", how="missing", field="device_timestamp"), "device_timestamp.missing"),
            (fault("wrong_schema", how="type", field="device_timestamp"), "device_timestamp.type"),
            (fault("wrong_topic"), "topic.role"),
            (fault("invalid_utf8"), "payload.not_json"),
            (fault("oversize"), "payload.too_large"),
        ],
        ids=lambda value: str(value.params) if isinstance(value, Fault) else None,
    )
    def test_what_is_wrong_is_a_dead_letter(self, broker: Broker, tmp_path: Path, what: Fault, reason: str) -> None:
        async def story() -> None:
            async with Ear(broker) as ear, Platform(tmp_path).running() as platform:
                bench = Bench(over_mqtt(broker), profile(PUMP))
                what_half = what.model_copy(update={"probability": 0.5})
                await bench.suffer(what_half, lambda: len(bench.notes("disturbed")) >= 10)
                told = {note["stamp"] for note in bench.notes("disturbed")}
                await bench.until(lambda: len(ear.messages) == len(bench.stamps() | told))
                for topic, payload in ear.messages:
                    platform.pipeline.ingest(topic, payload)
                assert platform.dead() == {reason: len(told)}
                assert platform.stored() == bench.stamps() - told
                assert bench.reasons() == []

        run(story)

    @pytest.mark.parametrize("qos", [0, 2])
    def test_another_qos_comes_through(self, broker: Broker, qos: int) -> None:
        async def story() -> None:
            async with Ear(broker) as ear:
                bench = Bench(over_mqtt(broker), profile(PUMP))
                await bench.suffer(fault("wrong_qos", qos=qos), lambda: len(bench.notes("disturbed")) >= 10)
                await bench.until(lambda: set(ear.stamps()) == bench.stamps())
                assert {message.qos for message in bench.said} == {1, qos}

        run(story)

    def test_a_device_that_hangs_is_given_up_by_the_broker(self, broker: Broker) -> None:
        """Its will is published, since its connection was open and silent for too long."""

        async def story() -> None:
            async with Ear(broker) as ear:
                will = Publish("will", f"gone/{THING}", b"gone")
                bench = Bench(over_mqtt(broker, keep_alive_s=1, will=will, ack_timeout_s=0.3), profile(PUMP))
                gone: list[bool] = []

                def given_up() -> bool:
                    if any(topic.startswith("gone/") for topic, _ in ear.messages):
                        gone.append(bench.device.online)
                    return bool(gone)

                await bench.suffer(fault("keep_alive_violation"), given_up)
                assert gone == [False]
                assert bench.reasons()[0].startswith("no P")  # its link missed an answer long before
                assert "the device hangs" in bench.reasons()
                await bench.until(lambda: set(ear.stamps()) == bench.stamps())

        run(story)

    def test_the_device_is_there_twice_after_half_a_connection(self, broker: Broker) -> None:
        """The broker still has the old connection when the new one comes: it publishes the will of the old one."""

        async def story() -> None:
            async with Ear(broker) as ear:
                will = Publish("will", f"gone/{THING}", b"gone")
                bench = Bench(over_mqtt(broker, will=will, keep_alive_s=600, ack_timeout_s=0.3), profile(PUMP))
                await bench.suffer(fault("half_open"), lambda: any(t.startswith("gone/") for t, _ in ear.messages))
                await bench.until(lambda: set(ear.stamps()) == bench.stamps())
                assert bench.reasons()[0] == "no PUBACK within 0.3 s"

        run(story)

    @pytest.mark.parametrize("kind", ["disconnect", "dns_failure", "tls_failure", "flapping", "reconnect_storm"])
    def test_awscrt_is_cut_and_kept_away_as_well(self, broker: Broker, certificates: Certificates, kind: str) -> None:
        from simulator.links.sdk import Sdk

        keys: dict[str, dict[str, Any]] = {
            "flapping": {"down_s": [0.1, 0.2], "up_s": [0.3, 0.5]},
            "reconnect_storm": {"again_s": 2},
        }
        files: TlsFiles = certificates.client

        async def story() -> None:
            async with Ear(broker) as ear:
                at = Endpoint("localhost", broker.tls_port, THING, files, backoff_first_s=0.02)
                bench = Bench(lambda device, sink: Sdk(at, sink, asyncio.get_running_loop()), profile(PUMP))
                what = fault(kind, **keys.get(kind, {}))
                await bench.suffer(what, has_struck(bench, what))
                await bench.until(lambda: len(ear.stamps()) == bench.ledger.attempted["telemetry"])
                assert bench.reasons()[0] == "severed"

        run(story)


class TestGateways:
    @pytest.mark.parametrize("channel", ["tcp", "rest"])
    @pytest.mark.parametrize("what", NETWORK, ids=lambda what: str(what.params))
    def test_over_a_bad_network_all_is_stored_once(self, tmp_path: Path, what: Fault, channel: str) -> None:
        async def story() -> None:
            async with Platform(tmp_path).running() as platform:
                make, of = (over_tcp, OVER_TCP) if channel == "tcp" else (over_rest, OVER_REST)
                bench = Bench(make(platform, ack_timeout_s=patience_s(what)), of)
                await bench.suffer(what, has_struck(bench, what))
                assert platform.stored() == bench.stamps()
                assert platform.dead() == {}
                assert not [name for name in platform.tcp.counts if name.startswith("garbage")]
                was_seen(bench, what)

        run(story)

    @pytest.mark.parametrize("how", ["checksum", "length", "truncated", "split", "any"])
    def test_broken_frames_are_garbage_and_come_again(self, tmp_path: Path, how: str) -> None:
        async def story() -> None:
            async with Platform(tmp_path).running() as platform:
                bench = Bench(over_tcp(platform, ack_timeout_s=5.0 if how == "split" else 0.2), OVER_TCP)
                what = fault("broken_frame", how=how, probability=0.3, split_ms=20)
                await bench.suffer(what, lambda: len(bench.notes("disturbed")) >= 10)
                assert platform.stored() == bench.stamps()
                assert platform.dead() == {}
                garbage = [name for name in platform.tcp.counts if name.startswith("garbage.")]
                assert bool(garbage) == (how != "split")
                assert bool(bench.reasons()) == (how != "split")
                assert set(bench.reasons()) <= {"no acknowledgement within 0.2 s"}
                assert {note["what"] for note in bench.notes("disturbed")} <= {"mangled", "delayed"}

        run(story)

    def test_garbage_between_frames_is_skipped(self, tmp_path: Path) -> None:
        async def story() -> None:
            async with Platform(tmp_path).running() as platform:
                bench = Bench(over_tcp(platform), OVER_TCP)
                counts = platform.tcp.counts
                what = fault("raw_packet", packet="garbage", every_s=0.1)
                await bench.suffer(what, lambda: counts["garbage_bytes"] >= 5 * 64)
                assert platform.stored() == bench.stamps()
                assert bench.reasons() == []

        run(story)

    def test_a_device_that_hangs_is_given_up_by_the_gateway(self, tmp_path: Path) -> None:
        async def story() -> None:
            async with Platform(tmp_path).running() as platform:
                bench = Bench(over_tcp(platform, ack_timeout_s=0.3), OVER_TCP)
                loop, gateway = asyncio.get_running_loop(), platform.tcp

                def given_up() -> bool:
                    gateway.tick(loop.time())
                    return gateway.counts["closed.silent"] > 0

                await bench.suffer(fault("keep_alive_violation"), given_up)
                assert bench.reasons()[0] == "no acknowledgement within 0.3 s"
                assert platform.stored() == bench.stamps()

        run(story)

    @pytest.mark.parametrize(
        "what",
        [
            fault("malformed_json"),
            fault("wrong_schema"),
            fault("wrong_topic"),
            fault("invalid_utf8"),
            fault("oversize"),
            fault("oversize", bytes=2_000_000),
        ],
        ids=lambda what: str(what.params),
    )
    def test_what_is_wrong_is_refused_over_rest(self, tmp_path: Path, what: Fault) -> None:
        async def story() -> None:
            async with Platform(tmp_path).running() as platform:
                bench = Bench(over_rest(platform), OVER_REST)
                half = what.model_copy(update={"probability": 0.5})
                await bench.suffer(half, lambda: len(bench.notes("disturbed")) >= 10)
                told = {note["stamp"] for note in bench.notes("disturbed")}
                assert bench.ledger.refused["telemetry"] == len(told)
                assert platform.stored() == bench.stamps() - told

        run(story)

    def test_a_body_that_trickles_is_seen_to_trickle(self, tmp_path: Path) -> None:
        """The gateway gets the head of a request at once and its body byte by byte; others do not wait for it."""

        async def story() -> None:
            async with Platform(tmp_path).running() as platform:
                slow = Bench(over_rest(platform, connections_max=1), OVER_REST)
                slow.engine.start(0)
                await slow.acknowledged(3)
                slow.engine.inject(0, fault("slow_sender", bytes=1, every_ms=10))
                await slow.until(lambda: platform.rest._at_work == 1)
                quick = Bench(over_rest(platform, connections_max=1, client_id="quick"), OVER_REST)
                quick.engine.start(0)
                before = slow.ledger.acknowledged["telemetry"]
                await quick.acknowledged(10)
                assert slow.ledger.acknowledged["telemetry"] <= before + 1
                slow.engine.clear(0, None)
                await slow.acknowledged(5)
                for bench in (slow, quick):
                    bench.engine.silence()
                    await bench.until(bench.engine.settled)
                assert platform.stored() == slow.stamps() | quick.stamps()

        run(story)

    def test_many_that_get_no_answer_keep_nobody_waiting(self, tmp_path: Path) -> None:
        async def story() -> None:
            async with Platform(tmp_path).running() as platform:
                make = over_rest(platform, ack_timeout_s=30.0, connections_max=2)
                dark = [Bench(make, OVER_REST) for _ in range(6)]
                for bench in dark:
                    bench.engine.start(0)
                    await bench.acknowledged(1)
                    bench.engine.inject(0, fault("partition"))
                light = Bench(make, OVER_REST)
                light.engine.start(0)
                await light.acknowledged(10)

        run(story)
