"""A part's controller hangs: it keeps one output whatever happens, until the part or the device is restarted.

With `recurs_after_s` it hangs again so long after every restart. `fixed_in` names the firmware in which the bug
is mended; without it the hardware is to blame, and no firmware helps.
"""

import re
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
        None,
        pattern=r"^[a-zA-Z0-9._-]{1,64}$",
        description="The firmware version that has no such bug; absent: broken hardware.",
    )

    def unfit(self, signals: Mapping[str, Signal]) -> str | None:
        if self.part not in signals:
            return f"has no part '{self.part}'{did_you_mean(self.part, list(signals))}"
        return None

    def expects(self, signals: Mapping[str, Signal]) -> Expected:
        reached = [self.part]
        for name in reached:  # grows as we go: what follows the part, then what follows that
            reached += [other for other, s in signals.items() if name in s.inputs() and other not in reached]
        watched = next((name for name in reached[1:] if signals[name].limit), self.part)
        return Expected(watched, f"{watched} leaves its normal range")

    def start(self, body: Body, now_ms: int) -> Active:
        active = Hung(self)
        if self.mended(body.version):
            active.over = True
        else:
            body.hold(self.part, self.at, now_ms)
        return active

    def mended(self, version: str) -> bool:
        """Has this firmware the bug no more?"""
        return self.fixed_in is not None and version_key(version) >= version_key(self.fixed_in)


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
        if self.what.mended(body.version):
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
    """Orders version names: 1.10.0 after 1.9.0, and with a word (1.1.0-rc2) before the same without (1.1.0)."""
    words = re.findall(r"[0-9]+|[a-zA-Z]+", version)
    return (*((2, int(word), "") if word.isdecimal() else (0, 0, word) for word in words), (1, 0, ""))
