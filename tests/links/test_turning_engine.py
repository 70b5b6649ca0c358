"""Devices that take turns on an engine, a real broker and a subscriber: what arrived is what was accounted for."""

import asyncio
import time
from collections import Counter, defaultdict
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter

from simulator.audit import Audit
from simulator.device import Device
from simulator.ledger import Ledger
from simulator.links import Endpoint, Link, Sink
from simulator.links.mqtt import Mqtt
from simulator.runtime.downloads import Downloads
from simulator.runtime.engine import Engine
from simulator.runtime.meter import Meter
from simulator.schema import union
from tests.core.fleets import PUMP, fleet, profile
from tests.links.mqtt_peers import MOSQUITTO, Broker, Certificates, make_link, run

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="no mosquitto")

# The physics move on five times a second.
TURNS = PUMP.replace("every_s: 10", "every_s: 0.001, in_turn: true").replace("step_s: 5", "step_s: 0.2").replace(
    "  - {kind: jobs, install_s: 3, reboot_s: 2, retries: 3}\n",
    "  - {kind: heartbeat, every_s: 60, topic: \"h/{env}/{thing}\"}\n",
)  # fmt: skip
THINGS = [f"Pump-{n}" for n in range(6)]
BIAS = {"kind": "bias", "signal": "temp_c", "by": 500, "for_s": 60}


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
        await plant.rounds(300)
        assert any(port.turning for port in plant.engine._ports.values()), "or this would prove nothing"
        plant.engine.inject(0, TypeAdapter(union("faults")).validate_python(BIAS))
        broken_ms = plant.engine.now_ms()
        plant.engine.stop(1)
        await plant.rounds(100)
        plant.engine.clear(0, None)
        whole_ms = plant.engine.now_ms()
        plant.engine.start(1)
        await plant.rounds(200)
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
