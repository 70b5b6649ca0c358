"""Switch the whole fleet on."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from simulator.steps import Command, Entry, Step, Wait
from simulator.steps import Connect as ConnectThings


class Connect(Step):
    """Connects every device, spread over `over_s` seconds, and goes on after that."""

    kind: Literal["connect"] = "connect"
    over_s: float = Field(1.0, ge=0, le=86_400)

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        return [ConnectThings(tuple(entry.thing for entry in roster), self.over_s), Wait(self.over_s)]
