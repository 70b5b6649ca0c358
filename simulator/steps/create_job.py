"""Roll a firmware version out to some devices by an OTA job, as an operator does."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from simulator.steps import Command, Entry
from simulator.steps import Job as MakeJob
from simulator.steps._choosing import Choosing


class CreateJob(Choosing):
    """Creates one job for each package that the devices have, with the devices as its targets."""

    kind: Literal["create_job"] = "create_job"
    version: str = Field(pattern=r"^[a-zA-Z0-9._-]{1,64}$", description="A published firmware version.")
    rate_per_minute: int | None = Field(None, ge=1, le=1000, description="How fast it is rolled out; absent: at once.")
    timeout_minutes: int | None = Field(None, ge=1, le=10_080, description="After so long in progress: TIMED_OUT.")
    abort_percent: float | None = Field(None, gt=0, le=100, description="Stops when more than these failed.")

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        options: dict[str, Any] = self.model_dump(include={"rate_per_minute", "timeout_minutes", "abort_percent"})
        given = {name: value for name, value in options.items() if value is not None}
        return [MakeJob(self.version, self.chosen(roster, seed), given)]
