"""Devices that take turns on an engine, a real broker and a subscriber: what arrived is what was accounted for."""

import asyncio
import time
from collections import Counter, defaultdict
from typing import Any, ClassVar

import orjson
import pytest
from pydantic import TypeAdapter

from simulator.audit import Audit, Way
from simulator.device import Device
from simulator.ledger import Ledger
from simulator.links import Endpoint, Link, Sink
from simulator.links.mqtt import Mqtt
from simulator.messages import Publish
from simulator.runtime.downloads import Downloads
from simulator.runtime.engine import Engine
from simulator.runtime.meter import Meter
from simulator.runtime.port import Port
from simulator.schema import union
from simulator.wire.mqtt import packets as p
from tests.core.fleets import PUMP, fleet, profile
from tests.links.mqtt_peers import (
    MOSQUITTO,
    PATIENCE_S,
    Broker,
    Certificates,
    ScriptedServer,
    agreeable,
    make_link,
    run,
)

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="no mosquitto")

# The physics move on five times a second.
TURNS = PUMP.replace("every_s: 10", "every_s: 0.001, in_turn: true").replace("step_s: 5", "step_s: 0.2").replace(
    "  - {kind: jobs, install_s: 3, reboot_s: 2, retries: 3}\n",
    "  - {kind: heartbeat, every_s: 60, topic: \"h/{env}/{thing}\"}\n",
)  # fmt: skip
THINGS = [f"Pump-{n}" for n in range(40)]  # so many that an answer takes longer than the period: else it is too soon
BIAS = {"kind": "bias", "signal": "temp_c", "by": 500, "for_s": 60}


def turns(port: Port) -> bool:
    """Does its device speak by itself?"""
    return isinstance(port.link, Mqtt) and port.link.is_turning


class Plant:
    """An engine with links to a broker, and a subscriber of all that its devices say."""

    def __init__(self, broker: Broker, certificates: Certificates | None = None) -> None:
        """With certificates its devices speak over TLS."""
        self.start_ms = time.time_ns() // 1_000_000
        self.fleet = fleet(profile(TURNS), THINGS, start_ms=self.start_ms)
        self.ledger, self.meter = Ledger(), Meter()
        self.audit = Audit(("telemetry",), self.fleet.speaker)
        self.broker, loop = broker, asyncio.get_running_loop()

        def link(device: Device, sink: Sink) -> Link:
            at = Endpoint("127.0.0.1", broker.port, device.thing)
            if certificates:
                at = at._replace(host="localhost", port=broker.tls_port, tls=certificates.client)
            return Mqtt(at, sink, loop)

        self.engine = Engine(self.fleet, link, Downloads(), self.ledger, self.meter, self.audit)
        self.subscriber, self.heard = make_link(Mqtt, Endpoint("127.0.0.1", broker.port, "ear"))

    async def begin(self) -> None:
        self.subscriber.subscribe(("t/#",))
        self.subscriber.open()
        await self.heard.line("connected")
        for index in range(len(THINGS)):
            self.engine.start(index)

    def said(self) -> dict[str, list[dict[str, Any]]]:
        """Every thing's telemetry as it arrived."""
        found = defaultdict(list)
        for topic, payload in self.heard.messages:
            found[topic.rpartition("/")[2]].append(orjson.loads(payload))
        return found

    async def rounds(self, times: int) -> None:
        """So many messages of each that is still on."""
        on = [d.thing for d in self.fleet.devices if d.powered and d.online] or THINGS
        count = Counter({thing: len(said) for thing, said in self.said().items()})
        await self.heard.until(lambda: all(len(self.said()[thing]) - count[thing] >= times for thing in on))

    async def end(self) -> None:
        self.engine.silence()
        await self.heard.until(self.engine.settled)
        await self.heard.until(lambda: len(self.heard.messages) == self.ledger.acknowledged["telemetry"])
        await self.engine.close()
        self.subscriber.close()
        await self.heard.line("disconnected")


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_what_arrived_is_what_was_accounted_for_message_by_message(
    broker: Broker, certificates: Certificates, tls: bool
) -> None:
    async def story() -> None:
        plant = Plant(broker, certificates if tls else None)
        await plant.begin()
        await plant.rounds(60)
        # Or this would prove nothing.
        await plant.heard.until(lambda: any(map(turns, plant.engine._ports.values())))
        plant.engine.inject(0, TypeAdapter(union("faults")).validate_python(BIAS))
        broken_ms = plant.engine.now_ms()
        plant.engine.stop(1)
        await plant.rounds(30)
        plant.engine.clear(0, None)
        whole_ms = plant.engine.now_ms()
        plant.engine.start(1)
        await plant.rounds(60)
        await plant.end()
        _is_accounted_for(plant)
        _says_what_its_sensors_read(plant, broken_ms, whole_ms)

    run(story)


def _is_accounted_for(plant: Plant) -> None:
    ledger, arrived, book = plant.ledger, plant.said(), plant.audit.book()
    count = sum(map(len, arrived.values()))
    assert ledger.attempted["telemetry"] == ledger.sent["telemetry"] == ledger.acknowledged["telemetry"] == count
    [row] = [row for row in plant.meter.take() if row.name == "telemetry"]
    assert (row.latency.count, row.service.count, row.untimed, row.failed) == (count, count, 0, {})
    assert row.payload_bytes == sum(len(payload) for _, payload in plant.heard.messages)
    for columns in (book.said, book.answered):
        stamps = defaultdict(list)
        for subject, stamp in zip(columns.subject.tolist(), columns.stamp.tolist(), strict=True):
            stamps[book.subjects[subject].thing].append(stamp)
        assert stamps == {thing: [one["device_timestamp"] for one in said] for thing, said in arrived.items()}


def _says_what_its_sensors_read(plant: Plant, broken_ms: int, whole_ms: int) -> None:
    """A second fleet of the same seed, asked for each message at its time."""
    again = fleet(profile(TURNS), THINGS, start_ms=plant.start_ms)
    everything = [(said["device_timestamp"], thing, said) for thing, of in plant.said().items() for said in of]
    for at_ms, thing, said in sorted(everything, key=lambda one: one[:2]):
        reading = again.devices[again.by_thing[thing]].reading(at_ms)
        if thing == THINGS[0] and broken_ms < at_ms < whole_ms:
            reading["temp_c"] += BIAS["by"]  # type: ignore[operator]
        elif thing == THINGS[0] and at_ms in (broken_ms, whole_ms):
            continue
        assert said["data"]["metrics"] == {name: reading[name] for name in ("temp_c", "fan")}, (thing, at_ms)


class Watching(Audit):
    """Sees a device asked while it speaks by itself."""

    asked_between: ClassVar[bool] = False

    def said(self, way: Way, message: Publish, at_s: float) -> None:
        assert isinstance(way, Port)
        Watching.asked_between |= turns(way)
        super().said(way, message, at_s)


async def _engine(server: ScriptedServer, text: str, audit: type[Audit] = Audit) -> Engine:
    """One device at a scripted server, turning: each answer comes later than the next message may."""
    server.answer = lambda packet: _later(server, packet)
    what = fleet(profile(text), THINGS[:1], start_ms=time.time_ns() // 1_000_000)
    loop = asyncio.get_running_loop()

    def link(device: Device, sink: Sink) -> Link:
        return Mqtt(Endpoint("127.0.0.1", server.port, device.thing), sink, loop)

    engine = Engine(what, link, Downloads(), Ledger(), None, audit(("telemetry",), what.speaker))
    engine.start(0)
    await server.until(lambda: bool(engine._ports) and turns(engine._ports[0]))
    return engine


def _later(server: ScriptedServer, packet: p.Packet) -> list[p.Packet]:
    if not isinstance(packet, p.Publish) or packet.qos != 1:
        return agreeable(packet)
    identifier = packet.packet_id
    asyncio.get_running_loop().call_later(0.003, lambda: server.connections[0].say(p.Puback(identifier)))
    return []


async def _silence(engine: Engine) -> None:
    """Let it come to its end."""
    engine.silence()
    async with asyncio.timeout(PATIENCE_S):
        while not engine.settled():
            await asyncio.sleep(0)


def _said(server: ScriptedServer) -> list[p.Publish]:
    packets = [packet for connection in server.connections for packet in connection.heard]
    return [packet for packet in packets if isinstance(packet, p.Publish) and packet.topic.startswith("t/")]


def test_another_answer_does_not_ask_a_device_that_speaks_by_itself() -> None:
    """As after an outage, in which it spoke some times without an answer, and the answers come in one chunk."""

    async def story() -> None:
        async with ScriptedServer() as server:
            engine = await _engine(server, TURNS, Watching)
            port = engine._ports[0]
            before_s = time.monotonic()
            while time.monotonic() < before_s + 0.002:
                pass  # or it would be too soon for a message
            assert turns(port)
            port.acknowledged(Publish("telemetry", "t/before", b"", 1, stamp=1), before_s, 0)
            assert not Watching.asked_between
            count = len(_said(server))
            await server.until(lambda: len(_said(server)) > count + 10)
            stamps = [orjson.loads(said.payload)["device_timestamp"] for said in _said(server)]
            assert stamps == sorted(set(stamps))
            await engine.close()

    run(story)


def test_only_who_takes_turns_says_on() -> None:
    """A message of another duty is no reason to go on with those of the one that takes turns."""
    other = '  - {kind: telemetry, every_s: 60, topic: "t/other/{thing}", metrics: [fan]}\n'

    async def story() -> None:
        async with ScriptedServer() as server:
            engine = await _engine(server, TURNS + other)
            await _silence(engine)
            port, now_ms = engine._ports[0], engine.now_ms()
            said = Publish("telemetry", f"t/other/{THINGS[0]}", b'{"device_timestamp":1,"data":{}}', 1, stamp=now_ms)
            port.topic = said.topic
            assert port.link
            assert port.link.send(said)
            engine._let_turn(port, said, now_ms)
            assert not turns(port)
            await engine.close()

    run(story)


def test_what_a_device_was_told_of_time_is_never_taken_back() -> None:
    async def story() -> None:
        async with ScriptedServer() as server:
            engine = await _engine(server, TURNS)
            ahead_ms = engine.now_ms() + 3
            assert engine._ports[0].renewed(ahead_ms)
            assert engine.now_ms() >= ahead_ms
            await engine.close()

    run(story)
