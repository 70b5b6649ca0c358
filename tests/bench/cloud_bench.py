"""How many messages a second the sandbox's broker carries, and what one costs it.

Run: python tests/bench/cloud_bench.py [messages]. Prints figures; pytest does not collect it. Devices publish
telemetry at QoS 1 and one persistent subscriber, like the backend, hears all of it; then a fleet of 500 does;
then the fleet updates its shadows; then one job reaches the fleet, each device of which reports it done.
"""

import asyncio
import json
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from simulator.messages import Publish
from simulator.wire.mqtt import Opened, Received, Session, Settings, Subscribed
from tests.bench.backend_bench import cpu_s
from tests.cloud.conftest import Cloud, start, stop

ALL_OF_IT = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
PAYLOAD = json.dumps({"device_timestamp": 1_767_225_600_000, "data": {"metrics": {"tempC": 26.3, "rpm": 1200}}})
WINDOW = 10  # messages that each device has on their way
HANDSHAKES = 20  # at once


class Client(asyncio.Protocol):
    """A connection of ours, as small as can be."""

    def __init__(self, client_id: str, *, heard: Callable[[Received], None] | None = None, expiry_s: int = 0) -> None:
        self.session = Session(
            Settings(client_id, clean_start=not expiry_s, session_expiry_s=expiry_s, answer_timeout_s=60.0)
        )
        self.loop = asyncio.get_running_loop()
        self.heard = heard or (lambda _: None)
        self.opened, self.subscribed = self.loop.create_future(), asyncio.Event()
        self.wanted = 0  # messages still to be published
        self.topic, self.payload = f"iotlink/dev/nohub/{client_id}/periodic/pub/telemetry/json", PAYLOAD.encode()
        self.awaited = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.session.connected(self.loop.time())
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.session.receive(data, self.loop.time())
        for event in self.session.drain():
            if isinstance(event, Received):
                self.heard(event)
            elif isinstance(event, Opened):
                self.opened.set_result(None)
            elif isinstance(event, Subscribed):
                self.awaited -= 1
                if not self.awaited:
                    self.subscribed.set()
        self.pump()

    def pump(self) -> None:
        """Keep the window full."""
        while self.wanted and self.session.unfinished < WINDOW:
            self.wanted -= 1
            self.session.publish(Publish("telemetry", self.topic, self.payload), self.loop.time())
        self.flush()

    def flush(self) -> None:
        if data := self.session.take():
            self.transport.write(data)

    async def subscribe(self, *filters: str) -> None:
        self.awaited = len(filters)
        self.subscribed.clear()
        self.session.subscribe(filters, self.loop.time())
        self.flush()
        await self.subscribed.wait()


class Bench:
    """The connections, and what they send."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud = cloud
        iot = cloud.client("iot")
        made = iot.create_keys_and_certificate(setAsActive=True)
        iot.create_policy(policyName="all", policyDocument=json.dumps(ALL_OF_IT))
        iot.attach_policy(policyName="all", target=made["certificateArn"])
        (folder / "cert.pem").write_text(made["certificatePem"])
        (folder / "key.pem").write_text(made["keyPair"]["PrivateKey"])
        self.tls = ssl.create_default_context(cafile=cloud.ready["ca_file"])
        self.tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self.handshakes = asyncio.Semaphore(HANDSHAKES)

    async def connect(self, client: Client) -> Client:
        async with self.handshakes:
            await asyncio.get_running_loop().create_connection(
                lambda: client, "127.0.0.1", self.cloud.ready["mqtt_port"], ssl=self.tls, server_hostname="localhost"
            )
            await client.opened
        return client

    async def fleet(self, count: int, heard: Callable[[Received], None] | None = None) -> list[Client]:
        clients = [Client(f"Vehicle-VIN-{index:03d}", heard=heard) for index in range(count)]
        await asyncio.gather(*(self.connect(client) for client in clients))
        return clients

    async def telemetry(self, devices: int, count: int) -> None:
        heard = 0
        done = asyncio.Event()

        def take(_: Received) -> None:
            nonlocal heard
            heard += 1
            if heard >= count:
                done.set()

        backend = await self.connect(Client("backend", heard=take, expiry_s=3600))
        await backend.subscribe("iotlink/+/+/+/+/+/+/+")
        fleet = await self.fleet(devices)
        began, cpu = time.perf_counter(), cpu_s(self.cloud.process.pid)
        for index, client in enumerate(fleet):
            client.wanted = count // devices + (index < count % devices)
            client.pump()
        await done.wait()
        self.say(f"{devices} devices, QoS 1, one subscriber", count, began, cpu)
        self.close([backend, *fleet])
        await asyncio.sleep(0.2)

    async def shadows(self, devices: int, count: int) -> None:
        heard = 0
        done = asyncio.Event()

        def take(event: Received) -> None:
            nonlocal heard
            heard += event.topic.endswith("/accepted")
            if heard >= count:
                done.set()

        fleet = await self.fleet(devices, take)
        for client in fleet:
            topic = f"$aws/things/{client.session.client_id}/shadow/update"
            await client.subscribe(f"{topic}/accepted", f"{topic}/delta", f"{topic}/rejected")
            client.topic = topic
            client.payload = b'{"state":{"reported":{"batteryStatus":80,"speed_kmh":54.2,"tyres":{"fl":2.3,"fr":2.4}}}}'
        began, cpu = time.perf_counter(), cpu_s(self.cloud.process.pid)
        for index, client in enumerate(fleet):
            client.wanted = count // devices + (index < count % devices)
            client.pump()
        await done.wait()
        self.say(f"{devices} devices, shadow updates", count, began, cpu)
        self.close(fleet)
        await asyncio.sleep(0.2)

    async def job(self, devices: int) -> None:
        iot = self.cloud.client("iot")
        succeeded = 0
        done = asyncio.Event()
        clients: dict[str, Client] = {}

        def take(event: Received) -> None:
            nonlocal succeeded
            thing = event.topic.split("/")[2]
            if event.topic.endswith("/notify-next"):
                execution = json.loads(event.payload).get("execution")
                if execution:
                    for status in ("IN_PROGRESS", "SUCCEEDED"):
                        topic = f"$aws/things/{thing}/jobs/{execution['jobId']}/update"
                        payload = json.dumps({"status": status, "clientToken": status}).encode()
                        clients[thing].session.publish(Publish("job", topic, payload), 0.0)
            elif b"SUCCEEDED" in event.payload:
                succeeded += 1
                if succeeded >= devices:
                    done.set()

        def provision() -> None:
            iot.create_thing_group(thingGroupName="fleet")
            for index in range(devices):
                name = f"Vehicle-VIN-{index:03d}"
                iot.create_thing(thingName=name)
                iot.add_thing_to_thing_group(thingGroupName="fleet", thingName=name)

        await asyncio.to_thread(provision)
        fleet = await self.fleet(devices, take)
        for client in fleet:
            clients[client.session.client_id] = client
            topic = f"$aws/things/{client.session.client_id}/jobs"
            await client.subscribe(f"{topic}/notify-next", f"{topic}/+/update/accepted")
        began, cpu = time.perf_counter(), cpu_s(self.cloud.process.pid)
        arn = f"arn:aws:iot:{self.cloud.ready['region']}:{self.cloud.ready['account_id']}:thinggroup/fleet"
        await asyncio.to_thread(
            lambda: self.cloud.client("iot").create_job(jobId="ota", targets=[arn], document='{"operation": "none"}')
        )
        print(f"  CreateJob answered after {time.perf_counter() - began:.1f} s")
        await done.wait()
        self.say("one job: devices that were told and reported twice", devices, began, cpu)
        self.close(fleet)

    def close(self, clients: list[Client]) -> None:
        for client in clients:
            client.session.disconnect()
            client.flush()
            client.transport.close()

    def say(self, what: str, count: int, began: float, cpu: float) -> None:
        took_s, cpu = time.perf_counter() - began, cpu_s(self.cloud.process.pid) - cpu
        print(f"{what}: {count / took_s:,.0f}/s, {1e6 * cpu / count:,.0f} us of the cloud's CPU each", flush=True)


async def measure(cloud: Cloud, folder: Path, count: int) -> None:
    bench = Bench(cloud, folder)
    await bench.telemetry(10, count)
    await bench.telemetry(500, count)
    await bench.shadows(100, count // 4)
    await bench.job(500)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cloud = start(folder)
        try:
            asyncio.run(measure(cloud, folder, count))
        finally:
            stop(cloud.process)
            if "-v" in sys.argv:
                print((folder / "log.txt").read_text()[-3000:])


if __name__ == "__main__":
    sys.path.insert(0, ".")
    main()
