"""Let the fleet run for a while. The smallest step: copy this one."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from simulator.steps import Command, Entry, Step, Wait


class Hold(Step):
    """Does nothing for `for_s` seconds."""

    kind: Literal["hold"] = "hold"
    for_s: float = Field(ge=0, le=864_000)

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        return [Wait(self.for_s)]

    def lasts_s(self) -> tuple[float, float]:
        return self.for_s, self.for_s
