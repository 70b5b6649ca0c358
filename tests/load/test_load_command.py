"""`fleetsim load`, as its users run it: verdicts, interruptions, wrong input, and that nothing is left of it."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from simulator.report import json_report
from simulator.report.facts import Report
from tests.links.mqtt_peers import MOSQUITTO, make_certificates
from tests.load.load_processes import Started, free_port, of_ours
from tests.load.load_table import table

Start = Callable[..., Started]
LOAD = (sys.executable, "-m", "simulator", "load")
SMALL, SLOW_STORE = (Path(__file__).parent / name for name in ("small.yaml", "slow-store.yaml"))
BROKER_ONLY = """\
scenario: plain
fleet: [{profile: vehicle-sedan, count: 12, name: "V-{n}"}]
load: {shape: {kind: ramp, to: 12, over_s: 1, hold_s: 4}, every_s: 0.5}
checks: [{kind: devices, equals: 12}]
"""


def report_of(process: Started) -> Report:
    return json_report.load(process.folder / "out" / "report.json")


def variant(folder: Path, name: str, **more: Any) -> Path:
    """A scenario of a few cars, as JSON, which is YAML."""
    said: dict[str, Any] = {
        "scenario": name,
        "fleet": [{"profile": "vehicle-sedan", "count": 12, "name": "V-{n}"}],
        "load": {"shape": {"kind": "ramp", "to": 12, "over_s": 1, "hold_s": 6}, "every_s": 0.5},
        "checks": [{"kind": "lost", "equals": 0}],
    }
    path = folder / f"{name}.yaml"
    path.write_bytes(orjson.dumps(said | more))
    return path


@pytest.mark.e2e
def test_a_load_ends_with_checks_a_verdict_and_reports(start: Start) -> None:
    load = start(*LOAD, SMALL, "--processes", 2, "--out", "out", "--set", "hold_s=6", "--", "--csv", "run")
    assert load.wait() == 0, load.stderr
    out = (load.folder / "stdout").read_text()
    assert "PASSED: 5 of 5 checks" in out
    assert all(f"out/{name}" in out for name in ("report.html", "report.json", "junit.xml"))
    report = report_of(load)
    assert report.load
    assert report.load.shape["kind"] == "ramp"
    assert {row.method for row in report.load.rows} >= {"MQTT", "TCP", "REST", "GET"}
    page = (load.folder / "out" / "report.html").read_text()
    assert "run by 2 workers" in page
    assert (load.folder / "run_stats.csv").exists(), "what comes after -- is for Locust"
    assert not of_ours(page + load.stderr)


@pytest.mark.e2e
def test_the_last_good_level_is_found_and_gone_back_to(start: Start, tmp_path: Path) -> None:
    shape = {
        "kind": "knee", "start": 2, "step": 4, "to": 12, "every_s": 4, "settle_s": 1, "hold_s": 4,
        "checks": [{"kind": "devices", "at_most": 7}],
    }  # fmt: skip
    scenario = variant(
        tmp_path, "knee", load={"shape": shape, "every_s": 0.5}, checks=[{"kind": "devices", "equals": 6}]
    )
    load = start(*LOAD, scenario, "--out", "out")
    assert load.wait() == 0, load.stderr
    report = report_of(load)
    assert report.load
    assert [(level.devices, level.passed) for level in report.load.levels] == [(2, True), (6, True), (10, False)]
    assert report.load.knee == 6
    assert "last good level: 6 devices; at 10 no more: devices connected: 10" in (load.folder / "stdout").read_text()


@pytest.mark.e2e
def test_a_slow_store_is_red_and_the_report_says_where(start: Start) -> None:
    load = start(*LOAD, SLOW_STORE, "--processes", 2, "--out", "out")
    assert load.wait() == 1, load.stderr
    report = report_of(load)
    assert [check.passed for check in report.checks] == [False, True, True, True]
    found = report.load
    assert found
    (fault,) = found.faults
    assert fault.words == "slow_answers of the backend's store (ms 800)"
    assert found.where.startswith("backend → store, from ")
    assert found.where.endswith(f"; on then: {fault.words}")
    assert found.where in report.reason
    late = {one.row: one for one in found.troubles if one.row.endswith(" telemetry → stored")}
    assert set(late) == {"MQTT telemetry → stored", "TCP telemetry → stored", "REST telemetry → stored"}
    assert "acknowledged as quickly as ever" in late["MQTT telemetry → stored"].words
    for one in late.values():
        assert abs(one.since_ms - fault.begin_ms) <= 3000, "since when"
        assert one.faults == [fault.words]
    assert {course.of for course in found.courses} == {"all", "MQTT", "TCP", "REST"}
    page = (load.folder / "out" / "report.html").read_text()
    assert "Where it went wrong" in page
    assert "shaded: A slow_answers of the backend&#39;s store (ms 800)" in page
    assert "where: backend → store, from " in (load.folder / "stdout").read_text()


@pytest.mark.e2e
def test_the_same_load_without_the_fault_is_green(start: Start) -> None:
    load = start(*LOAD, SLOW_STORE, "--out", "out", "--set", "slow_ms=1", "--", "--csv", "run")
    assert load.wait() == 0, load.stderr
    report = report_of(load)
    assert report.load
    assert (report.reason, report.load.where, report.load.troubles) == ("", "", [])
    rows = {(row.method, row.name): row.count for row in report.load.rows}
    assert rows["MQTT", "telemetry → stored"] == rows["MQTT", "telemetry"]
    ours = {(row["Type"], row["Name"]): int(row["Count"]) for row in table(load, "run_fleet")}
    assert ours == rows, "Locust's folder has the same table"


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_load_has_a_report_and_leaves_nothing(start: Start, number: signal.Signals) -> None:
    load = start(*LOAD, SMALL, "--processes", 2, "--out", "out", "--set", "hold_s=60")
    load.until(lambda: "fault injected" in load.stderr, "the middle of it")
    load.process.send_signal(number)
    assert load.wait() == 130
    report = report_of(load)
    assert (report.verdict, report.exit_code, report.checks) == ("interrupted", 130, [])
    assert not of_ours(load.stderr)


@pytest.mark.e2e
def test_a_killed_load_leaves_nothing(start: Start) -> None:
    load = start(*LOAD, SMALL, "--processes", 2, "--out", "out", "--set", "hold_s=60")
    load.until(lambda: "fault injected" in load.stderr, "the middle of it")
    load.process.kill()
    assert load.wait() == -signal.SIGKILL


@pytest.mark.e2e
def test_when_the_sandbox_dies_that_is_the_reason(start: Start) -> None:
    load = start(*LOAD, SMALL, "--processes", 2, "--out", "out", "--set", "hold_s=60")
    load.until(lambda: "fault injected" in load.stderr, "the middle of it")
    os.kill(load.pid_of("backend"), signal.SIGKILL)
    assert load.wait() == 3
    report = report_of(load)
    assert report.verdict == "unavailable"
    assert "backend" in report.reason
    assert "signal 9" in report.reason


# Wrong input, and targets that are not as they should be


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nope",), "no such file: "),
        (("alarm-to-ota",), "scenario 'alarm-to-ota' has no shape (`load: shape:`): say how many --users there are"),
        (("load-mixed", "--users", "5"), "with --users the scenario's shape does not count: say how long"),
        (("load-mixed", "--set", "devices=9999"), "9999 devices are more than the 2000 of the fleet"),
        (("load-mixed", "--target", "sandbocks"), "unknown target 'sandbocks' (did you mean 'sandbox'?)"),
        (("load-mixed", "--out", "/proc/none"), "cannot write to folder '/proc/none'"),
    ],
)
def test_a_mistake_is_one_clear_line_and_nothing_is_started(start: Start, arguments: tuple[str, ...], why: str) -> None:
    load = start(*LOAD, *arguments)
    assert load.wait() == 2
    assert why in load.stderr
    assert not of_ours(load.stderr)


@contextmanager
def _false_server(folder: Path) -> Iterator[int]:
    """A TLS server with a certificate of its own making."""
    certificates = make_certificates(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert_file, certificates.server_key_file)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                        tls.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def _target(folder: Path, port: int, **more: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_bytes(
        orjson.dumps({"target": "mine", "kind": "endpoints", "mqtt_host": "127.0.0.1", "mqtt_port": port} | more)
    )
    return path


def _plain(folder: Path) -> Path:
    path = folder / "plain.yaml"
    path.write_text(BROKER_ONLY)
    return path


def test_a_host_that_is_not_there_is_one_clear_line(start: Start, tmp_path: Path) -> None:
    port = free_port()
    target = _target(tmp_path, port, mqtt_tls=False)
    load = start(*LOAD, _plain(tmp_path), "--target", target, "--yes", "--out", "out")
    assert load.wait() == 3
    assert f"the broker at 127.0.0.1:{port} cannot be reached: Connection refused" in load.stderr.splitlines()
    assert not of_ours(load.stderr)


def test_a_certificate_that_nobody_vouches_for_is_one_clear_line(start: Start, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    ours = make_certificates(tmp_path / "ours")
    with _false_server(tmp_path / "theirs") as port:
        target = _target(tmp_path, port, ca_file=str(ours.ca_file))
        load = start(*LOAD, _plain(tmp_path), "--target", target, "--yes", "--out", "out", "--processes", 2)
        assert load.wait() == 3
    (said,) = [line for line in load.stderr.splitlines() if "certificate" in line]
    assert said.startswith(f"the broker at 127.0.0.1:{port} shows a certificate that '{ours.ca_file}' do not vouch for")


@pytest.mark.e2e
@pytest.mark.peer
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_a_broker_that_is_full_is_one_clear_line_and_a_failed_check(start: Start, tmp_path: Path) -> None:
    assert MOSQUITTO
    port, config = free_port(), tmp_path / "mosquitto.conf"
    config.write_text(f"allow_anonymous true\nlog_type none\nuser root\nlistener {port} 127.0.0.1\nmax_connections 5\n")
    broker = subprocess.Popen([MOSQUITTO, "-c", str(config)])
    try:
        target = _target(tmp_path, port, mqtt_tls=False)
        load = start(*LOAD, _plain(tmp_path), "--target", target, "--yes", "--out", "out")
        assert load.wait() == 1, load.stderr
    finally:
        broker.terminate()
        broker.wait(10)
    said = [line for line in load.stderr.splitlines() if line.startswith("devices cannot connect: ")]
    assert 1 <= len(said) <= 2, "a line for each reason"
    assert all(line.endswith(" of 12 are connected)") for line in said)
    (check,) = report_of(load).checks
    assert (check.name, check.passed) == ("devices connected", False)
    assert check.measured in (5, 6), "mosquitto counts in its own way"
