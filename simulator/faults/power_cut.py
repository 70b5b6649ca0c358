"""The power is cut in the middle of an update, at a chosen point of it."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import NEVER_MS, Body, Outputs
from simulator.faults import Active, Expected, Subject
from simulator.faults._darkness import missed
from simulator.faults._ota import Downloading, Ota
from simulator.messages import Chunk, DownloadEnded, Input, Later, Note, Output, PowerCycle


class PowerCut(Ota):
    """Cuts the power in the download, before the check, in the installation, or in the restart into it.

    The job begins anew and succeeds; a restart just takes so much longer.
    """

    example: ClassVar[str] = "{kind: power_cut, at: install, off_s: 10}"

    kind: Literal["power_cut"] = "power_cut"
    at: Literal["download", "verify", "install", "reboot"] = "download"
    percent: float = Field(50.0, ge=0, le=100, description="For `download`: when so much has come.")
    after_s: float = Field(1.0, ge=0, le=86_400, description="For `install`: so long after its begin.")
    off_s: float = Field(10.0, ge=0, le=31_536_000, description="How long it is away.")
    times: int = Field(1, ge=1, le=1000, description="How often; then the fault is over.")

    def expects(self, subject: Subject) -> Expected:
        words = f"the power goes at the {self.at} for {self.off_s:g} s; the job goes on and succeeds"
        return missed(self.off_s, words, 60 * self.minutes)

    def start(self, body: Body, now_ms: int) -> Active:
        return Cutting(self, now_ms, self.times)


class Cutting(Downloading):
    __slots__ = ("left", "restarts")
    what: PowerCut

    def __init__(self, what: PowerCut, now_ms: int, left: int) -> None:
        super().__init__(what, now_ms)
        self.left = left
        self.restarts = False  # into what was installed

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        mine = type(said) in (Chunk, DownloadEnded) and said.token == self.token  # type: ignore[union-attr]
        heard = super().hear(body, said, now_ms)
        if mine and self.left and type(said) is Chunk and self.what.at == "download":
            if self.percent >= self.what.percent:
                self.wake_at_ms = now_ms
        elif mine and self.left and type(said) is DownloadEnded and self.what.at == "verify" and not said.error:
            self.wake_at_ms = now_ms
            return []
        return heard

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        at = self.what.at
        if type(said) is Note and self.left:
            if said.kind == "verified" and at == "install":
                self.wake_at_ms = now_ms + int(1000 * self.what.after_s)
            self.restarts = self.restarts or (said.kind == "installed" and at == "reboot")
        elif type(said) is PowerCycle and self.restarts and said.off_ms is not None:
            self.left, self.restarts = self.left - 1, False
            return [PowerCycle(said.off_ms + int(1000 * self.what.off_s))]
        return super().say(body, said, now_ms)

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms = NEVER_MS
        self.left -= 1
        return [PowerCycle(int(1000 * self.what.off_s))]

    def booted(self, body: Body, now_ms: int) -> None:
        super().booted(body, now_ms)
        self.wake_at_ms = NEVER_MS
        self.over = self.left <= 0
