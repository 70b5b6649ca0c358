"""Devices that connect as somebody else, at a real mosquitto: what the broker does about it, and that it ends."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from simulator.device import Device
from simulator.faults.bad_certificate import BadCertificate
from simulator.faults.crash import Crash
from simulator.faults.duplicate_client_id import DuplicateClientId
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.links import Link, Sink
from simulator.links.mqtt import Mqtt
from simulator.runtime.broker import Broker
from simulator.runtime.downloads import Downloads
from simulator.runtime.engine import Engine
from simulator.targets import Addresses
from tests.core.fleets import QUICK, fleet, profile
from tests.links.mqtt_peers import MOSQUITTO, PATIENCE_S, Certificates, run
from tests.links.mqtt_peers import Broker as Mosquitto

pytestmark = [pytest.mark.peer, pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")]
THINGS = ["Pump-001", "Pump-002"]


class Bench:
    """Two pumps at a broker that asks for certificates, or at one that does not."""

    def __init__(self, at: Addresses, identities: Path) -> None:
        self.fleet: Fleet = fleet(profile(QUICK), THINGS, start_ms=time.time_ns() // 1_000_000)
        self.ledger = Ledger()
        broker, loop = Broker(at, identities, 1), asyncio.get_running_loop()

        def link(device: Device, sink: Sink) -> Link:
            at = broker.endpoint(device, profile(QUICK).link)
            return Mqtt(at._replace(backoff_first_s=0.02, backoff_max_s=0.1), sink, loop)

        self.engine = Engine(
            self.fleet,
            lambda device, sink: Mqtt(
                broker.endpoint(device, profile(QUICK).link)._replace(backoff_first_s=0.02, backoff_max_s=0.1),
                sink,
                loop,
            ),
            Downloads(),
            self.ledger,
        )
        self.engine.start(0)
        self.engine.start(1)

    def of(self, thing: str, kind: str) -> list[dict[str, Any]]:
        return [dict(event.detail) for event in self.ledger.events if (event.thing, event.kind) == (thing, kind)]

    async def until(self, so: Callable[[], bool]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while not so():
                    await asyncio.sleep(0.005)
        assert so(), [(event.thing, event.kind, event.detail) for event in self.ledger.events][-20:]

    async def talked(self) -> None:
        """A while of ordinary life."""
        before = self.ledger.acknowledged["telemetry"]
        await self.until(lambda: self.ledger.acknowledged["telemetry"] > before + 20)

    def online(self) -> list[bool]:
        return [device.online for device in self.fleet.devices]


def play(at: Addresses, identities: Path, story: Callable[[Bench], Awaitable[None]]) -> None:
    async def test() -> None:
        bench = Bench(at, identities)
        try:
            await bench.until(lambda: bench.online() == [True, True])
            await story(bench)
            assert bench.engine.failure is None
        finally:
            await bench.engine.close()

    run(test)


@pytest.fixture
def mutual(broker: Mosquitto, certificates: Certificates, tmp_path: Path) -> tuple[Addresses, Path]:
    """Where certificates are asked for, as where there is an account."""
    for thing in THINGS:
        for kind, file in (("cert", certificates.client.cert_file), ("key", certificates.client.key_file)):
            assert file
            shutil.copy(file, tmp_path / f"{thing}.{kind}.pem")
    at = Addresses(
        "endpoints", "t", "r", "localhost", broker.tls_port, "https://localhost:1", str(certificates.ca_file)
    )
    assert at.has_account
    return at, tmp_path


@pytest.mark.parametrize("wrong", ["expired", "unknown"])
def test_a_bad_certificate_is_refused_until_it_is_a_good_one_again(mutual: tuple[Addresses, Path], wrong: Any) -> None:
    async def story(bench: Bench) -> None:
        bench.engine.inject(0, BadCertificate(certificate=wrong))
        await bench.until(lambda: len(bench.of(THINGS[0], "disconnected")) > 3)
        reasons = {detail["reason"] for detail in bench.of(THINGS[0], "disconnected")[1:]}
        assert all("TLS" in reason or "closed" in reason or "reset" in reason for reason in reasons), reasons
        assert bench.online() == [False, True]
        assert len(bench.of(THINGS[0], "connected")) == 1
        bench.engine.clear(0, None)
        await bench.until(lambda: bench.online() == [True, True])
        assert len(bench.of(THINGS[1], "disconnected")) == 0

    play(*mutual, story)


def test_a_copy_and_the_one_it_copies_end_each_other(mutual: tuple[Addresses, Path]) -> None:
    async def story(bench: Bench) -> None:
        bench.engine.inject(1, DuplicateClientId(of=THINGS[0]))
        await bench.until(lambda: all(len(bench.of(thing, "disconnected")) > 3 for thing in THINGS))
        reasons = {detail["reason"] for thing in THINGS for detail in bench.of(thing, "disconnected")} - {"made anew"}
        assert all("taken over" in reason or "closed" in reason or "reset" in reason for reason in reasons), reasons
        bench.engine.clear(1, None)
        await bench.until(lambda: bench.online() == [True, True])
        await bench.talked()  # what was under way may still arrive; then there is peace
        before = len(bench.of(THINGS[0], "disconnected"))
        await bench.talked()
        assert len(bench.of(THINGS[0], "disconnected")) == before

    play(*mutual, story)


def test_a_broker_without_certificates_has_nothing_to_refuse(broker: Mosquitto, tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.engine.inject(0, BadCertificate())
        await bench.until(lambda: bool(bench.of(THINGS[0], "fault_idle")))
        await bench.until(lambda: bench.online() == [True, True])
        assert [note["why"] for note in bench.of(THINGS[0], "fault_idle")] == ["this broker asks for no certificate"]

    play(Addresses("endpoints", "t", "r", "127.0.0.1", broker.port, mqtt_tls=False), tmp_path, story)


def test_a_device_that_is_dark_connects_as_somebody_else_when_it_is_back(mutual: tuple[Addresses, Path]) -> None:
    async def story(bench: Bench) -> None:
        bench.engine.inject(0, Crash(off_s=0.2))
        await bench.until(lambda: not bench.fleet.devices[0].powered)
        bench.engine.inject(0, BadCertificate())
        await bench.until(lambda: bench.fleet.devices[0].powered)
        await bench.until(lambda: len(bench.of(THINGS[0], "disconnected")) > 2)
        assert not bench.online()[0]
        bench.engine.clear(0, None)
        await bench.until(lambda: bench.online() == [True, True])

    play(*mutual, story)
