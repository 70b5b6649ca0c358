"""`fleetsim` as a user runs it: a process of its own, and what can be seen of it from outside.

Rules: each command gets a folder for everything it writes, its temporary files too. The folder is in the
environment of all its processes, so /proc tells which are its own, also after their parent is gone.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import boto3
import yaml
from botocore.config import Config

from simulator.report import json_report
from simulator.report.facts import Report

REPO = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0  # only what hangs takes so long
LOOK_S = 0.05
_LISTEN = "0A"

# Runs in the new process, as a shell would: Ctrl-C counts, even where the tests were started with it ignored.
_LAUNCHER = """
import fcntl, os, resource, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
if os.isatty(0):
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "simulator", *sys.argv[2:]])
"""

T = TypeVar("T")


class Command:
    """One `fleetsim …`, running or ended."""

    def __init__(
        self, folder: Path, arguments: Sequence[object], env: Mapping[str, str],
        files: Mapping[str, str], terminal: int, file_bytes_max: int, python: str = sys.executable,
    ) -> None:  # fmt: skip
        """Starts it in a folder with these files. `terminal`, a file descriptor, becomes its terminal, if not -1."""
        self.folder, self.files = folder, files
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        stdout, stderr = folder / "stdout", folder / "stderr"
        with stdout.open("wb") as out, stderr.open("wb") as err:
            self.process = subprocess.Popen(
                [python, "-ISc", _LAUNCHER, str(file_bytes_max), *map(str, arguments)],
                cwd=folder,
                env={**_environment(self.temporary), **env},
                stdin=subprocess.DEVNULL if terminal < 0 else terminal,
                stdout=out if terminal < 0 else terminal,
                stderr=err if terminal < 0 else terminal,
                start_new_session=True,
            )

    # What it says

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def report(self) -> Report:
        """Its report.json, for a run started with `--out out`."""
        return json_report.load(self.folder / "out" / "report.json")

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_S * 2)

    def says(self, text: str) -> str:
        """Waits until stderr has a line with this text, and gives the line."""

        def said() -> str | None:
            return next((line for line in self.stderr.splitlines() if text in line), None)

        return self.until(said, f"'{text}' on stderr")

    def until(self, seen: Callable[[], T | None], what: str) -> T:
        """Waits until `seen` gives something; fails when the command ends before that."""

        def look() -> T | None:
            has_ended = self.process.poll() is not None
            found = seen()
            assert found or not has_ended, f"ended before {what}:\n{self.stderr}\n{self.stdout}"
            return found

        return until(look, what)

    # Its processes, seen from outside

    def parts(self) -> dict[str, int]:
        """The sandbox's processes by name."""
        found = {}
        for pid in self.family():
            if named := re.search(r"simulator\.(cloud|backend)\0", _read(f"/proc/{pid}/cmdline")):
                found[named[1]] = pid
        return found

    def family(self) -> list[int]:
        """All its processes but itself."""
        mark = f"TMPDIR={self.temporary}\0"
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if pid != self.process.pid and mark in _read(f"/proc/{pid}/environ")]

    def ports(self) -> list[int]:
        """The TCP ports its processes listen on; all of them on loopback."""
        pids = [self.process.pid, *self.family()]
        return sorted({port for pid in pids for port in listening(pid)})

    def leaves_nothing(self, ports: list[int]) -> None:
        """Waits until no process of it is left, and checks that nobody listens on its ports any more."""
        until(lambda: not self.family(), f"the end of {self.family()}")
        for port in ports:
            with socket.socket() as client:
                assert client.connect_ex(("127.0.0.1", port)) != 0, f"port {port} is still open"

    def kill(self) -> None:
        """Ends all that is left of it, whatever state it is in."""
        for pid in (self.process.pid, *self.family()):
            if pid != self.process.pid or self.process.poll() is None:
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


def until(seen: Callable[[], T | None], what: str) -> T:
    """Waits until `seen` gives something true."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (found := seen()):
        assert time.monotonic() < deadline_s, f"waited in vain for {what}"
        time.sleep(LOOK_S)
    return found


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def read_env(path: Path) -> dict[str, str]:
    """The variables of an env file."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def client(service: str, env: Mapping[str, str], **options: Any) -> Any:
    """A plain boto3 client of the sandbox that an env file tells of."""
    return boto3.client(
        service,  # type: ignore[call-overload]
        **{
            "endpoint_url": env["AWS_ENDPOINT_URL"],
            "region_name": env["AWS_DEFAULT_REGION"],
            "verify": env["AWS_CA_BUNDLE"],
            "aws_access_key_id": env["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": env["AWS_SECRET_ACCESS_KEY"],
            "config": Config(retries={"total_max_attempts": 1}, signature_version="s3v4" if service == "s3" else None),
            **options,
        },
    )


def variant(home: Path, name: str, edit: Callable[[dict[str, Any]], object]) -> str:
    """A copy of the quick loop under another name, edited; its name."""
    scenario = yaml.safe_load((home / "scenarios" / "quick-loop.yaml").read_text())
    scenario["scenario"] = name
    edit(scenario)
    (home / "scenarios" / f"{name}.yaml").write_text(yaml.safe_dump(scenario, sort_keys=False))
    return name


def _environment(temporary: Path) -> dict[str, str]:
    """Ours, without what steers AWS clients, the command or its colours."""
    steers = ("AWS_", "FLEETSIM_", "PYTEST_", "NO_COLOR", "FORCE_COLOR", "CLICOLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steers)}
    return {**kept, "PYTHONPATH": str(REPO), "TMPDIR": str(temporary), "TERM": "xterm-256color"}


def _read(path: str) -> str:
    """A file of /proc; empty when the process has just ended."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def listening(pid: int) -> list[int]:
    """The TCP ports a process listens on; all of them on loopback."""
    sockets = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            sockets.add(str(entry.readlink()))
    except OSError:
        pass  # it ended, or closed one while we looked
    found = []
    for table in ("tcp", "tcp6"):
        for line in _read(f"/proc/{pid}/net/{table}").splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == _LISTEN and f"socket:[{rest[5]}]" in sockets:
                address, port = local.split(":")
                assert address in ("0100007F", "00000000000000000000000001000000"), f"not on loopback: {local}"
                found.append(int(port, 16))
    return found
