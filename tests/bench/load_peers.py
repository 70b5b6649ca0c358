"""What `load_bench` is compared with, each in a process of its own, against the same broker with the same payloads:

    python -m tests.bench.load_peers bare PORT DEVICES SECONDS      the least that Python can do, as a ruler
    python -m tests.bench.load_peers awscrt PORT DEVICES SECONDS    a bare loop on AWS's own client
    locust -f tests/bench/load_peers.py --headless …                Locust's own MqttUser (LOAD_BENCH_PORT)

Every device has one message of QoS 1 in flight. Both print JSON lines: {"done": messages so far, "cpu_s": so far}.
Of emqtt-bench and mqttx there is only the command line, and what their output says.
"""

import asyncio
import json
import os
import resource
import sys
import time
from typing import Any, cast

from simulator.wire.mqtt import encode
from simulator.wire.mqtt import packets as p

PAYLOAD = b"x" * 340  # a sedan's telemetry has as many bytes
TOPIC = "iotlink/stg/nohub/{}/periodic/pub/telemetry/json"


def commands(port: int, devices: int) -> dict[str, list[str]]:
    """How those are called that may be installed."""
    size, clients = str(len(PAYLOAD)), str(devices)
    return {
        "emqtt_bench": [
            "emqtt_bench", "pub", "-h", "127.0.0.1", "-p", str(port), "-c", clients, "-I", "1", "-q", "1", "-F", "1",
            "-s", size, "-t", TOPIC.format("%i"),
        ],
        "mqttx": [
            "mqttx", "bench", "pub", "-h", "127.0.0.1", "-p", str(port), "-c", clients, "-i", "1", "-im", "1", "-q",
            "1", "-t", TOPIC.format("%i"), "-m", PAYLOAD.decode(),
        ],
    }  # fmt: skip


def tell(done: int) -> None:
    """How far it is."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"done": done, "cpu_s": used.ru_utime + used.ru_stime, "at_s": time.monotonic()}), flush=True)


class Bare(asyncio.Protocol):
    """Packets that were encoded beforehand, on uvloop's transport: no session, no device, nothing measured."""

    def __init__(self, index: int, done: list[int]) -> None:
        self.connect = encode(p.Connect(f"bare-{index}"))
        self.packet = encode(p.Publish(TOPIC.format(f"bare-{index}"), PAYLOAD, 1, packet_id=1))
        self.done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's do not derive from asyncio's
        self.transport.write(self.connect)

    def data_received(self, data: bytes) -> None:
        self.done[0] += data[0] == 0x40
        self.transport.write(self.packet)


async def bare(port: int, devices: int, seconds: float) -> None:
    """One message in flight on each connection."""
    loop, done = asyncio.get_running_loop(), [0]
    for index in range(devices):
        await loop.create_connection(lambda index=index: Bare(index, done), "127.0.0.1", port)  # type: ignore[misc]
    for _ in range(int(2 * seconds)):
        tell(done[0])
        await asyncio.sleep(0.5)
    os._exit(0)


def awscrt(port: int, devices: int, seconds: float) -> None:
    """Publishes the next message when the last was acknowledged, from awscrt's own threads."""
    from awscrt import io, mqtt

    bootstrap = io.ClientBootstrap(io.EventLoopGroup(1), io.DefaultHostResolver(io.EventLoopGroup(1)))
    client, done, running = mqtt.Client(bootstrap), [0] * devices, True

    def publish(connection: Any, index: int, topic: str) -> None:
        future, _ = connection.publish(topic, PAYLOAD, mqtt.QoS.AT_LEAST_ONCE)

        def answered(_: Any) -> None:
            done[index] += 1
            if running:
                publish(connection, index, topic)

        future.add_done_callback(answered)

    connections = [
        mqtt.Connection(client=client, host_name="127.0.0.1", port=port, client_id=f"crt-{i}", clean_session=True)
        for i in range(devices)
    ]
    for asked in [connection.connect() for connection in connections]:
        asked.result(30)
    for index, connection in enumerate(connections):
        publish(connection, index, TOPIC.format(f"crt-{index}"))
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        tell(sum(done))
        time.sleep(0.5)
    running = False
    os._exit(0)  # its threads would take their time


if __name__ == "__main__":
    what, port, devices, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    if what == "bare":
        import uvloop

        uvloop.run(bare(port, devices, seconds))
    awscrt(port, devices, seconds)
elif "locust" in sys.modules:
    import gevent
    from locust import constant, events, task
    from locust.contrib.mqtt import MqttUser

    answered = 0

    class Device(MqttUser):  # type: ignore[misc]  # Locust is not type-checked
        """One message in flight."""

        host, port = "127.0.0.1", int(os.environ["LOAD_BENCH_PORT"])
        use_loop_selectors = True  # without it there are no more than 340 in a process
        wait_time = constant(0)
        born = 0

        def on_start(self) -> None:
            Device.born += 1
            self.topic = TOPIC.format(f"user-{Device.born}")
            while not self.client.is_connected():
                gevent.sleep(0.05)

        @task  # type: ignore[untyped-decorator]
        def publish(self) -> None:
            global answered
            self.client.publish(self.topic, PAYLOAD, qos=1).wait_for_publish(10)
            answered += 1

    @events.init.add_listener  # type: ignore[untyped-decorator]
    def begin(environment: Any, **_: Any) -> None:
        """Tell on while it runs."""

        def tell_on() -> None:
            while True:
                tell(answered)
                gevent.sleep(0.5)

        gevent.spawn(tell_on)
