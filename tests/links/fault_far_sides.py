"""The far sides of a device with faults: the platform's gateways, somebody at the broker, and links to them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

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
from simulator.links import Endpoint, Link, Sink
from simulator.links.mqtt import Mqtt
from simulator.links.rest import Rest, RestEndpoint
from simulator.links.tcp import Tcp, TcpEndpoint
from tests.core.fleets import THING
from tests.links.fault_bench import OVER_TCP, Make
from tests.links.mqtt_peers import Broker, Recorder


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
