"""Can it be written there? Asked before anything starts, so that the answer no costs nothing."""

import errno
import os
import tempfile
from pathlib import Path

from simulator.errors import UsageError


def folder(path: Path, flag: str) -> None:
    """Makes a folder; UsageError when nothing can be put into it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to folder '{path}': {error.strerror}; choose another with {flag}") from None


def file(path: Path, flag: str) -> Path:
    """An empty file beside `path` that only its owner can read, to be filled and renamed; or UsageError."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UsageError(f"cannot write file '{path}': {error.strerror}; choose another with {flag}") from None
    os.close(handle)
    return Path(name)
