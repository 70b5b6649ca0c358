"""A part is gone without a farewell, and comes back: at once, or after `for_s`.

The backend is killed (SIGKILL) and started again on its ports and its state folder. The cloud's state is only in its
memory, so for the cloud it is an outage: all connections are cut and new ones refused, and what it holds stays.
"""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.faults._part import PART, Action, Part, PartFault


class PartRestart(PartFault):
    """Kills it, and starts it again: at once, or after `for_s`."""

    action: ClassVar[Action | None] = "restart"
    example: ClassVar[str] = "{kind: part_restart, part: backend, for_s: 2}"
    words: ClassVar[str] = (
        "nothing that was acknowledged is lost, devices come back by themselves, and nobody is missed"
    )

    kind: Literal["part_restart"] = "part_restart"
    part: Part = PART
    for_s: float | None = Field(None, gt=0, le=86_400, description="How long it is away; absent: back at once.")
