"""Bring the number of devices that are on to `to`, up or down, evenly over a while."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from simulator import seeds
from simulator.steps import Command, Connect, Disconnect, Entry, Wait
from simulator.steps._choosing import Choosing


class Ramp(Choosing):
    """Switches devices on, or off, until `to` of those that match are on."""

    kind: Literal["ramp"] = "ramp"
    to: int = Field(ge=0, description="How many devices are to be on.")
    over_s: float = Field(ge=0, le=86_400)

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        able = set(self.chosen(roster, seed))
        ranked = sorted(able, key=lambda thing: (seeds.key(seed, "ramp", thing), thing))
        on = {entry.thing for entry in roster if entry.started}
        running, waiting = [t for t in ranked if t in on], [t for t in ranked if t not in on]
        more = self.to - len(running)
        if more >= 0:
            return [Connect(tuple(waiting[:more]), self.over_s), Wait(self.over_s)]
        return [Disconnect(tuple(running[more:]), self.over_s), Wait(self.over_s)]

    def lasts_s(self) -> tuple[float, float]:
        return self.over_s, self.over_s
