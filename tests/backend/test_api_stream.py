"""Server-Sent Events: in order, from where somebody left off, to each its own, and nobody waits for the slow."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from simulator.backend.api import feed as feeds
from simulator.backend.api.app import Api
from simulator.backend.api.feed import Dropped, Feed, Wish
from simulator.backend.api.reads import Readers
from simulator.backend.effects import Record
from simulator.backend.store import Store
from tests.backend.two_customers import EVENTS, NOW_MS, OURS, THEIRS, api, fill, headers

PATIENCE_S = 20.0
SERVICE = "service-secret"


class Stream:
    """One request for the stream, read event by event."""

    def __init__(self, made: Api, path: str, said: dict[str, str]) -> None:
        raw, _, query = path.partition("?")
        self._scope = {
            "type": "http", "method": "GET", "path": raw, "raw_path": raw.encode(), "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in said.items()],
            "http_version": "1.1", "scheme": "http", "server": ("localhost", 80), "client": ("127.0.0.1", 1),
            "root_path": "",
        }  # fmt: skip
        self._app, self._chunks = made.app, asyncio.Queue[bytes]()
        self._gone = asyncio.Event()
        self._rest = b""
        self.status = 0
        self.ended = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self._app(self._scope, self._receive, self._send)
        self.ended.set()

    async def _receive(self) -> Any:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self._chunks.put_nowait(message.get("body", b""))

    async def next(self) -> dict[str, str]:
        """The next event: its fields; a comment is {"": text}."""
        while b"\n\n" not in self._rest:
            self._rest += await asyncio.wait_for(self._chunks.get(), PATIENCE_S)
        block, _, self._rest = self._rest.partition(b"\n\n")
        pairs = (line.partition(": ") for line in block.decode().split("\n"))
        return {name: value for name, _, value in pairs}

    async def events(self, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < count:
            said = await self.next()
            if "data" in said:
                found.append(orjson.loads(said["data"]))
        return found

    async def leave(self) -> None:
        self._gone.set()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


Listen = Callable[..., Stream]
Story = Callable[[Api, Store, Listen], Awaitable[None]]


def played(folder: Path, story: Story, heartbeat_s: float = 0.05) -> None:
    """With a store, its API, and streams that all end with it."""

    async def whole() -> None:
        store = fill(folder)
        made = api(store)
        made.feed._look_s, made.feed._heartbeat_s = 0.001, heartbeat_s
        opened: list[Stream] = []

        def listen(path: str = "/api/stream", secret: str | None = SERVICE, **more: str) -> Stream:
            said = {name.replace("_", "-"): value for name, value in more.items()}
            said |= (headers(secret) if secret else {}) | {"host": "localhost"}
            opened.append(Stream(made, path, said))
            return opened[-1]

        try:
            await story(made, store, listen)
        finally:
            for one in opened:
                await one.leave()
            await made.end()
            made.close()
            store.close()

    asyncio.run(whole())


def happen(store: Store, thing: str, *kinds: str) -> None:
    for kind in kinds:
        store.add(Record(NOW_MS, kind, thing, "a", {}))
    store.commit({}, {})


def test_events_come_as_they_happen_with_heartbeats_between(tmp_path: Path) -> None:
    async def story(made: Api, store: Store, listen: Listen) -> None:
        one = listen()
        assert await one.next() == {"retry": "2000"}
        assert await one.next() == {"": "still here"}
        happen(store, OURS, "relapsed")
        [event] = await one.events(1)
        assert (event["kind"], event["thing"], event["seq"]) == ("relapsed", OURS, 3 * len(EVENTS) + 1)
        assert one.status == 200

    played(tmp_path, story)


def test_who_comes_back_goes_on_where_it_was(tmp_path: Path) -> None:
    async def story(made: Api, store: Store, listen: Listen) -> None:
        last = 3 * len(EVENTS)
        one = listen(Last_Event_ID=str(last - 5))
        assert [event["seq"] for event in await one.events(5)] == list(range(last - 4, last + 1))
        happen(store, OURS, "relapsed", "in_range")
        assert [event["seq"] for event in await one.events(2)] == [last + 1, last + 2]
        newer = listen("/api/stream?after=0", Last_Event_ID=str(last + 1))
        assert [event["seq"] for event in await newer.events(1)] == [last + 2], "what the browser says is newer"
        all_of_it = listen("/api/stream?after=0")
        assert [event["seq"] for event in await all_of_it.events(last + 2)] == list(range(1, last + 3))

    played(tmp_path, story)


def test_a_customer_hears_of_its_own_and_filters_hold(tmp_path: Path) -> None:
    async def story(made: Api, store: Store, listen: Listen) -> None:
        mine = listen("/api/stream?after=0", "our-secret")
        assert {event["thing"] for event in await mine.events(len(EVENTS))} == {OURS}
        theirs = listen(f"/api/stream?after=0&thing={THEIRS}", "our-secret")
        kinds = listen("/api/stream?after=0&kind=job_created,relapsed")
        assert [event["kind"] for event in await kinds.events(3)] == ["job_created"] * 3
        await theirs.next()
        await mine.next()  # a heartbeat: both listen by now
        happen(store, THEIRS, "relapsed")
        happen(store, OURS, "relapsed")
        assert [event["thing"] for event in await mine.events(1)] == [OURS]
        assert [event["thing"] for event in await kinds.events(2)] == [THEIRS, OURS]
        assert await theirs.next() == {"": "still here"}

    played(tmp_path, story)


def test_a_stream_ends_with_its_token(tmp_path: Path) -> None:
    async def story(made: Api, store: Store, listen: Listen) -> None:
        token, secret = made._desk.tokens.make("lab", "", NOW_MS)
        one = listen(secret=secret)
        await one.next()
        made._desk.tokens.delete(token.id)
        await asyncio.wait_for(one.ended.wait(), PATIENCE_S)
        assert made.feed.listeners == 0

    played(tmp_path, story)


def test_no_more_listen_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "LISTENERS_MAX", 2)

    async def story(made: Api, store: Store, listen: Listen) -> None:
        two = [listen(), listen()]
        for one in two:
            await one.next()
            await one.next()
        third = listen()
        await asyncio.wait_for(third.ended.wait(), PATIENCE_S)
        assert (third.status, made.feed.refused) == (503, 1)
        await two[0].leave()
        assert made.feed.listeners == 1, "who leaves makes room"

    played(tmp_path, story)


@asynccontextmanager
async def feeding(folder: Path) -> AsyncIterator[tuple[Store, Feed]]:
    store = Store(folder)
    store.commit({}, {})
    readers = Readers(store.path)
    feed = Feed(readers, look_s=0.001, heartbeat_s=PATIENCE_S)
    try:
        yield store, feed
    finally:
        await feed.close()
        readers.close()
        store.close()


def test_the_slow_lose_their_oldest_and_are_told_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "QUEUE_MAX", 3)

    async def story() -> None:
        async with feeding(tmp_path) as (store, feed):
            slow = feed.listen(Wish(), None, lambda: True)
            first = asyncio.create_task(anext(slow))
            while not feed.listeners:
                await asyncio.sleep(0)
            happen(store, OURS, "a")
            assert (await first)["kind"] == "a"  # type: ignore[index, call-overload]
            happen(store, OURS, *"bcdefgh")
            async with asyncio.timeout(PATIENCE_S):
                while feed.dropped < 4:
                    await asyncio.sleep(0.001)
            assert await anext(slow) == Dropped(4)
            found = [await anext(slow) for _ in range(3)]
            assert [event["kind"] for event in found if isinstance(event, dict)] == ["f", "g", "h"]
            await slow.aclose()

    asyncio.run(story())


def test_nobody_looks_when_nobody_listens(tmp_path: Path) -> None:
    async def story() -> None:
        async with feeding(tmp_path) as (_, feed):
            one = feed.listen(Wish(), None, lambda: True)
            waiting = asyncio.create_task(anext(one))
            while not feed.listeners:
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await one.aclose()
            async with asyncio.timeout(PATIENCE_S):
                while feed._task and not feed._task.done():
                    await asyncio.sleep(0.001)
            assert feed.listeners == 0

    asyncio.run(story())
