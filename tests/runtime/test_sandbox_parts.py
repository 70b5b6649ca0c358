"""The sandbox's parts are killed, restarted, paused and told on purpose: who is away, who comes back, what is kept."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from simulator.errors import BackendUnavailable, UsageError
from simulator.faults.part_kill import PartKill
from simulator.faults.part_pause import PartPause
from simulator.faults.part_restart import PartRestart
from simulator.faults.server_errors import ServerErrors
from simulator.ledger import Ledger
from simulator.ops.aws import Aws
from simulator.runtime.operator import Operator
from simulator.runtime.sandbox import PartEnded, Sandbox
from simulator.runtime.watch import Watch
from simulator.steps import Disturb, Part, Relieve
from simulator.wire.payloads import platform_json, platform_rest

RULES = [{"ruleId": "hot", "productId": "*", "type": "threshold", "condition": "metrics.t > 100"}]
WAIT_S = 20.0


def until(true: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline_s, "it did not come"
        time.sleep(0.01)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path, RULES) as running:
        yield running
    assert [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path) in _text(path)] == []


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def get(sandbox: Sandbox, path: str) -> Any:
    at = sandbox.addresses
    return requests.get(f"{at.api_url}{path}", headers=at.api_headers, timeout=10).json()


def answers(sandbox: Sandbox) -> bool:
    try:
        get(sandbox, "/api/health")
    except requests.RequestException:
        return False
    return True


def send(sandbox: Sandbox, n: int) -> int:
    """A sample over REST; the status."""
    body = platform_rest("SedanVehicle")("V-1", n, time.time_ns() // 1_000_000, {"t": float(n)})
    where, headers = f"{sandbox.addresses.rest_url}/ingest/telemetry", {"content-type": "application/json"}
    return requests.post(where, body, headers=headers, timeout=10).status_code


def broker_takes(sandbox: Sandbox) -> bool:
    try:
        socket.create_connection(("127.0.0.1", sandbox.addresses.mqtt_port), 5).close()
    except OSError:
        return False
    return True


def test_a_restarted_backend_is_where_it_was_with_all_it_had(sandbox: Sandbox) -> None:
    ended = [sandbox.named("backend").process.pid]
    for n in range(5):
        assert send(sandbox, n) == 202
        before = get(sandbox, "/api/counts")
        asyncio.run(sandbox.disturb("backend", "restart", 0))
        sandbox.check()
        ended.append(sandbox.named("backend").process.pid)
        assert get(sandbox, "/api/counts")["stored"] == before["stored"] == {"telemetry": n + 1}
    assert len(set(ended)) == 6
    log = (sandbox.named("backend").log_file).read_text()
    assert log.count("ready: ") == 6, "the log goes on where it was"
    assert "Traceback" not in log


def test_a_restart_has_an_end_and_keeps_what_was_ordered(sandbox: Sandbox) -> None:
    sandbox.tell("backend", {"disturb": {"kind": "throttling", "of": ["rest"], "name": "t"}})
    until(lambda: send(sandbox, 1) == 429)

    async def story() -> None:
        end = asyncio.Event()
        task = asyncio.create_task(sandbox.disturb("backend", "restart", None, end))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, until, lambda: not answers(sandbox))
        sandbox.check()
        with pytest.raises(OSError, match="in use"), socket.socket() as other:  # nobody is given its ports
            other.bind(("127.0.0.1", sandbox.addresses.tcp_port))
        end.set()
        await task

    asyncio.run(story())
    until(lambda: send(sandbox, 1) == 429)
    sandbox.tell("backend", {"clear": "t"})
    until(lambda: send(sandbox, 1) == 202)


def test_a_paused_part_goes_on_where_it_was(sandbox: Sandbox) -> None:
    async def story(name: str) -> None:
        end = asyncio.Event()
        task = asyncio.create_task(sandbox.disturb(name, "pause", 60, end))
        stat = Path(f"/proc/{sandbox.named(name).process.pid}/stat")
        await asyncio.get_running_loop().run_in_executor(None, until, lambda: " T " in stat.read_text())
        sandbox.check()
        end.set()
        await task

    for name in ("backend", "cloud"):
        asyncio.run(story(name))
    assert answers(sandbox)
    assert broker_takes(sandbox)


def test_a_run_that_ends_early_leaves_no_paused_part_behind(sandbox: Sandbox) -> None:
    async def story() -> None:
        task = asyncio.create_task(sandbox.disturb("backend", "pause", None))
        stat = Path(f"/proc/{sandbox.named('backend').process.pid}/stat")
        await asyncio.get_running_loop().run_in_executor(None, until, lambda: " T " in stat.read_text())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
    until(lambda: answers(sandbox))


def test_a_cloud_that_restarts_keeps_what_it_holds(sandbox: Sandbox) -> None:
    pid = sandbox.named("cloud").process.pid

    async def story() -> None:
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        task = asyncio.create_task(sandbox.disturb("cloud", "restart", 60, end))
        await loop.run_in_executor(None, until, lambda: not broker_takes(sandbox))
        sandbox.check()
        end.set()
        await task

    for _ in range(3):
        asyncio.run(story())
        assert broker_takes(sandbox)
    asyncio.run(sandbox.disturb("cloud", "restart", 0))
    assert sandbox.named("cloud").process.pid == pid
    aws = Aws(sandbox.addresses)
    at_ms = time.time_ns() // 1_000_000
    topic, body = "iotlink/dev/nohub/V-1/periodic/pub/telemetry/json", platform_json("V-1", 1, at_ms, {"t": 1.0})
    aws.data.publish(topic=topic, qos=1, payload=body)  # the backend's session is kept, so it hears of it, even later
    aws.close()
    until(lambda: get(sandbox, "/api/counts")["stored"] == {"telemetry": 1})
    assert "connection lost" in sandbox.named("backend").log_file.read_text()


def test_who_is_killed_on_purpose_is_no_death_and_anybody_else_is(sandbox: Sandbox) -> None:
    asyncio.run(sandbox.disturb("backend", "kill", None))
    sandbox.check()
    assert sandbox.dead == {"backend"}
    assert not answers(sandbox)
    asyncio.run(sandbox.disturb("backend", "restart", 0))
    assert (sandbox.dead, answers(sandbox)) == (frozenset(), True)
    asyncio.run(sandbox.disturb("cloud", "kill", None))
    sandbox.tell("cloud", {"clear": "*"})  # nobody hears it, and that is no error
    sandbox.check()
    with pytest.raises(BackendUnavailable, match="cannot be restarted"):
        asyncio.run(sandbox.disturb("cloud", "restart", 0))
    with pytest.raises(BackendUnavailable, match="cannot be restarted"):
        sandbox.check()


def test_a_part_that_dies_by_itself_after_a_restart_is_told(sandbox: Sandbox) -> None:
    asyncio.run(sandbox.disturb("backend", "restart", 0))
    os.kill(sandbox.named("backend").process.pid, signal.SIGKILL)
    sandbox.named("backend").process.wait(10)
    with pytest.raises(PartEnded, match="was killed by signal 9"):
        sandbox.check()


_PARENT = """
import asyncio, sys
from pathlib import Path
from simulator.ops.aws import Aws
from simulator.runtime.sandbox import Sandbox
with Sandbox(Path(sys.argv[1]), []) as sandbox:
    async def story():
        task = asyncio.create_task(sandbox.disturb("backend", "pause", None))
        while not sandbox.named("backend").process.poll() and not task.done():
            print(sandbox.named("backend").process.pid, flush=True)
            await asyncio.sleep(0.1)
    asyncio.run(story())
"""


def test_a_paused_part_does_not_outlive_who_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    stat = Path(f"/proc/{parent.stdout.readline().strip()}/stat")
    until(lambda: " T " in stat.read_text())
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    until(lambda: not any(str(tmp_path) in _text(path) for path in Path("/proc").glob("[0-9]*/cmdline")))


# What a scenario does


class Played:
    """An operator on a sandbox, and what it wrote down."""

    def __init__(self, sandbox: Sandbox, tmp_path: Path) -> None:
        self.ledger = Ledger()
        self.sandbox = sandbox
        self._tmp_path = tmp_path

    def play(self, story: Callable[[Operator], Coroutine[Any, Any, None]]) -> list[tuple[str, str]]:
        """Kind and fault or part of each event."""

        async def played() -> None:
            now_ms = lambda: time.time_ns() // 1_000_000  # noqa: E731
            operator = Operator(None, self.sandbox, self.ledger, now_ms, self._tmp_path / "key.pem")
            try:
                await story(operator)
            finally:
                operator.close()

        before = len(self.ledger.events)
        asyncio.run(played())
        new = self.ledger.events[before:]
        assert {(event.source, event.thing) for event in new} <= {("run", "")}
        return [(event.kind, str(event.detail.get("fault") or event.detail["part"])) for event in new]


async def soon(true: Callable[[], object]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, until, true)


def no_fleet() -> Any:
    """What these orders do not look at."""
    return None


def test_a_fault_of_a_part_lasts_while_the_timeline_goes_on(sandbox: Sandbox, tmp_path: Path) -> None:
    it = Played(sandbox, tmp_path)

    async def orders(operator: Operator) -> None:
        for status in (500, 503):
            fault = ServerErrors(part="backend", of=["rest"], status=status, for_s=None if status == 500 else 0.5)
            await operator.do(Disturb(fault), no_fleet())
        await soon(lambda: send(sandbox, 1) == 500)
        await operator.do(Relieve("throttling"), no_fleet())
        assert send(sandbox, 1) == 500
        await operator.do(Relieve("server_errors"), no_fleet())
        await soon(lambda: send(sandbox, 1) == 202)

    assert it.play(orders) == [
        ("fault_injected", "server_errors"), ("fault_injected", "server_errors"), ("fault_cleared", "server_errors"),
        ("fault_cleared", "server_errors"),
    ]  # fmt: skip
    assert it.ledger.events[0].detail["params"]["kind"] == "server_errors"

    async def restarts(operator: Operator) -> None:
        await operator.do(Disturb(PartRestart(part="backend", for_s=60)), no_fleet())
        await soon(lambda: not answers(sandbox))
        await operator.do(Disturb(PartPause(part="cloud")), no_fleet())
        await operator.settle()
        assert answers(sandbox)
        sandbox.check()

    told = it.play(restarts)
    assert told[:3] == [
        ("fault_injected", "part_restart"),
        ("part_restart", "backend"),
        ("fault_injected", "part_pause"),
    ]
    assert sorted(told[4:]) == [
        ("fault_cleared", "part_pause"), ("fault_cleared", "part_restart"), ("part_back", "backend"),
        ("part_back", "cloud"),
    ]  # fmt: skip
    assert broker_takes(sandbox)

    async def kills(operator: Operator) -> None:
        await operator.do(Disturb(PartKill(part="backend")), no_fleet())
        await soon(lambda: not answers(sandbox))
        await operator.do(Part("backend", "restart", 0), no_fleet())
        await operator.do(Disturb(PartKill(part="cloud")), no_fleet())
        await operator.settle()
        await operator.do(Disturb(PartRestart(part="cloud")), no_fleet())
        await operator.settle()

    assert it.play(kills)[:4] == [
        ("fault_injected", "part_kill"), ("part_kill", "backend"), ("part_restart", "backend"),
        ("part_back", "backend"),
    ]  # fmt: skip
    with pytest.raises(BackendUnavailable, match="cloud was killed"):  # what failed beside the timeline is told
        sandbox.check()


def test_on_another_target_there_is_no_part_to_touch(tmp_path: Path) -> None:
    async def story() -> None:
        operator = Operator(None, None, Ledger(), lambda: 0, tmp_path / "key.pem")
        await operator.do(Relieve(None), no_fleet())
        with pytest.raises(UsageError, match="needs the sandbox"):
            await operator.do(Disturb(PartKill(part="backend")), no_fleet())
        operator.close()

    asyncio.run(story())


def test_who_watches_goes_on_when_the_backend_is_back(sandbox: Sandbox) -> None:
    ledger = Ledger()

    async def story() -> None:
        watch = Watch(sandbox.addresses.api_url, ledger, sandbox.addresses.api_headers)
        loop = asyncio.get_running_loop()
        await watch.begin()
        await loop.run_in_executor(None, send, sandbox, 101)
        while not watch.alarms:
            await watch.poll()
        for n in range(3):
            end = asyncio.Event()
            task = asyncio.create_task(sandbox.disturb("backend", "restart", None, end))
            while watch.failures <= n:
                await watch.poll()
            assert len(watch.alarms) == 1, "what was known is known"
            end.set()
            await task
            answered = watch.failures
            await watch.poll()
            assert watch.failures == answered
        assert watch.stored == {"telemetry": 1}
        await watch.close()

    asyncio.run(story())
    assert [event.kind for event in ledger.events] == ["alarm_raised"]
