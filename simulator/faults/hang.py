"""A part's controller hangs: it keeps one output whatever happens, until the part or the device is restarted.

With `recurs_after_s` it hangs again so long after every restart. `fixed_in` names the firmware in which the bug
is mended; without it the hardware is to blame, and no firmware helps.
"""

import re
from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import NEVER_MS, Body, Outputs
from simulator.errors import did_you_mean
from simulator.faults import Active, Expected, Family, Fault, Subject, watched


class Hang(Fault):
    """The part holds one value until it is restarted."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: hang, part: fan_level, recurs_after_s: 6, fixed_in: 1.1.0}"

    kind: Literal["hang"] = "hang"
    part: str = Field(description="The signal that hangs: a controller such as a thermostat.")
    at: float = Field(0.0, description="The value it keeps.")
    recurs_after_s: float | None = Field(None, ge=0, description="Hangs again so long after a restart; absent: once.")
    fixed_in: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9._-]{1,64}$",
        description="The firmware version that has no such bug; absent: broken hardware.",
    )

    def unfit(self, subject: Subject) -> str | None:
        if self.part not in subject.signals:
            return f"has no part '{self.part}'{did_you_mean(self.part, list(subject.signals))}"
        return None

    def expects(self, subject: Subject) -> Expected:
        signal = watched(subject.signals, self.part)
        return Expected(signal, f"{signal} leaves its normal range")

    def start(self, body: Body, now_ms: int) -> Active:
        active = Hung(self, now_ms)
        if self.mended(body.version):
            active.over = True
        else:
            body.hold(self.part, self.at, now_ms)
        return active

    def mended(self, version: str) -> bool:
        """Has this firmware the bug no more?"""
        return self.fixed_in is not None and version_key(version) >= version_key(self.fixed_in)


class Hung(Active):
    __slots__ = ()
    what: Hang

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms = NEVER_MS
        body.hold(self.what.part, self.what.at, now_ms)
        return []

    def restarted(self, body: Body, part: str, now_ms: int) -> None:
        if part == self.what.part:
            self._freed(body, now_ms)

    def booted(self, body: Body, now_ms: int) -> None:
        if self.what.mended(body.version):
            self.end(body, now_ms)
        else:
            self._freed(body, now_ms)

    def end(self, body: Body, now_ms: int) -> Outputs:
        body.hold(self.what.part, None, now_ms)
        self.over, self.wake_at_ms = True, NEVER_MS
        return []

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
