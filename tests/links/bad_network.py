"""A bad network between a link and its transport, as tests make one, and both ends of it."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, cast

import pytest

from simulator.links import Endpoint, Sink, TlsFiles
from simulator.links._connecting import Connecting
from simulator.messages import Piece, Publish
from tests.links.mqtt_peers import Certificates, FarSide, Recorder, make_link

Carry = Callable[[bytes, bool], list[Piece]]
LOOPS = pytest.mark.parametrize("on_uvloop", [True, False], ids=["uvloop", "asyncio"])
WAYS = pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])


def whole(data: bytes, up: bool) -> list[Piece]:
    return [Piece(data)]


def nothing(data: bytes, up: bool) -> list[Piece]:
    return []


def late(by_ms: int) -> Carry:
    return lambda data, up: [Piece(data, by_ms)]


def only(way: bool, carry: Carry) -> Carry:
    """So one way, and the other as it is: up when True."""
    return lambda data, up: carry(data, up) if up is way else [Piece(data)]


class Line:
    """A network that a test can change; it remembers what it was asked for."""

    def __init__(self, carry: Carry = whole, why: str | None = None) -> None:
        self.way, self.why = carry, why
        self.carried: list[tuple[bytes, bool]] = []
        self.reached = 0

    def carry(self, data: bytes, up: bool) -> list[Piece]:
        self.carried.append((data, up))
        return self.way(data, up)

    def reach(self) -> str | None:
        self.reached += 1
        return self.why


class Wire(Connecting):
    """The smallest link: bytes that come and go."""

    def __init__(self, at: Endpoint, sink: Sink, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(at, at.client_id, sink, loop)
        self.heard = bytearray()
        self.asked: list[str] = []
        self.recorder = cast(Recorder, sink)

    def _made(self) -> None:
        self._up(False)

    def _lost(self) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.recorder._note("bytes")

    def pause_writing(self) -> None:
        self.asked.append("pause")

    def resume_writing(self) -> None:
        self.asked.append("resume")
        self.recorder._note("resume")

    def say(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    @property
    def transport(self) -> Any:
        return self._transport

    # The rest of a Link, which nobody asks for here.
    waiting = 0

    def send(self, message: Publish) -> bool:
        raise NotImplementedError

    def subscribe(self, filters: tuple[str, ...]) -> None:
        raise NotImplementedError

    def tick(self, now_s: float) -> None:
        raise NotImplementedError


class Ear(asyncio.Protocol):
    """One connection of the far side."""

    def __init__(self, server: "Ears") -> None:
        self.server = server
        self.heard = bytearray()
        self.lost = False
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server.connections.append(self)
        self.server.changed.set()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.server.changed.set()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.server.changed.set()


class Ears(FarSide[Ear]):
    def __init__(self, certificates: Certificates | None = None) -> None:
        context = None
        self.files: TlsFiles | None = None
        if certificates is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.server_cert_file, certificates.server_key_file)
            self.files = TlsFiles(certificates.ca_file)
        super().__init__(context)

    def accept(self) -> Ear:
        return Ear(self)

    async def joined(self, line: Line | None = None, **fields: Any) -> tuple[Wire, Recorder, Ear]:
        """A link that is connected, with a network in it."""
        before = len(self.connections)
        at = Endpoint("localhost", self.port, "d1", self.files, backoff_first_s=0.01)._replace(**fields)
        link, heard = make_link(Wire, at)
        if line is not None:
            link.shape(line)
        link.open()
        await heard.line("connected")
        await self.until(lambda: len(self.connections) > before)
        return link, heard, self.connections[-1]


def numbered(count: int) -> bytes:
    return b"".join(b"%06d\n" % n for n in range(count))


async def a_while() -> None:
    """Long enough for what should not happen."""
    await asyncio.sleep(0.05)
