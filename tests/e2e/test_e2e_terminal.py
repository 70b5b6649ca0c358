"""A run on a terminal: the live view is drawn, a real Ctrl-C ends it, and the terminal is given back as it was."""

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Callable, Iterator
from threading import Thread

import pytest

from tests.e2e.fleetsim_command import Command, until

pytestmark = pytest.mark.e2e

ROWS, COLUMNS = 40, 110
HIDE_CURSOR, SHOW_CURSOR, ALTERNATE_SCREEN = b"\x1b[?25l", b"\x1b[?25h", b"\x1b[?1049h"
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


class Terminal:
    """A pseudo-terminal and all that was written to it."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.settings = termios.tcgetattr(self.theirs)
        self.written = b""
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        """A terminal that nobody reads would stop its writer."""
        try:
            while read := os.read(self.ours, 65536):
                self.written += read
        except OSError:  # how Linux says that the other side was closed
            pass

    def shows(self, text: bytes) -> bool:
        """Was this written, whatever its colour?"""
        return text in COLOUR.sub(b"", self.written)

    def close(self) -> None:
        os.close(self.theirs)
        self._reader.join()
        os.close(self.ours)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    one = Terminal()
    yield one
    one.close()


def test_the_live_view_and_ctrl_c(fleetsim: Callable[..., Command], terminal: Terminal) -> None:
    command = fleetsim("run", "quick-loop", "--seed", 7, "--out", "out", terminal=terminal.theirs)
    for text in (b"quick-loop: Three fans hang", b"8 of 8 connected", b"engine-overheat", b"device acted"):
        command.until(lambda text=text: terminal.shows(text), str(text))  # type: ignore[misc]
    ports = command.ports()
    assert HIDE_CURSOR in terminal.written
    assert COLOUR.search(terminal.written)
    os.write(terminal.ours, b"\x03")
    assert command.wait() == 130
    command.leaves_nothing(ports)
    assert terminal.settings == termios.tcgetattr(terminal.theirs)
    until(lambda: terminal.shows(b"report.json\r\n"), "the last line")
    end = terminal.written[terminal.written.rindex(SHOW_CURSOR) :]
    assert b"INTERRUPTED" in end
    assert HIDE_CURSOR not in end
    assert ALTERNATE_SCREEN not in terminal.written  # the last picture stays
    assert b"Traceback" not in terminal.written
    assert command.report.verdict == "interrupted"


def test_no_colour_where_none_is_wanted(fleetsim: Callable[..., Command], terminal: Terminal) -> None:
    command = fleetsim("run", "quick-loop", "--out", "out", terminal=terminal.theirs, NO_COLOR="1")
    command.until(lambda: terminal.shows(b"8 of 8 connected"), "the live view")
    os.write(terminal.ours, b"\x03")
    assert command.wait() == 130
    coloured = [code for code in COLOUR.findall(terminal.written) if re.search(rb"\b(3|4|9|10)[0-7]\b", code)]
    assert coloured == []
