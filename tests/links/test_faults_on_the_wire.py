"""Faults of the network on real sockets: what a real mosquitto saw of them, and that nothing is lost."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from simulator.faults import Fault
from simulator.links import Endpoint, TlsFiles
from simulator.messages import Publish
from tests.core.fleets import THING, profile
from tests.links.fault_bench import NETWORK, ON_BOTH, PUMP, Bench, fault, has_struck, patience_s, run, was_seen
from tests.links.fault_far_sides import Ear, Platform, over_mqtt
from tests.links.mqtt_peers import MOSQUITTO, Broker, Certificates

pytestmark = [pytest.mark.peer, pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")]


@pytest.mark.parametrize(
    ("what", "on_uvloop"),
    [*((what, True) for what in NETWORK), *((what, False) for what in NETWORK if what.params["kind"] in ON_BOTH)],
    ids=lambda value: str(value.params) if isinstance(value, Fault) else None,
)
def test_over_a_bad_network_nothing_is_lost(broker: Broker, tmp_path: Path, what: Fault, on_uvloop: bool) -> None:
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
def test_over_mutual_tls_too(broker: Broker, certificates: Certificates, what: Fault) -> None:
    async def story() -> None:
        async with Ear(broker) as ear:
            tls = {"host": "localhost", "port": broker.tls_port, "tls": certificates.client}
            bench = Bench(over_mqtt(broker, ack_timeout_s=patience_s(what), **tls), profile(PUMP))
            await bench.suffer(what, has_struck(bench, what))
            await bench.until(lambda: set(ear.stamps()) == bench.stamps())
            was_seen(bench, what)

    run(story)


def test_the_device_is_there_twice_after_half_a_connection(broker: Broker) -> None:
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
def test_awscrt_is_cut_and_kept_away_as_well(broker: Broker, certificates: Certificates, kind: str) -> None:
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
