"""A worker that joins while users are spawned: Locust forgets it, and we do not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("late_worker.py")


def after(users: int) -> dict[str, dict[str, Any]]:
    """How it was after each step (see the script)."""
    done = subprocess.run(
        [sys.executable, SCRIPT], input=json.dumps({"users": users}), capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return said


def test_who_joins_while_users_are_spawned_gets_its_part_of_them_when_it_is_ready() -> None:
    said = after(users=6)
    assert said["forgotten"] == {"users": [6, 0], "spawned": 1}, "Locust employs it itself now: ours can go"
    assert said["not_ready"] == {"users": [6, 0], "spawned": 1}
    assert said["employed"] == {"users": [3, 3], "spawned": 2}
    assert said["again"] == said["employed"]


def test_where_there_are_fewer_users_than_workers_it_is_tried_once() -> None:
    said = after(users=1)
    assert said["employed"]["spawned"] == said["again"]["spawned"] == 2
