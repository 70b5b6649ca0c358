"""Wait for something to become true: any check, with a time limit.

The scenario goes on when it holds or when the time is up; the verdict is the business of the checks at the end.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from simulator.checks import Check
from simulator.schema import OneOf
from simulator.steps import Command, Entry, Step, Until


class Expect(Step):
    """Waits until `check` passes, at most `within_s` seconds."""

    kind: Literal["expect"] = "expect"
    check: Annotated[Check, OneOf("checks")]
    within_s: float = Field(gt=0, le=864_000)

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        return [Until(self.check, self.within_s)]

    def lasts_s(self) -> tuple[float, float]:
        return 0.0, self.within_s
