"""Clocks: where a runtime gets its time from. Nothing below the runtime reads one.

Rules: a clock gives whole milliseconds since the Unix epoch. The virtual clock moves only when told to.
"""

from typing import Protocol

# Runs in virtual time start here, so that the same seed gives the same timestamps: 2026-01-01T00:00:00Z.
VIRTUAL_START_MS = 1_767_225_600_000


class Clock(Protocol):
    """Gives the time."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...


class VirtualClock:
    """A clock that stands still until it is moved, and never runs backwards."""

    __slots__ = ("ms",)

    def __init__(self, start_ms: int = VIRTUAL_START_MS) -> None:
        self.ms = start_ms  # what it shows, for whoever asks very often

    def now_ms(self) -> int:
        return self.ms

    def move_to(self, now_ms: int) -> None:
        """Jump ahead; raises ValueError for a moment in the past."""
        if now_ms < self.ms:
            raise ValueError(f"a clock cannot go back from {self.ms} ms to {now_ms} ms")
        self.ms = now_ms
