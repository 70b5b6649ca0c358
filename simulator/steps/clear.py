"""Mend some devices: their faults of one kind, or all."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from simulator.steps import Clear as ClearFaults
from simulator.steps import Command, Entry
from simulator.steps._choosing import Choosing


class Clear(Choosing):
    """Takes faults away; by itself from all devices that have one."""

    kind: Literal["clear"] = "clear"
    fault: str | None = Field(None, description="The kind of fault; absent: every one.")

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        return [ClearFaults(self.fault, self.chosen([entry for entry in roster if entry.faulted], seed))]
