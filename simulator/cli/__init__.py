"""The command line: parse, call, print. One file for each group of commands, no logic.

Rules: a command's module is imported when the command is used, so that `--help` is quick; data goes to
stdout, progress to stderr; a FleetsimError becomes its message and its exit code, never a traceback.
"""

import errno
import sys

from simulator.errors import BackendUnavailable, FleetsimError

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # no mistake in a command, and none of ours


def main() -> None:
    """The command `fleetsim`. Wrong flags end with 2 and Ctrl-C with 130, which is typer's doing."""
    from simulator.cli.app import app

    try:
        app()
    except FleetsimError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        print(f"cannot write '{error.filename or 'a file'}': {error.strerror}", file=sys.stderr)
        sys.exit(BackendUnavailable.exit_code)
