"""Errors that a user can meet, each with the exit code it means.

Rules: a message says where, what, the value and the way out. The command line prints it as one line and
exits with `exit_code`; any other exception is a bug of ours and may show a traceback.

    FleetsimError
    ├── UsageError             2   wrong flags, wrong YAML
    ├── BackendUnavailable     3   the target, or a part of the sandbox, is not there or died
    └── Inconclusive           4   the generator itself was the bottleneck
"""

from typing import ClassVar

PASSED = 0
CHECKS_FAILED = 1
INTERRUPTED = 130


class FleetsimError(Exception):
    """Something the user can act on."""

    exit_code: ClassVar[int] = 1


class UsageError(FleetsimError):
    """The command, a flag or a file is wrong; nothing was started."""

    exit_code = 2


class BackendUnavailable(FleetsimError):
    """The backend under test, or a part of the sandbox, cannot be reached or ended by itself."""

    exit_code = 3


class Inconclusive(FleetsimError):
    """The run measured the generator rather than the backend."""

    exit_code = 4


def did_you_mean(word: str, known: "list[str] | tuple[str, ...]") -> str:
    """` (did you mean 'walk'?)`, or the choices when nothing is near, or nothing when there are none."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f" (did you mean '{near[0]}'?)"
    return f" (known: {', '.join(sorted(known))})" if known else ""
