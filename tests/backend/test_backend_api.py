"""The read API, called as an ASGI application."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from simulator.backend.api import Api
from simulator.backend.effects import (
    CloseDispatch,
    DeadLetter,
    OpenDispatch,
    Record,
    SaveAlarm,
    SaveDevice,
    StoreTelemetry,
)
from simulator.backend.queries import EVENTS_PAGE
from simulator.backend.store import Store
from tests.backend.asgi import get

NOW_MS = 62_000


@pytest.fixture
def app(tmp_path: Path) -> Iterator[ASGIApp]:
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
    api = Api(store.path, lambda: NOW_MS)
    yield api.app
    api.close()
    store.close()


def test_health_and_counts(app: ASGIApp) -> None:
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


def test_alarms_and_dispatches(app: ASGIApp) -> None:
    assert get(app, "/api/alarms") == (200, {"next": 1, "alarms": [{"alarm_id": "V-1-hot-2000", "state": "open"}]})
    [dispatch] = get(app, "/api/dispatches")[1]["dispatches"]
    assert dispatch.items() >= {
        "alarm_id": "V-1-hot-2000", "thing": "V-1", "rule_id": "hot", "severity": "high", "reason": "still bad",
        "opened_at_ms": 2700, "closed_at_ms": 2800,
    }.items()  # fmt: skip


def test_events_come_in_pages(app: ASGIApp) -> None:
    status, first = get(app, "/api/events")
    assert (status, len(first["events"]), first["next"]) == (200, EVENTS_PAGE, EVENTS_PAGE)
    assert first["events"][0] == {
        "seq": 1, "at_ms": 2500, "kind": "alarm_raised", "thing": "V-1", "alarm_id": "V-1-hot-2000", "detail": {"i": 0},
    }  # fmt: skip
    _, second = get(app, f"/api/events?after={first['next']}")
    assert [event["detail"]["i"] for event in second["events"]] == [EVENTS_PAGE, EVENTS_PAGE + 1]
    assert get(app, f"/api/events?after={second['next']}") == (200, {"next": second["next"], "events": []})


def test_telemetry_is_newest_first(app: ASGIApp) -> None:
    newest = {"device_timestamp": 2000, "ingest_timestamp": 2500, "metrics": {"t": 120.0}}
    assert get(app, "/api/telemetry/V-1?limit=1") == (200, {"next": "2000.2", "telemetry": [newest]})
    assert len(get(app, "/api/telemetry/V-1")[1]["telemetry"]) == 2


def test_dead_letters(app: ASGIApp) -> None:
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
def test_a_wrong_request_is_told_why(app: ASGIApp, path: str, status: int, error: str) -> None:
    assert get(app, path.replace("²", "%C2%B2")) == (status, {"error": error})
