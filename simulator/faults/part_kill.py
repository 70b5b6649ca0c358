"""A part dies (SIGKILL) and stays dead. The run goes on without it; the checks judge what that means.

The backend can be started again by `part_restart` or by the step `sandbox`; the cloud cannot, its state is gone.
"""

from typing import ClassVar, Literal

from pydantic import model_validator

from simulator.faults._part import PART, Action, Part, PartFault


class PartKill(PartFault):
    """Kills it for good."""

    action: ClassVar[Action | None] = "kill"
    example: ClassVar[str] = "{kind: part_kill, part: backend}"
    words: ClassVar[str] = "nothing that was acknowledged before is lost"

    kind: Literal["part_kill"] = "part_kill"
    part: Part = PART

    @model_validator(mode="after")
    def _for_good(self) -> "PartKill":
        if self.for_s is not None:
            raise ValueError("'for_s' means nothing for part_kill: it stays dead; see part_restart")
        return self
