"""`locust -f locustfile.py`, as its users run it: without a head, with Locust's UI, and when things go wrong."""

import csv
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import requests

from tests.load.load_processes import REPO, Started, of_ours

Start = Callable[..., Started]
LOCUST = (sys.executable, "-m", "locust", "-f", REPO / "locustfile.py")
HEADLESS = (*LOCUST, "--headless", "--only-summary")
ROWS = {"connect", "telemetry", "shadow_get", "shadow_update", "job_get", "package_report"}
LOOPBACK = "http://127.0.0.1"


def table(locust: Started, name: str) -> list[dict[str, str]]:
    with (locust.folder / f"{name}.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.e2e
def test_without_a_head_the_fleet_is_in_locusts_files_by_kind_of_message(start: Start) -> None:
    locust = start(*HEADLESS, "-u", 42, "-r", 21, "-t", "5s", "--csv", "run", "--html", "run.html")
    assert locust.wait() == 0, locust.stderr
    *rows, total = table(locust, "run_stats")
    requests_of = {row["Name"]: int(row["Request Count"]) for row in rows}
    assert set(requests_of) == ROWS, "no row is named after a device"
    assert {row["Type"] for row in rows} == {"MQTT"}
    assert requests_of["connect"] == requests_of["job_get"] == 40
    assert requests_of["telemetry"] >= 10
    assert int(total["Request Count"]) == sum(requests_of.values())
    assert table(locust, "run_failures") == []
    assert all(float(row["Average Response Time"]) > 0 for row in rows)
    assert "40 devices are on, 2 users are idle: the fleet has no more for them" in locust.stderr
    assert "shadow_update" in (locust.folder / "run.html").read_text()


class WebUi:
    """Locust's UI, through the addresses its pages use."""

    def __init__(self, locust: Started, port: int) -> None:
        self.locust, self.url = locust, f"{LOOPBACK}:{port}"

    def rows(self) -> dict[str, Any]:
        said = requests.get(f"{self.url}/stats/requests", timeout=10).json()
        return {row["name"]: row for row in said["stats"]} | {"users": said["user_count"], "state": said["state"]}

    def until(self, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The rows once they are so; Locust answers with the same ones for two seconds."""

        def look() -> dict[str, Any] | None:
            rows = self.rows()
            return rows if seen(rows) else None

        return self.locust.until(look, "the UI to show it")

    def post(self, path: str, **form: Any) -> None:
        answer = requests.post(f"{self.url}/{path}", data=form, timeout=30).json()
        assert answer["success"], answer


@pytest.mark.e2e
def test_locusts_ui_starts_shows_and_stops_the_fleet_again_and_again(start: Start) -> None:
    port = _free_port()
    locust = start(*LOCUST, "--web-port", port)
    locust.until(lambda: f"Starting web interface at {LOOPBACK}:{port}" in locust.stderr, "the UI, on loopback")
    locust.until(lambda: "40 devices of scenario 'alarm-to-ota' are ready" in locust.stderr, "the fleet")
    ui = WebUi(locust, port)
    locust.until(lambda: _answers(port), "its port")
    page = requests.get(ui.url, timeout=10).text
    assert "fleet_seed" not in page, "the fleet is ready: what it was made from cannot be changed any more"
    for users in (40, 10):
        ui.post("swarm", user_count=users, spawn_rate=40)
        rows = ui.until(partial(_runs, users))
        assert _count(rows, "connect") == users, "each test begins with the fleet switched off"
        assert (rows["state"], rows["Aggregated"]["num_failures"]) == ("running", 0)
        ui.post("stop")
        ui.until(lambda rows: (rows["users"], rows["state"]) == (0, "stopped"))
    locust.process.send_signal(signal.SIGTERM)
    assert locust.wait() == 0


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_it(start: Start, number: signal.Signals) -> None:
    locust = start(*HEADLESS, "-u", 5, "-r", 5, "-t", "60s")
    locust.until(lambda: "All users spawned" in locust.stderr, "users")
    assert set(locust.family().values()) == {"runtime.child", "runtime.coordinator", "cloud", "backend"}
    locust.process.send_signal(number)
    assert locust.wait() == (-signal.SIGKILL if number == signal.SIGKILL else 0)


@pytest.mark.e2e
@pytest.mark.parametrize("victim", ["cloud", "runtime.child", "runtime.coordinator"])
def test_when_a_part_dies_it_says_so_and_ends(start: Start, victim: str) -> None:
    locust = start(*HEADLESS, "-u", 5, "-r", 5, "-t", "60s")
    locust.until(lambda: "All users spawned" in locust.stderr, "users")
    os.kill(locust.pid_of(victim), signal.SIGKILL)
    assert locust.wait() == 3
    ends = {
        "cloud": r"the sandbox's cloud \(pid \d+\) was killed by signal 9",
        "runtime.child": "the engine child ended with exit code -9",
        "runtime.coordinator": "the coordinator ended with exit code -9",
    }
    assert re.search(ends[victim], locust.stderr)
    assert not of_ours(locust.stderr)


@pytest.mark.e2e
def test_when_the_coordinator_dies_the_ui_stays_and_says_so(start: Start) -> None:
    locust = start(*LOCUST, "--web-port", port := _free_port())
    ui = WebUi(locust, port)
    locust.until(lambda: _answers(port), "its port")
    ui.post("swarm", user_count=5, spawn_rate=5)
    locust.until(lambda: "All users spawned" in locust.stderr, "users")
    os.kill(locust.pid_of("runtime.coordinator"), signal.SIGKILL)
    ui.until(lambda rows: (rows["users"], rows["state"]) == (0, "stopped"))
    ui.post("swarm", user_count=5, spawn_rate=5)
    locust.until(lambda: "there is no coordinator any more" in locust.stderr, "the reason")
    assert not of_ours(locust.stderr)
    locust.process.send_signal(signal.SIGTERM)
    assert locust.wait() == 3


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--scenario", "nope"), "no such file: "),
        (("--target", "aws"), "add --yes to do it"),
        (("--scenario", "load-mixed", "--set", "eachh=3"), "no such parameter (did you mean 'each'?)"),
        (("--scenario", "nope", "--processes", "2"), "no such file: "),
        (("--tags", "nobody"), "no user is left"),
    ],
)
def test_a_mistake_is_one_clear_line(start: Start, flags: tuple[str, ...], why: str) -> None:
    locust = start(*HEADLESS, "-u", 1, "-t", "5s", *flags)
    assert locust.wait() == 2
    said = [line for line in locust.stderr.splitlines() if "INFO/locust" not in line]
    assert len(said) == 1, locust.stderr
    assert why in said[0]


def _runs(users: int, rows: dict[str, Any]) -> bool:
    return rows["users"] == users and _count(rows, "telemetry") >= 5


def _count(rows: dict[str, Any], name: str) -> int:
    return int(rows[name]["num_requests"]) if name in rows else 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
