"""Where the sandbox is that `fleetsim sandbox` runs, for the commands that work on it.

It keeps a file with its endpoints and keys, as the lines of its --env-file, in a folder of the user's own, and a
lock on that file for as long as it lives: the lock goes with the process, however that ends, while a number could be
another process's by then. FLEETSIM_SANDBOX is another folder for these files, or one env file to take.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from simulator.errors import BackendUnavailable, UsageError
from simulator.targets import Addresses

VARIABLE = "FLEETSIM_SANDBOX"
_NEEDED = (
    "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION",
    "FLEETSIM_MQTT_HOST", "FLEETSIM_MQTT_PORT",
)  # fmt: skip
_SIZE_MAX = 65_536


def find(env_file: Path | None = None, environ: Mapping[str, str] = os.environ) -> Addresses:
    """The running sandbox: the one of this env file, or the one that was started last.

    UsageError when the file is no env file of a sandbox; BackendUnavailable when none runs.
    """
    named = _named(env_file, environ)
    if named and not named.is_dir():
        return _read(named)
    found = _alive(named or folder(environ))
    if not found:
        raise BackendUnavailable("no sandbox is running; start one in another terminal with `fleetsim sandbox`")
    return _read(found[-1])


def others(env_file: Path | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """How many sandboxes run besides the one that `find` takes; 0 when that was named."""
    named = _named(env_file, environ)
    return 0 if named and not named.is_dir() else max(0, len(_alive(named or folder(environ))) - 1)


def folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where running sandboxes say where they are."""
    if environ.get(VARIABLE) and Path(environ[VARIABLE]).is_dir():
        return Path(environ[VARIABLE])
    runtime = environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "fleetsim" if runtime else Path(environ.get("HOME", "/")) / ".cache" / "fleetsim"


def _named(env_file: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The env file or folder that was given, by a flag or in the environment."""
    return env_file or (Path(environ[VARIABLE]) if environ.get(VARIABLE) else None)


@contextmanager
def announced(lines: Sequence[str], where: Path | None = None) -> Iterator[Path]:
    """Says where a sandbox is while the context lasts; gives the file. OSError when it cannot be written."""
    place = where or folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    _alive(place)  # so that what killed ones left does not pile up
    unfinished = place / f".{os.getpid()}-{time.time_ns()}"
    file = place / f"sandbox-{time.time_ns()}-{os.getpid()}.env"
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with open(handle, "w", closefd=False) as out:
            out.write("\n".join(lines) + "\n")
        unfinished.rename(file)  # whole and locked, or not there
        yield file
    finally:
        for path in (file, unfinished):
            path.unlink(missing_ok=True)
        os.close(handle)


def _alive(place: Path) -> list[Path]:
    """The files of those that still run, in the order they were started; the others' are removed."""
    found: list[Path] = []
    for file in sorted(place.glob("sandbox-*.env")):
        with suppress(OSError):  # it ended while we looked, or is somebody else's
            handle = os.open(file, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                found.append(file)
            else:
                file.unlink()
            finally:
                os.close(handle)
    return found


def _read(file: Path) -> Addresses:
    try:
        with file.open(errors="replace") as lines:
            text = lines.read(_SIZE_MAX)
    except FileNotFoundError:
        raise BackendUnavailable(
            f"no file '{file}': the sandbox that wrote it has ended, or is not ready; start one with "
            f"`fleetsim sandbox --env-file {file}`"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read '{file}': {error.strerror}") from None
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    missing = [name for name in _NEEDED if not said.get(name)]
    if missing:
        raise UsageError(f"'{file}' is no env file of a sandbox: it has no {missing[0]}")
    ports = {name: said.get(name, "") for name in ("FLEETSIM_MQTT_PORT", "FLEETSIM_TCP_PORT")}
    for name, port in ports.items():
        if port and not (port.isdigit() and 0 < int(port) < 65_536):
            raise UsageError(f"'{file}': {name} is no port: '{port[:40]}'")
    return Addresses(
        "sandbox", "sandbox", said["AWS_DEFAULT_REGION"], said["FLEETSIM_MQTT_HOST"], int(ports["FLEETSIM_MQTT_PORT"]),
        said["AWS_ENDPOINT_URL"], said["AWS_CA_BUNDLE"], said["AWS_ACCESS_KEY_ID"], said["AWS_SECRET_ACCESS_KEY"],
        api_url=said.get("FLEETSIM_API_URL"), api_token=said.get("FLEETSIM_API_TOKEN"),
        rest_url=said.get("FLEETSIM_REST_URL"),
        tcp_host=said["FLEETSIM_MQTT_HOST"] if ports["FLEETSIM_TCP_PORT"] else None,
        tcp_port=int(ports["FLEETSIM_TCP_PORT"]) if ports["FLEETSIM_TCP_PORT"] else None,
    )  # fmt: skip
