"""The `rest` link severed, closed and opened again: what was under way, what waits, and what is sent then."""

from tests.links.rest_peers import Scripted, a_while, codes, connect, jump, run, sample, until


def test_a_severed_link_cuts_its_request_and_sends_it_again_after_open() -> None:
    async def test() -> None:
        async with Scripted("slow") as server:
            other, other_sink = connect(server.url, "press-02")
            link, sink = connect(server.url)
            link.send(sample(1))
            await until(lambda: len(server.requests) == 1)
            link.sever()
            link.send(sample(2))
            await until(lambda: server.requests[0].transport is None)
            await until(lambda: sink.log == ["connected False", "disconnected severed"])
            other.send(sample(1, "press-02"))
            await until(lambda: codes(other_sink) == [0])
            await a_while()
            assert len(server.requests) == 2
            link.open()
            await until(lambda: codes(sink) == [0, 0])
            assert server.keys[2] == server.keys[0]
            assert server.bodies[2:] == [sample(1).payload, sample(2).payload]

    run(test)


def test_a_link_that_is_severed_and_opened_in_one_turn_goes_on() -> None:
    async def test() -> None:
        async with Scripted() as server:
            link, sink = connect(server.url, mode="batch", batch_max=2, batch_wait_s=50.0)
            link.send(sample(1))  # is waiting
            link.sever()
            link.open()
            await a_while()
            jump(51)
            await until(lambda: codes(sink) == [0])
            link.send(sample(2))
            link.send(sample(3))  # is about to be sent
            link.sever()
            link.open()
            await until(lambda: codes(sink) == [0, 0, 0])
            assert len(server.requests) == 2
            assert sink.log.count("connected False") == sink.log.count("disconnected severed") + 1 == 3

    run(test)


def test_a_link_that_is_closed_while_it_waits_to_try_again_ends_at_once() -> None:
    async def test() -> None:
        async with Scripted((503, {"Retry-After": "100"})) as server:
            link, sink = connect(server.url)
            link.send(sample(1))
            await until(lambda: len(server.requests) == 1)
            await a_while()
            link.close()
            assert link.pool is None
            link.open()
            await until(lambda: codes(sink) == [0])

    run(test)


def test_a_closed_link_sends_what_it_has_and_then_nothing() -> None:
    async def test() -> None:
        async with Scripted() as server:
            link, sink = connect(server.url, mode="batch", batch_wait_s=1000.0)
            for i in range(3):
                link.send(sample(i))
            link.close()
            await until(lambda: codes(sink) == [0] * 3)
            assert len(server.requests) == 1
            link.send(sample(4))
            await a_while()
            assert len(server.requests) == 1
            link.open()
            link.close()
            await until(lambda: codes(sink) == [0] * 4)

    run(test)


def test_a_closed_link_tries_once_and_keeps_what_failed() -> None:
    async def test() -> None:
        async with Scripted(503) as server:
            link, sink = connect(server.url)
            link.send(sample(1))
            link.close()
            await until(lambda: len(server.requests) == 1)
            await a_while()
            assert (len(server.requests), sink.acknowledgements) == (1, [])
            link.open()
            await until(lambda: codes(sink) == [0])
            assert len(set(server.keys)) == 1

    run(test)
