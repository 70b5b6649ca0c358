"""A part stands still (SIGSTOP): its connections stay, and nothing is answered, until it goes on."""

from typing import ClassVar, Literal

from simulator.faults._part import PART, Action, Part, PartFault


class PartPause(PartFault):
    """Stops it, and lets it go on after `for_s`."""

    action: ClassVar[Action | None] = "pause"
    example: ClassVar[str] = "{kind: part_pause, part: backend, for_s: 10}"
    words: ClassVar[str] = "what was said meanwhile arrives afterwards, and nobody is missed"

    kind: Literal["part_pause"] = "part_pause"
    part: Part = PART
