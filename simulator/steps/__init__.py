"""Steps: what a scenario's timeline is made of, one small file each.

A step is what the YAML says and one pure function: `plan(roster, seed)` gives the commands that the conductor
carries out, in order. The vocabulary of commands is small on purpose; a new step is a new use of it.

To add one, copy `hold.py`, name the file as the kind and the class as the file.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from simulator.checks import Check
from simulator.faults import Fault
from simulator.schema import Strict


class Entry(NamedTuple):
    """One device of the fleet, as a step sees it."""

    thing: str
    profile: str
    faulted: bool


class Connect(NamedTuple):
    """Switch these devices on, spread evenly over `over_s`."""

    things: tuple[str, ...]
    over_s: float


class Inject(NamedTuple):
    """Break these devices."""

    fault: Fault
    things: tuple[str, ...]


class Wait(NamedTuple):
    """Let time pass."""

    for_s: float


class Until(NamedTuple):
    """Go on as soon as the check passes, or when its time is up."""

    check: Check
    within_s: float


Command = Connect | Inject | Wait | Until


class Step(Strict):
    """What every step may say; members add `kind` and their keys."""

    name: str = Field("", max_length=80, description="A name for the reports.")

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        """The commands of this step for the fleet as it is now."""
        raise NotImplementedError
