"""A run under somebody's hands: what can be seen, and that a step by hand is a step of the scenario's."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest

from simulator.runtime import account
from simulator.runtime.conductor import Conductor, Record
from simulator.runtime.control import Controls
from simulator.runtime.control_server import ControlServer
from simulator.runtime.watch import Watch
from simulator.scenarios import Scenario
from tests.core.fleets import THING, Live, run
from tests.core.test_conductor import SCENARIO

HANG = {"kind": "hang", "part": "fan", "at": 0.5}
QUIET: dict[str, Any] = SCENARIO | {"timeline": [{"kind": "connect", "over_s": 0}], "checks": SCENARIO["checks"][:1]}


class Hands:
    """A run that stays until it is ended, and its controls."""

    def __init__(self) -> None:
        self.live = Live()
        self.record = Record(self.live.engine.now_ms())
        self.conductor = Conductor(
            Scenario.model_validate(QUIET), 7, self.live.fleet, self.live.engine, Watch(None, self.live.ledger),
            self.record, lambda: None, lambda _: None,
        )  # fmt: skip
        self.controls = Controls(self.conductor, staying=True)
        self.conductor.stay = self.controls.left.wait

    async def get(self, path: str, **query: str) -> Any:
        status, body = await self.controls.answer("GET", path, query, b"")
        assert status == 200
        return orjson.loads(orjson.dumps(body, default=str))

    async def step(self, step: Any) -> tuple[int, dict[str, Any]]:
        return await self.controls.answer("POST", "steps", {}, orjson.dumps(step))


def by_hand(story: Callable[[Hands], Awaitable[None]]) -> None:
    """A run beside which the story is told; it ends when that does."""

    async def both() -> None:
        hands = Hands()
        playing = asyncio.create_task(hands.conductor.play())
        try:
            await hands.live.until(lambda: hands.live.fleet.devices[0].online)
            await story(hands)
            assert (await hands.controls.answer("POST", "end", {}, b""))[0] == 200
            await playing
        finally:
            playing.cancel()
            hands.controls.close()
            await hands.live.engine.close()

    run(both)


def test_what_there_is_to_see() -> None:
    async def story(hands: Hands) -> None:
        about = await hands.get("run")
        assert (about["scenario"], about["seed"], about["phase"], about["staying"]) == ("s", 7, "staying", True)
        fleet = await hands.get("fleet")
        (row,) = [dict(zip(fleet["fields"], row, strict=True)) for row in fleet["rows"]]
        assert (row["thing"], row["profile"], row["online"], row["faults"]) == (THING, "pump", True, [])
        kinds = await hands.get("kinds")
        assert {fault["befalls"] for fault in kinds["faults"]} == {"device", "sandbox"}
        hang = next(fault for fault in kinds["faults"] if fault["kind"] == "hang")
        assert {"part", "at", "for_s"} <= {field["name"] for field in hang["fields"]}
        assert next(field for field in hang["fields"] if field["name"] == "part")["required"]
        fire = next(fault for fault in kinds["faults"] if fault["kind"] == "fire")
        assert (hang["fits"], fire["fits"]) == ([], [])  # a pump has neither a fan nor an air of its own
        assert next(fault for fault in kinds["faults"] if fault["kind"] == "crash")["fits"] == ["pump"]
        assert HANG["part"] in kinds["signals"]["pump"]
        assert kinds["commands"] == {"pump": {"actions": ["restart-fan"], "settings": {}}}
        events = await hands.get("events", after="0")
        assert (await hands.get("events", after=str(events["next"])))["events"] == []

    by_hand(story)


def test_a_fault_by_hand_is_in_the_ground_truth_and_can_be_cleared() -> None:
    async def story(hands: Hands) -> None:
        status, said = await hands.step({"kind": "inject", "name": "mine", "things": [THING], "fault": HANG})
        assert status == 200
        assert said["calls"] == [f"fleet: inject hang into {THING}"]
        assert "kind: inject" in said["yaml"]
        [(_, command, name)] = hands.record.faults
        assert (command.things, name) == ((THING,), "mine")
        assert (await hands.get("fleet"))["rows"][0][-1] == ["hang"]
        assert "step_by_hand" in hands.live.kinds()
        assert (await hands.step({"kind": "clear", "things": [THING]}))[0] == 200
        assert (await hands.get("fleet"))["rows"][0][-1] == []

    by_hand(story)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"kind": "injekt"}, "'injekt'"),
        ({"kind": "inject", "things": ["nobody"], "fault": HANG}, "only 0 of the fleet match"),
        ({"kind": "inject", "fault": {"kind": "hang", "part": "wlak"}}, "wlak"),
        ({"kind": "hold"}, "for_s"),
        (["hold"], "mapping"),
        ("}, evil: {", "step"),
    ],
)
def test_a_wrong_step_is_one_line_and_nothing_is_done(step: Any, why: str) -> None:
    async def story(hands: Hands) -> None:
        status, said = await hands.step(step)
        assert status == 400
        assert why in said["error"]
        assert "step_by_hand" not in hands.live.kinds()
        assert hands.record.faults == []

    by_hand(story)


def test_what_the_target_cannot_do_is_said_and_the_run_goes_on() -> None:
    async def story(hands: Hands) -> None:
        status, said = await hands.step({"kind": "set", "desired": {"load": 3}})
        assert status == 502
        assert "needs an account or the sandbox" in said["error"]
        assert (await hands.get("run"))["phase"] == "staying"

    by_hand(story)


def test_over_http_only_with_the_token_and_only_while_there_is_a_run() -> None:
    async def story() -> None:
        server = ControlServer()
        hands = Hands()
        try:
            await server.serve()
            right = {"Authorization": f"Bearer {server.place.token}"}
            async with aiohttp.ClientSession() as session:

                async def asked(headers: dict[str, str], path: str = "run") -> int:
                    async with session.get(f"{server.place.url}/{path}", headers=headers) as answer:
                        return answer.status

                assert await asked(right) == 503
                server.controls = hands.controls
                assert await asked(right) == 200
                assert await asked({}) == 401
                assert await asked({"Authorization": "Bearer wrong"}) == 401
                assert await asked(right, "../etc/passwd") == 404
        finally:
            await server.stop()
            server.close()
            await hands.live.engine.close()

    run(story)


def test_a_verdict_says_that_somebody_was_at_the_controls() -> None:
    async def story(hands: Hands) -> None:
        assert (await hands.step({"kind": "inject", "things": [THING], "fault": HANG}))[0] == 200
        one = Scenario.model_validate(QUIET | {"checks": [{"kind": "detected", "equals": 0}]})
        facts = hands.conductor.facts()
        facts.alarms = [{"thing": THING, "rule_id": "r", "state": "open", "raised_at_ms": facts.end_ms}]
        told = account.report(one, 7, ("", ""), hands.live.fleet, hands.record, facts, facts.end_ms, None, 0)
        assert (told.verdict, told.reason) == (
            "failed", "a step was made by hand, of which the scenario's exact counts know nothing",
        )  # fmt: skip

    by_hand(story)
