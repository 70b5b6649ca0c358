"""How many devices a machine carries: the arithmetic by tables, this machine, and several local addresses."""

import asyncio
import resource
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from simulator import scenarios
from simulator.cli import run as command
from simulator.errors import UsageError
from simulator.links import Endpoint
from simulator.links.mqtt import Mqtt
from simulator.profiles import family, profile
from simulator.runtime import capacity
from simulator.runtime.broker import Broker
from simulator.runtime.capacity import Demand, Machine, connections, demand, memory, plan, sources_wanted
from simulator.scenarios import Scenario
from simulator.schema import parse
from simulator.targets import Addresses, Target
from tests.links.mqtt_peers import MOSQUITTO, Certificates, Recorder, make_certificates, make_link, mosquitto, run

GB = 1 << 30
THERE = Machine(20_000, 24 * GB, 28_232, ("192.0.2.2", "192.0.2.3"))
BROKER = Target(target="b", kind="endpoints", mqtt_host="127.0.0.1", mqtt_tls=False)


def wanted(mqtt: int, **more: Any) -> Demand:
    told = {"devices": mqtt, "mqtt": mqtt, "tcp": 0, "rest": 0, "state": mqtt, "tls": False, "sandbox": False}
    return Demand(**{**told, "loopback": True, "processes": 1, **more})


# The arithmetic


@pytest.mark.parametrize(
    ("asked", "files"),
    [
        (wanted(19_000), 19_000),
        (wanted(10_000, tcp=5000), 15_000),
        (wanted(1000, rest=5000), 1016),
        (wanted(1000, rest=3), 1003),
        (wanted(30_000, processes=4), 7500),
        (wanted(30_000, processes=4, sandbox=True), 30_000),  # all of them end in one broker
        (wanted(3000, tcp=5000, processes=4, sandbox=True), 5000),
        (wanted(0), 0),
    ],
)
def test_the_connections_of_a_process(asked: Demand, files: int) -> None:
    assert connections(asked) == files


@pytest.mark.parametrize(
    ("asked", "ports", "sources"),
    [
        (wanted(25_000), 28_232, 1),
        (wanted(25_500), 28_232, 2),
        (wanted(25_000, tcp=25_000), 28_232, 1),  # two destinations have their own each
        (wanted(60_000), 28_232, 3),
        (wanted(10_000), 1000, 12),
        (wanted(10_000), None, 1),
        (wanted(0), 28_232, 1),
    ],
)
def test_the_local_addresses_that_are_needed(asked: Demand, ports: int | None, sources: int) -> None:
    assert sources_wanted(asked, ports) == sources


@pytest.mark.parametrize(
    ("asked", "there", "sources", "line"),
    [
        (
            wanted(40), THERE, (),
            "this machine carries 40 devices: 40 connections of 19,000 in a process, about 151 MB of 24.0 GB memory",
        ),
        (wanted(19_000), THERE, (), ": 19,000 connections of 19,000 in a process,"),
        (wanted(19_000), THERE._replace(ports=10_000), ("127.0.0.1", "127.0.0.2", "127.0.0.3"),
         ", from 3 local addresses (127.0.0.1 to 127.0.0.3)"),
        (wanted(19_000, loopback=False), THERE._replace(ports=11_000), ("192.0.2.2", "192.0.2.3"),
         ", from 2 local addresses (192.0.2.2 to 192.0.2.3)"),
        (wanted(40), Machine(1024, None, None, ()), (),
         "this machine carries 40 devices: 40 connections of 972 in a process"),
    ],
)  # fmt: skip
def test_what_goes(asked: Demand, there: Machine, sources: tuple[str, ...], line: str) -> None:
    found = plan(asked, there)
    assert found.sources == sources
    assert line in found.line


@pytest.mark.parametrize(
    ("asked", "there", "why"),
    [
        (
            wanted(19_001), THERE,
            "19,001 devices are more than this machine can carry: a process would have 19,001 connections, and may "
            "have 20,000 open files, so 19,000 connections; raise the hard limit (ulimit -Hn), or share the devices "
            "out (`fleetsim load --processes`, more machines)",
        ),
        (
            wanted(10_000, tls=True, sandbox=True), THERE._replace(memory=4 * GB),
            "10,000 devices are more than this machine can carry: they need about 4.9 GB of memory, with the sandbox, "
            "and 4.0 GB are free",
        ),
        (
            wanted(19_000, loopback=False), THERE._replace(ports=1000),
            "19,000 devices are more than this machine can carry: the busiest destination needs 22 local addresses of "
            "1,000 ports each, and there are 2; widen net.ipv4.ip_local_port_range, or use more machines",
        ),
    ],
)  # fmt: skip
def test_what_does_not(asked: Demand, there: Machine, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        plan(asked, there)
    assert str(refused.value) == why


def test_more_workers_carry_more() -> None:
    with pytest.raises(UsageError):
        plan(wanted(30_000), THERE)
    assert plan(wanted(30_000, processes=2), THERE).sources == ("127.0.0.1", "127.0.0.2")


def test_what_a_scenario_wants() -> None:
    scenario, profiles = scenarios.read(scenarios.find("all-channels"))
    asked = demand(scenario, profiles, Target(target="sandbox", kind="sandbox"))
    assert (asked.devices, asked.mqtt, asked.tcp, asked.rest) == (300, 160, 70, 70)
    assert asked.state > 300  # there are hubs' children, too
    assert (asked.tls, asked.sandbox, asked.loopback, asked.processes) == (True, True, True, 1)
    fewer = demand(scenario, profiles, Target(target="sandbox", kind="sandbox"), 100, 2)
    assert (fewer.devices, fewer.mqtt, fewer.tcp, fewer.rest, fewer.processes) == (100, 100, 70, 70, 2)
    far = demand(scenario, profiles, BROKER.model_copy(update={"mqtt_host": "broker.example"}))
    assert (far.tls, far.sandbox, far.loopback) == (False, False, False)
    assert memory(far) < memory(asked)


# This machine


def test_the_soft_limit_becomes_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        found = capacity.machine()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == found.files > 512 or hard <= 512
        assert found.memory is None or found.memory > 0
        assert found.ports is None or found.ports > 0
        assert not any(address.startswith("127.") for address in found.addresses)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_device_always_connects_from_the_same_address(tmp_path: Path) -> None:
    what = profile("vehicle-sedan")
    scenario = parse(
        "scenario: s\nfleet: [{profile: vehicle-sedan, count: 1000}]\ntimeline: [{kind: connect}]\n"
        "checks: [{kind: lost, equals: 0}]\n",
        "s.yaml", Scenario,
    )  # fmt: skip
    fleet = scenario.build(family(what), 1, 0, bytes(32))
    at = Addresses("endpoints", "b", "us-east-1", "127.0.0.1", 1883, mqtt_tls=False)

    def used(*sources: str) -> list[str | None]:
        broker = Broker(at, tmp_path, 1, sources)
        return [broker.endpoint(device, what.link).source for device in fleet.devices]

    assert set(used()) == {None}
    four = used("a", "b", "c", "d")
    assert used("a", "b", "c", "d") == four
    assert all(200 <= count <= 300 for count in Counter(four).values())


# Several addresses


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.peer
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_devices_connect_from_many_addresses(tmp_path: Path, certificates: Certificates, tls: bool) -> None:
    async def story() -> None:
        links: list[tuple[Mqtt, Recorder]] = []
        for n in range(40):
            port, files = (broker.tls_port, certificates.client) if tls else (broker.port, None)
            endpoint = Endpoint("localhost", port, f"d{n}", files, source=f"127.0.0.{2 + n % 20}")
            links.append(make_link(Mqtt, endpoint))
        for link, heard in links:
            link.open()
            await heard.line("connected")
        sources = Counter(link._transport.get_extra_info("sockname")[0] for link, _ in links if link._transport)
        assert sources == {f"127.0.0.{n}": 2 for n in range(2, 22)}
        for link, heard in links:
            link.close()
            await heard.line("disconnected closed")

    with mosquitto(tmp_path, certificates) as broker:
        run(story)


@pytest.mark.parametrize(("source", "why"), [("203.0.113.9", "cannot assign requested address"), ("", "refused")])
def test_an_address_that_is_not_ours_is_a_failed_attempt(source: str, why: str) -> None:
    async def story() -> None:
        link, heard = make_link(Mqtt, Endpoint("127.0.0.1", 1, "d", source=source or None))
        link.open()
        await heard.line("disconnected")
        assert why in heard.log[0]
        link.close()
        await asyncio.sleep(0)

    run(story)


@pytest.mark.peer
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_a_run_on_a_machine_with_few_ports_uses_several_addresses(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    used: Counter[str] = Counter()
    connected = Mqtt.connection_made

    def connection_made(link: Mqtt, transport: Any) -> None:
        used[transport.get_extra_info("sockname")[0]] += 1
        connected(link, transport)

    monkeypatch.setattr(Mqtt, "connection_made", connection_made)
    monkeypatch.setattr(capacity, "_ports", lambda: 5)
    with mosquitto(tmp_path, certificates) as broker:
        (tmp_path / "there.yaml").write_text(
            f"target: there\nkind: endpoints\nmqtt_host: localhost\nmqtt_port: {broker.port}\nmqtt_tls: false\n"
        )
        (tmp_path / "many.yaml").write_text(
            'scenario: many\nfleet: [{profile: vehicle-sedan, count: 20, name: "V-{n}"}]\n'
            "timeline: [{kind: connect}, {kind: expect, within_s: 20, check: {kind: devices, equals: 20}}]\n"
            "checks: [{kind: devices, equals: 20}]\n"
        )
        scenario, target = str(tmp_path / "many.yaml"), str(tmp_path / "there.yaml")
        assert command.run(scenario, None, target, tmp_path / "out", None, True, False) == 0
    assert ", from 5 local addresses (127.0.0.1 to 127.0.0.5)" in capsys.readouterr().err
    assert used.total() == 20
    assert set(used) <= {f"127.0.0.{n}" for n in range(1, 6)}
    assert len(used) > 2
