"""Processes for the tests of the load tool; what is left of them ends with the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.load.load_processes import Started


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts processes, each in a folder of its own."""
    started: list[Started] = []

    def begin(*command: object) -> Started:
        started.append(Started(tmp_path / str(len(started)), command))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
