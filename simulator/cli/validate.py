"""`fleetsim validate`: what a file is follows from its first key."""

import sys
from collections.abc import Iterator
from pathlib import Path

from simulator import firmware, profiles, targets
from simulator.cli.rules import read_scenario
from simulator.errors import FleetsimError, UsageError
from simulator.folders import folder
from simulator.schema import load


def validate(paths: list[Path]) -> int:
    """Checks every file; prints each mistake, and how many files are right. 0, or 2 when something is wrong."""
    wrong = 0
    files = [file for path in paths or _shipped() for file in _files(path)]
    if not files:
        raise UsageError(f"no YAML file in {', '.join(map(str, paths))}")
    for file in files:
        try:
            _check(file)
        except FleetsimError as error:
            wrong += 1
            print(error, file=sys.stderr)
    print(f"{len(files) - wrong} of {len(files)} files are right")
    return UsageError.exit_code if wrong else 0


def _shipped() -> list[Path]:
    return [folder(name) for name in ("profiles", "scenarios", "firmware")]


def _files(path: Path) -> Iterator[Path]:
    yield from sorted(path.rglob("*.yaml")) if path.is_dir() else [path]


def _check(file: Path) -> None:
    """One file, by what it says it is."""
    try:
        keys = [line.split(":", 1)[0] for line in file.read_text(errors="replace").splitlines() if line[:1].isalpha()]
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    first = keys[0] if keys else ""
    if first == "profile":
        found = load(file, profiles.Profile)
        profiles.family(found)
        if found.profile != file.stem:
            raise UsageError(f"{file}:1:1: the name must be the file's: '{file.stem}', is '{found.profile}'")
    elif first == "scenario":
        read_scenario(file)
    elif first == "version":
        release = load(file, firmware.Firmware)
        if release.version != file.stem:
            raise UsageError(f"{file}:1:1: the version must be the file's name: '{file.stem}', is '{release.version}'")
    elif first == "target":
        load(file, targets.Target)
    else:
        raise UsageError(f"{file}:1:1: starts with '{first}'; a file starts with profile, scenario, version or target")
