"""The audit of a run: an engine's book, a backend that says what it got, and what is made of both."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from simulator.audit import Audit
from simulator.checks import STORED_KINDS
from simulator.errors import BackendUnavailable, UsageError
from simulator.ledger import Event, Ledger
from simulator.matching import Audited
from simulator.messages import Dropped, Publish
from simulator.runtime import auditing
from simulator.runtime.auditing import Api, Table, audited, source
from simulator.runtime.watch import Watch
from simulator.schema import YamlProblems
from simulator.targets import Addresses, target
from tests.core.fleets import THING, Live, run

SANDBOX = Addresses("sandbox", "sandbox", "us-east-1", "h", 1, api_url="http://127.0.0.1:1")
YOURS = Addresses("endpoints", "mine", "us-east-1", "h", 1, api_url="http://127.0.0.1:1")


class Backend:
    """Says what it got in pages of three; some of it only later."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []
        self.asked: list[dict[str, str]] = []
        self.late: list[list[Any]] = []
        self.says: Any = None
        self.runner: web.AppRunner | None = None

    async def url(self) -> str:
        app = web.Application()
        app.router.add_get("/got", self.get)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}/got"

    async def get(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        if self.says is not None:
            return web.json_response(self.says, status=200 if isinstance(self.says, dict) else 500)
        after = int(request.query["after"])
        page = self.rows[after : after + 3]
        if not page:
            self.rows, self.late = self.rows + self.late, []
        return web.json_response({"next": after + len(page), "stored": page})


class Bench:
    """An engine with an audit, and that backend."""

    def __init__(self) -> None:
        self.live = Live()
        self.live.engine.audit = self.audit = Audit(STORED_KINDS, self.live.fleet.speaker)
        self.audit.epoch_ms = self.live.engine._epoch_ms - 1000 * self.live.engine._anchor_s
        self.backend = Backend()

    async def say(self, count: int) -> list[list[Any]]:
        """Lets the device say so many messages; the rows of a backend that got all of them."""
        self.live.engine.start(0)
        await self.live.until(lambda: len(self.live.telemetry()) >= count)
        self.live.engine.silence()
        told = [message for _, message in self.live.said if message.kind in STORED_KINDS]
        now_ms = self.live.engine.now_ms()
        return [[m.kind, THING, m.stamp, now_ms, seq] for seq, m in enumerate(told)]

    async def outcome(self, patience_s: float = 5.0, events: list[Event] | None = None) -> Audited:
        of = Api(await self.backend.url(), 7)
        try:
            return await audited(self.audit, of, events or [], self.live.engine.now_ms(), {}, patience_s)
        finally:
            await self.live.engine.close()
            assert self.backend.runner
            await self.backend.runner.cleanup()


def test_everything_an_engine_said_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        bench = Bench()
        rows = await bench.say(10)
        bench.backend.rows, bench.backend.late = rows[:5], rows[5:]
        found = await bench.outcome()
        [tally] = found.tallies
        assert (tally.kind, tally.said, tally.fates) == ("telemetry", len(rows), {"delivered": len(rows)})
        assert found.unaudited.total() == found.strangers == 0
        assert [question["after"] for question in bench.backend.asked][:4] == ["0", "3", "5", "5"], "it looked again"
        assert {question["since"] for question in bench.backend.asked} == {"7"}

    monkeypatch.setattr(auditing, "LOOK_S", 0.01)
    run(story)


def test_what_is_missing_is_named_or_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(explained: bool) -> None:
        bench = Bench()
        rows = await bench.say(10)
        bench.backend.rows = rows[:3] + rows[4:]
        fault = {"fault": "loss", "what": "dropped", "kind": "telemetry", "stamp": rows[3][2]}
        events = [Event(0, "fleet", "disturbed", THING, fault)] if explained else []
        found = await bench.outcome(0.0, events)
        assert found.tallies[0].fates["lost"] == 1
        if explained:
            assert (found.unexplained, found.tallies[0].causes["lost"]) == ([], {"loss dropped it": 1})
        else:
            [odd] = found.unexplained
            assert (odd.fate, odd.thing, odd.stamp) == ("lost", THING, rows[3][2])
            assert odd.hop == "after it was acknowledged, before the store"

    run(lambda: story(False))
    run(lambda: story(True))


def test_what_never_left_the_device_is_told_as_such() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.say(3)
        kept = Publish("telemetry", "t/stg/Pump-001", b"", stamp=99)
        bench.live.engine._carry_out(0, [Dropped(kept)])
        found = await audited(bench.audit, None, [], bench.live.engine.now_ms(), {})
        assert not found.sees_store
        assert found.tallies[0].fates["never_sent"] == 1
        assert [odd.stamp for odd in found.unexplained] == [99]
        await bench.live.engine.close()

    run(story)


@pytest.mark.parametrize(
    "says",
    [{}, {"next": 1, "stored": [["telemetry"]]}, {"next": 1, "stored": 5}, {"next": 1, "stored": [[1, 2, "x"]]}, []],
)
def test_a_source_that_is_none(says: Any) -> None:
    async def story() -> None:
        bench = Bench()
        bench.backend.says = says
        with pytest.raises(BackendUnavailable, match="cannot be read"):
            await bench.outcome()

    run(story)


def test_nobody_there() -> None:
    async def story() -> None:
        of = Api("http://127.0.0.1:9/got", 0)
        with pytest.raises(BackendUnavailable, match=r"what http://127.0.0.1:9/got got cannot be read"):
            await audited(Audit(STORED_KINDS, lambda index, topic: ""), of, [], 1, {})

    asyncio.run(story())


def test_a_watch_knows_how_long_there_was_no_answer() -> None:
    async def story() -> None:
        well = True

        async def answer(request: web.Request) -> web.Response:
            if not well:
                raise web.HTTPBadGateway
            what = request.path.rsplit("/", 1)[1]
            return web.json_response(
                {"events": {"next": 0, "events": []}, "alarms": [], "counts": {"stored": {}}}[what]
            )

        app = web.Application()
        app.router.add_get("/api/{what}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        watch = Watch(f"http://127.0.0.1:{runner.addresses[0][1]}", Ledger())
        assert (watch.watched_s, watch.unanswered_s) == (0, 0)
        await watch.begin()
        await watch.poll()
        assert watch.unanswered_s == 0 < watch.watched_s
        well = False
        await watch.poll()
        await watch.poll()
        silent_s = watch.unanswered_s
        assert 0 < silent_s < watch.watched_s
        well = True
        await watch.poll()
        silent_s = watch.unanswered_s
        await watch.poll()
        assert watch.unanswered_s == silent_s < watch.watched_s, "it is over"
        await watch.close()
        await runner.cleanup()

    run(story)


def mine(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "mine.yaml"
    path.write_text(f"target: mine\nkind: endpoints\nmqtt_host: h\n{text}")
    return target(str(path))


def test_where_a_target_is_asked(tmp_path: Path) -> None:
    found = source(target("sandbox"), SANDBOX, None, 5)
    assert isinstance(found, Api)
    assert (found.where, found._url) == ("the sandbox's store", "http://127.0.0.1:1/api/audit")
    assert source(mine(tmp_path, ""), YOURS, None, 5) is None, "its read API need not have this"
    found = source(mine(tmp_path, "audit_url: 'https://me:secret@you/got?key=secret'"), YOURS, None, 5)
    assert found
    assert found.where == "https://you/got"
    table = "endpoint_url: http://localhost:1\naudit: {dynamodb: Got, stamp: idx, stored: at}"
    found = source(mine(tmp_path, table), YOURS, object(), 5)  # type: ignore[arg-type]
    assert isinstance(found, Table)
    assert found.where == "DynamoDB Got"


@pytest.mark.parametrize(
    ("text", "problem"),
    [("audit: {dynamodb: Got}", "has none"), ("audit: {dynamo: Got}", "unknown key 'dynamo'"),
     ("audit_url: you", "audit_url"),
     ("endpoint_url: http://h\naudit_url: http://h\naudit: {dynamodb: Got}", "two places"),
     ("endpoint_url: http://h\naudit: {dynamodb: Got, unit: h}", "unit")],
)  # fmt: skip
def test_a_wrong_target(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises((YamlProblems, UsageError), match=problem):
        mine(tmp_path, text)
