"""How a child process and the one who started it speak: one JSON object a line, over the child's stdin and stdout.

Rules: saying does not wait for a reader that falls behind; `room` says whether it does. Reading ends when the other
side does, so a child never outlives who started it.
"""

import asyncio
import os
import select
import stat
import sys
from contextlib import suppress
from typing import Any

import orjson

from simulator.errors import UsageError

WRITE_MAX_S = 2.0
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
LINE_BYTES_MAX = 1 << 26


class Mouth(asyncio.BaseProtocol):
    """Our end of the pipe to the one who started us; `room` is False while it does not keep up."""

    def __init__(self) -> None:
        # Anything that prints must not get between the lines, so stdout becomes stderr for everybody else.
        self._fd = os.dup(1)
        os.dup2(2, 1)
        self._transport: asyncio.WriteTransport | None = None
        self._written = asyncio.Event()
        self.room = True

    async def open(self) -> None:
        """From now on saying does not wait for the reader …"""
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            return  # A file always has room.
        pipe = os.fdopen(os.dup(self._fd), "wb", buffering=0)
        self._transport, _ = await asyncio.get_running_loop().connect_write_pipe(lambda: self, pipe)

    async def close(self) -> None:
        """… and now it does again."""
        if self._transport:
            self._transport.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._written.wait(), WRITE_MAX_S)
            self._transport.abort()
            self._transport = None
            os.set_blocking(self._fd, True)

    def say(self, **what: Any) -> None:
        line = orjson.dumps(what, str, _OPTIONS) + b"\n"
        if self._transport:
            self._transport.write(line)
        else:
            while line:
                line = line[os.write(self._fd, line) :]

    def pause_writing(self) -> None:
        self.room = False

    def resume_writing(self) -> None:
        self.room = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._written.set()


class Ear:
    """What we are told, command by command."""

    def __init__(self) -> None:
        self._reader = asyncio.StreamReader(LINE_BYTES_MAX)

    async def open(self) -> None:
        """Begin to listen on stdin."""
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._reader), sys.stdin)

    async def command(self) -> Any:
        """The next one, or None at the end; half a line is the end of somebody who was saying it. UsageError."""
        try:
            line = await self._reader.readline()
            return orjson.loads(line) if line.endswith(b"\n") else None
        except ValueError as error:
            raise UsageError(f"not a command: {error}") from None


def orphaned() -> bool:
    """Has stdin ended? Asked while nobody reads it yet."""
    poll = select.poll()
    poll.register(0, select.POLLHUP)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
