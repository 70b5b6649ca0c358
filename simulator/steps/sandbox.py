"""Do something to a part of the sandbox: kill, pause or restart the cloud or the backend."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from simulator.steps import Command, Entry, Part, Step


class Sandbox(Step):
    """restart: kill -9, and up again after `for_s`; pause: stopped for `for_s`; kill: it stays dead."""

    kind: Literal["sandbox"] = "sandbox"
    part: Literal["cloud", "backend"]
    action: Literal["restart", "pause", "kill"] = "restart"
    for_s: float = Field(0.0, ge=0, le=3600, description="How long it is away.")

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        return [Part(self.part, self.action, self.for_s)]

    def lasts_s(self) -> tuple[float, float]:
        return self.for_s, self.for_s
