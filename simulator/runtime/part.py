"""One child process of the sandbox: started, told, paused, killed, started again, ended.

Rules: it ends when its stdin does, so it never outlives this process; that holds for a paused one, too.
"""

import asyncio
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from simulator.errors import BackendUnavailable, FleetsimError, UsageError

READY_MAX_S = 20.0
STOP_MAX_S = 5.0
TAIL_LINES = 15
ORDER_BYTES_MAX = 4096  # a pipe takes so many in one piece
# Stops a process until its stdin ends: also when we are killed meanwhile, or a stopped part would outlive us.
_PAUSE = 'kill -STOP "$1" && echo stopped && read -r _; kill -CONT "$1"'


class Part:
    """One child process."""

    def __init__(self, name: str, state_dir: Path, config: Mapping[str, Any]) -> None:
        """Starts `simulator.<name>` with a configuration; `ready` waits for it."""
        self.name = name
        self.log_file = state_dir / f"{name}.log"
        self.away = ""  # on purpose: killed, restarting, paused
        self.busy = asyncio.Lock()  # one thing at a time is done to it
        self._state_dir = state_dir
        self._config_file = state_dir / f"{name}.json"
        self._config_file.touch(mode=0o600)
        self._config_file.write_text(json.dumps(config))
        self._orders: dict[str, Mapping[str, Any]] = {}  # that last
        self._starting = threading.Lock()
        self._stopped = False
        self.log_file.write_bytes(b"")
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"simulator.{self.name}", "--config", str(self._config_file)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=self._state_dir,
                env=_environment(), start_new_session=True,  # Ctrl-C is for us; we stop them in order.
            )  # fmt: skip

    def ready(self) -> dict[str, Any]:
        """What the part said when it was ready; raises as the part ended, or BackendUnavailable after 20 s."""
        assert self.process.stdout
        deadline = time.monotonic() + READY_MAX_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise BackendUnavailable(f"the sandbox's {self.name} was not ready after {READY_MAX_S:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise self._failure()
        said = json.loads(line)
        assert isinstance(said, dict)
        return said

    def _failure(self) -> FleetsimError:
        code = self.process.wait(STOP_MAX_S)
        tail = self.tail()
        why = tail[-1] if tail else f"exit code {code}"
        return UsageError(why) if code == UsageError.exit_code else BackendUnavailable(f"sandbox {self.name}: {why}")

    def ended(self) -> str | None:
        """How the part ended, or None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        how = f"was killed by signal {-code}" if code < 0 else f"ended by itself with exit code {code}"
        return f"the sandbox's {self.name} (pid {self.process.pid}) {how}"

    def tail(self) -> list[str]:
        """The last lines of its log."""
        with self.log_file.open(errors="replace") as log:
            return [line.rstrip("\n")[:400] for line in deque(log, TAIL_LINES)]

    def stop(self) -> None:
        """Ask it to end, and make it."""
        with self._starting:
            self._stopped = True
        close(self.process.stdin)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(STOP_MAX_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        close(self.process.stdout)

    # On purpose

    def tell(self, order: Mapping[str, Any]) -> None:
        """Give it an order (simulator/disturbances.py). A part that was started again is told again what lasts."""
        match order:
            case {"disturb": {"name": name}}:
                self._orders[name] = order
            case {"clear": name}:
                self._orders.pop(name, None)
        self._say(order)

    def _say(self, order: Mapping[str, Any]) -> None:
        line = json.dumps(order).encode() + b"\n"
        if len(line) > ORDER_BYTES_MAX:
            raise UsageError(f"an order to the sandbox's {self.name} is longer than {ORDER_BYTES_MAX} bytes")
        if not self.process.stdin or self.process.stdin.closed:
            return
        with suppress(BrokenPipeError):  # it is dead, and told when it is started again
            try:
                os.set_blocking(self.process.stdin.fileno(), False)
                os.write(self.process.stdin.fileno(), line)
            except BlockingIOError:
                raise BackendUnavailable(f"the sandbox's {self.name} does not take orders any more") from None

    def kill(self) -> None:
        """Without a farewell."""
        self.process.kill()
        self.process.wait()
        close(self.process.stdin)
        close(self.process.stdout)

    def start_again(self) -> None:
        """After `kill`: as it was, on its state folder; until it is ready."""
        with self._starting:
            if self._stopped:
                return  # meanwhile the sandbox ended
            self.process = self._start()
        self.ready()
        for order in self._orders.values():
            self._say(order)

    def pause(self) -> "subprocess.Popen[bytes]":
        """Stop it; it goes on when the stdin of what this gives ends."""
        guard = subprocess.Popen(
            ["/bin/sh", "-c", _PAUSE, "sh", str(self.process.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        assert guard.stdout
        guard.stdout.readline()
        return guard


def close(pipe: IO[bytes] | None) -> None:
    """Close a pipe whose other end may be gone."""
    if pipe:
        with suppress(BrokenPipeError):
            pipe.close()


def _environment() -> dict[str, str]:
    """The children's environment: ours, without what would point their AWS clients elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COV_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
