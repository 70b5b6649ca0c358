"""The read API, called as an ASGI application."""

import asyncio
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette

from simulator.backend.api import make_app
from simulator.backend.effects import (
    CloseDispatch,
    DeadLetter,
    OpenDispatch,
    Record,
    SaveAlarm,
    SaveDevice,
    StoreTelemetry,
)
from simulator.backend.queries import EVENTS_PAGE, Queries
from simulator.backend.store import Store


def get(app: Starlette, path: str) -> tuple[int, Any]:
    """GET a path: status and JSON."""
    sent: list[MutableMapping[str, Any]] = []
    path, _, query = path.partition("?")
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [], "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 80), "root_path": "",
    }  # fmt: skip

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], orjson.loads(b"".join(message.get("body", b"") for message in sent[1:]))


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Starlette]:
    store = Store(tmp_path)
    for write in (
        StoreTelemetry("V-1", "platform", 1000, None, 1000, None, 1500, '{"t":90.0}'),
        StoreTelemetry("V-1", "platform", 2000, None, 2000, None, 2500, '{"t":120.0}'),
        SaveDevice("V-1", "SedanVehicle", 2000, 2000),
        SaveAlarm("V-1-hot-2000", "V-1", "hot", "open", 2500, '{"alarm_id":"V-1-hot-2000","state":"open"}'),
        DeadLetter(2600, "payload.not_json", "a/b", b"\xff{"),
        OpenDispatch(2700, "V-1-hot-2000", "V-1", "hot", "high", "still bad"),
        CloseDispatch(2800, "V-1-hot-2000"),
    ):
        store.add(write)
    for i in range(EVENTS_PAGE + 2):
        store.add(Record(2500 + i, "alarm_raised", "V-1", "V-1-hot-2000", {"i": i}))
    store.commit({"telemetry": 3}, {"payload.not_json": 1})
    queries = Queries(store.path)
    yield make_app(queries)
    queries.close()
    store.close()


def test_health_and_counts(app: Starlette) -> None:
    assert get(app, "/api/health") == (200, {"status": "ok"})
    assert get(app, "/api/counts") == (
        200,
        {
            "received": {"telemetry": 3},
            "stored": {"telemetry": 2},
            "dead": {"payload.not_json": 1},
            "replayed": {},
            "duplicates": 0,
            "dead_dropped": 0,
        },
    )


def test_alarms_and_dispatches(app: Starlette) -> None:
    assert get(app, "/api/alarms") == (200, [{"alarm_id": "V-1-hot-2000", "state": "open"}])
    assert get(app, "/api/dispatches") == (
        200,
        [
            {
                "alarm_id": "V-1-hot-2000", "thing": "V-1", "rule_id": "hot", "severity": "high",
                "reason": "still bad", "opened_at_ms": 2700, "closed_at_ms": 2800,
            }
        ],
    )  # fmt: skip


def test_events_come_in_pages(app: Starlette) -> None:
    status, first = get(app, "/api/events")
    assert (status, len(first["events"]), first["next"]) == (200, EVENTS_PAGE, EVENTS_PAGE)
    assert first["events"][0] == {
        "seq": 1, "at_ms": 2500, "kind": "alarm_raised", "thing": "V-1", "alarm_id": "V-1-hot-2000", "detail": {"i": 0},
    }  # fmt: skip
    _, second = get(app, f"/api/events?after={first['next']}")
    assert [event["detail"]["i"] for event in second["events"]] == [EVENTS_PAGE, EVENTS_PAGE + 1]
    assert get(app, f"/api/events?after={second['next']}") == (200, {"next": second["next"], "events": []})


def test_telemetry_is_newest_first(app: Starlette) -> None:
    newest = {"device_timestamp": 2000, "ingest_timestamp": 2500, "metrics": {"t": 120.0}}
    assert get(app, "/api/telemetry/V-1?limit=1") == (200, [newest])
    assert len(get(app, "/api/telemetry/V-1")[1]) == 2


def test_dead_letters(app: Starlette) -> None:
    letter = {
        "id": 1, "at_ms": 2600, "reason": "payload.not_json", "topic": "a/b", "payload_hex": "ff7b",
        "replayed_at_ms": None,
    }  # fmt: skip
    assert get(app, "/api/dead_letters") == (200, {"next": 1, "dead_letters": [letter]})
    assert get(app, "/api/dead_letters?reason=other") == (200, {"next": 0, "dead_letters": []})
    assert get(app, "/api/dead_letters?after=1&limit=5") == (200, {"next": 1, "dead_letters": []})


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/api/telemetry/V-9", 404, "unknown device 'V-9'"),
        ("/api/nothing", 404, "Not Found"),
        ("/api/events?after=x", 400, "after: 'x' is not a whole number"),
        ("/api/events?after=-1", 400, "after: '-1' is not a whole number"),
        ("/api/events?after=" + "9" * 30, 400, "after: '" + "9" * 30 + "' is not a whole number"),
        ("/api/telemetry/V-1?limit=²", 400, "limit: '²' is not a whole number"),
    ],
)
def test_a_wrong_request_is_told_why(app: Starlette, path: str, status: int, error: str) -> None:
    assert get(app, path.replace("²", "%C2%B2")) == (status, {"error": error})
