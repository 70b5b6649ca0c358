"""Write a desired state into the shadows of some devices, as an operator does."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from simulator.steps import Command, Entry, SetDesired
from simulator.steps._choosing import Choosing


class Set(Choosing):
    """Sets `desired` in the classic shadow; the devices then report what they made of it."""

    kind: Literal["set"] = "set"
    desired: dict[str, Any] = Field(min_length=1, max_length=64)

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        return [SetDesired(self.desired, self.chosen(roster, seed))]
