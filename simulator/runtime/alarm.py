"""One timer that rings at its moment: where the system has them, by the kernel's own clock of a file descriptor.

A loop's timers are in whole milliseconds, and its sleep is one more rounding; a device would speak late by
up to two of them. Rules: one moment at a time, a later `set` takes the place of the one before; never early.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable

_CLOCK_MONOTONIC = 1  # that of time.monotonic and of the loops
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_LEAST_S = 1e-9  # 0 would mean never
_LINUX = sys.platform == "linux"


class _Moment(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = (
        ("every_s", ctypes.c_long), ("every_ns", ctypes.c_long), ("at_s", ctypes.c_long), ("at_ns", ctypes.c_long)
    )  # fmt: skip


class Alarm:
    """Calls `ring` at the moment that was set."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None], by_kernel: bool = _LINUX) -> None:
        self._loop, self._ring = loop, ring
        self._handle: asyncio.TimerHandle | None = None
        self._libc = ctypes.CDLL(None) if by_kernel else None
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK) if self._libc else -1
        self._moment = _Moment()
        self._is_set = False
        if self._fd >= 0:
            loop.add_reader(self._fd, self._rang)

    def set(self, at_s: float) -> None:
        """Ring at a moment of the loop's clock; at once when it is over."""
        self._is_set = True
        if self._fd >= 0:
            self._settime(max(at_s, _LEAST_S))
            return
        self.cancel()
        self._handle = self._loop.call_at(at_s, self._ring)

    def cancel(self) -> None:
        """Do not ring."""
        self._is_set = False
        if self._handle:
            self._handle.cancel()
            self._handle = None

    def close(self) -> None:
        """For good."""
        self.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _settime(self, at_s: float) -> None:
        """Which also takes back a ring that nobody has heard yet."""
        moment = self._moment
        moment.at_s = whole_s = int(at_s)
        moment.at_ns = int((at_s - whole_s) * 1e9)
        assert self._libc
        self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(moment), None)

    def _rang(self) -> None:
        was_set, self._is_set = self._is_set, False
        if was_set:
            self._ring()
        if not self._is_set:  # else it was set anew, and is quiet by that
            self._settime(0.0)
