"""A device's disk is full: an artifact does not fit."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active
from simulator.faults._ota import Downloading, Ota


class DiskFull(Ota):
    """Has room for `free_kib` of an artifact; a longer one ends its job."""

    example: ClassVar[str] = "{kind: disk_full, free_kib: 64}"
    words: ClassVar[str] = "there is no room for the artifact, so the job fails and the old version stays"

    kind: Literal["disk_full"] = "disk_full"
    free_kib: float = Field(0.0, ge=0, le=1_048_576, description="So much room is left.")

    def start(self, body: Body, now_ms: int) -> Active:
        return Full(self, now_ms)


class Full(Downloading):
    __slots__ = ()
    what: DiskFull

    def obstacle(self, body: Body, point: str, now_ms: int) -> str | None:
        if point != "jobs.download" or 0 < self.what.free_kib * 1024 >= self.got:
            return None
        return f"no space left on device after {self.what.free_kib:g} KiB"
