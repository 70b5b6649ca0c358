"""A device forgets what its shadow had set: settings, parts and the last action are as it was made, once more."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import NEVER_MS, Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._deltas import no_shadow


class ForgetsShadow(Fault):
    """Forgets at once, after every power cycle, and every so often. Its next report says so, and the delta returns."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: forgets_shadow, every_s: 300}"

    kind: Literal["forgets_shadow"] = "forgets_shadow"
    every_s: float | None = Field(None, ge=0.1, le=31_536_000, description="It forgets again after so long.")

    def unfit(self, subject: Subject) -> str | None:
        return no_shadow(subject)

    def expects(self, subject: Subject) -> Expected:
        return Expected("", "it reports what it was made with, and is told again what is desired", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        active = Forgetful(self, now_ms)
        active.wake_at_ms = now_ms
        return active


class Forgetful(Active):
    __slots__ = ()
    what: ForgetsShadow

    def step(self, body: Body, now_ms: int) -> Outputs:
        every_s = self.what.every_s
        self.wake_at_ms = NEVER_MS if every_s is None else now_ms + int(1000 * every_s)
        if self.chance(body):
            self._forget(body, now_ms)
        return []

    def booted(self, body: Body, now_ms: int) -> None:
        if self.chance(body):
            self._forget(body, now_ms)

    def _forget(self, body: Body, now_ms: int) -> None:
        for part in body.flash.get("parts", {}):
            body.set_part(part, None, now_ms)
        for what in ("parts", "settings", "last_action"):
            body.flash.pop(what, None)
