"""Break some devices: a fault, and whom it befalls."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from simulator.faults import Fault
from simulator.schema import OneOf
from simulator.steps import Command, Entry
from simulator.steps import Inject as InjectFault
from simulator.steps._choosing import Choosing


class Inject(Choosing):
    """Injects `fault`, or several at once, into the devices that match."""

    kind: Literal["inject"] = "inject"
    fault: Annotated[Fault, OneOf("faults")]
    also: list[Annotated[Fault, OneOf("faults")]] = Field([], max_length=16, description="More faults on the same.")

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        things = self.chosen(roster, seed)
        return [InjectFault(fault, things) for fault in (self.fault, *self.also)]
