"""What the tests of the TCP gateway share: a product, a platform in this process, devices."""

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Self

import orjson
import uvloop

from simulator.backend.config import Tcp as TcpConfig
from simulator.backend.core import Backend
from simulator.backend.effects import Call
from simulator.backend.pipeline import Pipeline
from simulator.backend.rules import load_rules
from simulator.backend.store import Store
from simulator.backend.tcp_gateway import Gateway
from simulator.links.tcp import Tcp, TcpEndpoint
from simulator.messages import Publish
from simulator.schema import parse
from simulator.wire.frames import Frame, FrameDecoder, FrameEncoder
from simulator.wire.spec import Decoded, ProductSpec

PATIENCE_S = 10.0
NOW_MS = 1_767_225_600_000
MACHINE = """
frame: {start: "014E", checksum: {kind: crc16-modbus}, max_bytes: 128}
header:
  - {name: message, type: u8}
  - {name: device_id, type: text, bytes: 8}
  - {name: seq, type: u32}
  - {name: device_timestamp, type: u64}
messages:
  telemetry: {id: 2, fields: [{name: t, type: i16, scale: 0.1}, {name: rpm, type: u16}]}
  alert_report: {id: 5, fields: [{name: code, type: u8}]}
  control_result:
    id: 6
    fields: [{name: name, type: text, bytes: 8}, {name: id, type: text, bytes: 8}, {name: result, type: text, bytes: 8}]
  heartbeat: {id: 3}
  ack: {id: 4, fields: [{name: status, type: u8}]}
"""
PRODUCT = parse(MACHINE, "machine.yaml", ProductSpec)
METER = parse(MACHINE.replace("014E", "AA55").replace("crc16-modbus", "sum8"), "meter.yaml", ProductSpec)


def body(seq: int, thing: str = "m-1", at_ms: int = 0, spec: ProductSpec = PRODUCT, **values: Any) -> bytes:
    given = {"device_id": thing, "seq": seq, "device_timestamp": at_ms or NOW_MS + seq, "t": 21.5, "rpm": 900}
    return spec.encode("telemetry", given | values)


def frame(inner: bytes, spec: ProductSpec = PRODUCT) -> bytes:
    return FrameEncoder(spec).encode(inner)


class Platform:
    """Core, store and gateway in this process; everything is real but AWS."""

    def __init__(
        self,
        folder: Path,
        specs: Mapping[str, ProductSpec] | None = None,
        rules: list[dict[str, Any]] | None = None,
        **limits: Any,
    ) -> None:
        self.store = Store(folder)
        self.core = Backend(load_rules(rules or []))
        self.pipeline = Pipeline(self.core, self.store, lambda: NOW_MS)
        self.calls: list[Call] = []
        self.broken: list[BaseException] = []
        self.gateway = Gateway(self.pipeline, TcpConfig.model_validate(limits), self.broken.append)
        self.speak(specs if specs is not None else {"machine": PRODUCT})
        self.port = 0

    def speak(self, specs: Mapping[str, ProductSpec]) -> None:
        self.core.replace_specs(specs)
        self.gateway.replace_specs(specs)

    def submit(self, call: Call) -> bool:
        self.calls.append(call)
        return True

    async def __aenter__(self) -> Self:
        self.pipeline.start(self)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(listener.getsockname()[1])
        await self.gateway.open(listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.broken:
            self.gateway.end()
        else:
            self.gateway.close()
        self.store.close()
        await asyncio.sleep(0.01)  # transports tell their end in a later turn

    @property
    def counts(self) -> Counter[str]:
        return self.gateway.counts

    def rows(self) -> list[tuple[str, int, dict[str, Any]]]:
        rows = self.store._db.execute("SELECT device_id, device_timestamp, metrics FROM telemetry ORDER BY 1, 2")
        return [(thing, at_ms, orjson.loads(metrics)) for thing, at_ms, metrics in rows]

    def dead(self) -> list[tuple[str, str, bytes]]:
        return self.store._db.execute("SELECT reason, topic, payload FROM dead_letters ORDER BY id").fetchall()


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens in this loop."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.005)


def run(test: Callable[[], Awaitable[None]], patience_s: float = 4 * PATIENCE_S) -> None:
    """Run a test in a loop as the backend's."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_timed(test, patience_s))


async def _timed(test: Callable[[], Awaitable[None]], patience_s: float) -> None:
    async with asyncio.timeout(patience_s):
        await test()


class Client:
    """A device that says what a test tells it, and understands the answers."""

    def __init__(self, port: int, spec: ProductSpec = PRODUCT) -> None:
        self._port, self._spec = port, spec
        self._decoder = FrameDecoder(spec)
        self._ready: list[Decoded] = []

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def answers(self, count: int) -> list[Decoded]:
        """The next answers."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self._ready) < count:
                data = await self.reader.read(65536)
                assert data, "the gateway closed the connection"
                for item in self._decoder.feed(data):
                    assert isinstance(item, Frame)
                    self._ready.append(self._spec.decode(item.body))
        found, self._ready = self._ready[:count], self._ready[count:]
        return found

    async def statuses(self, count: int) -> list[tuple[int, int]]:
        """(seq, status) of the next acknowledgements."""
        return [(said.header["seq"], said.values["status"]) for said in await self.answers(count)]

    async def ended(self) -> bytes:
        """Wait until the gateway closes the connection; what it said until then."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()


class Device:
    """A simulated device's link, and what it heard."""

    def __init__(self, port: int, thing: str, **fields: Any) -> None:
        self.thing = thing
        self.log: list[str] = []
        self.acked: list[tuple[int, int]] = []  # (device_timestamp, reason code)
        self.sent = 0
        endpoint = TcpEndpoint("127.0.0.1", port, thing, PRODUCT, backoff_first_s=0.02, backoff_max_s=0.2)
        self.link = Tcp(endpoint._replace(**fields), self, asyncio.get_running_loop())
        self.link.open()

    def send(self, at_ms: int = 0, **values: Any) -> bool:
        self.sent += 1
        return self.link.send(Publish("telemetry", "tcp", body(self.sent, self.thing, at_ms, **values)))

    def connected(self, session_present: bool) -> None:
        self.log.append("connected")

    def disconnected(self, reason: str) -> None:
        self.log.append(f"disconnected {reason}")

    def received(self, topic: str, payload: bytes) -> None:
        self.log.append(f"received {topic}")

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        self.acked.append((PRODUCT.decode(message.payload).header["device_timestamp"], reason_code))
