"""How many binary frames a second one core writes and reads, and how many a gateway takes in, end to end.

Run: python tests/bench/frames_bench.py [frames] [devices]. Prints figures; pytest does not collect it.
The last line is links, gateway, rules and SQLite in one process, so device and backend share one core.
"""

import asyncio
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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
from simulator.wire.frames import Frame, FrameDecoder, FrameEncoder
from simulator.wire.spec import ProductSpec

START_MS = 1_767_225_600_000
READ = 65_536
RULES: list[dict[str, Any]] = [{"ruleId": "hot", "productId": "machine", "condition": "metrics.tempC > 80"}]
FIELDS = [
    {"name": "tempC", "type": "i16", "scale": 0.1},
    {"name": "rpm", "type": "u16"},
    {"name": "voltage", "type": "u16", "scale": 0.01},
    {"name": "vibration", "type": "f32"},
    {"name": "pressure", "type": "u32", "scale": 0.001},
    {"name": "fan", "type": "u8"},
    {"type": "bits", "bytes": 1, "names": ["door", "lock"]},
    {"name": "hours", "type": "bcd", "bytes": 4},
]
VALUES = {
    "tempC": 26.3, "rpm": 1200, "voltage": 12.34, "vibration": 0.5, "pressure": 101.325, "fan": 3, "door": 1, "lock": 0,
    "hours": 12345,
}  # fmt: skip


def product(checksum: str) -> ProductSpec:
    """A machine with nine values and a header of four: frames of about 55 bytes."""
    return ProductSpec.model_validate(
        {
            "frame": {"start": "014E", "checksum": {"kind": checksum}},
            "header": [
                {"name": "message", "type": "u8"},
                {"name": "device_id", "type": "text", "bytes": 16},
                {"name": "seq", "type": "u32"},
                {"name": "device_timestamp", "type": "u64"},
            ],
            "messages": {
                "telemetry": {"id": 2, "fields": FIELDS},
                "heartbeat": {"id": 3},
                "ack": {"id": 4, "fields": [{"name": "status", "type": "u8"}]},
            },
        }
    )


def body(spec: ProductSpec, thing: str, seq: int) -> bytes:
    header = {"device_id": thing, "seq": seq, "device_timestamp": START_MS + 1000 * seq}
    return spec.codec.encode("telemetry", VALUES | header)


def codec(count: int, checksum: str) -> None:
    """Print what writing and reading cost."""
    spec = product(checksum)
    encoder, decoder = FrameEncoder(spec), FrameDecoder(spec)
    began = time.perf_counter()
    frames = [encoder.encode(body(spec, "machine-0001", seq)) for seq in range(count)]
    writing_s = time.perf_counter() - began
    stream = b"".join(frames)
    decode, read = spec.codec.decode, 0
    began = time.perf_counter()
    for at in range(0, len(stream), READ):
        for item in decoder.feed(stream[at : at + READ]):
            assert isinstance(item, Frame)
            decode(item.body)
            read += 1
    reading_s = time.perf_counter() - began
    assert read == count
    print(
        f"{checksum} ({len(frames[0])} bytes): encode {count / writing_s:,.0f} frames/s, "
        f"decode {count / reading_s:,.0f} frames/s"
    )


class Device:
    """Sends as fast as it is acknowledged, by its window."""

    def __init__(self, spec: ProductSpec, port: int, thing: str, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.bodies = [body(spec, thing, seq) for seq in range(1, count + 1)]
        self.acked, self.count = 0, count
        self.done = loop.create_future()
        endpoint = TcpEndpoint("127.0.0.1", port, thing, spec, queue_max=count)
        self.link = Tcp(endpoint, self, loop)
        for one in self.bodies:
            self.link.send(Publish("telemetry", "tcp", one))

    def connected(self, session_present: bool) -> None: ...

    def disconnected(self, reason: str) -> None: ...

    def received(self, topic: str, payload: bytes) -> None: ...

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        self.acked += reason_code == 0
        if self.acked == self.count:
            self.done.set_result(None)


class Nobody:
    """Takes the calls to AWS; there are none."""

    def submit(self, call: Call) -> bool:
        return True


async def end_to_end(count: int, devices: int) -> None:
    """Print how fast frames go from links into the store."""
    loop, spec = asyncio.get_running_loop(), product("crc16-modbus")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        core = Backend(load_rules(RULES))
        core.replace_specs({"machine": spec})
        pipeline = Pipeline(core, store, lambda: START_MS + 10**9)
        pipeline.start(Nobody())
        broken = loop.create_future()
        gateway = Gateway(pipeline, TcpConfig(frames_per_s=10**9, bytes_per_s=10**9), broken.set_exception)
        gateway.replace_specs({"machine": spec})
        listener = socket.create_server(("127.0.0.1", 0), backlog=devices)
        port = listener.getsockname()[1]
        await gateway.open(listener)
        fleet = [Device(spec, port, f"machine-{i:04d}", count // devices, loop) for i in range(devices)]
        began, cpu = time.perf_counter(), time.process_time()
        for device in fleet:
            device.link.open()
        await asyncio.gather(*(device.done for device in fleet))
        took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        stored = store.stored["telemetry"]
        for device in fleet:
            device.link.close()
        gateway.close()
        await asyncio.sleep(0.1)
        store.close()
    print(
        f"{devices} links → gateway → rules → SQLite: {stored / took_s:,.0f} frames/s, "
        f"{stored / cpu_s:,.0f} a second of CPU ({stored} rows stored, all acknowledged)"
    )


if __name__ == "__main__":
    COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for kind in ("crc16-modbus", "crc32", "xor"):
        codec(COUNT, kind)
    uvloop.run(end_to_end(COUNT, int(sys.argv[2]) if len(sys.argv) > 2 else 100))
