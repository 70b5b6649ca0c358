"""Requests of the `rest` link that fail: when they are tried again, under which key, and when they are given up."""

import time
from email.utils import formatdate

import pytest

from simulator.links import rest
from simulator.links.rest import retry_after_s
from tests.links.mqtt_peers import free_port
from tests.links.rest_peers import Scripted, a_while, codes, connect, jump, run, sample, until


def test_a_failed_request_is_tried_again_under_the_same_key_and_timed_from_the_first_try() -> None:
    async def test() -> None:
        async with Scripted(500, 503) as server:
            link, sink = connect(server.url)
            before_s = time.monotonic()
            link.send(sample(1))
            link.send(sample(2))
            await until(lambda: len(server.requests) == 1)
            first_s = time.monotonic()
            await until(lambda: len(sink.acknowledgements) == 2)
            assert codes(sink) == [0, 0]
            assert before_s <= sink.acknowledgements[0][1] <= first_s
            assert len(server.requests) == 4
            assert len(set(server.keys[:3])) == 1  # the second message waited for the first
            assert server.bodies[:3] == [server.bodies[0]] * 3
            assert sink.log[0] == "connected False"
            assert not any(line.startswith("disconnected") for line in sink.log)

    run(test)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status: int) -> None:
    async def test() -> None:
        async with Scripted((status, {"Retry-After": "30"})) as server:
            link, sink = connect(server.url)
            link.send(sample(1))
            await until(lambda: len(server.requests) == 1)
            await a_while()
            jump(29)
            await a_while()
            assert len(server.requests) == 1
            jump(1)
            await until(lambda: codes(sink) == [0])
            assert len(set(server.keys)) == 1

    run(test)


def test_the_backoff_grows_with_every_failure_up_to_its_bound() -> None:
    async def test() -> None:
        async with Scripted(*[500] * 6) as server:
            link, sink = connect(server.url, backoff_first_s=100.0, backoff_max_s=800.0)
            link.send(sample(1))
            for number, (low_s, high_s) in enumerate([(50, 100), (100, 200), (200, 400), (400, 800), (400, 800)], 1):
                await until(lambda number=number: len(server.requests) == number)  # type: ignore[misc]
                await a_while()
                jump(low_s - 1)
                await a_while()
                assert len(server.requests) == number
                jump(high_s - low_s + 1)
            await until(lambda: len(server.requests) == 6)
            assert sink.acknowledgements == []

    run(test)


NOW_S = 1_800_000_000.0
RETRY_AFTER: list[tuple[str, float]] = [
    ("0", 0.0),
    ("17", 17.0),
    (" 5 ", 5.0),
    ("100000", rest.RETRY_AFTER_MAX_S),
    (formatdate(NOW_S + 20, usegmt=True), 20.0),
    (formatdate(NOW_S - 20, usegmt=True), 0.0),
    (formatdate(NOW_S + 1e6, usegmt=True), rest.RETRY_AFTER_MAX_S),
    ("", 0.0),
    ("soon", 0.0),
    ("-5", 0.0),
    ("²", 0.0),
    ("9" * 10_000, rest.RETRY_AFTER_MAX_S),
]


@pytest.mark.parametrize(("text", "wait_s"), RETRY_AFTER)
def test_retry_after_is_a_number_or_a_date(text: str, wait_s: float) -> None:
    assert retry_after_s(text, NOW_S) == wait_s


@pytest.mark.parametrize(("status", "code"), [(429, 0x97), (500, 0x88), (503, 0x88)])
def test_after_so_many_tries_the_messages_are_refused_and_the_next_have_their_turn(status: int, code: int) -> None:
    async def test() -> None:
        async with Scripted(*[status] * 3) as server:
            link, sink = connect(server.url, retries_max=2, mode="batch", batch_max=2)
            for i in range(4):
                link.send(sample(i))
            await until(lambda: len(sink.acknowledgements) == 4)
            assert codes(sink) == [code, code, 0, 0]
            assert server.keys == [server.keys[0]] * 3 + [server.keys[3]]
            assert server.keys[3] != server.keys[0]

    run(test)


@pytest.mark.parametrize(
    ("status", "code"), [(400, 0x99), (401, 0x87), (403, 0x87), (404, 0x83), (413, 0x99), (422, 0x99), (302, 0x83)]
)
def test_other_answers_refuse_at_once(status: int, code: int) -> None:
    async def test() -> None:
        async with Scripted((status, {"Location": "/elsewhere"})) as server:
            link, sink = connect(server.url)
            link.send(sample(1))
            link.send(sample(2))
            await until(lambda: codes(sink) == [code, 0])
            assert len(server.requests) == 2

    run(test)


def test_a_connection_that_breaks_under_way_is_made_again_at_once() -> None:
    async def test() -> None:
        async with Scripted("reset") as server:
            link, sink = connect(server.url, backoff_first_s=1000.0, backoff_max_s=1000.0)
            link.send(sample(1))
            await until(lambda: codes(sink) == [0])
            assert len(server.requests) == 2
            assert len(set(server.keys)) == 1
            assert sink.log == ["connected False", "acknowledged 0x00"]

    run(test)


def test_an_endpoint_that_breaks_every_connection_is_unreachable_until_it_answers() -> None:
    async def test() -> None:
        async with Scripted("reset", "reset", "reset") as server:
            link, sink = connect(server.url)
            link.send(sample(1))
            await until(lambda: codes(sink) == [0])
            reset = f"disconnected connection to {server.url} reset"
            assert sink.log == ["connected False", reset, "connected False", "acknowledged 0x00"]
            assert len(set(server.keys)) == 1

    run(test)


def test_an_endpoint_that_is_not_there_is_tried_until_it_is() -> None:
    async def test() -> None:
        port = free_port()
        link, sink = connect(f"http://127.0.0.1:{port}", retries_max=1000)
        link.send(sample(1))
        await until(lambda: len(sink.log) == 2)
        assert sink.log == ["connected False", f"disconnected connect to http://127.0.0.1:{port} refused"]
        async with Scripted(port=port):
            await until(lambda: codes(sink) == [0])
            assert sink.log[2:] == ["connected False", "acknowledged 0x00"]

    run(test)


def test_an_answer_that_does_not_come_in_time_is_a_failure() -> None:
    async def test() -> None:
        async with Scripted("slow") as server:
            link, sink = connect(server.url, ack_timeout_s=60.0)
            link.send(sample(1))
            await until(lambda: len(server.requests) == 1)
            jump(61)
            await until(lambda: codes(sink) == [0])
            assert sink.log[1] == f"disconnected no answer from {server.url} within 60 s"
            assert len(set(server.keys)) == 1

    run(test)
