"""`fleetsim provision` and `fleetsim cleanup` as a user types them."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from simulator import scenarios
from simulator.ops import cleanup, inventory
from simulator.ops.aws import Aws
from tests.ops.commands import DEADLINE_S, env_file, finish, start

__all__ = ["env_file"]

pytestmark = pytest.mark.e2e


def typed(folder: Path, lines: str, *words: str) -> tuple[int, str, str]:
    """A command on a terminal where somebody types these lines: exit code, stdout, and the terminal."""
    ours, theirs = pty.openpty()
    seen = b""

    def read() -> None:
        nonlocal seen
        try:
            while part := os.read(ours, 65536):
                seen += part
        except OSError:  # how Linux says that the other side was closed
            pass

    reader = Thread(target=read)
    reader.start()
    os.write(ours, lines.encode())
    command = [sys.executable, "-m", "simulator", *words]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        command,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=folder,
        env=env,
        timeout=DEADLINE_S,
        check=False,
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    return ended.returncode, ended.stdout.decode(), seen.decode()


def refused(env_file: Path, *words: str) -> str:
    """What a command says that ends with 2."""
    command = [sys.executable, "-m", "simulator", *words, "--sandbox", str(env_file)]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 2, ended.stderr
    return ended.stderr.decode().splitlines()[-1]


def test_bare_on_a_terminal_it_asks(aws: Aws, env_file: Path, tmp_path: Path) -> None:
    answers = "nonsense\n4\n\n3\nDE,XX\nDE\n\n"
    code, out, seen = typed(tmp_path, answers, "provision", "--sandbox", str(env_file))
    assert code == 0, seen
    assert "4 things are there: 4 new, with 4 new certificates" in out
    assert "runs/fleet-sandbox/identities" in out
    assert "no country 'XX' in Europe" in seen
    assert inventory.read(aws).groups == ["DEFleet"]
    assert (tmp_path / "runs/fleet-sandbox/manufacturer.key.pem").stat().st_mode & 0o077 == 0
    for file in (tmp_path / "runs/fleet-sandbox/identities").iterdir():
        assert file.stat().st_mode & 0o077 == 0

    code, out, seen = typed(tmp_path, "delete\n", "cleanup", "all", "--sandbox", str(env_file))
    assert code == 2, out
    assert len(inventory.read(aws).things) == 4
    code, out, seen = typed(tmp_path, "DELETE\n", "cleanup", "all", "--sandbox", str(env_file), "--explain")
    assert code == 0, seen
    assert "nothing of ours is left" in out
    assert "3/9 Groups" in seen
    assert inventory.read(aws).empty()


def test_a_dry_run_writes_nothing(aws: Aws, env_file: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    words = ["provision", "--devices", "3", "--state", str(state)]
    planned = finish(start(env_file, *words, "--dry-run"))
    assert (planned["things"], planned["lacking"], planned["dryRun"]) == (3, 3, True)
    assert inventory.read(aws).empty()
    assert not state.exists()
    finish(start(env_file, *words))
    assert finish(start(env_file, *words, "--dry-run"))["lacking"] == 0
    listed = finish(start(env_file, "cleanup", "all", "--dry-run"))
    assert listed["names"]["things"] == ["Vehicle-VIN-001", "Vehicle-VIN-002", "Vehicle-VIN-003"]
    assert len(inventory.read(aws).things) == 3
    cleanup.remove(aws, "all", lambda what, done, of: None)


def test_types_and_versions_that_no_file_describes(aws: Aws, env_file: Path, tmp_path: Path) -> None:
    words = ["--devices", "2", "--types", "Bike,Tram", "--versions", "3.0.0", "--state", str(tmp_path)]
    made = finish(start(env_file, "provision", *words, "--shared-certificate"))
    assert made["packageVersions"] == ["Bike 3.0.0", "Tram 3.0.0"]
    assert made["made"] == {"things": 2, "certificates": 1}
    assert aws.iot.get_package_version(packageName="Tram", versionName="3.0.0")["status"] == "PUBLISHED"
    cleanup.remove(aws, "all", lambda what, done, of: None)


def test_the_things_of_a_scenario(aws: Aws, env_file: Path, tmp_path: Path) -> None:
    made = finish(start(env_file, "provision", "--scenario", "alarm-to-ota", "--state", str(tmp_path)))
    wanted, _ = scenarios.read(scenarios.find("alarm-to-ota"))
    assert inventory.read(aws).things == sorted(thing for thing, _, _ in wanted.things())
    assert made["made"]["things"] == len(wanted.things())
    after = finish(start(env_file, "cleanup", "all", "--no-wait"))["after"]
    assert not any(after.values())


def test_what_is_refused(aws: Aws, env_file: Path, tmp_path: Path) -> None:
    words = ["provision", "--scenario", "alarm-to-ota", "--devices", "3"]
    assert "--scenario says everything of the fleet" in refused(env_file, *words)
    assert refused(env_file, "provision", "--devices", "0").startswith("0 devices: 1 to 100000")
    assert refused(env_file, "provision", "--devices", "1", "--continent", "9").startswith("no continent 9")
    assert refused(env_file, "provision", "--devices", "1", "--types", "A,a b").startswith(
        "'a b' cannot be the name of"
    )
    assert refused(env_file, "provision", "--devices", "1", "--versions", "1/0").startswith("'1/0' cannot be the name")
    assert refused(env_file, "cleanup", "thing").endswith("(did you mean 'things'?)")
    finish(start(env_file, "provision", "--devices", "1", "--state", str(tmp_path)))
    assert "nobody can be asked; add --yes" in refused(env_file, "cleanup", "all")
    assert len(inventory.read(aws).things) == 1
    finish(start(env_file, "cleanup", "all"))
    assert inventory.read(aws).empty()
