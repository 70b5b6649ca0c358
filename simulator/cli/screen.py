"""stderr, where people look: lines, and below them one line of progress that is drawn over.

Where there is no terminal, progress is a line every few seconds. Any thread may write.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable
from typing import TextIO

from simulator.cli.pace import EVERY_S, REDRAW_S, Pace
from simulator.report.text import in_encoding

_ERASE = "\r\x1b[K"


class Screen:
    """Writes to one stream. Closed, it leaves the cursor at the start of a line."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._clock = out, clock
        self._drawn = out.isatty() and os.environ.get("TERM") != "dumb"
        self.bold = self._drawn and not os.environ.get("NO_COLOR")
        self._lock = threading.Lock()
        self._pace: Pace | None = None
        self._line = ""  # of progress, that stands there now

    def say(self, text: str, bold: bool = False) -> None:
        """Writes lines above the progress."""
        with self._lock:
            shown = "\n".join(self._encoded(line) for line in text.split("\n"))
            if bold and self.bold:
                shown = f"\x1b[1m{shown}\x1b[0m"
            self._write(f"{_ERASE if self._line else ''}{shown}\n{self._line}")

    def progress(self, what: str, done: int, of: int) -> None:
        """So many of so many are done."""
        with self._lock:
            now_s = self._clock()
            if self._pace is None or self._pace.what != what or done < self._pace.first:
                self._end_line()
                self._pace = Pace(what, done, now_s)
                if done < of and not self._drawn:
                    self._pace.shown_s = now_s  # the first line comes when there is something to say
            if not self._pace.due(done, of, now_s, REDRAW_S if self._drawn else EVERY_S):
                return
            line = self._encoded(self._pace.line(done, of, now_s))
            if not self._drawn:
                self._write(f"{line}\n")
            else:
                self._line = line[: shutil.get_terminal_size().columns - 1]
                self._write(_ERASE + self._line)
            if done >= of:
                self._end_line()

    def ask(self, question: str) -> None:
        """Writes a question and leaves the cursor behind it."""
        with self._lock:
            self._end_line()
            self._write(f"{self._encoded(question)} ")

    def close(self) -> None:
        with self._lock:
            self._end_line()

    def _end_line(self) -> None:
        if self._line:
            self._write("\n")
        self._line, self._pace = "", None

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def _encoded(self, line: str) -> str:
        return in_encoding(line, self._out.encoding or "ascii")
