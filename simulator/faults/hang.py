"""A part's controller hangs: it keeps one output whatever happens, until the part or the device is restarted.

With `recurs_after_s` it hangs again so long after every restart. `fixed_in` names the firmware in which the bug
is mended; without it the hardware is to blame, and no firmware helps.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from simulator.behaviours import NEVER_MS, Body
from simulator.errors import did_you_mean
from simulator.faults import Active, Expected, Fault
from simulator.signals import Signal


class Hang(Fault):
    """The part holds `at` until it is restarted."""

    kind: Literal["hang"] = "hang"
    part: str = Field(description="The signal that hangs: a controller such as a thermostat.")
    at: float = Field(0.0, description="The value it keeps.")
    recurs_after_s: float | None = Field(None, ge=0, description="Hangs again so long after a restart; absent: once.")
    fixed_in: str | None = Field(
        None, description="The firmware version that has no such bug; absent: broken hardware."
    )

    def unfit(self, signals: Mapping[str, Signal]) -> str | None:
        if self.part not in signals:
            return f"has no part '{self.part}'{did_you_mean(self.part, list(signals))}"
        return None

    def expects(self, signals: Mapping[str, Signal]) -> Expected:
        suffers = [name for name, s in signals.items() if self.part in s.inputs() and s.limit]
        watched = suffers[0] if suffers else self.part
        return Expected(watched, f"{watched} leaves its normal range")

    def start(self, body: Body, now_ms: int) -> Active:
        active = Hung(self)
        body.hold(self.part, self.at, now_ms)
        return active


class Hung(Active):
    __slots__ = ("what",)

    def __init__(self, what: Hang) -> None:
        super().__init__(what.kind)
        self.what = what

    def step(self, body: Body, now_ms: int) -> None:
        self.wake_at_ms = NEVER_MS
        body.hold(self.what.part, self.what.at, now_ms)

    def restarted(self, body: Body, part: str, now_ms: int) -> None:
        if part == self.what.part:
            self._freed(body, now_ms)

    def booted(self, body: Body, now_ms: int) -> None:
        fixed_in = self.what.fixed_in
        if fixed_in and version_key(body.version) >= version_key(fixed_in):
            self.end(body, now_ms)
        else:
            self._freed(body, now_ms)

    def end(self, body: Body, now_ms: int) -> None:
        body.hold(self.what.part, None, now_ms)
        self.over, self.wake_at_ms = True, NEVER_MS

    def _freed(self, body: Body, now_ms: int) -> None:
        body.hold(self.what.part, None, now_ms)
        if self.what.recurs_after_s is None:
            self.over = True
        else:
            self.wake_at_ms = now_ms + int(self.what.recurs_after_s * 1000)


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Orders version names: numbers by value, 1.10.0 after 1.9.0, words by the alphabet and before numbers."""
    return tuple((1, int(word), "") if word.isdigit() else (0, 0, word) for word in version.split("."))
