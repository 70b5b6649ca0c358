"""Bodies of the `rest` link: batches with their bounds, CSV, and packing."""

import orjson
import pytest

from simulator.links import rest
from simulator.messages import Publish
from simulator.wire import csv_batch
from tests.links.rest_peers import TELEMETRY, Scripted, a_while, codes, connect, jump, run, sample, until


def test_a_full_batch_goes_at_once_and_the_rest_after_its_wait() -> None:
    async def test() -> None:
        async with Scripted() as server:
            link, sink = connect(server.url, mode="batch", batch_max=3, batch_wait_s=50.0)
            messages = [sample(i) for i in range(7)]
            for message in messages:
                link.send(message)
            await until(lambda: len(sink.acknowledgements) == 6)
            await a_while()
            assert len(server.requests) == 2
            jump(51)
            await until(lambda: len(sink.acknowledgements) == 7)
            sent = [one for body in server.bodies for one in orjson.loads(body)["messages"]]
            assert sent == [orjson.loads(message.payload) for message in messages]
            assert [message for message, _, _ in sink.acknowledgements] == messages

    run(test)


def test_a_batch_has_one_path_and_a_bound_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "BATCH_BYTES_MAX", 250)

    async def test() -> None:
        async with Scripted() as server:
            link, sink = connect(server.url, mode="batch")
            for topic in (TELEMETRY, TELEMETRY, "ingest/fire", TELEMETRY, TELEMETRY, TELEMETRY):
                link.send(Publish("telemetry", topic, b"1" * 100))
            await until(lambda: len(sink.acknowledgements) == 6)
            sizes = [body.count(b",") + 1 for body in server.bodies]
            assert [request.path for request in server.requests] == [TELEMETRY, "/ingest/fire", TELEMETRY, TELEMETRY]
            assert sizes == [2, 1, 2, 1]

    run(test)


def test_csv_batches_hold_what_was_sent_and_what_has_no_place_in_csv_goes_as_json() -> None:
    async def test() -> None:
        async with Scripted() as server:
            link, sink = connect(server.url, mode="csv", batch_max=2)
            messages = [sample(1, a=0.1, note="door, open"), sample(2, b=True), sample(3, device_id=1.0), sample(4)]
            for message in messages:
                link.send(message)
            await until(lambda: codes(sink) == [0] * 4)
            documents = [orjson.loads(message.payload) for message in messages]
            media = [request.headers["Content-Type"] for request in server.requests]
            assert media == ["text/csv; charset=utf-8", "application/json"]
            assert csv_batch.decode(server.bodies[0]) == documents[:2]
            assert orjson.loads(server.bodies[1])["messages"] == documents[2:]

    run(test)


def test_a_body_can_be_packed() -> None:
    async def test() -> None:
        async with Scripted() as server:
            link, sink = connect(server.url, gzip=True)
            message = sample(1)
            link.send(message)
            await until(lambda: codes(sink) == [0])
            assert server.requests[0].headers["Content-Encoding"] == "gzip"
            assert server.bodies == [message.payload]  # the server unpacks

    run(test)
