"""The backend's half of an audit: what came, as identities, page by page; and of a process that is killed."""

import json
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.types import ASGIApp

from simulator.backend.api import Api
from simulator.backend.audit import PAGE_MAX, Place, Reader, place
from simulator.backend.decode import Telemetry, frame_topic, taken_payload
from simulator.backend.effects import DeadLetter
from simulator.backend.queries import Queries
from simulator.backend.store import Store
from simulator.errors import UsageError
from simulator.matching import Deliveries
from tests.backend.asgi import get
from tests.backend.tcp_peers import PRODUCT, body
from tests.backend.test_backend_store import NOW_MS, TOPIC, Aws
from tests.backend.test_tcp_process import Backend, broker

__all__ = ["broker"]

ALERT = "iotlink/dev/nohub/V/event/pub/alert_report/json"


@pytest.fixture
def aws(tmp_path: Path) -> Aws:
    return Aws(tmp_path / "state")


@pytest.fixture
def app(aws: Aws) -> Iterator[ASGIApp]:
    api = Api(aws.store.path, lambda: NOW_MS)
    yield api.app
    api.close()
    aws.store.close()


def whole(app: ASGIApp, query: str = "") -> dict[str, list[list[Any]]]:
    """All pages as one."""
    found: dict[str, list[list[Any]]] = {"stored": [], "repeated": [], "dead": []}
    after = "0"
    while True:
        status, page = get(app, f"/api/audit?after={after}{query}")
        assert status == 200
        for name, rows in found.items():
            rows += page[name]
        if page["next"] == after:
            return found
        after = page["next"]


def test_every_message_is_there_with_its_stamp(app: ASGIApp, aws: Aws) -> None:
    aws.say(NOW_MS, 90)
    aws.fire(41, 5.0)
    aws.result("x-1")
    aws.pipeline.ingest(ALERT, orjson.dumps({"device_timestamp": NOW_MS + 7, "data": {"alert": {}}}))
    aws.pipeline.commit()
    assert whole(app) == {
        "stored": [
            ["telemetry", "V", NOW_MS, NOW_MS, 1], ["telemetry", "device-001", 41, NOW_MS, 2],
            ["control_result", "V", NOW_MS, NOW_MS, 1], ["alert_report", "V", NOW_MS + 7, NOW_MS, 2],
        ],
        "repeated": [], "dead": [],
    }  # fmt: skip


def test_what_came_again_is_told_too(app: ASGIApp, aws: Aws) -> None:
    for _ in range(3):  # across batches, and twice within one
        aws.say(NOW_MS, 90)
        aws.fire(41, 5.0)
        aws.say(NOW_MS, 90)
        aws.result("x-1")
        aws.pipeline.commit()
    aws.say(NOW_MS + 1, 90)
    aws.pipeline.commit()
    found = whole(app)
    assert [row[:3] for row in found["stored"] if row[0] == "telemetry"] == [
        ["telemetry", "V", NOW_MS], ["telemetry", "device-001", 41], ["telemetry", "V", NOW_MS + 1],
    ]  # fmt: skip
    repeated = sorted(row[:3] for row in found["repeated"])
    assert repeated == (
        [["control_result", "V", NOW_MS]] * 2 + [["telemetry", "V", NOW_MS]] * 5 + [["telemetry", "device-001", 41]] * 2
    )
    assert aws.store.duplicates == len(repeated)


def test_pages_go_on_where_the_last_one_ended(app: ASGIApp, aws: Aws) -> None:
    for i in range(7):
        aws.say(NOW_MS + i, 90)
        aws.result(f"x-{i}")
        aws.pipeline.ingest("nonsense", b"x")
    aws.pipeline.commit()
    found = whole(app, "&limit=2")
    assert {name: sorted(rows) for name, rows in found.items()} == {
        name: sorted(rows) for name, rows in whole(app).items()
    }
    assert [len(rows) for rows in found.values()] == [14, 0, 7]
    status, page = get(app, "/api/audit?limit=2")
    assert (status, page["next"], len(page["stored"]), len(page["dead"])) == (200, "2.2.0.2", 4, 2)
    assert get(app, f"/api/audit?since={NOW_MS + 1}")[1]["stored"] == [], "all of it came before that"
    assert get(app, "/api/audit?limit=99999999")[0] == 200


@pytest.mark.parametrize(
    "query", ["after=x", "after=1.2.3", "after=1.2.3.-4", f"after=1.2.3.{10**30}", "limit=-1", "since=yesterday"]
)
def test_a_wrong_question_is_a_400(app: ASGIApp, query: str) -> None:
    status, said = get(app, f"/api/audit?{query}")
    assert status == 400
    assert said["error"]


def test_a_place_is_what_it_was() -> None:
    assert place(str(Place(1, 2, 3, 4))) == Place(1, 2, 3, 4)
    assert place("0") == Place()
    assert PAGE_MAX >= 5000
    with pytest.raises(UsageError):
        place("")


SAMPLE = Telemetry("m-1", "platform", 9, None, 9, None, 9, {"t": 1})
FRAME = body(0, at_ms=NOW_MS)

# topic, payload → kind, thing, stamp
LETTERS: list[tuple[str, bytes, tuple[str, str, int]]] = [
    (TOPIC, b'{"device_timestamp": 1767225600001, "data": 7}', ("telemetry", "V", 1767225600001)),
    (TOPIC, b'{"device_timestamp": 1767225600001, "data": {"metr', ("telemetry", "V", 1767225600001)),
    (TOPIC, b'\xff\xfe"device_timestamp":1767225600001', ("telemetry", "V", 1767225600001)),
    (TOPIC, b'{"device_timestamp": "now"}', ("telemetry", "V", 0)),
    (TOPIC, b'{"device_timestamp": true}', ("telemetry", "V", 0)),
    (TOPIC, b"[]", ("telemetry", "V", 0)),
    (TOPIC, b"", ("telemetry", "V", 0)),
    (ALERT, b'{"device_timestamp": 5}', ("alert_report", "V", 5)),
    ("fire-prediction/device/d/data", b'{"idx": 7, "status": 4096}', ("telemetry", "d", 7)),
    ("devices/h/c/telemetry", b'{"device_timestamp": 5}', ("telemetry", "c", 5)),
    ("iotlink/dev/nohub/V/periodic/pub/oops/json", b'{"device_timestamp": 5}', ("", "", 5)),
    ("nonsense", b"x", ("", "", 0)),
    ("taken/telemetry", taken_payload(SAMPLE), ("telemetry", "m-1", 9)),
    ("taken/telemetry", taken_payload(SAMPLE._replace(idx=3)), ("telemetry", "m-1", 3)),
    ("taken/telemetry", b"[1]", ("telemetry", "", 0)),
    (frame_topic("machine"), FRAME, ("telemetry", "m-1", NOW_MS)),
    (frame_topic("machine"), FRAME[:-1], ("", "", 0)),
    (frame_topic("other"), FRAME, ("", "", 0)),
]


@pytest.mark.parametrize(("topic", "payload", "whose"), LETTERS)
def test_a_dead_letter_says_whose_it_is_if_it_can(topic: str, payload: bytes, whose: tuple[str, str, int]) -> None:
    assert Reader({"machine": PRODUCT})(DeadLetter(1, "why", topic, payload)) == whose


def test_a_letter_that_was_replayed_is_told_as_what_came_of_it(app: ASGIApp, aws: Aws) -> None:
    aws.pipeline.ingest(TOPIC, b'{"device_timestamp": 5, "data": {}}')
    aws.pipeline.commit()
    [letter] = whole(app)["dead"]
    assert letter == ["telemetry", "V", 5, NOW_MS, "metrics.missing"]
    mended = {"device_timestamp": NOW_MS, "data": {"metrics": {"t": 1}}}
    aws.pipeline.replay(1, DeadLetter(NOW_MS, "metrics.missing", TOPIC, orjson.dumps(mended)))
    aws.pipeline.commit()
    found = whole(app)
    assert (found["dead"], len(found["stored"])) == ([], 1)


def test_a_file_of_an_older_backend_gets_what_it_lacks(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store._db.execute("ALTER TABLE telemetry DROP COLUMN idx")
    store._db.execute("DROP TABLE repeats")
    store.close()
    aws = Aws(tmp_path)
    aws.fire(41, 5.0)
    aws.pipeline.commit()
    queries = Queries(aws.store.path)
    assert [row[2] for row in queries.audit("0", 10, 0)["stored"]] == [41]
    queries.close()
    aws.store.close()


@pytest.mark.peer
@pytest.mark.e2e
def test_a_backend_that_was_killed_still_knows_what_came_twice(tmp_path: Path, broker: int) -> None:
    backend = Backend(tmp_path, broker)

    def post(url: str, at_ms: int) -> None:
        message = {"device_id": "m-1", "productId": "plain", "device_timestamp": at_ms, "metrics": {"t": 1}}
        request = urllib.request.Request(  # noqa: S310
            f"{url}/ingest/telemetry", json.dumps(message).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            assert answer.status == 202

    try:
        ready = backend.start()
        for at_ms in (NOW_MS, NOW_MS + 1, NOW_MS):
            post(ready["rest_url"], at_ms)
        backend.kill()
        ready = backend.start()
        for at_ms in (NOW_MS + 1, NOW_MS + 2):
            post(ready["rest_url"], at_ms)
        with urllib.request.urlopen(f"{ready['api_url']}/api/audit", timeout=20) as answer:  # noqa: S310
            page = json.load(answer)
    finally:
        backend.kill(signal.SIGTERM)
    assert [row[2] for row in page["stored"]] == [NOW_MS, NOW_MS + 1, NOW_MS + 2]
    assert [row[2] for row in page["repeated"]] == [NOW_MS, NOW_MS + 1]
    assert Deliveries("there", []).page(page) == 5, "the fleet can read it"
