"""Several timelines side by side; it ends with the last of them."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from simulator.schema import OneOf
from simulator.steps import Command, Entry, Step, Together


class Parallel(Step):
    """Plays its branches at the same time."""

    model_config = ConfigDict(defer_build=True)  # it may hold any step, itself too: all of them come first

    kind: Literal["parallel"] = "parallel"
    branches: list[list[Annotated[Step, OneOf("steps")]]] = Field(min_length=1, max_length=32)

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        return [Together(tuple(tuple(branch) for branch in self.branches))]

    def within(self) -> Sequence[Sequence[Step]]:
        return self.branches

    def lasts_s(self) -> tuple[float, float]:
        each = [[step.lasts_s() for step in branch] for branch in self.branches]
        return max(sum(low for low, _ in one) for one in each), max(sum(high for _, high in one) for one in each)
