"""A child process as Locust sees it: lines of JSON at both ends of a pipe (see `simulator.runtime.pipes`).

Rules: it is started after any fork, never at import. Everything here waits as greenlets do. The child ends when its
stdin does, so whatever happens to this process, nothing of it survives.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import orjson
from gevent.event import Event
from gevent.queue import Queue

import simulator

CLOSE_MAX_S = 15.0


class End(NamedTuple):
    """How a child ended before it was told to."""

    error: str
    exit_code: int
    log_tail: list[str]


class Child:
    """Starts a child. What it says comes as calls, from a greenlet of its own."""

    def __init__(
        self, module: str, arguments: Sequence[str], *, heard: Callable[[dict[str, Any], bytes], None],
        lost: Callable[[End], None],
    ) -> None:  # fmt: skip
        """`heard` gets each line, read and as it came; `lost` how it ended after it was ready."""
        self._module, self._heard, self._lost = module, heard, lost
        self.facts: dict[str, Any] = {}  # what it said when it was ready
        self.end: End | None = None
        self._ready = Event()
        self._outbox = Queue()
        self._closing = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"simulator.runtime.{module}", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,  # Ctrl-C is for us; we stop it.
            env=_environment(),
        )  # fmt: skip
        self._greenlets = [gevent.spawn(self._listen), gevent.spawn(self._speak)]

    def tell(self, command: dict[str, Any]) -> None:
        """Does not wait, so a user can be stopped at any moment."""
        self.tell_line(orjson.dumps(command))

    def tell_line(self, line: bytes) -> None:
        """The same, of a line that is there already."""
        if not self._closing and not self.end:
            self._outbox.put(line + b"\n")

    def wait_until_ready(self) -> None:
        """Until it is ready or has ended: `end` tells. It limits each of its steps, so there is no limit here."""
        self._ready.wait()

    def close(self) -> None:
        """End it, in order if it can."""
        if self._closing:
            return
        self._closing = True
        self._outbox.put(StopIteration)
        try:
            self._process.wait(CLOSE_MAX_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        gevent.joinall([one for one in self._greenlets if one is not gevent.getcurrent()])

    def _speak(self) -> None:
        assert self._process.stdin
        with suppress(OSError), self._process.stdin as pipe:  # An error: it is gone, and the listener will say so.
            for line in self._outbox:
                pipe.write(line)
                if self._outbox.empty():
                    pipe.flush()

    def _listen(self) -> None:
        last = End("", 0, [])
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # It was killed in the middle of a line.
                said = orjson.loads(line)
                match said:
                    case {"ready": True}:
                        self.facts = said
                        self._ready.set()
                    case {"error": str(error), "exit_code": int(exit_code), "log_tail": [*tail]}:
                        last = End(error, exit_code, tail)
                        continue
                self._heard(said, line[:-1])
        code = self._process.wait()
        if not self._closing:
            was_ready = self._ready.is_set()
            what = {"child": "engine child"}.get(self._module, self._module)
            self.end = last if last.error else End(f"the {what} ended with exit code {code}", 3, [])
            if was_ready:
                self._lost(self.end)
        self._ready.set()


def _environment() -> dict[str, str]:
    """The child's: ours, and it finds this package wherever we found it (Locust looks beside the locustfile)."""
    paths = [str(Path(simulator.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
