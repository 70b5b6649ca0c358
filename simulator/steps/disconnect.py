"""Switch devices off, in good order: each says goodbye and stays away until it is connected again."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from simulator.steps import Command, Entry, Wait
from simulator.steps import Disconnect as DisconnectThings
from simulator.steps._choosing import Choosing


class Disconnect(Choosing):
    """Switches the devices off, spread over `over_s` seconds."""

    kind: Literal["disconnect"] = "disconnect"
    over_s: float = Field(0.0, ge=0, le=86_400)

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        things = self.chosen([entry for entry in roster if entry.started], seed)
        return [DisconnectThings(things, self.over_s), Wait(self.over_s)]

    def lasts_s(self) -> tuple[float, float]:
        return self.over_s, self.over_s
