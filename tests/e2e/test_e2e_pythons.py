"""The sandbox runs on other builds of this minor version of Python that the machine has, as Debian's beside pyenv's.

They share our installed packages, for the binary interface of CPython is one for a minor version.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.fleetsim_command import REPO, Command

pytestmark = pytest.mark.e2e


def _others() -> list[str]:
    """Interpreters of our minor version and another build."""
    name = f"python3.{sys.version_info.minor}"
    folders = ("/usr/bin", "/usr/local/bin", os.defpath)
    found = {os.path.realpath(path) for folder in folders if (path := shutil.which(name, path=folder))}
    build = [sys.executable, "-c", "import sys; print(sys.version)"]
    ours = subprocess.run(build, check=True, capture_output=True).stdout
    return sorted(path for path in found if subprocess.run([path, *build[1:]], capture_output=True).stdout != ours)


def test_the_sandbox_is_ready_on_other_builds_of_python(fleetsim: Callable[..., Command]) -> None:
    pythons, packages = _others(), Path(pytest.__file__).parents[1]
    if not pythons:
        pytest.skip("there is no other build here")
    for python in pythons:
        command = fleetsim("sandbox", python=python, PYTHONPATH=f"{REPO}:{packages}")
        command.says("the sandbox is ready")
        command.process.send_signal(signal.SIGINT)
        assert command.wait() == 130
