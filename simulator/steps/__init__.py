"""Steps: what a scenario's timeline is made of, one small file each.

A step is what the YAML says and one pure function: `plan(roster, seed)` gives the commands that the conductor
carries out, in order. The vocabulary of commands is small on purpose; a new step is a new use of it.

Steps follow one another. A step may also wait for a moment (`at_s` since the timeline began) or for something
(`after`: the name of a step that has ended, or an event as the reports call it, such as "alarm raised"), and then
`delay_s` more. Steps side by side are branches of `parallel`.

To add one, copy `hold.py`, name the file as the kind and the class as the file.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import Field

from simulator.checks import Check
from simulator.faults import Fault
from simulator.faults._part import PartFault
from simulator.schema import Strict

WAIT_MAX_S = 864_000


class Entry(NamedTuple):
    """One device of the fleet, as a step sees it."""

    thing: str
    profile: str
    faulted: bool
    group: str = ""
    firmware: str = ""
    channel: str = "mqtt"
    started: bool = False  # switched on by a step before
    online: bool = False


class Connect(NamedTuple):
    """Switch these devices on, spread over `over_s`."""

    things: tuple[str, ...]
    over_s: float
    shape: Literal["even", "random"] = "even"


class Disconnect(NamedTuple):
    """Switch these devices off, spread evenly over `over_s`."""

    things: tuple[str, ...]
    over_s: float


class Inject(NamedTuple):
    """Break these devices."""

    fault: Fault
    things: tuple[str, ...]


class Clear(NamedTuple):
    """Take away the faults of these devices, of a kind or all."""

    fault: str | None
    things: tuple[str, ...]


class Wait(NamedTuple):
    """Let time pass."""

    for_s: float


class Until(NamedTuple):
    """Go on as soon as the check passes, or when its time is up."""

    check: Check
    within_s: float


class SetDesired(NamedTuple):
    """Write a desired state into the shadows of these devices."""

    state: Mapping[str, Any]
    things: tuple[str, ...]


class Control(NamedTuple):
    """Send these devices a control request."""

    name: str
    value: Any
    things: tuple[str, ...]


class Publication(NamedTuple):
    """Publish a firmware version, well signed or not."""

    version: str
    packages: tuple[str, ...]
    signed: bool


class Job(NamedTuple):
    """Make an OTA job for these devices."""

    version: str
    things: tuple[str, ...]
    options: Mapping[str, Any]


class Part(NamedTuple):
    """Do something to a part of the sandbox."""

    part: Literal["cloud", "backend"]
    action: Literal["kill", "restart", "pause"]
    for_s: float


class Disturb(NamedTuple):
    """Let a fault befall a part of the sandbox."""

    fault: PartFault


class Relieve(NamedTuple):
    """End the faults of the sandbox's parts, of a kind or all."""

    fault: str | None


class Together(NamedTuple):
    """Several timelines side by side, until the last one ends."""

    branches: "tuple[tuple[Step, ...], ...]"


class Again(NamedTuple):
    """A timeline over and over: so many times, or until its time is up."""

    steps: "tuple[Step, ...]"
    times: int | None
    for_s: float | None


Command = (
    Connect | Disconnect | Inject | Clear | Wait | Until | SetDesired | Control | Publication | Job | Part | Disturb
    | Relieve | Together | Again
)  # fmt: skip


class Step(Strict):
    """What every step may say; members add `kind` and their keys."""

    name: str = Field("", max_length=80, description="A name for the reports, and for `after`.")
    at_s: float | None = Field(None, ge=0, le=WAIT_MAX_S, description="Not before so long since the timeline began.")
    after: str | None = Field(
        None,
        min_length=1,
        max_length=80,
        description="Not before this: the name of a step, or an event (alarm raised).",
    )
    delay_s: float = Field(0.0, ge=0, le=WAIT_MAX_S, description="So much later still.")
    patience_s: float = Field(600.0, gt=0, le=WAIT_MAX_S, description="How long it waits for `after`; then it goes on.")

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        """The commands of this step for the fleet as it is now."""
        raise NotImplementedError

    def within(self) -> "Sequence[Sequence[Step]]":
        """The timelines inside it, if it is a block."""
        return ()

    def lasts_s(self) -> tuple[float, float]:
        """How long it takes by itself, without what it waits for: at least, and at most."""
        return 0.0, 0.0

    @property
    def title(self) -> str:
        """Its name, or its kind."""
        return self.name or str(self.model_dump()["kind"])
