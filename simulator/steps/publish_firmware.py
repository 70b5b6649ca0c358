"""Publish a firmware version while the scenario runs; a badly signed one shows that no device takes it."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from simulator.steps import Command, Entry, Publication, Step


class PublishFirmware(Step):
    """Builds the version from the folder `firmware/`, uploads it and publishes it as a package version."""

    kind: Literal["publish_firmware"] = "publish_firmware"
    version: str = Field(pattern=r"^[a-zA-Z0-9._-]{1,64}$", description="One of the folder, or any name for a new one.")
    packages: list[str] = Field([], max_length=100, description="The packages to publish; absent: all of the fleet.")
    signed: bool = Field(True, description="false: by a stranger's key, which no device trusts.")

    def plan(self, roster: Sequence[Entry], seed: int) -> list[Command]:
        return [Publication(self.version, tuple(self.packages), self.signed)]
