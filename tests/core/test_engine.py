"""The engine on a real loop, with links in memory: who is due speaks, in order; power goes and comes; a clean end."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from aiohttp import web

from simulator.behaviours.telemetry import TelemetryDuty
from simulator.faults.hang import Hang
from simulator.messages import Publish, Received
from tests.core.fleets import THING, Live, image, run

LOOPS = pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop])


@LOOPS
def test_wake_ups_come_in_the_order_of_their_times(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def story() -> None:
        bench = Live(50)
        for index in range(50):
            bench.engine.start(index)
        await bench.until(lambda: len(set(bench.telemetry())) == 50)
        first = list(dict.fromkeys(bench.telemetry()))
        duties = [
            (duty.start_ms, index, device.thing)
            for index, device in enumerate(bench.fleet.devices)
            for duty in device.duties
            if isinstance(duty, TelemetryDuty)
        ]
        assert first == [thing for _, _, thing in sorted(duties)]
        assert bench.ledger.attempted == bench.ledger.sent == bench.ledger.acknowledged
        assert bench.engine.settled()
        await bench.engine.close()

    run(story, loop_factory)


def test_a_start_may_be_put_off() -> None:
    async def story() -> None:
        bench = Live(3)
        for index, after_s in enumerate((0.06, 0.0, 0.03)):
            bench.engine.start(index, after_s)
        await bench.until(lambda: len(bench.kinds()) == 3)
        assert [event.thing for event in bench.ledger.events] == ["Pump-001", "Pump-002", "Pump-000"]
        await bench.engine.close()

    run(story)


def test_an_update_over_real_http_with_its_reboot() -> None:
    """The whole way of a job: told, downloaded, installed, power off and on, reported."""
    made = image()
    executions: list[dict[str, Any]] = []
    updates: list[dict[str, Any]] = []

    async def artifact(request: web.Request) -> web.Response:
        return web.Response(body=made.body)

    async def story() -> None:
        app = web.Application()
        app.router.add_get("/image", artifact)
        server = web.AppRunner(app)
        await server.setup()
        await web.TCPSite(server, "127.0.0.1", 0).start()
        document = {
            "operation": "ota", "package": "Pump", "version": "1.1.0", "size": len(made.body), "sha256": made.sha256,
            "signature": made.signature, "url": f"http://127.0.0.1:{server.addresses[0][1]}/image",
        }  # fmt: skip
        executions.append({"jobId": "ota-1", "versionNumber": 1, "jobDocument": document})
        bench = Live()

        def say(leaf: str, answer: dict[str, Any]) -> None:
            said = Received(f"$aws/things/{THING}/jobs/{leaf}", json.dumps(answer).encode())
            bench.engine.loop.call_soon(bench.engine.hear, 0, said)

        def answer(message: Publish) -> None:
            if message.kind == "job_get":
                say("$next/get/accepted", {"execution": executions[0]} if executions else {})
            elif message.kind == "job_update":
                request = json.loads(message.payload)
                updates.append(request)
                if request["status"] == "SUCCEEDED":
                    executions.clear()
                say("ota-1/update/accepted", {"clientToken": request["clientToken"]})

        bench.answer = answer
        bench.engine.start(0)
        await bench.until(lambda: "job_succeeded" in bench.kinds())
        kinds = [kind for kind in bench.kinds() if kind != "download_progress"]
        assert kinds == [
            "connected", "job_notified", "download_started", "downloaded", "verified", "installed", "rebooting",
            "disconnected", "connected", "version_reported", "job_succeeded",
        ]  # fmt: skip
        assert bench.fleet.devices[0].version == "1.1.0"
        assert updates[0]["status"] == "IN_PROGRESS"
        assert updates[-1]["status"] == "SUCCEEDED"
        before = len(bench.telemetry())
        await bench.until(lambda: len(bench.telemetry()) > before)
        await bench.engine.close()
        await server.cleanup()

    run(story)


def test_a_device_is_switched_off_and_on() -> None:
    async def story() -> None:
        bench = Live(2)
        for index in range(2):
            bench.engine.start(index)
        await bench.until(lambda: len(set(bench.telemetry())) == 2)
        bench.engine.stop(0)
        count = len(bench.said)
        await bench.until(lambda: len(bench.said) > count + 5)
        assert {thing for thing, _ in bench.said[count:]} == {"Pump-001"}
        assert not bench.fleet.devices[0].online
        bench.engine.start(0)
        await bench.until(lambda: bench.fleet.devices[0].online)
        assert bench.kinds() == ["connected", "connected", "disconnected", "connected"]
        await bench.engine.close()

    run(story)


def test_silence_means_that_nobody_begins_to_speak() -> None:
    async def story() -> None:
        bench = Live(20)
        for index in range(20):
            bench.engine.start(index)
        bench.engine.inject(3, Hang(part="fan", recurs_after_s=0.01))
        await bench.until(lambda: len(bench.telemetry()) > 40)
        bench.engine.silence()
        attempted = bench.ledger.attempted.total()
        await bench.until(lambda: not bench.engine._heap)  # all that was due was left undone
        assert bench.ledger.attempted.total() == attempted
        assert bench.engine.settled()
        await bench.engine.close()

    run(story)


def test_what_is_refused_by_a_full_link_is_counted_as_dropped() -> None:
    async def story() -> None:
        bench = Live()
        bench.engine.start(0)
        await bench.until(lambda: len(bench.telemetry()) > 1)
        bench.links[THING]._queue_max = 3
        bench.links[THING].sever()
        await bench.until(lambda: bench.ledger.dropped.total() > 0)
        ledger = bench.ledger
        assert ledger.attempted.total() == ledger.sent.total() + ledger.dropped.total()
        assert ledger.sent.total() == ledger.acknowledged.total() + 3
        assert not bench.engine.settled()
        bench.links[THING].open()
        assert ledger.sent.total() == ledger.acknowledged.total()
        await bench.engine.close()

    run(story)


@LOOPS
def test_the_end_leaves_no_task_and_no_timer(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def story() -> None:
        bench = Live(10)
        for index in range(10):
            bench.engine.start(index, 0.0 if index else 3600.0)
        bench.engine.inject(3, Hang(part="fan"))
        await bench.until(lambda: len(set(bench.telemetry())) == 9)
        bench.engine.stop(5)
        await bench.engine.close()
        counts = (len(bench.said), bench.ledger.attempted.total(), len(bench.ledger.events))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        waiting = [handle for handle in getattr(bench.engine.loop, "_scheduled", []) if not handle.cancelled()]
        assert waiting == []
        bench.engine.hear(1, Received("t", b""))
        assert (len(bench.said), bench.ledger.attempted.total(), len(bench.ledger.events)) == counts
        assert not any(link.up for link in bench.links.values())

    run(story, loop_factory)


def test_time_is_the_loops_and_whole() -> None:
    async def story() -> None:
        bench = Live()
        times = [bench.engine.now_ms() for _ in range(1000)]
        assert times == sorted(times)
        assert all(type(time) is int for time in times)
        await bench.engine.close()

    run(story)


def test_a_device_that_fails_is_told_of_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        bench = Live(5)
        bad = bench.fleet.devices[2]
        step = TelemetryDuty.step

        def fails(duty: TelemetryDuty, body: Any, now_ms: int) -> Any:
            if body.thing == bad.thing:
                raise ValueError("no such byte")
            return step(duty, body, now_ms)

        monkeypatch.setattr(TelemetryDuty, "step", fails)
        for index in range(5):
            bench.engine.start(index)
        await bench.until(lambda: bench.engine.failure is not None)
        count = len(bench.said)
        await bench.until(lambda: len(bench.said) > count + 20)
        assert len(set(bench.telemetry())) == 4
        assert str(bench.engine.failure) == "device 'Pump-002' failed: ValueError: no such byte"
        assert bench.engine.failure
        assert bench.engine.failure.log_tail[-1] == "ValueError: no such byte"
        await bench.engine.close()

    run(story)


def test_a_device_that_fails_when_it_hears_something_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(duty: TelemetryDuty, body: Any, said: Any, now_ms: int) -> Any:
        raise KeyError("x")

    async def story() -> None:
        bench = Live()
        monkeypatch.setattr(TelemetryDuty, "receive", fails)
        bench.engine.start(0)
        await bench.until(lambda: bench.engine.failure is not None)
        assert str(bench.engine.failure) == f"device '{THING}' failed: KeyError: 'x'"
        await bench.engine.close()

    run(story)
