"""What somebody with a token, or with none, tried against the API, and what it came to."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.requests import Request
from starlette.types import ASGIApp

from simulator.backend.api import Api, feed
from simulator.backend.api.sessions import CODES_EACH_MAX, SESSION_S
from simulator.backend.config import Control
from simulator.backend.fleet_control import QUERY_MAX, FleetControl
from simulator.backend.platform.queries import PlatformQueries
from simulator.backend.store import Store
from simulator.runtime.control_server import ControlServer
from tests.backend.asgi import Answer, ask, asked
from tests.backend.test_api_stream import Listen, played
from tests.backend.two_customers import EVENTS, MARK, NOW_MS, OURS, THEIRS, api, fill, headers, tokens


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = fill(tmp_path / "store")
    yield found
    found.close()


@pytest.fixture
def made(store: Store, tmp_path: Path) -> Iterator[Api]:
    found = api(store, tmp_path)
    yield found
    found.close()


@pytest.fixture
def app(made: Api) -> ASGIApp:
    return made.app


def said(app: ASGIApp, secret: str, path: str, method: str = "GET", **more: str) -> Answer:
    return ask(app, method, path, None, **headers(secret), **more)


# -- what is another's


def test_samples_from_the_archive_do_not_name_another_customers_hub(app: ASGIApp, monkeypatch: Any) -> None:
    mine, others = {"device_timestamp": 1, "hub_id": OURS}, {"device_timestamp": 2, "hub_id": f"hub-{MARK}"}

    def archive(*_: Any) -> dict[str, Any]:
        return {"samples": [dict(mine), dict(others), {"device_timestamp": 3, "hub_id": None}], "complete": True}

    monkeypatch.setattr(PlatformQueries, "archive", archive)
    shown = said(app, "our-secret", f"/api/archive/{OURS}").json["samples"]
    assert [one.get("hub_id", "-") for one in shown] == [OURS, "-", None]
    assert said(app, "service-secret", f"/api/archive/{OURS}").json["samples"][1] == others


def test_who_gets_a_device_does_not_hear_where_it_stood(app: ASGIApp, store: Store) -> None:
    store._db.execute("UPDATE master SET customer_id = 'us', site_id = 'our-site' WHERE thing = ?", (THEIRS,))
    shown = said(app, "our-secret", f"/api/device/{THEIRS}")
    assert shown.json["state"]["fire"]["site"] == shown.json["state"]["site_id"] == "our-site"
    assert said(app, "our-secret", f"/api/realtime/{THEIRS}").json["fire"]["site"] == "our-site"
    for path in ("device", "realtime"):
        assert f"site-{MARK}".encode() not in said(app, "our-secret", f"/api/{path}/{THEIRS}").body
        assert said(app, "their-secret", f"/api/{path}/{THEIRS}").status == 404
    assert said(app, "their-secret", "/api/events").json["events"] == []


def test_the_newest_event_is_of_ones_own(app: ASGIApp) -> None:
    newest = {
        secret: said(app, secret, "/api/overview").json["newest"]["events"] for secret in ("our-secret", "lab-secret")
    }
    assert newest == {"our-secret": len(EVENTS), "lab-secret": 3 * len(EVENTS)}


@pytest.mark.parametrize("path", ["/api/events", "/api/history/alarm", "/api/dispatches", "/api/notifications"])
def test_what_a_customer_looks_for_among_others_rows_is_looked_for_in_a_thread(
    made: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    threads: list[str] = []
    elsewhere = made.readers.elsewhere

    async def counted(read: Any) -> Any:
        threads.append(path)
        return await elsewhere(read)

    monkeypatch.setattr(made.readers, "elsewhere", counted)
    assert said(made.app, "service-secret", path).status == 200
    assert threads == []
    assert said(made.app, "our-secret", path).status == 200
    assert threads == [path]


# -- what costs much


def test_many_parameters_are_looked_through_once(app: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs a token for this: 13,000 names fit into a head."""
    compared = 0

    class Name(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    pairs: list[tuple[str, str]] = [(Name(f"{i:x}"), "") for i in (*range(500), 499)]
    monkeypatch.setattr(Request, "query_params", property(lambda _: Pairs(pairs)))
    assert ask(app, "GET", "/api/health").json == {"error": "1f3: given twice"}
    assert compared < 5 * len(pairs)


class Pairs:
    """Parameters, as the query would give them."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def multi_items(self) -> list[tuple[str, str]]:
        return self._pairs


def test_streams_that_are_asked_for_at_once_have_a_bound_and_a_customer_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LISTENERS_MAX", 4)
    monkeypatch.setattr(feed, "LISTENERS_EACH_MAX", 2)

    async def story(made: Api, store: Store, listen: Listen) -> None:
        ours = [listen(secret="our-secret") for _ in range(6)]
        await asyncio.gather(*(one.next() for one in ours[:2]))
        all_ended = [asyncio.wait_for(one.ended.wait(), 20) for one in ours[2:]]
        await asyncio.gather(*all_ended)
        assert (made.feed.listeners, made.feed.refused) == (2, 4)
        service = [listen() for _ in range(6)]
        await asyncio.gather(*(asyncio.wait_for(one.ended.wait(), 20) for one in service[2:]))
        assert made.feed.listeners == 4

    played(tmp_path, story)


def test_who_makes_many_codes_loses_its_own(app: ASGIApp) -> None:
    link = said(app, "service-secret", "/api/codes", "POST").json["path"]
    ours = [said(app, "our-secret", "/api/codes", "POST").json["path"] for _ in range(CODES_EACH_MAX + 1)]
    assert [ask(app, "GET", path).status for path in (ours[0], ours[1], ours[-1], link)] == [403, 303, 303, 303]


# -- browsers


def test_a_link_is_not_used_up_by_who_only_looks(app: ASGIApp) -> None:
    link = said(app, "service-secret", "/api/codes", "POST").json["path"]
    assert ask(app, "HEAD", link).status == 405
    assert ask(app, "OPTIONS", link).status == 405
    assert ask(app, "GET", link).status == 303


def test_another_page_cannot_make_a_browser_somebody_else(app: ASGIApp) -> None:
    link = said(app, "our-secret", "/api/codes", "POST").json["path"]
    for site in ("cross-site", "same-site"):
        assert ask(app, "GET", link, Sec_Fetch_Site=site).status == 403
    assert ask(app, "GET", "/", Sec_Fetch_Site="cross-site").status == 200, "the pages may be linked to"
    assert ask(app, "GET", link, Sec_Fetch_Site="none").status == 303


def test_a_stream_ends_with_its_session(tmp_path: Path) -> None:
    async def story(made: Api, store: Store, listen: Listen) -> None:
        desk = made._desk
        cookie = f"{desk.sessions.cookie}={desk.sessions.begin('lab-secret')}"
        now_ms = NOW_MS
        monkey = pytest.MonkeyPatch()
        monkey.setattr(desk.sessions, "_now_ms", lambda: now_ms)
        one = listen(secret=None, Cookie=cookie)
        await one.next()
        assert await one.next() == {"": "still here"}
        now_ms += 1000 * SESSION_S
        await asyncio.wait_for(one.ended.wait(), 20)
        monkey.undo()

    played(tmp_path, story)


# -- the way to the run


class Far:
    """What stands behind the run's port."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def answer(self, method: str, path: str, query: Any, body: bytes) -> tuple[int, dict[str, Any]]:
        self.asked.append((method, path))
        return 200, {"query": dict(query), "body": body.decode()}

    def close(self) -> None:
        """There is nothing to end."""


STRANGE = (
    "", "../run", "%2e%2e/run", "..%2frun", "%252e%252e%252frun", "%25%32%65", "/evil.example:80/x", "@evil.example/",
    "http://evil.example/", "%2f%2fevil.example", "run%3fafter=1", "run%23x", "run%00", "run%20", "run/", "%5c%5cevil",
    "RUN", "run;x", ":1@x", "[::1]", "%ff", "x" * 70_000,
)  # fmt: skip


def test_only_plain_words_are_passed_on_to_the_run(store: Store) -> None:
    async def play() -> None:
        server, far = ControlServer(), Far()
        server.controls = far  # type: ignore[assignment]
        await server.serve()
        control = FleetControl(Control(url=server.place.url, token=server.place.token))
        made = Api(store.path, lambda: NOW_MS, tokens=tokens(), control=control.handle)
        try:
            for path in STRANGE:
                answer = await asked(made.app, "GET", f"/control/{path}", None, headers("service-secret"))
                assert answer.status == 404, path[:40]
            long = await asked(made.app, "GET", f"/control/run?a={'x' * QUERY_MAX}", None, headers("service-secret"))
            assert (long.status, far.asked) == (400, [])
            events = await asked(
                made.app, "GET", "/control/events?after=7&a=%0d%0aX:1", None, headers("service-secret")
            )
            assert orjson.loads(events.body)["query"] == {"after": "7", "a": "\r\nX:1"}
            steps = await asked(made.app, "POST", "/control/steps", {"a": 1}, headers("service-secret"))
            assert (steps.json["body"], far.asked) == ('{"a":1}', [("GET", "events"), ("POST", "steps")])
        finally:
            made.close()
            await server.stop()

    asyncio.run(play())
