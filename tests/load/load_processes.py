"""A process of the load tool, and what can be seen of it from outside.

Rules: each gets a folder for all that it writes, its temporary files too. The folder is in the environment of all its
processes, so /proc tells which are its own, also after their parent is gone.
"""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson

REPO = Path(__file__).resolve().parents[2]
PATIENCE_S = 90.0  # only what hangs takes so long
LOOK_S = 0.05

T = TypeVar("T")


class Started:
    """A process, running or ended."""

    def __init__(self, folder: Path, command: Sequence[object]) -> None:
        self.folder, self._temporary = folder, folder / "tmp"
        self._temporary.mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LOCUST_", "COV_"))}
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            self.process = subprocess.Popen(
                [str(word) for word in command], cwd=folder, stdin=subprocess.PIPE, stdout=out, stderr=err,
                env={**kept, "TMPDIR": str(self._temporary), "PYTHONPATH": str(REPO)}, start_new_session=True,
                preexec_fn=_heed_interrupts,
            )  # fmt: skip

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def lines(self) -> list[dict[str, Any]]:
        """The whole lines of JSON on stdout."""
        return [orjson.loads(line) for line in (self.folder / "stdout").read_bytes().split(b"\n")[:-1]]

    def until(self, seen: Callable[[], T | None], what: str) -> T:
        """Waits until `seen` gives something true; fails when the process ends before that."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            has_ended = self.process.poll() is not None
            if found := seen():
                return found
            assert not has_ended, f"ended before {what}:\n{self.stderr}"
            assert time.monotonic() < deadline_s, f"waited in vain for {what}:\n{self.stderr}"
            time.sleep(LOOK_S)

    def tell(self, command: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(command + b"\n")
        self.process.stdin.flush()

    def wait(self) -> int:
        """Its exit code, when it has ended and nothing of it is left."""
        code = self.process.wait(PATIENCE_S)
        deadline_s = time.monotonic() + PATIENCE_S
        while family := self.family():
            assert time.monotonic() < deadline_s, f"left: {family}"
            time.sleep(LOOK_S)
        return code

    def family(self) -> dict[int, str]:
        """All its processes but itself: pid → module or command."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == self.process.pid:
                continue
            if f"TMPDIR={self._temporary}\0" in _read(entry / "environ"):
                command = _read(entry / "cmdline")
                named = re.search(r"simulator\.([a-z.]+)", command)
                found[int(entry.name)] = named[1] if named else command
        return found

    def pid_of(self, name: str) -> int:
        return next(pid for pid, command in self.family().items() if command == name)

    def kill(self) -> None:
        """Ends all that is left of it, whatever state it is in."""
        if self.process.stdin:
            self.process.stdin.close()
        for pid in (self.process.pid, *self.family()):
            if pid != self.process.pid or self.process.poll() is None:
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


def _heed_interrupts() -> None:
    """As from a terminal: what a shell starts in its background ignores SIGINT, and so would all of its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Does anybody listen there?"""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # it ended meanwhile, or is not ours


def of_ours(said: str) -> list[str]:
    """The tracebacks of our own. (Locust's writer of CSV files sometimes trips over its end, and says so.)"""
    blocks = said.split("Traceback (most recent call last)")[1:]
    return [block for block in blocks if "/simulator/" in block]
