"""The engine child as Locust sees it: a process at the other end of a pipe (see `simulator.runtime.child`).

Rules: it is started after any fork, never at import. Everything here waits as greenlets do. The child ends when its
stdin does, so whatever happens to this process, nothing of it survives.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import gevent
import orjson
from gevent.event import Event
from gevent.queue import Queue

import simulator
from simulator.runtime.meter import Row

SETTLE_MAX_S = 10.0
CLOSE_MAX_S = 15.0


class End(NamedTuple):
    """How the child ended before it was told to."""

    error: str
    exit_code: int
    log_tail: list[str]


class EngineChild:
    """Starts a child. Its reports come as calls, from a greenlet of its own."""

    def __init__(
        self, arguments: Sequence[str], *, say: Callable[[str], None], show: Callable[[Row, float], None],
        lost: Callable[[End], None],
    ) -> None:  # fmt: skip
        """`say` gets lines of progress, `show` rows with their time, `lost` how it ended after it was ready."""
        self._say, self._show, self._lost = say, show, lost
        self.facts: dict[str, Any] = {}  # what it said when it was ready
        self.end: End | None = None
        self._ready, self._settled = Event(), Event()
        self._outbox = Queue()
        self._closing = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "simulator.runtime.child", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,  # Ctrl-C is for us; we stop it.
            env=_environment(),
        )  # fmt: skip
        self._greenlets = [gevent.spawn(self._listen), gevent.spawn(self._speak)]

    # What it is told. Telling does not wait, so a user can be stopped at any moment.

    def start(self, index: int) -> None:
        self._tell({"start": [index]})

    def stop(self, index: int) -> None:
        self._tell({"stop": [index]})

    def settle(self) -> None:
        """Stop all devices and wait until everything they did was reported."""
        if self._closing or self.end:
            return
        self._settled.clear()
        self._tell({"settle": True})
        self._settled.wait(SETTLE_MAX_S)

    def wait_until_ready(self) -> None:
        """Until it is ready or has ended: `end` tells. It limits each of its steps, so there is no limit here."""
        self._ready.wait()

    def close(self) -> None:
        """End it, in order if it can."""
        self._closing = True
        self._outbox.put(StopIteration)
        try:
            self._process.wait(CLOSE_MAX_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        gevent.joinall(self._greenlets)

    def _tell(self, command: dict[str, Any]) -> None:
        if not self._closing and not self.end:
            self._outbox.put(orjson.dumps(command) + b"\n")

    def _speak(self) -> None:
        assert self._process.stdin
        with suppress(OSError), self._process.stdin as pipe:  # An error: it is gone, and the listener will say so.
            for line in self._outbox:
                pipe.write(line)
                if self._outbox.empty():
                    pipe.flush()

    # What it says

    def _listen(self) -> None:
        last = End("", 0, [])
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # It was killed in the middle of a line.
                match orjson.loads(line):
                    case {"rows": [*rows], "at_s": float(at_s)}:
                        for row in rows:
                            self._show(Row.unpack(row), at_s)
                    case {"settled": True}:
                        self._settled.set()
                    case {"progress": str(what)}:
                        self._say(what)
                    case {"ready": True, **facts}:
                        self.facts = cast("dict[str, Any]", facts)
                        self._ready.set()
                    case {"error": str(error), "exit_code": int(exit_code), "log_tail": [*tail]}:
                        last = End(error, exit_code, tail)
        code = self._process.wait()
        if not self._closing:
            was_ready = self._ready.is_set()
            self.end = last if last.error else End(f"the engine child ended with exit code {code}", 3, [])
            if was_ready:
                self._lost(self.end)
        self._ready.set()
        self._settled.set()


def _environment() -> dict[str, str]:
    """The child's: ours, and it finds this package wherever we found it (Locust looks beside the locustfile)."""
    paths = [str(Path(simulator.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
