"""A download is slow: it takes long, and sometimes longer than its URL or its job lasts."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Subject
from simulator.faults._ota import Ota
from simulator.messages import Download, Later, Output


class SlowDownload(Ota):
    """Reads every download that begins no faster than this, also when the fault ends meanwhile."""

    example: ClassVar[str] = "{kind: slow_download, rate_kib_per_s: 8}"

    kind: Literal["slow_download"] = "slow_download"
    rate_kib_per_s: float = Field(gt=0, le=1_048_576, description="How fast.")

    def expects(self, subject: Subject) -> Expected:
        return Expected("", f"a download has {self.rate_kib_per_s:g} KiB/s; the job takes longer", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Slowing(self, now_ms)


class Slowing(Active):
    __slots__ = ()
    what: SlowDownload

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        if type(said) is Download and self.chance(body):
            return [said._replace(rate_kib_per_s=self.what.rate_kib_per_s)]
        return [said]
