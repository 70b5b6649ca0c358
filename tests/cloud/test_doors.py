"""A port that can be shut: what its connections may rely on."""

import asyncio
from asyncio import selector_events
from typing import Any

import pytest

from simulator.cloud.doors import Door, bound


class PausesAtOnce(asyncio.Protocol):
    """As MiniStack's acceptor: nothing may be read before the connection belongs to somebody else."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.transport: Any = None
        self.made = asyncio.Event()
        self.spoken_to = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.pause_reading()
        self.made.set()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.spoken_to.set()


def test_a_pause_lasts_where_python_begins_to_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def add_reader(transport: Any, fd: int, callback: Any) -> None:  # as in CPython 3.11.2
        if not transport.is_closing():
            transport._loop._add_reader(fd, callback)

    monkeypatch.setattr(selector_events._SelectorTransport, "_add_reader", add_reader)  # type: ignore[attr-defined]
    loop = asyncio.SelectorEventLoop()
    try:
        loop.run_until_complete(_nothing_is_read_while_paused())
    finally:
        loop.close()


async def _nothing_is_read_while_paused() -> None:
    loop = asyncio.get_running_loop()
    protocol = PausesAtOnce()

    async def serve(factory: Any, sock: Any) -> asyncio.Server:
        return await loop.create_server(factory, sock=sock)

    door = Door(lambda: protocol, serve)
    server = await door.open(bound("127.0.0.1", 0))
    host, port = server.sockets[0].getsockname()
    _, writer = await asyncio.open_connection(host, port)
    writer.write(b"hello")
    await protocol.made.wait()
    for _ in range(100):  # turns of the loop: the words are long there
        await asyncio.sleep(0)
    assert not protocol.heard
    protocol.transport.resume_reading()
    await protocol.spoken_to.wait()
    assert protocol.heard == b"hello"
    writer.close()
    protocol.transport.abort()
    door.close()
