"""Progress as people see it: with rate and remaining time, drawn over on a terminal, a line now and then elsewhere."""

import io
import os
import pty
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Thread

import pytest

from simulator.cli.pace import Pace
from simulator.cli.screen import Screen


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


class Tty:
    """A real terminal, and what was written to it."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        self.out = os.fdopen(theirs, "w", encoding="utf-8")
        self.written = b""
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while read := os.read(self.ours, 4096):
                self.written += read
        except OSError:  # how Linux says that the other side was closed
            pass

    def shown(self) -> str:
        """Everything that was written; ends it."""
        if not self.out.closed:
            self.out.close()
            self._reader.join()
            os.close(self.ours)
        return self.written.decode()


@pytest.fixture
def tty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tty]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    one = Tty()
    yield one
    one.shown()


def test_rate_and_remaining_time() -> None:
    pace = Pace("things", 0, 100.0)
    assert pace.line(0, 1000, 100.0) == "things 0/1000"
    assert pace.line(240, 1000, 103.0) == "things 240/1000  80.0/s  9.5 s left"
    assert pace.line(1000, 1000, 112.5) == "things 1000/1000  80.0/s  in 12.5 s"


def test_what_was_done_before_does_not_count_as_speed() -> None:
    pace = Pace("things", 900, 0.0)
    assert pace.line(950, 1000, 10.0) == "things 950/1000  5.0/s  10.0 s left"


def test_without_a_terminal_a_line_every_few_seconds() -> None:
    out, clock = io.StringIO(), Clock()
    screen = Screen(out, clock)
    for done in range(1, 1001):
        clock.now_s = done / 80
        screen.progress("things", done, 1000)
    screen.close()
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("things 401/1000  80.0/s  7.5 s left")
    assert lines[-1] == "things 1000/1000  80.0/s  in 12.5 s"
    assert "\r" not in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_one_line_that_is_drawn_over(tty: Tty) -> None:
    clock = Clock()
    screen = Screen(tty.out, clock)
    for done in range(1, 101):
        clock.now_s = done / 50
        screen.progress("things", done, 100)
        if done == 50:
            screen.say("a word in between")
    screen.close()
    shown = tty.shown()
    drawn = shown.count("\r\x1b[K")
    assert 15 <= drawn <= 25, "ten times a second"
    assert "\r\x1b[Ka word in between\r\nthings" in shown
    assert shown.endswith("things 100/100  50.0/s  in 2.0 s\r\n")


def test_a_line_left_unfinished_is_ended(tty: Tty) -> None:
    screen = Screen(tty.out, Clock())
    screen.progress("things", 1, 10)
    screen.progress("policies", 1, 10)
    screen.ask("And now?")
    screen.progress("policies", 2, 10)
    screen.close()
    screen.close()
    lines = tty.shown().replace("\r\x1b[K", "").split("\r\n")
    assert lines == ["things 1/10", "policies 1/10", "And now? policies 2/10", ""]


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_nothing_bold_where_none_is_wanted(
    tty: Tty, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    Screen(tty.out).say("Things", bold=True)
    monkeypatch.setenv(variable, value)
    Screen(tty.out).say("Things", bold=True)
    assert tty.shown() == "\x1b[1mThings\x1b[0m\r\nThings\r\n"


def test_a_terminal_without_unicode_and_names_that_move_the_cursor() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    Screen(out).say("5 ≥ 4 …\nevil\x1b[2Jname")
    assert isinstance(out.buffer, io.BytesIO)
    assert out.buffer.getvalue() == b"5 >= 4 ...\nevil?[2Jname\n"


def test_many_threads_do_not_break_lines() -> None:
    out = io.StringIO()
    screen = Screen(out, Clock())

    def talk(n: int) -> None:
        for i in range(50):
            screen.say(f"thread {n} says {i}")

    threads = [Thread(target=talk, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(out.getvalue().splitlines()) == sorted(f"thread {n} says {i}" for n in range(8) for i in range(50))
