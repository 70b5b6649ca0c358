"""Mend some devices, or the sandbox: their faults of one kind, or all."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from simulator import rooms
from simulator.errors import UsageError
from simulator.faults._part import PartFault
from simulator.steps import Clear as ClearFaults
from simulator.steps import Command, Entry, Relieve, Step
from simulator.steps._choosing import Choosing


class Clear(Choosing):
    """Takes faults away; by itself from all devices and parts that have one."""

    kind: Literal["clear"] = "clear"
    fault: str | None = Field(None, description="The kind of fault; absent: every one.")

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        if self.fault is not None and _befalls_a_part(self.fault):
            return [Relieve(self.fault)]
        devices = ClearFaults(self.fault, self.chosen([entry for entry in roster if entry.faulted], seed))
        chooses = self.model_fields_set & set(Choosing.model_fields) - set(Step.model_fields)
        return [devices] if self.fault or chooses else [devices, Relieve(None)]


def _befalls_a_part(kind: str) -> bool:
    try:
        return issubclass(rooms.member("faults", kind), PartFault)
    except UsageError:
        return False
