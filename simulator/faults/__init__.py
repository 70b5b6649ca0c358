"""Faults: what goes wrong, one small file each.

A fault is what a scenario's YAML says. `start()` gives the state one device keeps for it while it lasts: an
`Active`, pure as a duty is, with `wake_at_ms` for what it does by itself. A fault works on the device's body
(its parts, its flash) and never on a link or a socket.

Every fault declares what a good backend should notice (`expects`): that is the ground truth a run is scored by.

To add one, copy `hang.py`, name the file as the kind and the class as the file.
"""

from collections.abc import Mapping
from typing import NamedTuple

from simulator.behaviours import NEVER_MS, Body
from simulator.schema import Strict
from simulator.signals import Signal


class Active:
    """One fault on one device."""

    __slots__ = ("kind", "over", "wake_at_ms")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.over = False
        self.wake_at_ms = NEVER_MS

    def step(self, body: Body, now_ms: int) -> None:
        """Called when `wake_at_ms` has come; must move it on."""

    def restarted(self, body: Body, part: str, now_ms: int) -> None:
        """The device restarted one of its parts."""

    def booted(self, body: Body, now_ms: int) -> None:
        """The device came back from a power cycle, maybe with another version."""

    def end(self, body: Body, now_ms: int) -> None:
        """The fault is taken away: leave no trace."""


class Expected(NamedTuple):
    """What a good backend should notice, in words and as data."""

    signal: str
    words: str


class Fault(Strict):
    """What the YAML says; members add `kind` and their keys."""

    def unfit(self, signals: Mapping[str, Signal]) -> str | None:
        """Why a device with these signals cannot have this fault; None when it can."""
        raise NotImplementedError

    def expects(self, signals: Mapping[str, Signal]) -> Expected:
        """What should be noticed."""
        raise NotImplementedError

    def start(self, body: Body, now_ms: int) -> Active:
        """Break the device."""
        raise NotImplementedError
