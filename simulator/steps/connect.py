"""Switch devices on: the whole fleet, or some of it."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from simulator.steps import Command, Entry, Wait
from simulator.steps import Connect as ConnectThings
from simulator.steps._choosing import Choosing


class Connect(Choosing):
    """Connects the devices, spread over `over_s` seconds, and goes on after that."""

    kind: Literal["connect"] = "connect"
    over_s: float = Field(1.0, ge=0, le=86_400)
    arrival: Literal["even", "random"] = Field("even", description="How they come: in even steps, or at random.")

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        return [ConnectThings(self.chosen(roster, seed), self.over_s, self.arrival), Wait(self.over_s)]

    def lasts_s(self) -> tuple[float, float]:
        return self.over_s, self.over_s
