"""The engine child, alone at the other end of a pipe: a real process with a real sandbox."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from tests.load.load_processes import Started

Start = Callable[..., Started]
COMMAND = (sys.executable, "-m", "simulator.runtime.child")


@pytest.fixture
def child(start: Start) -> Started:
    """A child that is ready, with the fleet of the shipped scenario."""
    child = start(*COMMAND, "--scenario", "alarm-to-ota")
    ready = child.until(lambda: [line for line in child.lines() if "ready" in line], "ready")
    assert ready == [{"ready": True, "devices": 40, "scenario": "alarm-to-ota", "seed": 1, "target": "sandbox"}]
    return child


def counted(child: Started) -> Counter[str]:
    """How often what was reported, by row."""
    rows = [row for line in child.lines() for row in line.get("rows", [])]
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row["name"]] += sum(row["latency"][4]) + row["untimed"]
        assert not row["failed"], row
    return counts


def settled(child: Started) -> int:
    return sum("settled" in line for line in child.lines())


@pytest.mark.e2e
def test_devices_start_report_stop_and_are_as_new_in_the_next_test(child: Started) -> None:
    child.tell(b'{"start": [0, 1, 2, 3, 4, 5, 6, 39]}')
    child.until(lambda: counted(child)["telemetry"] >= 16, "telemetry")
    child.tell(b'{"stop": [0, 1]}')
    child.tell(b'{"start": [0]}')
    child.until(lambda: counted(child)["connect"] == 9, "the device that came back")
    child.tell(b'{"settle": true}')
    child.until(lambda: settled(child) == 1, "settled")
    assert "settled" in child.lines()[-1], "everything was told before"
    first = counted(child)
    assert set(first) == {"connect", "telemetry", "shadow_get", "shadow_update", "job_get", "package_report"}

    child.tell(b'{"start": [0, 1, 2]}')
    child.until(lambda: counted(child)["telemetry"] > first["telemetry"], "telemetry of the second test")
    child.tell(b'{"settle": true}')
    child.until(lambda: settled(child) == 2, "settled again")
    assert counted(child)["package_report"] == first["package_report"] + 3, "new devices report their version"

    assert child.process.stdin
    child.process.stdin.close()
    assert child.wait() == 0


@pytest.mark.e2e
def test_a_signal_ends_it_and_the_sandbox(child: Started) -> None:
    child.tell(b'{"start": [0]}')
    child.until(lambda: counted(child)["connect"], "a connection")
    child.process.send_signal(signal.SIGTERM)
    assert child.wait() == 0
    assert child.stderr == ""


@pytest.mark.e2e
def test_it_ends_when_its_parent_is_gone_before_it_is_ready(start: Start) -> None:
    child = start(*COMMAND, "--scenario", "alarm-to-ota")
    child.until(child.lines, "its first words")
    assert child.process.stdin
    child.process.stdin.close()
    assert child.wait() == 0


@pytest.mark.e2e
def test_its_last_words_name_the_part_of_the_sandbox_that_died(child: Started) -> None:
    pid = child.pid_of("backend")
    os.kill(pid, signal.SIGKILL)
    assert child.wait() == 3
    last = child.lines()[-1]
    assert last["error"] == f"the sandbox's backend (pid {pid}) was killed by signal 9"
    assert last["exit_code"] == 3
    assert last["log_tail"]


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("command", "why"),
    [
        (b'{"start": [40]}', "no such device among 40: [40]"),
        (b"hello", "not a command: "),
    ],
)
def test_what_is_no_command_ends_it(child: Started, command: bytes, why: str) -> None:
    child.tell(command)
    assert child.wait() == 2
    last = child.lines()[-1]
    assert last["exit_code"] == 2
    assert why in last["error"]


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
    ],
)
def test_a_mistake_is_one_clear_line_and_nothing_is_started(start: Start, arguments: tuple[str, ...], why: str) -> None:
    child = start(*COMMAND, *arguments)
    assert child.wait() == 2
    (said,) = child.lines()
    assert why in said["error"]
    assert child.stderr == ""
