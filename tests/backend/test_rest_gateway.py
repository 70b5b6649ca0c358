"""The REST gateway over a real server: what is taken and stored, what is wrong and named, and each key once."""

import gzip
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.backend import rest_body, rest_gateway
from simulator.backend.decode import Telemetry
from simulator.backend.rest_body import MESSAGES_MAX, BodyRefused
from tests.backend.rest_server import AT_MS, Server, fire, message


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with closing(Server(tmp_path)) as running:
        yield running


CSV = b"device_id,productId,device_timestamp,tempC,note\npress-01,prod-a,1767225600000,26.3,\n"
CSV += b'press-02,prod-a,1767225600000,,"door, open"\n'

TAKEN: list[tuple[Any, dict[str, str], int]] = [
    (message(), {}, 1),
    ({"messages": [message(), message(device_id="press-02")]}, {}, 2),
    ({"messages": [message()]}, {"content_type": "application/json; charset=utf-8"}, 1),
    (CSV, {"content_type": "text/csv"}, 2),
    (gzip.compress(CSV), {"content_type": "text/csv", "content_encoding": "gzip"}, 2),
    (message(hub_id="hub-01", hub_timestamp=AT_MS, childDeviceId="press-01"), {}, 1),
    (fire(), {"path": "/ingest/fire"}, 1),
    ({"messages": [fire(idx=i) for i in range(3)]}, {"path": "/ingest/fire"}, 3),
]


@pytest.mark.parametrize(("body", "request_as", "count"), TAKEN)
def test_what_is_taken_is_stored_when_it_is_said(
    server: Server, body: Any, request_as: dict[str, str], count: int
) -> None:
    said = server.post(body, **request_as)
    assert said.status == 202, said.body
    assert said.body["messages"] == count
    assert len(said.body["id"]) == 24
    assert server.stored() == count


def test_a_sample_is_stored_as_it_was_sent(server: Server) -> None:
    server.post(CSV, content_type="text/csv")
    (sample,) = server.queries.telemetry("press-02", 10)["telemetry"]
    assert (sample["device_timestamp"], sample["metrics"]) == (AT_MS, {"note": "door, open"})
    assert sample["ingest_timestamp"] >= AT_MS


def test_rules_judge_by_the_product_in_the_message_without_asking_the_registry(server: Server) -> None:
    server.post(message(metrics={"tempC": 95.0}))
    assert [alarm["thing"] for alarm in server.queries.alarms()["alarms"]] == ["press-01"]
    assert server.calls.calls == []


JSON_TABLE: list[tuple[Any, int, str, list[tuple[int, str, str]]]] = [
    (b"{", 400, "not JSON", []),
    (b"[]", 400, "one message or", []),
    (b'{"messages": 5}', 400, "'messages' must be a list", []),
    (b'{"messages": []}', 400, "'messages' must be a list", []),
    ({"messages": [message()], "site": 1}, 400, "beside 'messages'", []),
    ({"messages": [message()] * (MESSAGES_MAX + 1)}, 413, "more than 1000", []),
    ({}, 400, "1 message is wrong", [(0, "device_id", "is missing")]),
    (message(device_id=""), 400, "", [(0, "device_id", "must be 1 to 128")]),
    (message(device_id=5), 400, "", [(0, "device_id", "must be 1 to 128")]),
    (message(productId=None), 400, "", [(0, "productId", "is missing")]),
    (message(metric={}), 400, "", [(0, "metric", "unknown field (did you mean 'metrics'?)")]),
    (message(device_timestamp=None), 400, "", [(0, "device_timestamp", "is missing")]),
    (message(device_timestamp="now"), 400, "", [(0, "device_timestamp", "has the wrong type")]),
    (message(device_timestamp=5), 400, "", [(0, "device_timestamp", "is out of range")]),
    (message(hub_id="a/b"), 400, "", [(0, "hub_id", "must be 1 to 128")]),
    (message(hub_id="h", hub_timestamp=5), 400, "", [(0, "hub_timestamp", "is out of range")]),
    (message(childDeviceId="other"), 400, "", [(0, "childDeviceId", "must be the device_id")]),
    (message(metrics=None), 400, "", [(0, "metrics", "is missing")]),
    (message(metrics={}), 400, "", [(0, "metrics", "must not be empty")]),
    (message(metrics=[1]), 400, "", [(0, "metrics", "has the wrong type")]),
    (message(metrics={"a": 1, "tempC": None}), 400, "", [(0, "metrics.tempC", "has the wrong type")]),
    (message(metrics={"a": 1, "tempC": 1e16}), 400, "", [(0, "metrics.tempC", "is out of range")]),
    (message(metrics={"": 1}), 400, "", [(0, "metrics.", "must have a name")]),
    (message(metrics={"a": "x" * 257}), 400, "", [(0, "metrics.a", "is longer than 256")]),
    (
        {"messages": [message(), 5, message(productId=None), message(device_id="x" * 129)]},
        400,
        "3 messages are wrong",
        [(1, "", "is not an object"), (2, "productId", "is missing"), (3, "device_id", "must be 1 to 128")],
    ),
]


@pytest.mark.parametrize(("body", "status", "error", "problems"), JSON_TABLE)
def test_wrong_json_is_named_by_index_and_field_and_nothing_is_stored(
    server: Server, body: Any, status: int, error: str, problems: list[tuple[int, str, str]]
) -> None:
    said = server.post(body)
    assert said.status == status
    assert error in said.body["error"]
    named = said.body.get("problems", [])
    assert [(p["index"], p["field"]) for p in named] == [(index, field) for index, field, _ in problems]
    assert all(text in p["problem"] for p, (_, _, text) in zip(named, problems, strict=True))
    assert server.stored() == 0
    assert server.queries.counts()["dead"] == {}


def test_wrong_rows_of_csv_are_named_by_row_and_column(server: Server) -> None:
    rows = b"a,prod-a,1767225600000,1\na,prod-a,x,1\na,,1767225600001,1\na,prod-a,1767225600002,\n"
    said = server.post(b"device_id,productId,device_timestamp,t\n" + rows, content_type="text/csv")
    assert said.status == 400
    assert [(p["row"], p["field"]) for p in said.body["problems"]] == [
        (3, "device_timestamp"),
        (4, "productId"),
        (5, "metrics"),
    ]
    assert server.stored() == 0


def test_the_problems_that_are_named_have_a_bound(server: Server) -> None:
    said = server.post({"messages": [message(productId=None)] * 500})
    assert said.body["error"].startswith("500 messages are wrong")
    assert len(said.body["problems"]) == rest_body.PROBLEMS_MAX


FIRE_TABLE: list[tuple[dict[str, Any], str, str]] = [
    (fire(volt=301), "volt", "is out of range"),
    (fire(status=4096), "status", "the sensor cannot be read"),
    (fire(verifySts=1), "verifySts", "contradicts another field"),
    (fire(idx="1"), "idx", "has the wrong type"),
    (fire(deviceId="a/b"), "deviceId", "must be 1 to 128"),
]


@pytest.mark.parametrize(("record", "field", "problem"), FIRE_TABLE)
def test_a_wrong_fire_record_is_named_by_field(
    server: Server, record: dict[str, Any], field: str, problem: str
) -> None:
    said = server.post(record, path="/ingest/fire")
    assert said.status == 400
    assert [p["field"] for p in said.body["problems"]] == [field]
    assert problem in said.body["problems"][0]["problem"]


def test_the_same_key_gives_the_same_answer_and_stores_once(server: Server) -> None:
    first = server.post(message(), idempotency_key="k-1")
    assert server.post(message(), idempotency_key="k-1").body == first.body
    assert server.queries.counts()["received"]["telemetry"] == 1
    assert server.stored() == 1
    assert server.post(message(), idempotency_key="k-2").body["id"] != first.body["id"]
    assert server.stored() == 1  # the store knows the sample, whatever its key


def test_the_same_key_with_another_body_is_refused(server: Server) -> None:
    assert server.post(message(), idempotency_key="k").status == 202
    said = server.post(message(device_timestamp=AT_MS + 1), idempotency_key="k")
    assert said.status == 422
    assert server.stored() == 1


def test_a_refused_request_leaves_its_key_free(server: Server) -> None:
    assert server.post(message(metrics={}), idempotency_key="k").status == 400
    assert server.post(message(), idempotency_key="k").status == 202


def test_keys_are_remembered_within_a_bound(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_gateway, "KEYS_MAX", 2)
    for key in ("a", "b", "c"):
        assert server.post(message(), idempotency_key=key).status == 202
    assert server.post(message(device_timestamp=AT_MS + 1), idempotency_key="a").status == 202
    assert server.post(message(device_timestamp=AT_MS + 2), idempotency_key="c").status == 422


def test_a_device_has_one_product(server: Server) -> None:
    assert server.post(message()).status == 202
    said = server.post({"messages": [message(device_id="new"), message(productId="prod-b")]})
    assert said.body["problems"] == [
        {"index": 1, "field": "productId", "problem": "the device is known as a 'prod-a'"},
    ]


def test_a_store_that_fails_is_a_503_and_the_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(server.pipeline.store, "commit", broken)
    assert server.post(message(), idempotency_key="k").status == 503
    assert [str(error) for error in server.broken] == ["disk full"]


FRAGMENTS = st.lists(
    st.sampled_from([b'{"messages":[', b'{"device_id":"a"', b',"metrics":{}', b"}", b"]", b",", b"1", b'"', b"\xff"])
)


@given(st.binary(max_size=100) | FRAGMENTS.map(b"".join) | st.binary(max_size=60).map(gzip.compress))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    bodies = [body]
    with suppress(BodyRefused):
        bodies.append(rest_body.unpack(body))
    for data in bodies:
        for read in (rest_body.telemetry_from_json, rest_body.telemetry_from_csv, rest_body.fire_from_json):
            with suppress(BodyRefused):
                assert all(isinstance(sample, Telemetry) for sample in read(data, AT_MS, lambda _: None))
