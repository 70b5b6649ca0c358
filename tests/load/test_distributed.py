"""A fleet over several workers: each device once, everything counted once, and what happens when one dies."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator.report import json_report
from simulator.report.facts import Report
from tests.load.load_processes import REPO, Started, free_port
from tests.load.load_table import table

Start = Callable[..., Started]
SMALL = Path(__file__).parent / "small.yaml"
LOCUST: tuple[Any, ...] = (
    sys.executable,
    "-m",
    "locust",
    "-f",
    REPO / "locustfile.py",
    "--scenario",
    SMALL,
    "--only-summary",
)
CHANNELS = {"MQTT", "TCP", "REST"}


@pytest.fixture
def ports() -> tuple[Any, ...]:
    """A port for a master and its workers, that no other test's find."""
    port = free_port()
    return ("--master-port", port, "--master-bind-port", port)


def report_of(process: Started) -> Report:
    return json_report.load(process.folder / "out" / "report.json")


def connected(report: Report) -> set[str]:
    return {device.thing for device in report.fleet.devices if device.state == "connected"}


@pytest.mark.e2e
def test_two_workers_run_each_device_once_and_what_they_count_is_what_is_in_the_store(start: Start, ports: Any) -> None:
    locust = start(*LOCUST, *ports, "--headless", "--processes", 2, "--out", "out", "--csv", "run")
    assert locust.wait() == 0, locust.stderr
    report = report_of(locust)
    assert report.verdict == "passed"
    assert report.load
    assert report.load.devices_most == 40

    # The workers' sums, the ledger, the store and every row are the same numbers.
    accounts = {account.kind: account for account in report.accounting}
    assert len(report.load.workers) == 2
    assert all(worker.acknowledged for worker in report.load.workers)
    for hop in ("attempted", "sent", "acknowledged"):
        assert sum(getattr(worker, hop) for worker in report.load.workers) == sum(
            getattr(account, hop) for account in report.accounting
        )
    assert accounts["telemetry"].acknowledged == accounts["telemetry"].stored
    rows: Counter[str] = Counter()
    for row in report.load.rows:
        if row.method in CHANNELS and not row.name.endswith("→ stored"):  # those are known at the end, from the audit
            rows[row.name] += row.count
    assert rows["telemetry"] == accounts["telemetry"].acknowledged
    assert rows["connect"] >= 30, "REST has no connection of its own"
    audit = report.audit
    assert audit
    assert sum(kind.said for kind in audit.kinds) == sum(accounts[kind.kind].attempted for kind in audit.kinds)

    # Locust's own statistics came the other way, through its workers' reports.
    *told, total = table(locust, "run_stats")
    of_locust: Counter[str] = Counter()
    for line in told:
        if line["Type"] in CHANNELS:
            of_locust[line["Name"]] += int(line["Request Count"])
    assert of_locust["telemetry"] == rows["telemetry"]
    assert all(of_locust[name] >= count for name, count in rows.items()), "it counts to its own end"
    assert int(total["Request Count"]) == sum(int(line["Request Count"]) for line in told)
    assert {row.method for row in report.load.rows} == CHANNELS | {"AWS", "GET", "HTTP"}
    assert {row.name: row.reasons for row in report.load.rows if row.failed} == {}
    things = [device.thing for device in report.fleet.devices]
    assert not any(thing in row.name for row in report.load.rows for thing in things), "rows are by kind"

    # The fault came to four devices, at one moment on both workers.
    (fault,) = report.faults
    injected = [event for event in report.timeline if event.kind == "fault_injected"]
    assert sorted(event.thing for event in injected) == sorted(fault.things)
    assert len(fault.things) == 4


@pytest.mark.e2e
def test_one_process_runs_the_same_devices_as_two(start: Start, ports: Any) -> None:
    alone = (*LOCUST, "--headless", "-u", 15, "-r", 15, "-t", "5s", "--out", "out", "--tags", "devices")
    locust = start(*alone)
    two = start(*alone, "--processes", 2, *ports)
    assert (locust.wait(), two.wait()) == (1, 1), "15 devices are not 40"
    assert connected(report_of(locust)) == connected(report_of(two))
    assert len(connected(report_of(two))) == 15


@pytest.mark.e2e
def test_the_devices_of_a_dead_worker_move_and_nothing_is_lost(start: Start, ports: Any) -> None:
    locust = start(
        *LOCUST, "--headless", "--processes", 2, "--out", "out", "--set", "hold_s=25", "--enable-rebalancing",
        "--loglevel", "WARNING", "--fleet-show", *ports,
    )  # fmt: skip
    locust.until(lambda: locust.stderr.count("fault injected") >= 4, "the fault, told by each of its devices")
    victim = _workers(locust)[0]
    os.kill(victim, signal.SIGKILL)
    code = locust.wait()
    report = report_of(locust)
    assert code == report.exit_code == 0, (locust.stderr, report.checks)
    assert report.load
    (lost,) = [worker for worker in report.load.workers if worker.lost]
    assert "does not answer any more" in lost.lost
    assert lost.lost in report.reason
    assert len(connected(report)) >= 37, "they moved"
    telemetry = next(account for account in report.accounting if account.kind == "telemetry")
    assert telemetry.acknowledged == telemetry.stored, "also what it said in its last moments"
    assert report.audit
    assert report.audit.unexplained == []
    assert len([event for event in report.timeline if event.kind == "fault_injected"]) == 4, "a fault moves quietly"


@pytest.mark.e2e
def test_a_master_and_workers_of_their_own_and_one_that_comes_late(start: Start, ports: Any) -> None:
    master = start(
        *LOCUST, *ports, "--master", "--headless", "--out", "out", "--set", "hold_s=30", "--enable-rebalancing",
    )  # fmt: skip
    workers = [start(*LOCUST, *ports, "--worker")]
    master.until(lambda: "fleet has" in master.stderr or "users" in master.stderr, "the first worker's users")
    workers.append(start(*LOCUST, *ports, "--worker"))
    master.until(lambda: "worker-2 joined while the test is on" in master.stderr, "the late one")
    assert master.wait() == 0, master.stderr
    assert [worker.wait() for worker in workers] == [0, 0], workers[1].stderr
    report = report_of(master)
    assert len(connected(report)) >= 37
    assert report.load
    assert [bool(worker.acknowledged) for worker in report.load.workers] == [True, True]


@pytest.mark.e2e
def test_a_worker_of_another_version_and_one_without_the_folder_are_told_so_and_end(
    start: Start, ports: Any, tmp_path: Path
) -> None:
    master = start(*LOCUST, *ports, "--master", "--headless", "--expect-workers", 9)
    locustfile = tmp_path / "old.py"
    locustfile.write_text(
        "import simulator\nsimulator.__version__ = '0.0.1'\n" + (REPO / "locustfile.py").read_text().split('"""', 2)[2]
    )
    other = start(sys.executable, "-m", "locust", "-f", locustfile, *ports, "--worker")
    assert other.wait() == 2
    said = [line for line in other.stderr.splitlines() if "INFO" not in line]
    assert said == ["this worker runs fleetsim 0.0.1, its master 0.1.0: install the same version"]
    assert "a worker was turned away: it runs fleetsim 0.0.1, this is 0.1.0" in master.stderr
    [brief] = master.until(lambda: _briefs(master), "the folder")
    told = brief.read_bytes()
    brief.unlink()
    blind = start(*LOCUST, *ports, "--worker")
    assert blind.wait() == 2
    (why,) = [line for line in blind.stderr.splitlines() if "INFO" not in line]
    assert "workers need the master's state folder" in why
    brief.write_bytes(told)
    worker = start(*LOCUST, *ports, "--worker")
    worker.until(lambda: worker.family(), "its engine")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    master.process.send_signal(signal.SIGTERM)
    master.wait()


@pytest.mark.e2e
def test_workers_end_when_their_master_is_killed(start: Start, ports: Any) -> None:
    locust = start(*LOCUST, "--headless", "--processes", 2, *ports)
    locust.until(lambda: "All users spawned" in locust.stderr, "users")
    locust.process.kill()
    assert locust.wait() == -signal.SIGKILL, "and nothing is left of it"


def _workers(locust: Started) -> list[int]:
    return sorted(pid for pid, command in locust.family().items() if "locust" in command)


def _briefs(master: Started) -> list[Any]:
    return list(master.folder.glob("tmp/*/load/brief.json"))
