"""The commands themselves, killed by SIGKILL while they work, then run again."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.ops import inventory
from simulator.ops.aws import Aws
from tests.ops.commands import DEADLINE_S, env_file, finish, start
from tests.ops.fleet_state import shadows_left, state

__all__ = ["env_file"]

pytestmark = pytest.mark.e2e

COUNT = 40
FLEET = ["--devices", str(COUNT), "--types", "SedanVehicle,SUVVehicle", "--countries", "DE,US", "--seed", "5"]


def kill_when(process: "subprocess.Popen[str]", seen: Callable[[], bool]) -> None:
    """SIGKILL, as soon as it has come so far."""
    deadline = time.monotonic() + DEADLINE_S
    while process.poll() is None and not seen():
        assert time.monotonic() < deadline
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)


def things(aws: Aws) -> int:
    return len(aws.iot.list_things()["things"])


def certificates(aws: Aws) -> int:
    return len(aws.iot.list_certificates()["certificates"])


def test_provision_is_killed_again_and_again(aws: Aws, env_file: Path, tmp_path: Path) -> None:
    draw = random.Random(11)  # noqa: S311 - moments of a test
    whole_folder, folder = tmp_path / "whole", tmp_path / "killed"
    made = finish(start(env_file, "provision", *FLEET, "--state", str(whole_folder)))
    assert made["made"] == {"things": COUNT, "certificates": COUNT}
    whole = state(aws, whole_folder / "identities")
    names = list(whole["things"])
    cleaned = finish(start(env_file, "cleanup", "all"))
    assert not any(cleaned["after"].values())

    again = ["provision", *FLEET, "--state", str(folder)]
    kill_when(start(env_file, *again), lambda: bool(aws.iot.list_thing_types()["thingTypes"]))
    kill_when(start(env_file, *again), lambda: bool(aws.iot.list_packages()["packageSummaries"]))
    for moment in sorted(draw.sample(range(1, COUNT - 8), 2)):
        kill_when(start(env_file, *again), lambda moment=moment: things(aws) >= moment)  # type: ignore[misc]
    kill_when(start(env_file, *again), lambda: certificates(aws) >= COUNT - 6)
    finish(start(env_file, *again))
    assert state(aws, folder / "identities") == whole
    assert finish(start(env_file, *again))["made"] == {}

    kill_when(start(env_file, "cleanup", "all"), lambda: things(aws) <= COUNT - draw.randrange(3, 20))
    cleaned = finish(start(env_file, "cleanup", "all"))
    assert sum(cleaned["before"].values()) > 0
    assert not any(cleaned["after"].values())
    assert shadows_left(aws, names) == []
    assert certificates(aws) == 0


def test_a_killed_provision_is_cleaned_up(aws: Aws, env_file: Path, tmp_path: Path) -> None:
    words = ["provision", *FLEET, "--state", str(tmp_path)]
    for moment in (1, COUNT // 2):
        kill_when(start(env_file, *words), lambda moment=moment: certificates(aws) >= moment)  # type: ignore[misc]
        finish(start(env_file, "cleanup", "all"))
        assert inventory.read(aws).empty()
        assert certificates(aws) == 0
        assert aws.iot.list_things()["things"] == []
        assert aws.s3.list_buckets()["Buckets"] == []
        assert aws.iam.list_roles()["Roles"] == []
