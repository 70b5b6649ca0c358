"""Break some devices, or a part of the sandbox: a fault, and whom it befalls."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from simulator.faults import Fault
from simulator.faults._part import PartFault
from simulator.schema import Misplaced, OneOf
from simulator.steps import Command, Disturb, Entry, Step
from simulator.steps import Inject as InjectFault
from simulator.steps._choosing import Choosing


class Inject(Choosing):
    """Injects `fault`, or several at once, into the devices that match; one of a part of the sandbox into that part."""

    kind: Literal["inject"] = "inject"
    fault: Annotated[Fault, OneOf("faults")]
    also: list[Annotated[Fault, OneOf("faults")]] = Field([], max_length=16, description="More faults on the same.")

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        things = self.chosen(roster, seed)
        return [
            Disturb(fault) if isinstance(fault, PartFault) else InjectFault(fault, things)
            for fault in (self.fault, *self.also)
        ]

    @property
    def for_devices(self) -> bool:
        """Does it befall devices at all?"""
        return not all(isinstance(fault, PartFault) for fault in (self.fault, *self.also))

    @model_validator(mode="after")
    def _chooses_whom_it_can_befall(self) -> "Inject":
        chosen = sorted(self.model_fields_set & set(Choosing.model_fields) - set(Step.model_fields))
        if chosen and not self.for_devices:
            kind = self.fault.params["kind"]
            raise Misplaced((chosen[0],), f"'{kind}' befalls a part of the sandbox, so no devices are chosen for it")
        return self
