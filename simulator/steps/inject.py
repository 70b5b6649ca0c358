"""Break some devices: a fault, and whom it befalls.

The seed decides who: devices that match are ranked by a number of their own, and those without a fault yet come
first, so two injections of one scenario do not meet on a device while there is another one left.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from simulator import seeds
from simulator.faults import Fault
from simulator.schema import OneOf
from simulator.steps import Command, Entry, Step
from simulator.steps import Inject as InjectFault


class Inject(Step):
    """Injects `fault` into `count` of the devices that match."""

    kind: Literal["inject"] = "inject"
    fault: Annotated[Fault, OneOf("faults")]
    profiles: list[str] = Field(["*"], min_length=1, description="Profiles, with wildcards.")
    things: list[str] = Field(["*"], min_length=1, description="Names of things, with wildcards.")
    count: int | None = Field(None, ge=1, description="How many of them; absent: all.")

    def matches(self, entry: Entry) -> bool:
        """May this device be hit?"""
        return any(fnmatchcase(entry.profile, p) for p in self.profiles) and any(
            fnmatchcase(entry.thing, t) for t in self.things
        )

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        ranked = sorted(
            (entry for entry in roster if self.matches(entry)),
            key=lambda entry: (entry.faulted, seeds.key(seed, "inject", entry.thing), entry.thing),
        )
        return [InjectFault(self.fault, tuple(entry.thing for entry in ranked[: self.count]))]
