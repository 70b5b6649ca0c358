"""Send some devices a control request on the platform's topic, past rules and alarms."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from simulator.steps import Command, Entry
from simulator.steps import Control as ControlThings
from simulator.steps._choosing import Choosing


class Control(Choosing):
    """Asks for the action `action`, such as restart-fan or reboot."""

    kind: Literal["control"] = "control"
    action: str = Field(min_length=1, max_length=64)
    value: float | str | bool | None = Field(None, description="For actions that take one.")

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        return [ControlThings(self.action, self.value, self.chosen(roster, seed))]
