"""The conductor with a live engine and a small backend: it plays, looks, falls silent, and what is left is a report."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from simulator.behaviours.telemetry import TelemetryDuty
from simulator.checks import Facts
from simulator.errors import BackendUnavailable
from simulator.report.facts import Report, Verdict
from simulator.report.text import headline
from simulator.runtime import account
from simulator.runtime.conductor import Conductor, Record
from simulator.runtime.engine import DeviceFailed
from simulator.runtime.live import Snapshot
from simulator.runtime.watch import Watch
from simulator.scenarios import Scenario
from simulator.steps import Inject
from tests.core.fleets import THING, Live, run

SCENARIO: dict[str, Any] = {
    "scenario": "s",
    "fleet": [{"profile": "pump", "count": 1, "name": THING}],
    "timeline": [
        {"kind": "connect", "over_s": 0},
        {"kind": "hold", "for_s": 0.1},
        {"kind": "inject", "name": "a fan hangs", "fault": {"kind": "hang", "part": "fan", "at": 0.5}},
        {"kind": "expect", "within_s": 20, "check": {"kind": "alarms", "which": "raised", "at_least": 3}},
    ],
    "checks": [
        {"kind": "devices", "equals": 1},
        {"kind": "alarms", "which": "raised", "equals": 3},
        {"kind": "lost", "equals": 0},
    ],
}


class Backend:
    """A read API that has one more alarm, with its event, each time its alarms are asked for; three at most."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.events: list[dict[str, Any]] = [{"seq": 1, "at_ms": 5, "kind": "alarm_raised", "thing": "old"}]
        self.alarms: list[dict[str, Any]] = [self.alarm(0)]
        self.broken = False
        self.takes_s = 0.0
        self.lagging = 3  # so many times the store is a message behind
        self.server = web.AppRunner(self.app())

    def app(self) -> web.Application:
        app = web.Application()
        for what in ("events", "alarms", "counts"):
            app.router.add_get(f"/api/{what}", getattr(self, f"get_{what}"))
        return app

    def alarm(self, n: int) -> dict[str, Any]:
        raised_at_ms = self.live.engine.now_ms()
        return {"alarm_id": f"alarm-{n}", "rule_id": "r", "thing": THING, "state": "open", "raised_at_ms": raised_at_ms}

    def happens(self, kind: str) -> None:
        alarm_id = f"alarm-{len(self.alarms) - 1}"
        event = {"seq": len(self.events) + 1, "at_ms": 9, "kind": kind, "thing": THING, "alarm_id": alarm_id}
        self.events.append(event)

    async def url(self) -> str:
        await self.server.setup()
        await web.TCPSite(self.server, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self.server.addresses[0][1]}"

    async def get_events(self, request: web.Request) -> web.Response:
        if self.broken:
            raise web.HTTPBadGateway
        after = int(request.query["after"])
        await asyncio.sleep(self.takes_s)
        news = [event for event in self.events if event["seq"] > after]
        return web.json_response({"next": max([after, *(event["seq"] for event in news)]), "events": news})

    async def get_alarms(self, request: web.Request) -> web.Response:
        if self.live.fleet.faulted and (n := len(self.alarms)) < 4:
            self.alarms.append(self.alarm(n))
            self.happens("alarm_raised")
        news = self.alarms[int(request.query["after"]) :]
        return web.json_response({"next": len(self.alarms), "alarms": news})

    async def get_counts(self, request: web.Request) -> web.Response:
        stored = dict(self.live.ledger.acknowledged)
        if self.live.engine._silent and self.lagging:
            self.lagging -= 1
            self.happens("in_range")
            stored["telemetry"] -= 1
        return web.json_response({"stored": stored})


class Run:
    """One scenario on one engine, with that backend."""

    def __init__(self, **changes: Any) -> None:
        self.scenario = Scenario.model_validate(SCENARIO | changes)
        self.live = Live()
        self.backend = Backend(self.live)
        self.record = Record(self.live.engine.now_ms())
        self.shown: list[Snapshot] = []
        self.dead_after = 10_000

    async def play(self, url: str | None = None) -> Conductor:
        watch = Watch(url or await self.backend.url(), self.live.ledger)
        conductor = Conductor(
            self.scenario, 7, self.live.fleet, self.live.engine, watch, self.record, self.alive, self.shown.append
        )
        try:
            await conductor.play()
        finally:
            await self.live.engine.close()
            await watch.close()
            await self.backend.server.cleanup()
        return conductor

    def report(self, facts: Facts, verdict: Verdict | None = None, exit_code: int = 0, *why: Any) -> Report:
        of = (self.scenario, 7, ("two.yaml", "bench"), self.live.fleet, self.record)
        return account.report(*of, facts, 1, verdict, exit_code, *why)

    def alive(self) -> None:
        if len(self.shown) >= self.dead_after:
            raise BackendUnavailable("the backend died")


def test_a_scenario_from_its_first_step_to_its_report() -> None:
    async def story() -> None:
        it = Run()
        it.backend.takes_s = 0.3  # longer than LOOK_S: two who ask would ask at the same time
        conductor = await it.play()
        facts, ledger = conductor.facts(), it.live.ledger
        raised = [event.detail["alarm_id"] for event in ledger.events if event.kind == "alarm_raised"]
        assert raised == ["alarm-1", "alarm-2", "alarm-3"], "each event of the backend once, and none of before"
        assert it.backend.lagging == 0, "it waited for the store"
        assert [event.kind for event in ledger.events].count("in_range") == 3
        assert facts.stored == dict(ledger.acknowledged)
        assert [shown.phase for shown in it.shown][-1] == "counting"
        [(_, command, name)] = it.record.faults
        assert isinstance(command, Inject)
        assert (command.things, name) == ((THING,), "a fan hangs")
        told = it.report(facts)
        assert (told.verdict, told.exit_code) == ("passed", 0)
        assert [check.passed for check in told.checks] == [True] * 3
        [fault] = told.faults
        assert (fault.fault, fault.things, fault.params["part"]) == ("hang", [THING], "fan")
        [counted] = [row for row in told.accounting if row.kind == "telemetry"]
        assert counted.lost == 0
        assert told.fleet.devices[0].state == "connected"
        assert [device.affected for device in told.fleet.devices] == [True]

    run(story)


def test_what_was_expected_in_vain_is_a_failed_run() -> None:
    async def story() -> None:
        never = {"kind": "expect", "within_s": 0.1, "check": {"kind": "alarms", "which": "closed", "at_least": 1}}
        it = Run(timeline=[{"kind": "connect"}, never])
        conductor = await it.play()
        told = it.report(conductor.facts())
        assert (told.verdict, told.exit_code) == ("failed", 1)

    run(story)


def test_a_dead_backend_ends_the_run_at_once() -> None:
    async def story() -> None:
        it = Run(timeline=[{"kind": "connect"}, {"kind": "hold", "for_s": 10_000}])
        it.dead_after = 2
        with pytest.raises(BackendUnavailable, match="the backend died"):
            await it.play()
        assert len(it.shown) == 2
        facts = Facts(it.live.ledger, it.live.fleet.facts())
        told = it.report(facts, "unavailable", 3, "died", ["last words"])
        assert (told.verdict, told.exit_code, told.reason, told.checks) == ("unavailable", 3, "died", [])
        assert told.log_tail == ["last words"]
        assert [row.lost for row in told.accounting] == [None] * len(told.accounting)  # it may be on its way
        assert headline(told) == "BACKEND UNAVAILABLE: no check was made"

    run(story)


def test_a_device_that_fails_ends_the_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(duty: TelemetryDuty, body: Any, now_ms: int) -> Any:
        raise ValueError("no such byte")

    async def story() -> None:
        it = Run(timeline=[{"kind": "connect"}, {"kind": "hold", "for_s": 10_000}])
        monkeypatch.setattr(TelemetryDuty, "step", fails)
        with pytest.raises(DeviceFailed, match=f"device '{THING}' failed: ValueError: no such byte"):
            await it.play()

    run(story)


@pytest.mark.parametrize("strange", [[], {"events": [], "next": None}, {"events": {}}, "no"])
def test_a_read_api_that_is_another_one_is_noticed_first(strange: Any) -> None:
    async def story() -> None:
        it = Run()

        async def get(path: str) -> Any:
            return strange

        watch = Watch("http://other", it.live.ledger)
        watch._get = get  # type: ignore[method-assign]
        with pytest.raises(BackendUnavailable, match="read API at http://other cannot be used"):
            await watch.begin()
        await watch.poll()
        assert watch.failures == 1
        await it.live.engine.close()

    run(story)


def test_a_long_history_is_read_to_its_end_in_one_look() -> None:
    async def story() -> None:
        it = Run()

        async def get(path: str) -> Any:
            what, _, after = path.partition("?after=")
            if what == "/api/alarms":
                return {"next": 0, "alarms": []}
            if what == "/api/counts":
                return {"stored": {}}
            seq = int(after)
            news = [{"seq": seq + 1, "at_ms": 1, "kind": "job_created", "thing": THING}] if seq < 5 else []
            return {"next": seq + len(news), "events": news}

        watch = Watch("http://backend", it.live.ledger)
        watch._get = get  # type: ignore[method-assign]
        await watch.poll()
        assert [event.kind for event in it.live.ledger.events] == ["job_created"] * 5
        await it.live.engine.close()

    run(story)


def test_a_read_api_that_is_not_there_is_noticed_first() -> None:
    async def story() -> None:
        with pytest.raises(BackendUnavailable, match=r"the backend's read API at http://127\.0\.0\.1:1 cannot be used"):
            await Run().play("http://127.0.0.1:1")

    run(story)


def test_a_read_api_that_fails_for_a_while_is_no_reason_to_stop() -> None:
    async def story() -> None:
        it = Run()
        it.alive = lambda: setattr(it.backend, "broken", len(it.shown) in (1, 2))  # type: ignore[method-assign]
        conductor = await it.play()
        assert conductor.watch.failures >= 2
        assert len(conductor.watch.alarms) == 3

    run(story)
