"""The engine child and the coordinator, each alone at the other end of a pipe: real processes with a real sandbox."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import pytest

from simulator.runtime import accounts
from tests.e2e.fleetsim_command import listening
from tests.links.mqtt_peers import MOSQUITTO, make_certificates, mosquitto
from tests.load.load_processes import Started

Start = Callable[..., Started]
CHILD = (sys.executable, "-m", "simulator.runtime.child")
COORDINATOR = (sys.executable, "-m", "simulator.runtime.coordinator")


@pytest.fixture
def coordinator(start: Start) -> Started:
    """A coordinator that is ready, with the fleet of the shipped scenario."""
    coordinator = start(*COORDINATOR, "--scenario", "alarm-to-ota")
    coordinator.until(lambda: _said(coordinator, "ready"), "ready")
    return coordinator


@pytest.fixture
def child(start: Start, coordinator: Started) -> Started:
    """An engine for its fleet."""
    child = start(*CHILD, "--brief", _brief(coordinator), "--name", "worker-1")
    child.until(lambda: _said(child, "ready"), "ready")
    return child


def _said(process: Started, key: str) -> list[Any]:
    return [line[key] for line in process.lines() if key in line]


def _brief(coordinator: Started) -> str:
    return str(next(line["brief"] for line in coordinator.lines() if "ready" in line))


def _tell(process: Started, **command: Any) -> None:
    process.tell(orjson.dumps(command))


def _counted(child: Started) -> Counter[str]:
    """How often what was reported, by row."""
    counts: Counter[str] = Counter()
    for row in (row for rows in _said(child, "rows") for row in rows):
        counts[row["name"]] += sum(row["latency"][4]) + row["untimed"]
        assert not row["failed"], row
    return counts


def _events(child: Started, kind: str) -> list[Any]:
    return [event for events in _said(child, "events") for event in events if event[1] == kind]


def _now_ms() -> int:
    return int(time.time() * 1000)


@pytest.mark.e2e
def test_devices_start_report_stop_and_are_as_new_in_the_next_test(child: Started) -> None:
    _tell(child, begin={"run": 1, "start_ms": _now_ms()})
    _tell(child, start=[0, 1, 2, 3, 4, 5, 6, 39])
    child.until(lambda: _counted(child)["telemetry"] >= 16, "telemetry")
    _tell(child, stop=[0, 1])
    _tell(child, start=[0])
    child.until(lambda: _counted(child)["connect"] == 9, "the device that came back")
    _tell(child, settle=True)
    child.until(lambda: len(_said(child, "settled")) == 1, "settled")
    assert "settled" in child.lines()[-1], "everything was told before"
    first = _counted(child)
    assert set(first) == {"connect", "telemetry", "shadow_get", "shadow_update", "job_get", "package_report"}

    _tell(child, begin={"run": 2, "start_ms": _now_ms()})
    _tell(child, start=[0, 1, 2])
    child.until(lambda: _counted(child)["telemetry"] > first["telemetry"], "telemetry of the second test")
    _tell(child, settle=True)
    child.until(lambda: len(_said(child, "settled")) == 2, "settled again")
    assert _counted(child)["package_report"] == first["package_report"] + 3, "new devices report their version"
    assert child.process.stdin
    child.process.stdin.close()
    assert child.wait() == 0


@pytest.mark.e2e
def test_a_fault_comes_at_its_moment_to_the_devices_it_is_for(child: Started) -> None:
    _tell(child, begin={"run": 1, "start_ms": _now_ms()})
    _tell(child, start=[0, 1, 2])
    child.until(lambda: len(_events(child, "connected")) == 3, "connections")
    at_ms = _now_ms() + 500
    fault = {"kind": "bias", "signal": "engine_temp_c", "by": 60}
    _tell(child, inject={"at_ms": at_ms, "devices": [0, 2], "fault": fault})
    child.until(lambda: len(_events(child, "fault_injected")) == 2, "the fault")
    things = [event[2] for event in _events(child, "fault_injected")]
    assert things == ["Vehicle-VIN-001", "Vehicle-VIN-003"]
    assert all(event[0] >= at_ms - 5 for event in _events(child, "fault_injected")), "not before"
    child.until(lambda: any(_said(child, "readings")[-1:]), "what the broken ones measure")
    assert set(_said(child, "readings")[-1]) == set(things)
    _tell(child, clear={"at_ms": 0, "devices": [0], "fault": "bias"})
    child.until(lambda: _events(child, "fault_cleared"), "the end of one")
    devices = {row[0]: row for rows in _said(child, "devices") for row in rows}
    assert [bool(devices[index][4]) for index in (0, 1, 2)] == [False, False, True]


@pytest.mark.e2e
def test_silence_and_then_an_account_of_every_message(child: Started) -> None:
    _tell(child, begin={"run": 1, "start_ms": _now_ms()})
    _tell(child, start=[0, 1, 2, 3])
    child.until(lambda: _counted(child)["telemetry"] >= 4, "telemetry")
    _tell(child, silence=True)
    child.until(lambda: any(_said(child, "silent")), "silence")
    _tell(child, account=True)
    child.until(lambda: _said(child, "account"), "the account")
    counts, account = accounts.read(Path(_said(child, "account")[0]))
    assert counts == _said(child, "counts")[-1]
    assert account.rows == counts["attempted"]["telemetry"] == counts["acknowledged"]["telemetry"]
    assert _counted(child)["telemetry"] == counts["acknowledged"]["telemetry"], "rows and counters agree"


@pytest.mark.e2e
def test_whoever_started_it_dies_and_what_was_said_is_still_accounted_for(coordinator: Started, child: Started) -> None:
    _tell(child, begin={"run": 7, "start_ms": _now_ms()})
    _tell(child, start=[0, 1, 2, 3])
    child.until(lambda: _counted(child)["telemetry"] >= 4, "telemetry")
    assert child.process.stdin
    child.process.stdin.close()
    assert child.wait() == 0
    counts, _ = accounts.read(Path(_brief(coordinator)).parent / "account-7-worker-1.npz")
    assert counts["acknowledged"]["telemetry"] == counts["attempted"]["telemetry"] >= 4


@pytest.mark.e2e
def test_a_signal_ends_it(child: Started) -> None:
    _tell(child, start=[0])
    child.until(lambda: _counted(child)["connect"], "a connection")
    child.process.send_signal(signal.SIGTERM)
    assert child.wait() == 0
    assert child.stderr == ""


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("command", "why"), [(b'{"start": [40]}', "no such device among 40: [40]"), (b"hello", "not a command: ")]
)
def test_what_is_no_command_ends_it(child: Started, command: bytes, why: str) -> None:
    child.tell(command)
    assert child.wait() == 2
    last = child.lines()[-1]
    assert last["exit_code"] == 2
    assert why in last["error"]


def test_a_worker_without_the_state_folder_is_told_so(start: Start) -> None:
    child = start(*CHILD, "--brief", "/nowhere/load/brief.json", "--name", "worker-1")
    assert child.wait() == 2
    (said,) = child.lines()
    assert "workers need the master's state folder" in said["error"]


# The coordinator


@pytest.mark.e2e
def test_a_worker_is_briefed_given_devices_and_turned_away_when_it_is_another_version(coordinator: Started) -> None:
    def hear(worker: str, **said: Any) -> None:
        _tell(coordinator, **{"from": worker, "said": said})

    def told(worker: str) -> list[dict[str, Any]]:
        return [line["tell"] for line in coordinator.lines() if line.get("to") == worker]

    ours = {"fleetsim": "0.1.0", "locust": version("locust")}
    hear("w1", hello=ours)
    hear("w2", hello={**ours, "fleetsim": "9.9"})
    coordinator.until(lambda: told("w2"), "answers")
    assert told("w1") == [{"plan": {"brief": _brief(coordinator), "name": "worker-1"}}]
    why = "this worker runs fleetsim 9.9, its master 0.1.0: install the same version"
    assert told("w2") == [{"refused": why}]
    hear("w1", ready=True)
    _tell(coordinator, begin=True)
    hear("w1", want={"mqtt": 3})
    coordinator.until(lambda: "grant" in told("w1")[-1], "devices")
    assert sorted(told("w1")[1]["begin"]) == ["run", "start_ms"]
    _tell(coordinator, gone="w1")
    coordinator.until(lambda: _said(coordinator, "failed"), "the end of a test without workers")
    assert _said(coordinator, "failed")[0]["error"] == "no worker is left: worker-1 does not answer any more"
    _tell(coordinator, end="stopped")
    coordinator.until(lambda: _said(coordinator, "ended"), "the end")
    assert _said(coordinator, "ended")[0]["exit_code"] == 3


@pytest.mark.e2e
def test_the_coordinator_ends_when_its_parent_is_gone_before_it_is_ready(start: Start) -> None:
    coordinator = start(*COORDINATOR, "--scenario", "alarm-to-ota")
    coordinator.until(coordinator.lines, "its first words")
    assert coordinator.process.stdin
    coordinator.process.stdin.close()
    assert coordinator.wait() == 0


@pytest.mark.e2e
def test_its_last_words_name_the_part_of_the_sandbox_that_died(coordinator: Started) -> None:
    pid = coordinator.pid_of("backend")
    os.kill(pid, signal.SIGKILL)
    assert coordinator.wait() == 3
    last = coordinator.lines()[-1]
    assert last["error"] == f"the sandbox's backend (pid {pid}) was killed by signal 9"
    assert last["exit_code"] == 3
    assert last["log_tail"]


@pytest.mark.e2e
@pytest.mark.peer
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_it_can_be_told_what_to_do_from_outside_on_the_sandbox_only(
    start: Start, coordinator: Started, tmp_path: Path
) -> None:
    assert len(listening(coordinator.process.pid)) == 1
    scenario, target = tmp_path / "plain.yaml", tmp_path / "mine.yaml"
    scenario.write_text(
        'scenario: plain\nfleet: [{profile: vehicle-sedan, count: 2, name: "V-{n}"}]\n'
        "load: {shape: {kind: ramp, to: 2, over_s: 1, hold_s: 1}}\nchecks: [{kind: devices, equals: 2}]\n"
    )
    with mosquitto(tmp_path, make_certificates(tmp_path)) as broker:
        target.write_text(
            f"target: mine\nkind: endpoints\nmqtt_host: 127.0.0.1\nmqtt_port: {broker.port}\nmqtt_tls: false\n"
        )
        elsewhere = start(*COORDINATOR, "--scenario", scenario, "--target", target, "--yes")
        elsewhere.until(lambda: _said(elsewhere, "ready"), "ready")
        assert listening(elsewhere.process.pid) == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--scenario", "nope"), "no such file: "),
        (
            ("--scenario", "alarm-to-ota", "--target", "sandbocks"),
            "unknown target 'sandbocks' (did you mean 'sandbox'?)",
        ),
        (("--scenario", "alarm-to-ota", "--target", "aws"), "this would write things, certificates, packages"),
        (("--scenario", "alarm-to-ota", "--state", "/proc/none"), "cannot make the folder '/proc/none'"),
        (("--scenario", "alarm-to-ota", "--set", "x=1"), "has no such parameter"),
    ],
)
def test_a_mistake_is_one_clear_line_and_nothing_is_started(start: Start, arguments: tuple[str, ...], why: str) -> None:
    coordinator = start(*COORDINATOR, *arguments)
    assert coordinator.wait() == 2
    (said,) = coordinator.lines()
    assert why in said["error"]
    assert coordinator.stderr == ""
