"""The command as a fixture, and a home for it in which everything is quick."""

import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from resource import RLIM_INFINITY

import pytest

from tests.e2e.fleetsim_command import REPO, Command

NO_FILES: Mapping[str, str] = {}
SCENARIOS = Path(__file__).parent / "scenarios"

# The behaviours of the shipped profiles, in a hurry. What they measure and do stays as it is.
HURRY = {"every_s": "[0.3, 0.6]", "install_s": "0.5", "reboot_s": "0.5"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for FLEETSIM_HOME: the scenarios of these tests, and shipped profiles and firmware, hurried."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copytree(REPO / "firmware", folder / "firmware")
    shutil.copytree(SCENARIOS, folder / "scenarios")
    (folder / "profiles").mkdir()
    for path in (REPO / "profiles").glob("*.yaml"):
        text = re.sub(
            rf"^(    ({'|'.join(HURRY)}): ).*$", lambda found: found[1] + HURRY[found[2]], path.read_text(), flags=re.M
        )
        (folder / "profiles" / path.name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def fleetsim(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Command]]:
    """Starts commands in that home; what is left of them ends with the module."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("processes are watched through /proc")
    started: list[Command] = []

    def start(
        *arguments: object, files: Mapping[str, str] = NO_FILES, terminal: int = -1,
        file_bytes_max: int = RLIM_INFINITY, python: str = sys.executable, **env: str,
    ) -> Command:  # fmt: skip
        folder, env = tmp_path_factory.mktemp("command"), {"FLEETSIM_HOME": str(home), **env}
        started.append(Command(folder, arguments, env, files, terminal, file_bytes_max, python))
        return started[-1]

    yield start
    for command in started:
        command.kill()
