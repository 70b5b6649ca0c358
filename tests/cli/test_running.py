"""Where the running sandbox is: the newest that is alive, whatever became of the others."""

import fcntl
import os
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from simulator.errors import BackendUnavailable, UsageError
from simulator.runtime import running
from simulator.targets import Addresses

AT = Addresses(
    "sandbox", "sandbox", "eu-west-1", "127.0.0.1", 8883, "https://127.0.0.1:1", "/tmp/ca.pem", "AKIA", "secret",
    api_url="http://127.0.0.1:2", tcp_host="127.0.0.1", tcp_port=3, rest_url="http://127.0.0.1:4", api_token="token",
)  # fmt: skip


def lines(at: Addresses = AT, **changed: str) -> list[str]:
    return [f"{name}={value}" for name, value in {**at.environment(), **changed}.items()]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "runtime" / "fleetsim"


def look(place: Path) -> Addresses:
    return running.find(environ={"XDG_RUNTIME_DIR": str(place.parent)})


def test_what_was_said_is_found_and_gone_in_the_end(place: Path) -> None:
    with running.announced(lines(), place) as file:
        assert look(place) == AT
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert list(place.iterdir()) == []
    with pytest.raises(BackendUnavailable, match=r"no sandbox is running; start one .* with `fleetsim sandbox`"):
        look(place)


def test_the_newest_one_counts(place: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(running.announced(lines(AWS_DEFAULT_REGION="first"), place))
        with running.announced(lines(AWS_DEFAULT_REGION="second"), place):
            assert look(place).region == "second"
            around = {"XDG_RUNTIME_DIR": str(place.parent)}
            assert running.others(environ=around) == 1
            assert running.others(next(place.iterdir()), around) == 0, "which one was meant was said"
        assert look(place).region == "first"


_DIES = """
import os, sys
from pathlib import Path
from simulator.runtime import running
with running.announced(sys.argv[2:], Path(sys.argv[1])):
    print("there", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), 9)
"""


def test_one_that_was_killed_is_ignored_and_removed(place: Path) -> None:
    command = [sys.executable, "-c", _DIES, str(place), *lines(AWS_DEFAULT_REGION="killed")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        with running.announced(lines(AWS_DEFAULT_REGION="older"), place):
            pass
        assert look(place).region == "killed"
        process.stdin.close()
        assert process.wait(30) == -9
    assert len(list(place.glob("sandbox-*"))) == 1
    with pytest.raises(BackendUnavailable, match="no sandbox is running"):
        look(place)
    assert list(place.iterdir()) == []


def test_a_look_does_not_make_others_think_it_runs(place: Path) -> None:
    place.mkdir(parents=True)
    left = place / "sandbox-1-1.env"
    left.write_text("\n".join(lines()))
    handle = os.open(left, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)  # somebody else is looking at this moment
    with pytest.raises(BackendUnavailable):
        look(place)
    os.close(handle)


def test_an_env_file_instead(tmp_path: Path, place: Path) -> None:
    file = tmp_path / "sandbox.env"
    file.write_text("\n".join(lines()) + "\n")
    assert running.find(file, {}) == AT
    assert running.find(None, {running.VARIABLE: str(file)}) == AT
    with running.announced(lines(AWS_DEFAULT_REGION="running"), place):
        assert running.find(None, {running.VARIABLE: str(place)}).region == "running"
        assert running.find(file, {running.VARIABLE: str(place)}) == AT


def test_without_a_backend(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.env"
    file.write_text("\n".join(line for line in lines() if not line.startswith(("FLEETSIM_API", "FLEETSIM_TCP"))))
    found = running.find(file, {})
    assert (found.api_url, found.tcp_host, found.tcp_port) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        (None, BackendUnavailable, "no file '.*': the sandbox that wrote it has ended"),
        ("", UsageError, "is no env file of a sandbox: it has no AWS_ENDPOINT_URL"),
        ("hello\nworld", UsageError, "is no env file of a sandbox"),
        ("\n".join(lines(FLEETSIM_MQTT_PORT="x")), UsageError, "FLEETSIM_MQTT_PORT is no port: 'x'"),
        ("\n".join(lines(FLEETSIM_TCP_PORT="99999")), UsageError, "FLEETSIM_TCP_PORT is no port: '99999'"),
    ],
)
def test_a_wrong_env_file(tmp_path: Path, text: str | None, error: type[Exception], says: str) -> None:
    file = tmp_path / "wrong.env"
    if text is not None:
        file.write_text(text)
    with pytest.raises(error, match=says):
        running.find(file, {})


def test_where_users_have_such_files() -> None:
    assert running.folder({"XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/home/u"}) == Path("/run/user/7/fleetsim")
    assert running.folder({"HOME": "/home/u"}) == Path("/home/u/.cache/fleetsim")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), running.announced(lines(), tmp_path / "file" / "fleetsim"):
        pass
